//! There and back between two threads that wake each other, as applications do.

use std::net::Shutdown;
use std::thread;

use anyhow::Result;

use super::traffic::{answer, request};
use super::{Lab, Transport};

pub(super) fn measure(lab: &Lab, transport: Transport, size: usize) -> Result<f64> {
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
