//! Short connections: the price of being enrolled and paired, and how soon the messages pay it back.

use anyhow::{Result, ensure};

use super::pair::Listener;
use super::traffic::{pass, time};
use super::{Lab, Transport};

/// Bytes of a request and of an answer.
const MESSAGE: usize = 1024;

/// Connects, accepts, exchanges `exchanges` requests and answers, and closes; the client closes first.
pub(super) fn measure(lab: &Lab, transport: Transport, exchanges: u32) -> Result<f64> {
    let before = lab.agent().counters()?;
    let mut connections = 0u64;
    let figure = lab.making(transport, || {
        // A port of its own for every run: the closed connections of the one before are not in the way.
        let listener = Listener::new()?;
        let mut buffer = vec![0x5a; MESSAGE];
        Ok(time(lab.slice(), || {
            connections += 1;
            let near = listener.connect()?;
            let far = listener.accept()?;
            for _ in 0..exchanges {
                pass(&near, &far, &mut buffer)?;
                pass(&far, &near, &mut buffer)?;
            }
            drop(near);
            drop(far);
            Ok(())
        })?)
    })?;
    if transport == Transport::Shunt {
        let paired = lab.agent().counters()?.since(&before, "paired");
        ensure!(paired * 100 >= connections * 95, "only {paired} of {connections} connections were paired");
    }
    Ok(figure)
}
