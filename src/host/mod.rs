//! The node that shunt runs on, beside its kernel's BPF.

mod netns;
mod netns_id;

pub use netns::{Netns, all as network_namespaces};
pub use netns_id::NamespaceIds;
