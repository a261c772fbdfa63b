//! Whether a thread is blocked in a system call, so that a test can act at that moment instead of
//! sleeping and hoping.

use nix::unistd::{Pid, gettid};

use crate::eventually;

/// A thread of this process.
#[derive(Debug, Clone, Copy)]
pub struct Thread(Pid);

impl Thread {
    pub fn current() -> Self {
        Self(gettid())
    }

    /// Waits until it sleeps in the system call `number` (`/proc/PID/task/TID/syscall`, and its
    /// state in `stat`).
    pub fn wait_until_blocked_in(self, number: libc::c_long) {
        let directory = format!("/proc/self/task/{}", self.0);
        eventually("the thread blocks", || {
            let read = |file: &str| {
                std::fs::read_to_string(format!("{directory}/{file}"))
                    .unwrap_or_else(|error| panic!("{directory}/{file}: {error}"))
            };
            let state =
                read("stat").rsplit_once(')').and_then(|(_, rest)| rest.trim().chars().next());
            let call = read("syscall").split_whitespace().next().and_then(|word| word.parse().ok());
            (state == Some('S') && call == Some(number)).then_some(())
        });
    }
}
