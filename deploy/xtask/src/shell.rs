//! Manual pages and completions, from the definitions that the binary parses its arguments by. The
//! binary does not carry them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, roman};

/// Writes a page for `shunt` and one for each command.
///
/// # Errors
/// When they cannot be written.
pub fn manual(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut shunt = tcp_shunt::cli::command().disable_help_subcommand(true);
    // Gives the commands their full names.
    shunt.build();
    for command in std::iter::once(&shunt).chain(shunt.get_subcommands()) {
        let path =
            folder.join(format!("{}.1", command.get_display_name().unwrap_or(command.get_name())));
        fs::write(&path, page(command)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn page(command: &Command) -> Result<Vec<u8>> {
    let page = Man::new(command.clone());
    let mut roff = Vec::new();
    page.render_title(&mut roff)?;
    page.render_name_section(&mut roff)?;
    page.render_synopsis_section(&mut roff)?;
    page.render_description_section(&mut roff)?;
    page.render_options_section(&mut roff)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut roff)?;
    }
    if let Some(text) = command.get_after_long_help().or(command.get_after_help()) {
        // As it stands: commands and what they do are aligned in it.
        let text = text.to_string();
        let (title, text) = match text.strip_prefix("Examples:\n") {
            Some(examples) => ("EXAMPLES", examples),
            None => ("NOTES", text.as_str()),
        };
        Roff::new()
            .control("SH", [title])
            .control("nf", [])
            .text([roman(text)])
            .control("fi", [])
            .to_writer(&mut roff)?;
    }
    Ok(roff)
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
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
