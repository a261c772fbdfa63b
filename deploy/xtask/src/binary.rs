//! The `shunt` binary.

use std::io::BufReader;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::Message;

use crate::target::{Built, Target};
use crate::workspace;

/// Builds it with the profile of this name.
///
/// # Errors
/// When cargo cannot be run or refuses.
pub fn build(profile: &str, target: Target) -> Result<Built> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut building = Command::new(cargo)
        .current_dir(workspace::root()?)
        .args([
            "build",
            "--locked",
            "--package",
            "tcp-shunt",
            "--bin",
            "shunt",
            "--profile",
            profile,
            "--target",
            target.triple(),
        ])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let stdout = building.stdout.take().context("cannot read what cargo prints")?;
    let mut built = None;
    for message in Message::parse_stream(BufReader::new(stdout)) {
        let Message::CompilerArtifact(artifact) =
            message.context("cannot read what cargo prints")?
        else {
            continue;
        };
        if artifact.target.name == "shunt" {
            built = artifact.executable.or(built);
        }
    }
    ensure!(
        building.wait().context("cannot wait for cargo")?.success(),
        "cargo cannot build shunt for {}, see above. Where the standard library for it is missing: \
         rustup target add {0}. For arm64, .ci/install arm64 provides it without rustup, and the \
         linker",
        target.triple()
    );
    match built {
        Some(path) => Ok(Built { target, path: path.into_std_path_buf() }),
        None => bail!("cargo built no binary named shunt"),
    }
}
