//! Where the sources are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The version of everything that is made here.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder of the workspace.
///
/// # Errors
/// When this package was moved out of it.
pub fn root() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    Ok(root.context("find the workspace of this package")?.to_owned())
}
