//! A round trip between two threads that wake each other, like applications.

use std::slice;
use std::time::Instant;

use anyhow::Result;

use super::outcome::Outcome;
use super::traffic::{answer, request};
use super::{Lab, Latency, Transport, ends};

pub(super) fn measure(lab: &Lab, transport: Transport, size: usize) -> Result<Outcome> {
    lab.on_pair(transport, |pair| {
        let mut buffer = vec![0x5a; size];
        // Includes requests that were interrupted by other work on the machine.
        let mut latency = Latency::default();
        let near = || {
            Ok(lab.time(2 * size, || {
                let start = Instant::now();
                request(&pair.near, &mut buffer)?;
                latency.record(start.elapsed());
                Ok(())
            }))
        };
        let outcome = ends::work(slice::from_ref(pair), near, || answer(&pair.far, size))?.near?;
        Ok(outcome.with_latency(latency))
    })
}
