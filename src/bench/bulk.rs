//! A transfer in one direction, as fast as it goes, from one thread to another. Where the receiver falls behind, TCP carries it.

use std::thread;

use anyhow::Result;

use super::traffic::{BULK_WRITE, pass, receive_bulk, send_bulk};
use super::{Lab, Transport};

/// Nanoseconds per write of 64 KiB, until the receiver has all of them.
pub(super) fn measure(lab: &Lab, transport: Transport) -> Result<f64> {
    let pair = lab.pair(transport)?;
    // A connection that is used in both directions, of which one is measured.
    pass(&pair.far, &pair.near, &mut [0])?;
    let (bytes, time) = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive_bulk(&pair.far));
        let sent = send_bulk(&pair.near, lab.slice());
        // The receiver's thread ends with the transfer, also after an error.
        pair.near.shutdown(std::net::Shutdown::Both)?;
        receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        sent
    })?;
    Ok(time.as_nanos() as f64 * BULK_WRITE as f64 / bytes as f64)
}
