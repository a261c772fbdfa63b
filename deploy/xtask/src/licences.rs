//! The licences of everything that is linked into the binary, in full.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::archive::digest;
use crate::dependencies::{Component, said_by};
use crate::workspace;

/// One text with an overview and each licence once, followed by who is under it.
///
/// # Errors
/// When a licence's text cannot be found.
pub fn texts(components: &[Component]) -> Result<String> {
    let mut overview = String::from(
        "shunt is one static binary. These are its parts and their licences; the full texts follow.\n\n",
    );
    let mut texts: Vec<(String, String, Vec<String>)> = Vec::new();
    for one in components {
        let who = format!("{} {}", one.name, one.version);
        overview += &format!("{who}: {}\n", one.licence);
        for text in of(one)? {
            let key = digest(text.split_whitespace().collect::<Vec<_>>().join(" ").as_bytes());
            match texts.iter_mut().find(|(other, ..)| *other == key) {
                Some((.., users)) => users.push(who.clone()),
                None => texts.push((key, text, vec![who.clone()])),
            }
        }
    }
    let rule = "=".repeat(100);
    let full = texts.iter().map(|(_, text, users)| {
        format!("\n{rule}\n{}\n{rule}\n\n{}\n", users.join(", "), text.trim_end())
    });
    Ok(overview + &full.collect::<String>())
}

fn of(one: &Component) -> Result<Vec<String>> {
    let files = match &one.source {
        Some(source) => {
            let own = beside(source)?;
            // Some crates of a larger repository are published without its licence: the terms they
            // name are Apache's, as ours are.
            if own.is_empty() && one.licence.contains("Apache-2.0") {
                vec![workspace::root()?.join("LICENSE")]
            } else {
                own
            }
        }
        None => vec![on_this_machine(&one.name)?],
    };
    if files.is_empty() {
        bail!(
            "{} {} comes without the text of its licence ({})",
            one.name,
            one.version,
            one.licence
        );
    }
    let read = |path: &PathBuf| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    files.iter().map(read).collect()
}

fn beside(source: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in
        fs::read_dir(source).with_context(|| format!("cannot list {}", source.display()))?
    {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "UNLICENSE", "NOTICE"]
            .iter()
            .any(|word| name.starts_with(word));
        if is_licence && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// What is not a crate: the compiler's and the C library's texts are installed with them.
fn on_this_machine(name: &str) -> Result<PathBuf> {
    let candidates = match name {
        "glibc" => ["/usr/share/doc/libc6/copyright", "/usr/share/licenses/glibc/COPYING.LIB"]
            .map(PathBuf::from)
            .to_vec(),
        _ => {
            let sysroot =
                said_by(std::process::Command::new("rustc").args(["--print", "sysroot"]))?;
            [
                "share/doc/rust/COPYRIGHT",
                "share/doc/rust/LICENSE-APACHE",
                "share/doc/rust/licenses/Apache-2.0.txt",
            ]
            .map(|file| Path::new(sysroot.trim()).join(file))
            .into_iter()
            .chain([workspace::root()?.join("LICENSE")])
            .collect()
        }
    };
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!("the licence of {name} is not on this machine; looked for {candidates:?}"),
    }
}
