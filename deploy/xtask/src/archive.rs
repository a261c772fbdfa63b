//! Archives that depend on nothing but what is in them: names in order, no owners, no times.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A tar file that is being written.
#[expect(missing_debug_implementations, reason = "tar::Builder has none")]
pub struct Archive<W: Write>(Builder<W>);

impl<W: Write> Archive<W> {
    /// An empty one.
    pub fn new(to: W) -> Archive<W> {
        Archive(Builder::new(to))
    }

    /// Adds a folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn folder(&mut self, path: &str) -> Result<()> {
        self.append(&format!("{path}/"), EntryType::Directory, 0o755, &[])
    }

    /// Adds a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&mut self, path: &str, executable: bool, content: &[u8]) -> Result<()> {
        self.append(path, EntryType::Regular, if executable { 0o755 } else { 0o644 }, content)
    }

    fn append(&mut self, path: &str, kind: EntryType, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        self.0
            .append_data(&mut header, path, content)
            .with_context(|| format!("cannot pack {path}"))
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the end cannot be written.
    pub fn finish(self) -> Result<W> {
        self.0.into_inner().context("cannot finish an archive")
    }
}

/// Everything below `folder` as a compressed tar file, under `name`.
///
/// # Errors
/// When a file cannot be read or has a name that is not text.
pub fn pack(folder: &Path, name: &str, to: impl Write) -> Result<()> {
    let mut archive = Archive::new(GzEncoder::new(to, Compression::default()));
    archive.folder(name)?;
    for path in below(folder)? {
        let full = folder.join(&path);
        let entry = format!("{name}/{}", text(&path)?);
        if full.is_dir() {
            archive.folder(&entry)?;
        } else {
            archive.file(
                &entry,
                is_executable(&full)?,
                &fs::read(&full).with_context(|| reading(&full))?,
            )?;
        }
    }
    archive
        .finish()?
        .finish()
        .context("cannot finish a compressed file")?
        .flush()
        .context("cannot write an archive")
}

/// Every file and folder below `folder`, relative to it, in order.
///
/// # Errors
/// When a folder cannot be listed.
pub fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).with_context(|| reading(&next))? {
            let path = entry.with_context(|| reading(&next))?.path();
            found.push(path.strip_prefix(folder)?.to_owned());
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A path as text.
///
/// # Errors
/// When it is not UTF-8.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// SHA-256, in hexadecimal.
pub fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_executable(path: &Path) -> Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path).with_context(|| reading(path))?.permissions().mode() & 0o100 != 0)
}

fn reading(path: &Path) -> String {
    format!("cannot read {}", path.display())
}
