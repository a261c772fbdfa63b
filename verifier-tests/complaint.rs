//! What the kernel complains about, by what does not depend on its wording: errno and the
//! instruction that it stopped at.

use bpf_asm::Program;
use syscalls::{Errno, Error};

/// Where the kernel stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// While it follows a path, after or at the instruction in this slot.
    Slot(usize),
    /// Looking at the program as a whole, before or after following paths.
    Whole,
}

/// A refused load.
pub struct Complaint<'a> {
    /// The kernel's answer.
    pub errno: Errno,
    /// What the verifier had to say.
    pub log: &'a str,
}

impl<'a> Complaint<'a> {
    /// What a failed load says.
    pub fn of(error: &'a Error) -> Complaint<'a> {
        match error {
            Error::LoadRejected { errno, log, .. } => Complaint { errno: *errno, log },
            other => panic!("not refused by the verifier: {other}"),
        }
    }

    /// Where it stopped: the log shows each instruction that is followed, as `slot: (opcode) text`.
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
