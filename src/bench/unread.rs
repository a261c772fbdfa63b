//! How much a sender can have waiting for a reader that does not read: the kernel's memory that a slow reader holds.

use std::io::{self, Write};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use socket2::Socket;

use super::{Lab, Transport};

/// How long a full connection is given to find more room: acknowledgements in flight open the window.
const PAUSE: Duration = Duration::from_millis(20);

/// Where a sender that nobody stops is stopped.
const ENOUGH: u64 = 1 << 30;

/// Bytes that were accepted in writes of `size` bytes before the connection was full.
pub(super) fn measure(lab: &Lab, transport: Transport, size: usize) -> Result<f64> {
    let pair = lab.pair(transport)?;
    let mut first = vec![0x5a; size];
    // A connection that is used in both directions, of which one is measured.
    super::traffic::pass(&pair.far, &pair.near, &mut first)?;
    let before = lab.agent().counters()?;

    pair.near.set_nonblocking(true)?;
    let mut held = fill(&pair.near, &first, 0)?;
    loop {
        sleep(PAUSE);
        let more = fill(&pair.near, &first, held)?;
        if more == held {
            break;
        }
        held = more;
    }
    if transport == Transport::Shunt {
        let direct = lab.agent().counters()?.since(&before, "direct_bytes");
        ensure!(direct > 0, "none of {held} bytes bypassed TCP, so there is nothing to measure");
    }

    pair.near.set_nonblocking(false)?;
    pair.near.shutdown(std::net::Shutdown::Write)?;
    let mut far = &pair.far;
    let received = io::copy(&mut far, &mut io::sink())?;
    ensure!(received == held, "{held} bytes were sent and {received} received");
    Ok(held as f64)
}

/// Writes until the connection takes no more; `held` is what it holds already, and the result what it holds then.
fn fill(mut sender: &Socket, data: &[u8], mut held: u64) -> Result<u64> {
    loop {
        match sender.write(data) {
            Ok(length) => held += length as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(held),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
        ensure!(
            held < ENOUGH,
            "{held} bytes wait for a reader that does not read, and the sender is still not stopped"
        );
    }
}
