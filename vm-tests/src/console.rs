//! What a kernel writes to its console, and what of it says that the kernel itself went wrong.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How such messages begin, after the time.
const BEGINNINGS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "BUG ",
    "kernel BUG at",
    "Oops",
    "general protection fault",
    "Kernel panic",
    "Internal error",
    "UBSAN:",
    "KASAN:",
    "refcount_t:",
    "watchdog: BUG",
    "rcu: INFO:",
    "INFO: task ",
    "unregister_netdevice: waiting",
    "list_add corruption",
    "list_del corruption",
];

/// The messages in `text` by which a kernel says that it went wrong.
pub fn complaints(text: &str) -> Vec<String> {
    let lines = text.lines().map(message);
    lines
        .filter(|line| BEGINNINGS.iter().any(|start| line.starts_with(start)))
        .map(str::to_owned)
        .collect()
}

/// A line without its time and, where the kernel is configured to print it, its caller: `[    1.234567][   T1] message`.
fn message(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some((_, after)) = rest.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        rest = after.trim_start();
    }
    rest
}

/// A console that is still being written.
#[derive(Debug)]
pub struct Console {
    written: Arc<(Mutex<Written>, Condvar)>,
    /// Up to where it has been given out, in bytes.
    given: usize,
}

#[derive(Debug, Default)]
struct Written {
    text: Vec<u8>,
    ended: bool,
}

/// A mark did not come.
#[derive(Debug, thiserror::Error)]
#[error("the guest's console does not show {0:?}")]
pub struct Unmarked(String);

impl Console {
    /// Reads `source` to its end, in a thread.
    pub fn read(mut source: impl Read + Send + 'static) -> Self {
        let written = Arc::<(Mutex<Written>, Condvar)>::default();
        let kept = Arc::clone(&written);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            loop {
                // A console that cannot be read has ended as far as anybody can tell.
                let length = source.read(&mut part).unwrap_or_default();
                let mut written = lock(&kept);
                written.text.extend(&part[..length]);
                written.ended = length == 0;
                kept.1.notify_all();
                if length == 0 {
                    return;
                }
            }
        });
        Self { written, given: 0 }
    }

    /// What was written since the last call and before the line with `mark`.
    ///
    /// # Errors
    /// When there is no such line in time.
    pub fn up_to(&mut self, mark: &str, patience: Duration) -> Result<String, Unmarked> {
        let sought = |written: &Written| position(&written.text[self.given..], mark.as_bytes());
        let guard = lock(&self.written);
        let waited = self.written.1.wait_timeout_while(guard, patience, |written| {
            sought(written).is_none() && !written.ended
        });
        let (written, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let at = self.given + sought(&written).ok_or_else(|| Unmarked(mark.to_owned()))?;
        let before = String::from_utf8_lossy(&written.text[self.given..at]).into_owned();
        drop(written);
        self.given = at + mark.len();
        Ok(before)
    }

    /// What was written since the last call, once it has ended or `patience` is over.
    pub fn rest(&mut self, patience: Duration) -> String {
        let guard = lock(&self.written);
        let waited = self.written.1.wait_timeout_while(guard, patience, |written| !written.ended);
        let (written, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let rest = String::from_utf8_lossy(&written.text[self.given..]).into_owned();
        self.given = written.text.len();
        rest
    }

    /// The last `bytes` of everything that was written.
    pub fn end(&self, bytes: usize) -> String {
        let written = lock(&self.written);
        String::from_utf8_lossy(&written.text[written.text.len().saturating_sub(bytes)..])
            .into_owned()
    }
}

fn lock(written: &(Mutex<Written>, Condvar)) -> MutexGuard<'_, Written> {
    written.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn position(text: &[u8], sought: &[u8]) -> Option<usize> {
    text.windows(sought.len()).position(|window| window == sought)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Write, pipe};
    use std::time::Instant;

    #[test]
    fn messages_about_the_kernels_own_mistakes_are_found_and_others_are_not() {
        let bad = [
            "[  100.5] WARNING: CPU: 0 PID: 9 at net/core/sock_map.c:1 sock_map_destroy+0x1/0x2",
            "[    1.000000][   T12] BUG: kernel NULL pointer dereference, address: 0000000000000000\r",
            "[1.0] Oops: 0002 [#1] SMP",
            "[    9.1] Kernel panic - not syncing: Attempted to kill init!",
            "[  300.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!",
            "[  300.1] INFO: task shunt:1 blocked for more than 120 seconds.",
        ];
        for line in bad {
            assert_eq!(complaints(line).len(), 1, "{line}");
        }
        let good = [
            "[    1.0] Spectre V2 : WARNING: Unprivileged eBPF is enabled",
            "[    1.0] mtrr: your CPUs had inconsistent MTRRdefType settings",
            "[    1.0] TCP: request_sock_TCP: Possible SYN flooding on port 80.",
            "[    1.0]  ? report_bug+0x1/0x2",
        ];
        assert_eq!(complaints(&good.join("\n")), Vec::<String>::new());
    }

    #[test]
    fn what_comes_before_a_mark_is_given_once_and_waited_for() {
        const SOON: Duration = Duration::from_millis(50);
        let (reader, mut writer) = pipe().expect("make a pipe");
        let mut console = Console::read(reader);
        writer.write_all(b"one\nmark 0.\ntwo\nmark").expect("write");
        assert_eq!(console.up_to("mark 0.", SOON).expect("it is there"), "one\n");
        let error = console.up_to("mark 1.", SOON).expect_err("only half of it").to_string();
        assert!(error.contains("mark 1."), "{error}");

        let later = std::thread::spawn(move || {
            std::thread::sleep(SOON);
            writer.write_all(b" 1.\nthree").expect("write");
        });
        let begun = Instant::now();
        assert_eq!(console.up_to("mark 1.", Duration::from_secs(10)).expect("it comes"), "\ntwo\n");
        later.join().expect("write");
        // The writer has closed the pipe: there is nothing to wait for.
        assert!(console.up_to("mark 2.", Duration::from_secs(10)).is_err());
        assert_eq!(console.rest(Duration::from_secs(10)), "\nthree");
        assert_eq!(console.rest(SOON), "");
        assert_eq!(console.end(3), "ree");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
