//! A network namespace of this process's own, with a loopback device that is up.

use std::error::Error;
use std::os::fd::AsRawFd;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// The index of the loopback device.
pub const INDEX: u32 = 1;

/// Moves this thread into a new network namespace, where its sockets are from then on.
pub fn enter_own_network() -> Result<(), Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    set_loopback_up()
}

/// Sets the loopback device of this namespace up, by rtnetlink: `struct nlmsghdr` and `struct
/// ifinfomsg`.
fn set_loopback_up() -> Result<(), Box<dyn Error>> {
    const REQUEST_AND_ACK: u32 = 1 | 4;
    let up = libc::IFF_UP as u32;
    let header = [32, u32::from(libc::RTM_NEWLINK) | REQUEST_AND_ACK << 16, 1, 0];
    let device = [0, 1, up, up];
    let message =
        [header, device].concat().into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<u8>>();
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(netlink.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 64];
    recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        errno => Err(std::io::Error::from_raw_os_error(-errno).into()),
    }
}
