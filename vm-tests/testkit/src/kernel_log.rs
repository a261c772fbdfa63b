//! What the kernel complained about while a test ran (Documentation/ABI/testing/dev-kmsg).

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

/// Beginnings of the reports that a kernel gives of its own mistakes.
const COMPLAINTS: &[&str] = &[
    "WARNING:",
    "BUG:",
    "BUG ",
    "Oops",
    "kernel BUG at",
    "general protection fault",
    "refcount_t:",
    "UBSAN:",
    "KASAN:",
    "INFO: task ",
    "INFO: rcu",
    "unregister_netdevice: waiting",
    "TCP: out of memory",
];

/// The kernel log from now on.
pub struct KernelLog {
    records: File,
}

impl KernelLog {
    pub fn from_now() -> Self {
        let mut records =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").expect(
                "open /dev/kmsg to watch for kernel warnings (run as root, with /dev/kmsg present)",
            );
        records.seek(SeekFrom::End(0)).expect("seek to the end of /dev/kmsg");
        Self { records }
    }

    /// Fails with what the kernel complained about since [`KernelLog::from_now`].
    pub fn assert_quiet(&mut self) {
        let complaints: Vec<String> =
            self.new_lines().into_iter().filter(|line| is_complaint(line)).collect();
        assert!(complaints.is_empty(), "the kernel complained:\n{}", complaints.join("\n"));
    }

    fn new_lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        // One read returns one record; 8 KiB is the longest (CONSOLE_EXT_LOG_MAX).
        let mut record = [0; 8192];
        loop {
            match self.records.read(&mut record) {
                Ok(length) => lines.push(text_of(&String::from_utf8_lossy(&record[..length]))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return lines,
                Err(error) => {
                    panic!("read /dev/kmsg: {error} (EPIPE: it was overwritten before it was read)")
                }
            }
        }
    }
}

/// A record is `priority,sequence,time,flags;text`.
fn text_of(record: &str) -> String {
    record.split_once(';').map_or(record, |(_, text)| text).trim_end().to_owned()
}

fn is_complaint(line: &str) -> bool {
    COMPLAINTS.iter().any(|complaint| line.contains(complaint))
}

#[test]
fn a_complaint_written_to_the_kernel_log_is_found_and_ordinary_lines_are_not() {
    use std::io::Write;
    // Not written to the real log, where the tests that run beside this one would find them.
    assert!(is_complaint(&text_of(
        "4,1,2,-;WARNING: CPU: 0 PID: 1 at net/core/sock_map.c:1 sock_map_destroy+0x1/0x2\n"
    )));
    assert!(is_complaint(&text_of(
        "1,1,2,-;BUG: kernel NULL pointer dereference, address: 0000000000000000\n"
    )));
    assert!(!is_complaint(&text_of(
        "6,1,2,-;TCP: request_sock_TCP: Possible SYN flooding on port 80.\n"
    )));

    let mut log = KernelLog::from_now();
    let line = format!("shunt test {} was here", std::process::id());
    let mut kernel_log = File::options().write(true).open("/dev/kmsg").expect("open /dev/kmsg");
    // In one write, with its end: a record that could go on is not shown yet.
    kernel_log.write_all(format!("{line}\n").as_bytes()).expect("write to the kernel log");
    assert!(log.new_lines().contains(&line));
}
