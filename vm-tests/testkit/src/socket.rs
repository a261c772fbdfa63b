//! What the standard library does not offer on a socket.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto};
use socket2::{Domain, SockFilter, SockRef, Socket, Type};

/// What the kernel counts for one socket (`struct tcp_info`, include/uapi/linux/tcp.h).
pub struct TcpInfo {
    bytes: [u8; 256],
    length: usize,
}

impl TcpInfo {
    pub fn of(socket: &impl AsFd) -> Self {
        let mut bytes = [0; 256];
        let length = get_option(socket, libc::IPPROTO_TCP, libc::TCP_INFO, &mut bytes)
            .expect("read TCP_INFO");
        Self { bytes, length }
    }

    /// Payload sent in segments, retransmissions included: what went by TCP.
    pub fn bytes_sent(&self) -> u64 {
        self.u64_at(200)
    }

    /// Whether data went in the SYN and was acknowledged (Fast Open).
    pub fn syn_data_acknowledged(&self) -> bool {
        const OPTIONS: usize = 5;
        const TCPI_OPT_SYN_DATA: u8 = 32;
        self.bytes[OPTIONS] & TCPI_OPT_SYN_DATA != 0
    }

    /// The member at this offset.
    pub fn u64_at(&self, offset: usize) -> u64 {
        assert!(self.length >= offset + 8, "this kernel's tcp_info has {} bytes", self.length);
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[offset..offset + 8]);
        u64::from_ne_bytes(word)
    }
}

fn get_option(socket: &impl AsFd, level: i32, name: i32, value: &mut [u8]) -> io::Result<usize> {
    let mut length = value.len() as libc::socklen_t;
    // SAFETY: `value` is writable for `length` bytes, and the kernel writes no more than that.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if outcome == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

pub fn set_option(socket: &impl AsFd, level: i32, name: i32, value: i32) {
    let length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: `value` is readable for `length` bytes.
    let outcome = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), length)
    };
    assert_eq!(outcome, 0, "setsockopt({level}, {name}): {}", io::Error::last_os_error());
}

pub fn option(socket: &impl AsFd, level: i32, name: i32) -> i32 {
    let mut value = [0; 4];
    get_option(socket, level, name, &mut value)
        .unwrap_or_else(|error| panic!("getsockopt({level}, {name}): {error}"));
    i32::from_ne_bytes(value)
}

/// Dissolves the association, so that the socket can be connected again (`connect(2)` with
/// `AF_UNSPEC`).
pub fn disconnect(stream: &TcpStream) {
    let nobody =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    // SAFETY: `nobody` is readable for its own size.
    let outcome = unsafe {
        libc::connect(
            stream.as_raw_fd(),
            &raw const nobody,
            size_of_val(&nobody) as libc::socklen_t,
        )
    };
    assert_eq!(outcome, 0, "connect(AF_UNSPEC): {}", io::Error::last_os_error());
}

/// Connects and sends `data` in the SYN (Fast Open); returns how much of it was taken.
pub fn connect_with_data(socket: &Socket, target: SocketAddr, data: &[u8]) -> usize {
    let target = SockaddrStorage::from(target);
    sendto(socket.as_raw_fd(), data, &target, MsgFlags::from_bits_retain(libc::MSG_FASTOPEN))
        .expect("send in the SYN")
}

/// A TCP socket of the namespace and cgroup of the calling thread.
pub fn unconnected(target: SocketAddr) -> Socket {
    Socket::new(Domain::for_address(target), Type::STREAM, None).expect("make a socket")
}

/// Makes a socket deaf: every segment for it is dropped (a socket filter that accepts no byte),
/// until it is heard again.
pub fn deafen(socket: &impl AsFd) {
    const RETURN_CONSTANT: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    SockRef::from(&socket.as_fd())
        .attach_filter(&[SockFilter::new(RETURN_CONSTANT, 0, 0, 0)])
        .expect("attach a filter");
}

pub fn let_hear(socket: &impl AsFd) {
    SockRef::from(&socket.as_fd()).detach_filter().expect("detach the filter");
}

/// Closes with a reset instead of a FIN.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).expect("set SO_LINGER");
}
