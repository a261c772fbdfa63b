//! The verifier's errors, independent of their wording: the errno and the instruction at which it
//! stopped.

use bpf_asm::Program;
use syscalls::{Errno, Error};

/// Where the verifier stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// At the instruction in this slot, or after it, while following a path.
    Slot(usize),
    /// Before or after following paths.
    Whole,
}

/// A rejected load.
pub struct Complaint<'a> {
    /// The errno.
    pub errno: Errno,
    /// The verifier's log.
    pub log: &'a str,
}

impl<'a> Complaint<'a> {
    /// The error of a rejected load.
    pub fn of(error: &'a Error) -> Complaint<'a> {
        match error {
            Error::LoadRejected { errno, log, .. } => Complaint { errno: *errno, log },
            other => panic!("not rejected by the verifier: {other}"),
        }
    }

    /// Where it stopped: the log lists each instruction followed, as `slot: (opcode) text`.
    pub fn point(&self) -> Point {
        let followed = |line: &str| {
            let (slot, rest) = line.split_once(": (")?;
            rest.as_bytes().get(2).filter(|end| **end == b')')?;
            slot.parse().ok()
        };
        self.log.lines().rev().find_map(followed).map_or(Point::Whole, Point::Slot)
    }

    /// The Rust line that wrote the instruction at which it stopped.
    pub fn line(&self, program: &Program) -> Option<u32> {
        let Point::Slot(stopped) = self.point() else { return None };
        program.insns().find(|(slot, ..)| *slot == stopped).map(|(_, _, at)| at.line())
    }
}
