//! Short connections: the overhead of observing them, and how soon their messages compensate it.

use anyhow::Result;

use super::outcome::Outcome;
use super::pair::Listener;
use super::traffic::pass;
use super::{Lab, Transport};

/// Size of a request and of a response.
const MESSAGE: usize = 1024;

/// Connects, accepts, exchanges `exchanges` requests and responses, and closes, the client first.
pub(super) fn measure(lab: &Lab, transport: Transport, exchanges: usize) -> Result<Outcome> {
    lab.making(transport, || {
        // A new port for every run, so that connections in TIME_WAIT do not interfere.
        let listener = Listener::new()?;
        let mut buffer = vec![0x5a; MESSAGE];
        lab.time(2 * exchanges * MESSAGE, || {
            let near = listener.connect()?;
            let far = listener.accept()?;
            for _ in 0..exchanges {
                pass(&near, &far, &mut buffer)?;
                pass(&far, &near, &mut buffer)?;
            }
            drop(near);
            drop(far);
            Ok(())
        })
    })
}
