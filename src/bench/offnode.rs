//! A connection with a peer off the node must cost as much as without shunt.

use anyhow::{Result, ensure};

use super::outcome::Outcome;
use super::pair::{Listener, Pair};
use super::traffic::pass;
use super::{Lab, Transport};

/// A round trip on one thread. The peer is outside the cgroup, as if off the node; only the client
/// can be inside.
pub(super) fn measure(lab: &Lab, transport: Transport, size: usize) -> Result<Outcome> {
    let listener = Listener::new()?;
    let near = lab.making(transport, || Ok(listener.connect()?))?;
    let pair = Pair { near, far: listener.accept()? };
    let mut buffer = vec![0x5a; size];
    let outcome = lab.time(2 * size, || {
        pass(&pair.near, &pair.far, &mut buffer)?;
        pass(&pair.far, &pair.near, &mut buffer)
    })?;
    let direct = outcome.direct.unwrap_or_default();
    ensure!(
        direct < 0.05,
        "{:.0} % of the bytes to a peer off the node crossed no interface",
        direct * 100.0
    );
    Ok(outcome)
}
