//! Bytes that a sender can queue for a reader that does not read: the kernel memory a slow reader
//! holds.

use std::io::Write;
use std::net::Shutdown;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use socket2::Socket;

use super::outcome::Outcome;
use super::patience::unless_not_ready;
use super::traffic::{BULK, Reader};
use super::{Lab, Transport};

/// Time for a full connection to accept more: acknowledgements in flight open the window.
const PAUSE: Duration = Duration::from_millis(20);

/// Limit for a sender that is never blocked.
const ENOUGH: u64 = 1 << 30;

/// Bytes accepted in writes of `size` bytes before the connection was full.
pub(super) fn measure(lab: &Lab, transport: Transport, size: usize) -> Result<Outcome> {
    lab.on_pair(transport, |pair| {
        let data = vec![0x5a; size];
        let (held, direct) = lab.watch(|| {
            let mut held = fill(&pair.near, &data, 0)?;
            loop {
                sleep(PAUSE);
                let more = fill(&pair.near, &data, held)?;
                if more == held {
                    return Ok((held, held));
                }
                held = more;
            }
        })?;
        pair.near.shutdown(Shutdown::Write)?;
        let mut reader = Reader::new(&pair.far);
        let mut buffer = vec![0; BULK];
        let mut received = 0;
        loop {
            match reader.some(&mut buffer)? {
                0 => break,
                length => received += length as u64,
            }
        }
        ensure!(received == held, "{held} bytes were sent and {received} received");
        Ok(Outcome::of([held as f64]).with_direct(direct))
    })
}

/// Writes until the connection is full; `held` is the bytes queued before, the result those queued
/// then.
fn fill(mut sender: &Socket, data: &[u8], mut held: u64) -> Result<u64> {
    while let Some(length) = unless_not_ready(sender.write(data))? {
        held += length as u64;
        ensure!(
            held < ENOUGH,
            "{held} bytes are queued for a reader that does not read, and the sender is not blocked"
        );
    }
    Ok(held)
}
