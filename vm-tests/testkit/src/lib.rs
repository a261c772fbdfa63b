//! What the tests with real connections and real programs have in common.
//!
//! A test runs in a process of its own ([`isolation`]). It has a node with an agent and connections
//! ([`node`], [`agent`], [`traffic`]) or, where programs make the connections, a stage for them
//! ([`stage`], [`program`], [`toll`], [`mesh`]).
#![allow(missing_debug_implementations, missing_docs, reason = "tests alone use it")]
#![allow(unsafe_code, reason = "system calls that no crate wraps")]

pub mod agent;
pub mod isolation;
pub mod kernel_log;
pub mod kernels;
pub mod load;
pub mod memory;
pub mod memory_fault;
pub mod mesh;
pub mod node;
pub mod nonblocking;
pub mod path;
pub mod pattern;
pub mod program;
pub mod report;
pub mod socket;
pub mod stage;
pub mod thread_state;
pub mod tier;
pub mod toll;
pub mod traffic;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long something that happens at once on an idle machine may take on a slow and crowded one.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the workspace, whose files tests read.
pub fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this package is in the workspace")
}

/// Asks again and again until there is an answer; fails when [`PATIENCE`] ends.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sets its flag when it is dropped, so that threads which look at it end also where a test fails.
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs a part of a test, and says which one it was if it fails.
pub fn naming(part: String, test: impl FnOnce()) {
    struct OnFailure(String);

    impl Drop for OnFailure {
        fn drop(&mut self) {
            eprintln!("failed {}", self.0);
        }
    }

    let on_failure = OnFailure(part);
    test();
    std::mem::forget(on_failure);
}

/// `count`, or the share of it that `SHUNT_TEST_SHARE` (0 to 1) asks for.
pub fn share_of(count: usize) -> usize {
    let Ok(text) = std::env::var("SHUNT_TEST_SHARE") else { return count };
    let share: f64 =
        text.parse().unwrap_or_else(|error| panic!("SHUNT_TEST_SHARE={text}: {error}"));
    assert!(share > 0.0 && share <= 1.0, "SHUNT_TEST_SHARE={text} has to be above 0 and at most 1");
    ((count as f64 * share) as usize).max(1)
}
