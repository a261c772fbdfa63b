//! There and back between two threads that wake each other, as applications do.

use std::io;
use std::net::Shutdown;
use std::thread;
use std::time::Instant;

use anyhow::Result;
use socket2::Socket;

use super::traffic::{answer, request};
use super::{Lab, Latency, Transport};

pub(super) fn measure(lab: &Lab, transport: Transport, size: usize) -> Result<f64> {
    exchange(lab, transport, size, request)
}

/// The time of every single request, those included that something on the machine has interrupted.
pub(super) fn latency(lab: &Lab, transport: Transport, size: usize) -> Result<Latency> {
    let mut latency = Latency::default();
    exchange(lab, transport, size, |server, buffer| {
        let start = Instant::now();
        request(server, buffer)?;
        latency.record(start.elapsed());
        Ok(())
    })?;
    Ok(latency)
}

fn exchange(
    lab: &Lab,
    transport: Transport,
    size: usize,
    mut request: impl FnMut(&Socket, &mut [u8]) -> io::Result<()>,
) -> Result<f64> {
    let pair = lab.pair(transport)?;
    let mut buffer = vec![0x5a; size];
    thread::scope(|scope| {
        let server = scope.spawn(|| answer(&pair.far, size));
        let figure = lab.time(transport, 2, || request(&pair.near, &mut buffer));
        // The server's thread ends with the requests, also after an error.
        pair.near.shutdown(Shutdown::Both)?;
        server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        figure
    })
}
