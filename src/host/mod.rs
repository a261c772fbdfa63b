//! The node that shunt runs on, beside its kernel's BPF.

mod netns_id;

pub use netns_id::NamespaceIds;
