//! Traffic that goes on while something else happens.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tcp_shunt::bed::Bed;

use crate::eventually;
use crate::node::{Pair, Service};
use crate::traffic::exchange;

/// Longer than an exchange takes on a crowded machine, shorter than what a user would call a hang.
const STALL: Duration = Duration::from_secs(3);

/// How far the traffic has come.
#[derive(Default)]
pub struct Load {
    stopped: AtomicBool,
    exchanges: AtomicU64,
    connections: AtomicU64,
}

/// Exchanges messages on `flows`, and on one new connection after the other through each of
/// `services`, while `work` runs. Fails when a byte is wrong or late. Returns how many connections
/// were opened.
pub fn under_load(
    bed: &Bed,
    flows: &[Pair],
    services: &[Service],
    work: impl FnOnce(&Load),
) -> u64 {
    let load = Load::default();
    thread::scope(|scope| {
        // Also when something below fails: the scope waits for its threads.
        let stop = StopOnDrop(&load);
        for (pair, number) in flows.iter().zip(0..) {
            let load = &load;
            scope.spawn(move || {
                load.repeat(&load.exchanges, |round| {
                    exchange(pair, round << 8 | number, 1000, 20_000)
                });
            });
        }
        for service in services {
            let load = &load;
            scope.spawn(move || {
                let connections = || {
                    load.repeat(&load.connections, |round| {
                        let pair = Pair { client: service.connect(), server: service.accept() };
                        exchange(&pair, round, 500, 500);
                        exchange(&pair, !round, 500, 500);
                    });
                };
                bed.in_client(connections).expect("enter the client");
            });
        }
        work(&load);
        drop(stop);
    });
    load.connections.into_inner()
}

impl Load {
    fn repeat(&self, count: &AtomicU64, work: impl Fn(u64)) {
        for round in 0.. {
            if self.stopped.load(Ordering::Relaxed) {
                break;
            }
            let begun = Instant::now();
            work(round);
            assert!(begun.elapsed() < STALL, "round {round} took {:?}", begun.elapsed());
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until messages have been exchanged and connections have been opened since now.
    pub fn progress(&self) {
        let now =
            || [&self.exchanges, &self.connections].map(|count| count.load(Ordering::Relaxed));
        let [exchanges, connections] = now();
        eventually("traffic goes on", || {
            (now()[0] >= exchanges + 50 && now()[1] >= connections + 20).then_some(())
        });
    }
}

struct StopOnDrop<'a>(&'a Load);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}
