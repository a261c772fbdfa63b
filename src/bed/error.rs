use std::io;

use crate::host;

/// Why a part of the bed could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The node does not have something, or does not let this process do it.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// The proxy could not start.
    #[error("the proxy cannot {action}: {cause}")]
    Proxy {
        /// What was tried, as a verb phrase.
        action: String,
        /// The kernel's answer.
        cause: io::Error,
    },
}
