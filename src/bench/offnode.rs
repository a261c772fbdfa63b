//! A connection whose peer is not on the node must cost what it costs without shunt.

use anyhow::{Result, ensure};

use super::pair::{Listener, Pair};
use super::traffic::{pass, time};
use super::{Lab, Transport};

/// A round trip on one thread. The peer is outside the cgroup, as if it were elsewhere; only the client can be inside.
pub(super) fn measure(lab: &Lab, transport: Transport, size: usize) -> Result<f64> {
    let before = lab.agent().counters()?;
    let listener = Listener::new()?;
    let near = lab.making(transport, || Ok(listener.connect()?))?;
    let pair = Pair { near, far: listener.accept()? };
    let mut buffer = vec![0x5a; size];
    let figure = time(lab.slice(), || {
        pass(&pair.near, &pair.far, &mut buffer)?;
        pass(&pair.far, &pair.near, &mut buffer)
    })?;
    if transport == Transport::Shunt {
        let after = lab.agent().counters()?;
        let (seen, direct) = (after.since(&before, "no_hint"), after.since(&before, "direct_messages"));
        ensure!(
            seen == 1 && direct == 0,
            "one connection whose peer is elsewhere was opened, and shunt saw {seen} such and redirected {direct} messages"
        );
    }
    Ok(figure)
}
