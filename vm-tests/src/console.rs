//! What a kernel wrote to its console, and what of it says that the kernel itself went wrong.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

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
    lines.filter(|line| BEGINNINGS.iter().any(|start| line.starts_with(start))).map(str::to_owned).collect()
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
    file: File,
    /// The beginning of a line whose end has not come.
    unfinished: Vec<u8>,
}

impl Console {
    /// Opens the file that the console is written to.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, unfinished: vec![] })
    }

    /// The lines that were completed since the last call.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new_lines(&mut self) -> io::Result<String> {
        self.file.read_to_end(&mut self.unfinished)?;
        let complete = self.unfinished.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        let lines: Vec<u8> = self.unfinished.drain(..complete).collect();
        Ok(String::from_utf8_lossy(&lines).into_owned())
    }

    /// The last `bytes` of everything.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn end(&mut self, bytes: u64) -> io::Result<String> {
        let length = self.file.metadata()?.len();
        self.file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut end = Vec::new();
        self.file.read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

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
    fn each_line_is_given_once_and_only_when_it_is_complete() {
        let mut writer = tempfile::NamedTempFile::new().expect("make a file");
        let mut console = Console::open(writer.path()).expect("open");
        for (written, seen) in [("one\ntw", "one\n"), ("o", ""), ("\nthree\n", "two\nthree\n"), ("", "")] {
            writer.write_all(written.as_bytes()).expect("write");
            assert_eq!(console.new_lines().expect("read"), seen);
        }
        assert_eq!(console.end(6).expect("read"), "three\n");
    }
}
