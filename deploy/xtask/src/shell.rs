//! Manual pages and completions, from the definitions that the binary parses its arguments by. The binary does not carry them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap_complete::Shell;

/// Writes a page for `shunt` and one for each command.
///
/// # Errors
/// When they cannot be written.
pub fn manual(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(tcp_shunt::cli::command(), folder).context("cannot write the manual pages")
}

/// Where each shell looks for completions below its prefix, and which shell it is.
pub const COMPLETIONS: [(&str, Shell); 3] = [
    ("share/bash-completion/completions/shunt", Shell::Bash),
    ("share/zsh/site-functions/_shunt", Shell::Zsh),
    ("share/fish/vendor_completions.d/shunt.fish", Shell::Fish),
];

/// Writes the completions below `prefix`.
///
/// # Errors
/// When they cannot be written.
pub fn completions(prefix: &Path) -> Result<()> {
    for (path, shell) in COMPLETIONS {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut tcp_shunt::cli::command(), "shunt", &mut script);
        let path = prefix.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
