//! Streams of writes of one size arrive whole and without a stall, with and without TCP_NODELAY
//! (Q4).

use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::harness::isolation::isolated;
use crate::harness::nonblocking::{
    Ground, is_gap, over_tcp_and_shunt, put_pattern, small_talk, take_pattern,
    take_to_end,
};
use crate::harness::path::{LOOPBACK, Path, VETH};
use crate::harness::pattern::Tape;
use crate::harness::share_of;

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

fn streams(path: Path) {
    let mut by_tcp = Vec::new();
    over_tcp_and_shunt(|ground| {
        let mut of_tcp = by_tcp.clone().into_iter();
        for nodelay in [true, false] {
            for (write, count) in STREAMS {
                let measure = || stream(ground, path, write, count, nodelay);
                let Some(tcp) = of_tcp.next() else {
                    by_tcp.push(measure());
                    continue;
                };
                // What happens every time is no accident.
                let gaps = (0..3).map(|_| measure()).take_while(|&gap| is_gap(gap, tcp)).count();
                assert!(gaps < 3, "{path}, writes of {write}: gaps every time; over TCP {tcp:?}");
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
