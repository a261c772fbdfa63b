//! The eleven registers.

use std::fmt;

/// One of the eleven registers (RFC 9669 section 2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Register {
    /// Return value of calls and of the program.
    R0,
    /// First argument; clobbered by calls.
    R1,
    /// Second argument; clobbered by calls.
    R2,
    /// Third argument; clobbered by calls.
    R3,
    /// Fourth argument; clobbered by calls.
    R4,
    /// Fifth argument; clobbered by calls.
    R5,
    /// Preserved by calls.
    R6,
    /// Preserved by calls.
    R7,
    /// Preserved by calls.
    R8,
    /// Preserved by calls.
    R9,
    /// Frame pointer; read-only.
    R10,
}

impl Register {
    /// All registers, by number.
    pub const ALL: [Register; 11] = [
        Register::R0,
        Register::R1,
        Register::R2,
        Register::R3,
        Register::R4,
        Register::R5,
        Register::R6,
        Register::R7,
        Register::R8,
        Register::R9,
        Register::R10,
    ];
    /// The registers that calls clobber.
    pub const TEMPORARY: [Register; 6] =
        [Register::R0, Register::R1, Register::R2, Register::R3, Register::R4, Register::R5];
    /// The registers that calls preserve.
    pub const KEPT: [Register; 4] = [Register::R6, Register::R7, Register::R8, Register::R9];
    /// The argument registers, in order.
    pub const ARGUMENTS: [Register; 5] =
        [Register::R1, Register::R2, Register::R3, Register::R4, Register::R5];

    /// Its number, 0 to 10.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The register with this number; `None` above 10.
    pub fn from_number(number: u8) -> Option<Register> {
        Register::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.number())
    }
}
