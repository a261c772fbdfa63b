//! The `shunt` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    tcp_shunt::cli::main()
}
