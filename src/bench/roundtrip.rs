//! There and back on one thread: what the path costs, without anybody being scheduled.

use anyhow::Result;

use super::traffic::pass;
use super::{Lab, Transport};

pub(super) fn measure(lab: &Lab, transport: Transport, size: usize) -> Result<f64> {
    let pair = lab.pair(transport)?;
    let mut buffer = vec![0x5a; size];
    lab.time(transport, 2, || {
        pass(&pair.near, &pair.far, &mut buffer)?;
        pass(&pair.far, &pair.near, &mut buffer)
    })
}
