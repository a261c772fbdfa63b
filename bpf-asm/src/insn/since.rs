//! Which version of the instruction set, and which kernel, first has an instruction.

use std::fmt;

/// A version of the instruction set, as compilers name it with `-mcpu`.
///
/// Encodings that every compiler may emit are [`Isa::V1`], even where the kernel took them later:
/// calls, for example, got new kinds of callees without a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// The first one.
    V1,
    /// Adds the comparisons *less than* and *less or equal*.
    V2,
    /// Adds 32-bit jumps, and atomic operations beside addition.
    V3,
    /// Adds sign extension, signed division, unconditional byte swaps, long jumps, and ordered
    /// loads and stores.
    V4,
    /// What kernels have beyond the versions: `may_goto`, casts between address spaces, calls and
    /// jumps to registers.
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

/// What an instruction, or all of a program, needs.
///
/// It is about encodings: whether a helper exists, a kfunc may be called or a program type is known
/// is asked elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Since {
    /// The version of the instruction set that first has it.
    pub isa: Isa,
    /// The release whose verifier first takes it; `None` while none does. A stable line may have
    /// adopted it from there, as 6.1 has long jumps.
    pub kernel: Option<Kernel>,
}

impl Since {
    pub(super) const fn new(isa: Isa, major: u16, minor: u16) -> Self {
        Since { isa, kernel: Some(Kernel::new(major, minor)) }
    }

    /// What every kernel with `bpf(2)` takes.
    pub const FIRST: Since = Since::new(Isa::V1, 3, 18);

    /// What both need.
    #[must_use]
    pub fn and(self, other: Since) -> Since {
        Since {
            isa: self.isa.max(other.isa),
            kernel: self.kernel.zip(other.kernel).map(|(a, b)| a.max(b)),
        }
    }

    /// Whether whoever has this minimum has what is needed.
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

/// The least that a program has to run on: nothing that needs more goes into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Minimum {
    /// The version of the instruction set, if it matters.
    pub isa: Option<Isa>,
    /// The oldest kernel, if it matters.
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
    fn a_minimum_admits_what_is_as_old_or_older() {
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
    fn two_needs_are_the_greater_of_each() {
        let (a, b) = (Since::new(Isa::V1, 5, 13), Since::new(Isa::V3, 5, 1));
        assert_eq!(a.and(b), Since::new(Isa::V3, 5, 13));
        assert_eq!(
            a.and(Since { isa: Isa::V4, kernel: None }),
            Since { isa: Isa::V4, kernel: None }
        );
    }
}
