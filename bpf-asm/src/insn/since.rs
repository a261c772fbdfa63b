//! The first version of the instruction set and the first kernel that support an instruction.

use std::fmt;

/// A version of the instruction set, as in a compiler's `-mcpu`.
///
/// Encodings that every compiler may emit are [`Isa::V1`], even if kernels came to accept them
/// later: calls, for example, got new kinds of callees without a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// The original instruction set.
    V1,
    /// Adds the comparisons *less than* and *less or equal*.
    V2,
    /// Adds 32-bit jumps, and atomic operations other than addition.
    V3,
    /// Adds sign extension, signed division, unconditional byte swaps, long jumps, and ordered
    /// loads and stores.
    V4,
    /// Kernel extensions: `may_goto`, address space casts, indirect calls and jumps.
    Extension,
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::V1 => "v1",
            Isa::V2 => "v2",
            Isa::V3 => "v3",
            Isa::V4 => "v4",
            Isa::Extension => "extension",
        })
    }
}

/// A release of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kernel {
    /// The 6 of 6.12.
    pub major: u16,
    /// The 12 of 6.12.
    pub minor: u16,
}

impl Kernel {
    /// Linux `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Kernel { major, minor }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {}.{}", self.major, self.minor)
    }
}

/// What an instruction or a program requires.
///
/// Only encodings count, not helpers, kfuncs or program types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Since {
    /// The first version of the instruction set that supports it.
    pub isa: Isa,
    /// The first release whose verifier accepts it; `None` if there is none. Stable releases may
    /// have it backported, such as long jumps in 6.1.
    pub kernel: Option<Kernel>,
}

impl Since {
    pub(super) const fn new(isa: Isa, major: u16, minor: u16) -> Self {
        Since { isa, kernel: Some(Kernel::new(major, minor)) }
    }

    /// What every kernel with `bpf(2)` supports.
    pub const FIRST: Since = Since::new(Isa::V1, 3, 18);

    /// The requirements of both.
    #[must_use]
    pub fn and(self, other: Since) -> Since {
        Since {
            isa: self.isa.max(other.isa),
            kernel: self.kernel.zip(other.kernel).map(|(a, b)| a.max(b)),
        }
    }

    /// Whether this minimum satisfies the requirements.
    pub fn within(self, minimum: Minimum) -> bool {
        minimum.isa.is_none_or(|isa| self.isa <= isa)
            && minimum
                .kernel
                .is_none_or(|kernel| self.kernel.is_some_and(|needed| needed <= kernel))
    }
}

/// As `Linux 6.6 (v4)`.
impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kernel {
            Some(kernel) => write!(f, "{kernel} ({})", self.isa),
            None => write!(f, "a kernel that does not exist yet ({})", self.isa),
        }
    }
}

/// The minimum that a program is written for; instructions that require more are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Minimum {
    /// The version of the instruction set, if it is limited.
    pub isa: Option<Isa>,
    /// The oldest kernel, if it is limited.
    pub kernel: Option<Kernel>,
}

impl From<Isa> for Minimum {
    fn from(isa: Isa) -> Self {
        Minimum { isa: Some(isa), kernel: None }
    }
}

impl From<Kernel> for Minimum {
    fn from(kernel: Kernel) -> Self {
        Minimum { isa: None, kernel: Some(kernel) }
    }
}

/// As `Linux 5.10 and v3`.
impl fmt::Display for Minimum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kernel, self.isa) {
            (Some(kernel), Some(isa)) => write!(f, "{kernel} and {isa}"),
            (Some(kernel), None) => kernel.fmt(f),
            (None, Some(isa)) => isa.fmt(f),
            (None, None) => f.write_str("anything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimum_admits_what_is_not_newer() {
        let table = [
            (Since::FIRST, Isa::V1.into(), true),
            (Since::new(Isa::V4, 6, 6), Isa::V3.into(), false),
            (Since::new(Isa::V4, 6, 6), Isa::V4.into(), true),
            (Since::new(Isa::V4, 6, 6), Kernel::new(6, 5).into(), false),
            (Since::new(Isa::V4, 6, 6), Kernel::new(6, 6).into(), true),
            (Since::new(Isa::V4, 6, 6), Kernel::new(7, 0).into(), true),
            (
                Since::new(Isa::V4, 6, 6),
                Minimum { isa: Some(Isa::V3), kernel: Some(Kernel::new(7, 0)) },
                false,
            ),
            (Since { isa: Isa::Extension, kernel: None }, Kernel::new(99, 0).into(), false),
            (Since { isa: Isa::Extension, kernel: None }, Minimum::default(), true),
        ];
        for (needed, minimum, admitted) in table {
            assert_eq!(needed.within(minimum), admitted, "{needed} within {minimum}");
        }
    }

    #[test]
    fn two_requirements_combine_to_the_newer_of_each() {
        let (a, b) = (Since::new(Isa::V1, 5, 13), Since::new(Isa::V3, 5, 1));
        assert_eq!(a.and(b), Since::new(Isa::V3, 5, 13));
        assert_eq!(
            a.and(Since { isa: Isa::V4, kernel: None }),
            Since { isa: Isa::V4, kernel: None }
        );
    }
}
