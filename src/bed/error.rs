use std::io;

use crate::host;

/// An error of creating or using a part of the bed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node does not have something, or does not let this process do it.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// The proxy could not start.
    #[error("the proxy cannot {action}: {cause}")]
    Proxy {
        /// The attempted action, as a verb phrase.
        action: String,
        /// The error of the kernel.
        cause: io::Error,
    },
}
