//! Netlink: requests with nested attributes, and the socket (netlink(7),
//! include/uapi/linux/netlink.h). Used for rtnetlink and nf_tables.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt,
};
use nix::sys::time::TimeVal;

use super::Error;

/// A sequence of attributes: `{ length u16, kind u16, value, padding to 4 }`.
#[derive(Default)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub fn new() -> Self {
        Self::default()
    }

    /// Values are names, addresses, small numbers and nests of these: far below the 64 KiB limit of
    /// an attribute.
    pub fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (4 + value.len()) as u16;
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a null-terminated string.
    pub fn string(self, kind: u16, value: &str) -> Self {
        self.with(kind, &[value.as_bytes(), &[0]].concat())
    }

    pub fn nest(self, kind: u16, inner: Attributes) -> Self {
        self.with(kind | libc::NLA_F_NESTED as u16, &inner.0)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One message: the header of the family, then attributes.
pub(crate) struct Request {
    pub kind: u16,
    /// `NLM_F_*` besides `NLM_F_REQUEST`; with `NLM_F_ACK` the kernel answers.
    pub flags: i32,
    pub header: Vec<u8>,
    pub attributes: Attributes,
}

/// `struct nlmsghdr`: `{ length u32, kind u16, flags u16, sequence u32, port u32 }`.
const HEADER: usize = 16;

/// A socket in the network namespace of the thread that opened it, usable from any thread.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    pub fn open(protocol: SockProtocol) -> Result<Self, Error> {
        let open = || -> nix::Result<OwnedFd> {
            let fd = socket::socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                protocol,
            )?;
            socket::bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
            // The kernel answers within the sending call; a missing answer must not hang the
            // caller.
            socket::setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(5, 0))?;
            Ok(fd)
        };
        let fd = open().map_err(|errno| failed("open a netlink socket", errno.into()))?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Sends the requests in one datagram and waits for an answer to each with `NLM_F_ACK`.
    pub fn send(&mut self, action: &str, requests: &[Request]) -> Result<(), Error> {
        self.exchange(action, requests).map(drop)
    }

    /// Like `send`, and returns the messages that precede the answers: header of the family and
    /// attributes.
    pub fn exchange(&mut self, action: &str, requests: &[Request]) -> Result<Vec<Vec<u8>>, Error> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        let mut answers = 0;
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let length = HEADER + request.header.len() + request.attributes.as_bytes().len();
            datagram.extend((length as u32).to_ne_bytes());
            datagram.extend(request.kind.to_ne_bytes());
            datagram.extend(((request.flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
            datagram.extend(self.sequence.to_ne_bytes());
            datagram.extend(0u32.to_ne_bytes());
            datagram.extend(&request.header);
            datagram.extend(request.attributes.as_bytes());
            answers += usize::from(request.flags & libc::NLM_F_ACK != 0);
        }
        socket::send(self.fd.as_raw_fd(), &datagram, MsgFlags::empty())
            .map_err(|errno| failed(action, errno.into()))?;
        self.await_answers(first, requests.len() as u32, answers)
            .map_err(|error| failed(action, error))
    }

    /// Messages with other sequence numbers belong to an earlier call that failed.
    fn await_answers(
        &self,
        first: u32,
        count: u32,
        mut missing: usize,
    ) -> io::Result<Vec<Vec<u8>>> {
        let mut buffer = vec![0; 32 * 1024];
        let mut replies = Vec::new();
        while missing > 0 {
            let length = socket::recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for message in messages(&buffer[..length])
                .filter(|message| message.sequence.wrapping_sub(first) < count)
            {
                match message.errno() {
                    None => replies.push(message.body.to_vec()),
                    Some(0) => missing = missing.saturating_sub(1),
                    Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                }
            }
        }
        Ok(replies)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// Of an `NLMSG_ERROR` message; 0 is success.
    fn errno(&self) -> Option<i32> {
        let value =
            self.body.first_chunk().filter(|_| i32::from(self.kind) == libc::NLMSG_ERROR)?;
        Some(i32::from_ne_bytes(*value).wrapping_neg())
    }
}

/// The messages of a datagram, up to the first truncated one.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let (header, body) = rest.get(..length)?.split_first_chunk::<HEADER>()?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let sequence = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        Some(Message { kind, sequence, body })
    })
}

/// The value of the first attribute of this kind.
pub(crate) fn attribute(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let (header, value) = rest.get(..length)?.split_first_chunk::<4>()?;
        if u16::from_ne_bytes([header[2], header[3]]) & libc::NLA_TYPE_MASK as u16 == kind {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

/// A time-out reads as EAGAIN, which would not help the user.
fn failed(action: &str, error: io::Error) -> Error {
    let cause = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EAGAIN) => {
            io::Error::new(io::ErrorKind::TimedOut, "the kernel did not answer within 5 s")
        }
        _ => error,
    };
    Error::Netlink { action: action.into(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_carry_their_length_without_padding_and_nest() {
        let inner = Attributes::new().string(1, "lo");
        let bytes = Attributes::new().with(2, &[7]).nest(3, inner).0;
        let mut expected = Vec::new();
        for (length, kind) in [(5u16, 2u16), (12, 3 | 0x8000), (7, 1)] {
            expected.extend(length.to_ne_bytes());
            expected.extend(kind.to_ne_bytes());
            match kind {
                2 => expected.extend([7, 0, 0, 0]),
                1 => expected.extend(*b"lo\0\0"),
                _ => {}
            }
        }
        assert_eq!(bytes, expected);
    }

    #[test]
    fn an_attribute_is_found_among_others_and_not_in_malformed_data() {
        let bytes = Attributes::new().with(2, &[7]).nest(3, Attributes::new()).string(1, "lo").0;
        assert_eq!(attribute(&bytes, 2), Some([7].as_slice()));
        assert_eq!(attribute(&bytes, 3), Some([].as_slice()));
        assert_eq!(attribute(&bytes, 1), Some(b"lo\0".as_slice()));
        assert_eq!(attribute(&bytes, 4), None);
        for cut in 0..bytes.len() - 1 {
            assert_eq!(attribute(&bytes[..cut], 1), None, "cut at {cut}");
        }
        for length in [0u16, 3, u16::MAX] {
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend([1, 0, 0, 0]);
            assert_eq!(attribute(&bytes, 1), None, "length {length}");
        }
    }

    fn message(length: u32, kind: u16, sequence: u32, errno: i32) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0, 0]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend((-errno).to_ne_bytes());
        bytes
    }

    #[test]
    fn messages_are_read_in_order_up_to_a_truncated_one() {
        const ERROR: u16 = libc::NLMSG_ERROR as u16;
        let datagram =
            [message(20, ERROR, 1, 0), message(20, 16, 2, 9), message(20, ERROR, 3, libc::EPERM)]
                .concat();
        let read: Vec<_> =
            messages(&datagram).map(|message| (message.sequence, message.errno())).collect();
        assert_eq!(read, [(1, Some(0)), (2, None), (3, Some(libc::EPERM))]);

        for cut in 0..datagram.len() {
            assert_eq!(messages(&datagram[..cut]).count(), cut / 20, "cut at {cut}");
        }
        for length in [0, 1, 15, 21, u32::MAX] {
            assert_eq!(messages(&message(length, ERROR, 1, 0)).count(), 0, "length {length}");
        }
        let without_errno = message(16, ERROR, 1, 0);
        assert_eq!(messages(&without_errno).next().expect("a message").errno(), None);
    }
}
