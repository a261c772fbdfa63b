//! Whether this kernel charges redirected bytes to their receiver.

use anyhow::Result;

use super::enrolled::{Enrolled, apart};

/// Redirects some bytes to a socket that does not read, and looks whether the kernel charged them to it.
pub fn meter() -> Result<bool> {
    const BYTES: [u8; 4096] = [0; 4096];
    apart(|| {
        let mut pair = Enrolled::over_loopback()?;
        pair.send_directly(&BYTES)?;
        let charged = pair.charged()? as usize;
        Ok(charged >= BYTES.len())
    })
}
