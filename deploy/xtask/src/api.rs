//! The public API of the libraries, item by item, in a file next to each: `api.txt`. A
//! change of the API shows in the diff of its commit.
//!
//! rustdoc lists the items, as JSON. That output is not stable: `RUSTC_BOOTSTRAP` makes it
//! available in stable compilers, and what reads it here says so when it does not understand it.

mod items;
mod signature;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::workspace;

/// A library whose API is fixed.
struct Library {
    package: &'static str,
    /// Its folder in the workspace.
    folder: &'static str,
    /// Its name in Rust.
    name: &'static str,
}

const LIBRARIES: [Library; 2] = [
    Library { package: "bpf-asm", folder: "bpf-asm", name: "bpf_asm" },
    Library { package: "bpf-syscalls", folder: "syscalls", name: "syscalls" },
];

/// The processor whose API is written down: registers are different on others.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Compares the API of each library with its `api.txt`, or writes that anew.
///
/// # Errors
/// When one is not as it is written down, with what is new and what is gone; when rustdoc cannot
/// say what there is.
pub fn run(update: bool) -> Result<()> {
    let mut changes = String::new();
    for library in &LIBRARIES {
        let path = workspace::root()?.join(library.folder).join("api.txt");
        let now = items::list(&described(library)?, library.name)?;
        if update {
            let text: String = now.iter().flat_map(|item| [item, "\n"]).collect();
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("== {}: {} items", path.display(), now.len());
        } else {
            changes += &difference(library.package, &recorded(&path)?, &now);
        }
    }
    ensure!(
        changes.is_empty(),
        "the public API has changed:\n{changes}if that is intended: cargo xtask api --update, and a \
         line in CHANGELOG.md"
    );
    Ok(())
}

fn recorded(path: &Path) -> Result<BTreeSet<String>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// What is gone and what is new, a line each.
fn difference(package: &str, before: &BTreeSet<String>, now: &BTreeSet<String>) -> String {
    let gone = before.difference(now).map(|item| format!("  {package} - {item}\n"));
    let new = now.difference(before).map(|item| format!("  {package} + {item}\n"));
    gone.chain(new).collect()
}

/// What rustdoc says of a library.
fn described(library: &Library) -> Result<Value> {
    // In a folder of its own: what looks at the variable would be compiled anew each time.
    let folder = workspace::root()?.join("target/api");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(workspace::root()?)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &folder)
        .args(["rustdoc", "--locked", "--quiet", "--lib", "--all-features"])
        .args(["--target", TARGET, "-p", library.package])
        // Only the items are wanted: rustdoc's lints are silenced.
        .args(["--", "--cap-lints", "allow", "-Z", "unstable-options", "--output-format", "json"])
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("rustdoc cannot describe {}, see above", library.package);
    }
    let path = folder.join(TARGET).join("doc").join(library.name).with_extension("json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(items: &[&str]) -> BTreeSet<String> {
        items.iter().map(|&item| item.to_owned()).collect()
    }

    #[test]
    fn what_is_new_and_what_is_gone_is_named() {
        let text = difference("crate", &set(&["fn a()", "fn b()"]), &set(&["fn b()", "fn c()"]));
        assert_eq!(text, "  crate - fn a()\n  crate + fn c()\n");
        assert!(difference("crate", &set(&["fn a()"]), &set(&["fn a()"])).is_empty());
    }
}
