use std::process::{Command, Stdio};

use super::SHUNT;

/// As in `shunt programs | head -n 0`.
#[test]
fn a_command_whose_standard_output_is_closed_ends_quietly() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/shunt.toml");
    for arguments in [
        &["programs"][..],
        &["programs", "--disassemble"],
        &["status"],
        &["status", "--json"],
        &["check-config", config],
        &["doctor"],
        &["doctor", "--json"],
    ] {
        let (reader, writer) = std::io::pipe().expect("make a pipe");
        drop(reader);
        let output = Command::new(SHUNT)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("run shunt");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && stderr.is_empty(),
            "{arguments:?}: {}: {stderr}",
            output.status
        );
    }
}
