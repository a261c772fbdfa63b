//! The node that shunt runs on, beside its kernel's BPF.

mod netns;
mod netns_id;

use std::fs;
use std::path::{Path, PathBuf};

pub use netns::{Netns, all as network_namespaces};
pub use netns_id::NamespaceIds;

/// What lies in a folder; nothing if it cannot be listed.
fn entries(folder: impl AsRef<Path>) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map_while(Result::ok).map(|entry| entry.path())
}
