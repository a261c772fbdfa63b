//! Setting a socket option: shunt looks at each in its cgroup.

use anyhow::Result;

use super::outcome::Outcome;
use super::{Lab, Transport};

/// `setsockopt(TCP_NODELAY)`, at one end of a connection.
pub(super) fn measure(lab: &Lab, transport: Transport) -> Result<Outcome> {
    lab.on_pair(transport, |pair| {
        let socket = socket2::SockRef::from(&pair.near);
        lab.time(0, || socket.set_tcp_nodelay(true))
    })
}
