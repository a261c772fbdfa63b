//! A round trip on one thread: the cost of the path, without scheduling.

use anyhow::Result;

use super::outcome::Outcome;
use super::traffic::pass;
use super::{Lab, Transport};

pub(super) fn measure(lab: &Lab, transport: Transport, size: usize) -> Result<Outcome> {
    lab.on_pair(transport, |pair| {
        let mut buffer = vec![0x5a; size];
        lab.time(2 * size, || {
            pass(&pair.near, &pair.far, &mut buffer)?;
            pass(&pair.far, &pair.near, &mut buffer)
        })
    })
}
