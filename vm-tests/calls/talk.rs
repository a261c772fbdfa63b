//! Sending so that it has arrived.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::libc::c_int;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use testkit::node::Pair;
use testkit::{PATIENCE, eventually};

nix::ioctl_read_bad!(
    /// Bytes that were sent and not acknowledged (`SIOCOUTQ`, tcp(7)).
    siocoutq, nix::libc::TIOCOUTQ, c_int
);

/// `SIOCOUTQ`.
pub fn unacknowledged(socket: &impl AsFd) -> nix::Result<c_int> {
    let mut bytes = 0;
    // SAFETY: the call writes one int, which `bytes` is.
    unsafe { siocoutq(socket.as_fd().as_raw_fd(), &raw mut bytes) }.map(|_| bytes)
}

/// Waits until whatever was sent is at the other end.
pub fn delivered(sender: &impl AsFd) {
    eventually("it has been acknowledged", || {
        (unacknowledged(sender).expect("SIOCOUTQ") == 0).then_some(())
    });
}

/// Sends `text` and waits until it is at the other end.
pub fn say(mut from: &TcpStream, text: impl AsRef<[u8]>) {
    from.write_all(text.as_ref()).expect("send");
    delivered(from);
}

/// Runs `script` for the lane of the client and for that of the server, with the sender first.
pub fn each_way(pair: &Pair, mut script: impl FnMut(&TcpStream, &TcpStream)) {
    script(&pair.client, &pair.server);
    script(&pair.server, &pair.client);
}

/// Sends something both ways: a socket whose options have changed leaves the socket map with the
/// next segment that it sends.
pub fn use_once(one: &TcpStream, other: &TcpStream) {
    for (mut from, mut to) in [(one, other), (other, one), (one, other), (other, one)] {
        from.write_all(b".").expect("send");
        ready(&to, PollFlags::IN);
        to.read_exact(&mut [0]).expect("read what came");
    }
}

/// What `poll` finds at once.
pub fn readiness(socket: &impl AsFd) -> PollFlags {
    let all = PollFlags::IN | PollFlags::PRI | PollFlags::OUT | PollFlags::RDHUP;
    polled(socket, all, Duration::ZERO).expect("no time-out of zero")
}

/// What `poll` finds once one of these is there, or an error is.
pub fn ready(socket: &impl AsFd, wanted: PollFlags) -> PollFlags {
    assert!(polled(socket, wanted, PATIENCE).is_some(), "no {wanted:?} within {PATIENCE:?}");
    readiness(socket)
}

fn polled(socket: &impl AsFd, wanted: PollFlags, patience: Duration) -> Option<PollFlags> {
    let mut entry = [PollFd::new(socket, wanted)];
    let patience = Timespec::try_from(patience).expect("a short time");
    let found = poll(&mut entry, Some(&patience)).expect("poll");
    (found > 0 || patience == Timespec::default()).then(|| entry[0].revents())
}

/// Long enough for something that should not happen, were it to happen.
pub const A_WHILE: Duration = Duration::from_millis(100);
