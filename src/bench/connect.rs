//! Short connections: what it costs that shunt sees them, and how soon their messages pay it back.

use anyhow::Result;

use super::outcome::Outcome;
use super::pair::Listener;
use super::traffic::pass;
use super::{Lab, Transport};

/// Bytes of a request and of an answer.
const MESSAGE: usize = 1024;

/// Connects, accepts, exchanges `exchanges` requests and answers, and closes; the client closes
/// first.
pub(super) fn measure(lab: &Lab, transport: Transport, exchanges: usize) -> Result<Outcome> {
    lab.making(transport, || {
        // A port of its own for every run: the closed connections of the one before are not in the
        // way.
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
