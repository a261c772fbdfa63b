//! A message that meets the other end's half-close arrives (Q7).

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::Pid;
use std::os::fd::AsRawFd;

use testkit::isolation::isolated;
use testkit::node::Pair;
use testkit::nonblocking::{Ground, over_tcp_and_shunt, take_to_end};
use testkit::path::{LOOPBACK, Path, VETH};
use testkit::pattern::Dice;
use testkit::share_of;

/// Connections that race at the same time; an emulated guest takes a share of them. Before they are
/// direct, each end has to be read from 256 times, which for so many takes a slow guest longer than
/// [`testkit::PATIENCE`].
const BATCH: usize = 100;
const MESSAGE: &[u8; 8] = b"message.";
/// Longer than a lane's last message is remembered as recent.
const PAUSE: Duration = Duration::from_millis(30);
/// How long either end waits at most after they have met, in nanoseconds.
const DELAY: usize = 3000;

/// Keeps the calling thread on one processor, where there are several.
fn pin(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor).expect("a processor");
    let _ = sched_setaffinity(Pid::from_raw(0), &set);
}

/// Two threads that go through the same steps at the same time.
struct Steps([AtomicUsize; 2]);

impl Steps {
    fn meet(&self, who: usize, step: usize) {
        self.0[who].store(step, Ordering::SeqCst);
        let waiting = Instant::now();
        while self.0[1 - who].load(Ordering::SeqCst) < step {
            std::hint::spin_loop();
            if waiting.elapsed() > Duration::from_millis(20) {
                std::thread::yield_now();
            }
        }
    }
}

fn spin(nanoseconds: usize) {
    let (begun, time) = (Instant::now(), Duration::from_nanos(nanoseconds as u64));
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[derive(Debug, Default)]
struct Outcome {
    tried: usize,
    lost: usize,
    errors: Vec<nix::errno::Errno>,
}

fn race(ground: Ground, path: Path, time: Duration) -> Outcome {
    let (mut outcome, mut dice, begun) = (Outcome::default(), Dice(7), Instant::now());
    let service = ground.listen(path);
    while begun.elapsed() < time {
        let pairs: Vec<Pair> = (0..share_of(BATCH)).map(|_| ground.connect(&service)).collect();
        ground.warm_all(&pairs);
        // Either end sends, the other one half-closes.
        let ends: Vec<(&TcpStream, &TcpStream)> = pairs
            .iter()
            .map(|pair| match dice.below(2) {
                0 => (&pair.client, &pair.server),
                _ => (&pair.server, &pair.client),
            })
            .collect();
        let delays: Vec<[usize; 2]> =
            ends.iter().map(|_| [dice.below(DELAY), dice.below(DELAY)]).collect();
        std::thread::sleep(PAUSE);
        let steps = Steps([AtomicUsize::new(0), AtomicUsize::new(0)]);
        let sent: Vec<nix::Result<usize>> = std::thread::scope(|scope| {
            scope.spawn(|| {
                pin(1);
                for (step, (_, closer)) in ends.iter().enumerate() {
                    steps.meet(1, step + 1);
                    spin(delays[step][1]);
                    closer.shutdown(Shutdown::Write).expect("shut down");
                }
            });
            let sender = scope.spawn(|| {
                pin(0);
                let one = |(step, (sender, _)): (usize, &(&TcpStream, &TcpStream))| {
                    steps.meet(0, step + 1);
                    spin(delays[step][0]);
                    send(sender.as_raw_fd(), MESSAGE, MsgFlags::MSG_NOSIGNAL)
                };
                ends.iter().enumerate().map(one).collect()
            });
            sender.join().expect("the sender")
        });
        for ((sender, closer), sent) in ends.iter().zip(sent) {
            outcome.tried += 1;
            let _ = sender.shutdown(Shutdown::Write);
            let (arrived, ended) = take_to_end(closer, Duration::from_secs(2));
            match sent {
                Err(error) => outcome.errors.push(error),
                Ok(length) => outcome.lost += usize::from(arrived != MESSAGE[..length] || !ended),
            }
        }
    }
    outcome
}

fn no_race_loses(path: Path) {
    over_tcp_and_shunt(|ground| {
        let time = Duration::from_secs(if ground.is_shunt() { 6 } else { 1 });
        let outcome = race(ground, path, time);
        eprintln!("{path} over {:?}: {} tried", ground.carrier, outcome.tried);
        assert!(
            outcome.lost == 0 && outcome.errors.is_empty(),
            "{path} over {:?}: of {} messages {} were lost and {} were refused: {:?}",
            ground.carrier,
            outcome.tried,
            outcome.lost,
            outcome.errors.len(),
            outcome.errors.first(),
        );
    });
}

/// Q7.
#[test]
fn a_message_that_races_the_other_ends_half_close_arrives_on_loopback() {
    isolated(|| no_race_loses(LOOPBACK));
}

/// Q7.
#[test]
fn a_message_that_races_the_other_ends_half_close_arrives_over_veth() {
    isolated(|| no_race_loses(VETH));
}
