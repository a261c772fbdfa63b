//! Streams of writes of one size arrive whole and without a stall, with and without TCP_NODELAY
//! (Q4).

use std::net::Shutdown;
use std::time::{Duration, Instant};

use testkit::isolation::isolated;
use testkit::nonblocking::{
    Ground, over_tcp_and_shunt, put_pattern, small_talk, take_pattern, take_to_end,
};
use testkit::path::{LOOPBACK, Path, VETH};
use testkit::pattern::Tape;
use testkit::share_of;

/// The size of each write, and how many there are.
const STREAMS: [(usize, usize); 6] =
    [(1, 60_000), (8, 60_000), (100, 60_000), (1024, 60_000), (8 << 10, 16_000), (64 << 10, 2_000)];

/// One stream, and an answer; returns the longest gap.
fn stream(ground: Ground, path: Path, write: usize, count: usize, nodelay: bool) -> Duration {
    let pair = ground.open_direct(path);
    for end in [&pair.client, &pair.server] {
        end.set_nodelay(nodelay).expect("set TCP_NODELAY");
    }
    let (pattern, length) = (Tape { seed: write as u64 }, (write * share_of(count)) as u64);
    let begun = Instant::now();
    let longest = std::thread::scope(|scope| {
        scope.spawn(|| put_pattern(&pair.client, pattern, length, write));
        take_pattern(&pair.server, pattern, length, 16 << 10)
    });
    eprintln!(
        "{path} over {:?}, {count} × {write} bytes, nodelay {nodelay}: {:?}, gap {longest:?}",
        ground.carrier,
        begun.elapsed()
    );
    // It goes on in both directions, and it ends.
    small_talk(&pair);
    pair.client.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(take_to_end(&pair.server, Duration::from_secs(5)), (Vec::new(), true));
    longest
}

/// TCP itself has gaps of half a second on a crowded machine: what found no room is sent again.
const STALL: Duration = Duration::from_secs(2);

fn streams(path: Path) {
    over_tcp_and_shunt(|ground| {
        for nodelay in [true, false] {
            for (write, count) in STREAMS {
                // What happens every time is no accident.
                let measure = |_| stream(ground, path, write, count, nodelay);
                let stalls = (0..3).map(measure).take_while(|&gap| gap > STALL).count();
                assert!(stalls < 3, "{path}, writes of {write} over {:?}: stalls", ground.carrier);
            }
        }
    });
}

/// Q4.
#[test]
fn streams_of_writes_of_every_size_arrive_whole_and_without_a_stall_on_loopback() {
    isolated(|| streams(LOOPBACK));
}

/// Q4.
#[test]
fn streams_of_writes_of_every_size_arrive_whole_and_without_a_stall_over_veth() {
    isolated(|| streams(VETH));
}
