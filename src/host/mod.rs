//! The node apart from BPF: network namespaces and their ids.

pub mod bpffs;
pub mod cgroup;
mod endpoint;
mod error;
pub mod link;
mod listener;
mod mount_table;
mod namespace;
mod namespace_id;
mod namespaces;
pub(crate) mod netlink;
pub mod pods;
mod process;
mod sysctl;

use std::fs;
use std::path::{Path, PathBuf};

pub use endpoint::{BadEndpoint, Endpoint};
pub use error::Error;
pub use listener::{Listener, Listeners, listeners, listens};
pub use namespace::Namespace;
pub use namespace_id::NamespaceIds;
pub use namespaces::network_namespaces;
pub use process::{Process, Processes, is_in_initial_namespace};

/// Entries of a directory; none if it cannot be listed.
fn entries(folder: impl AsRef<Path>) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map_while(Result::ok).map(|entry| entry.path())
}
