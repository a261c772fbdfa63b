//! Why a program is not in the kernel.

use std::path::PathBuf;

use bpf_asm::Program;
use bpf_asm::log::VerifierLog;

use crate::Errno;
use crate::btf::BtfError;

/// An error of this module.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The verifier rejects the program. Displayed with its whole log.
    #[error("the verifier rejects program `{program}`: {rejected}")]
    Rejected {
        /// The program's name.
        program: String,
        /// What the verifier says.
        #[source]
        rejected: Rejected,
    },

    /// A map is not among those given.
    #[error("there is no map `{map}`{}: create or insert it", user(.program))]
    NoMap {
        /// The program that uses it, if one does.
        program: Option<String>,
        /// The map's name.
        map: String,
    },

    /// Two programs have different maps of this name.
    #[error("two programs define the map `{map}` differently; a map's name identifies it")]
    Ambiguous {
        /// The map's name.
        map: String,
    },

    /// A map that exists has another type, size or flag than its definition.
    #[error(
        "map `{map}`{}: its {attribute} is {found}, not {wanted}; it belongs to another version or \
        program", at(.path)
    )]
    Differs {
        /// The map's name.
        map: String,
        /// Where it is pinned.
        path: Option<PathBuf>,
        /// What differs, such as `value size`.
        attribute: &'static str,
        /// The attribute of the existing map.
        found: u64,
        /// The attribute of the definition.
        wanted: u64,
    },

    /// Programs of this type do not attach to such a target.
    #[error("program `{program}` is of type {kind}, which does not attach to {target}")]
    WrongTarget {
        /// The program's name.
        program: String,
        /// Its type.
        kind: String,
        /// The target.
        target: &'static str,
    },

    /// A command failed.
    #[error(transparent)]
    System(#[from] crate::Error),
}

fn user(program: &Option<String>) -> String {
    program.as_ref().map(|program| format!(" for program `{program}`")).unwrap_or_default()
}

fn at(path: &Option<PathBuf>) -> String {
    path.as_ref().map(|path| format!(" at {}", path.display())).unwrap_or_default()
}

impl From<BtfError> for LoadError {
    fn from(error: BtfError) -> Self {
        Self::System(error.into())
    }
}

impl LoadError {
    /// The kernel's errno, if it comes from the kernel.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Rejected { rejected, .. } => Some(rejected.errno),
            Self::System(error) => error.errno(),
            _ => None,
        }
    }

    /// An error of `BPF_PROG_LOAD` for this program.
    pub(super) fn of_load(program: &Program, cause: crate::Error) -> Self {
        let log = cause.log().map(|log| VerifierLog::new(program, log).to_string());
        match (cause.errno(), log) {
            (Some(errno), Some(log)) => Self::Rejected {
                program: program.name().to_owned(),
                rejected: Rejected { errno, log, cause: Box::new(cause) },
            },
            _ => Self::System(cause),
        }
    }
}

/// What the verifier says of a program, under the Rust lines that it is about.
#[derive(Debug, thiserror::Error)]
#[error("{errno}\n\n{log}")]
pub struct Rejected {
    /// The kernel's answer.
    pub errno: Errno,
    /// The verifier's whole log, grouped by Rust line (see [`bpf_asm::log`]).
    pub log: String,
    /// The error with the log as it came.
    pub cause: Box<crate::Error>,
}
