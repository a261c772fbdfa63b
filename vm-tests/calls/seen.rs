//! What a script saw, a line for each observation.

use std::fmt::{Debug, Display};
use std::io;

use nix::errno::Errno;

/// Longer texts are shown by their length and a checksum.
const LONGEST: usize = 60;

/// Noted, with what it is, where the kernel does not have what the script is about.
pub const LACKING: &str = "this kernel does not have";

/// Observations in their order.
#[derive(Default)]
pub struct Seen(Vec<String>);

impl Seen {
    /// Notes that `what` is, or returned, `value`.
    pub fn note(&mut self, what: impl Display, value: impl Debug) {
        self.0.push(format!("{what}: {value:?}"));
    }

    /// Notes what a call returned, or its errno.
    pub fn call(&mut self, what: impl Display, outcome: Result<impl Debug, impl Error>) {
        match outcome {
            Ok(value) => self.note(what, value),
            Err(error) => self.note(what, error.errno()),
        }
    }

    /// Notes what a call read into `buffer`, or its errno.
    pub fn read(&mut self, what: impl Display, outcome: Result<usize, impl Error>, buffer: &[u8]) {
        self.call(what, outcome.map(|length| text(buffer.get(..length).unwrap_or(buffer))));
    }

    pub fn into_lines(self) -> Vec<String> {
        self.0
    }
}

/// Something with an errno.
pub trait Error {
    fn errno(self) -> Errno;
}

impl Error for Errno {
    fn errno(self) -> Errno {
        self
    }
}

impl Error for io::Error {
    fn errno(self) -> Errno {
        Errno::from_raw(self.raw_os_error().expect("an error of a system call"))
    }
}

/// The same for the same bytes.
pub fn text(bytes: &[u8]) -> String {
    if bytes.len() <= LONGEST {
        return bytes.escape_ascii().to_string();
    }
    // FNV-1a: what differs by a moved byte differs in this.
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    format!("{} bytes, {sum:016x}", bytes.len())
}
