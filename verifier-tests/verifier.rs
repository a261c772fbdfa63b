//! Loads programs and returns the verifier's log.

use bpf_asm::Program;
use syscalls::load::LoadError;
use syscalls::{LogLevel, Prog};
pub use tcp_shunt::kernel::load::LICENSE;
use tcp_shunt::kernel::load::{Maps, submit};

/// Loads a program as the agent does, and returns the verifier's log at this level.
pub fn load(program: &Program, maps: &Maps, level: LogLevel) -> Result<(Prog, String), LoadError> {
    submit(program, maps, |spec| Prog::load_with_log(spec, level))
}
