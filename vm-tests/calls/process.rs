//! Another process, which has the descriptors of this one.

use std::fs::File;
use std::io::{Read, Write};

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, pipe};

/// A copy of this process that does one thing.
pub struct Process {
    id: Pid,
    answer: File,
}

impl Process {
    pub fn start(work: impl FnOnce() -> String) -> Self {
        let (answer, into) = pipe().expect("make a pipe");
        // SAFETY: the copy makes system calls and allocates, which glibc keeps possible in the
        // child of a program with threads, and it ends without running what the program has
        // registered for its end.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Parent { child } => Self { id: child, answer: answer.into() },
            ForkResult::Child => {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                let told = outcome
                    .is_ok_and(|answer| File::from(into).write_all(answer.as_bytes()).is_ok());
                // SAFETY: it does nothing but to end the process.
                unsafe { libc::_exit(if told { 0 } else { 1 }) }
            }
        }
    }

    /// What it returned.
    pub fn join(mut self) -> String {
        let mut answer = String::new();
        self.answer.read_to_string(&mut answer).expect("read its answer");
        assert_eq!(waitpid(self.id, None).expect("wait for it"), WaitStatus::Exited(self.id, 0));
        answer
    }
}
