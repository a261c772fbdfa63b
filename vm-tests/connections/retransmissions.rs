//! Segments that TCP sends again, cut in other places than the first time: a part of them has come
//! before.

use std::io::Read;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::LOOPBACK;
use testkit::pattern::Pattern;
use testkit::traffic::{FILLING, by_tcp, direct, fill, receive, write_fully};

const PATTERN: Pattern = Pattern { seed: 31 };
/// Bytes of a message: those of the messages that the receiver has no room for.
const MESSAGE: u64 = FILLING as u64;
/// How many of them come again, with as many of the next.
const AGAIN: u64 = 400;

/// Every IPv4 packet that passes in this namespace (packet(7)).
fn tap() -> Socket {
    const ETH_P_IP: u16 = 0x0800;
    let socket =
        Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(ETH_P_IP.to_be()))));
    let socket = socket.expect("capture packets");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    socket
}

/// An IPv4 packet with a TCP segment (RFC 791, RFC 9293).
struct Packet(Vec<u8>);

impl Packet {
    fn tcp_at(&self) -> usize {
        usize::from(self.0[0] & 0xf) * 4
    }

    fn payload_at(&self) -> usize {
        self.tcp_at() + usize::from(self.0[self.tcp_at() + 12] >> 4) * 4
    }

    fn payload(&self) -> &[u8] {
        &self.0[self.payload_at()..]
    }

    /// Whether the end of a message of this client is the end of it, too.
    fn ends(&self, client: SocketAddr, message: &[u8]) -> bool {
        const TCP: u8 = 6;
        self.0[9] == TCP
            && self.0[self.tcp_at()..][..2] == client.port().to_be_bytes()
            && self.payload().ends_with(&message[message.len() - AGAIN as usize..])
    }

    /// The same segment, `later` bytes further on in the stream.
    fn later(&self, later: u32, payload: &[u8]) -> Packet {
        let (tcp, payload_at) = (self.tcp_at(), self.payload_at());
        let mut packet = self.0[..payload_at].to_vec();
        packet.extend(payload);
        let sequence = u32::from_be_bytes(packet[tcp + 4..tcp + 8].try_into().expect("four bytes"));
        packet[tcp + 4..tcp + 8].copy_from_slice(&sequence.wrapping_add(later).to_be_bytes());
        let length = (packet.len() - tcp) as u32;
        let protocol = u32::from(packet[9]);
        packet[tcp + 16..tcp + 18].fill(0);
        let addresses = sum(&packet[12..20]);
        let checksum = fold(addresses + protocol + length + sum(&packet[tcp..]));
        packet[tcp + 16..tcp + 18].copy_from_slice(&(!checksum).to_be_bytes());
        Packet(packet)
    }

    fn send(&self) {
        const IPPROTO_RAW: i32 = 255;
        let to = <[u8; 4]>::try_from(&self.0[16..20]).expect("an address");
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))
            .expect("a raw socket");
        socket.send_to(&self.0, &SocketAddrV4::new(to.into(), 0).into()).expect("send the packet");
    }
}

/// RFC 1071.
fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

/// Sends a message by TCP, the end of it again together with the beginning of the next, as a
/// retransmission may have it, and then that.
fn send_and_send_again(node: &Node, pair: &Pair, sent: u64) {
    let (client, before) = (pair.client.local_addr().expect("its address"), by_tcp(pair));
    node.in_client(|| {
        let mut tap = tap();
        let message = PATTERN.bytes(sent, MESSAGE as usize);
        write_fully(&pair.client, &message).expect("write");
        let mut buffer = vec![0; 1 << 17];
        let packet = loop {
            let length = tap.read(&mut buffer).expect("a packet");
            let packet = Packet(buffer[..length].to_vec());
            if packet.ends(client, &message) {
                break packet;
            }
        };
        let again = PATTERN.bytes(sent + MESSAGE - AGAIN, 2 * AGAIN as usize);
        packet.later((packet.payload().len() as u64 - AGAIN) as u32, &again).send();
    });
    write_fully(&pair.client, &PATTERN.bytes(sent + MESSAGE, MESSAGE as usize)).expect("write");
    assert!(by_tcp(pair) - before >= 2 * MESSAGE, "a message did not go by TCP");
}

#[test]
fn bytes_that_come_again_together_with_new_ones_are_given_out_once() {
    isolated(|| {
        let node = Node::start();
        unread(&node);
        partly_read(&node);
    });
}

fn unread(node: &Node) {
    let pair = node.pair(LOOPBACK);
    direct(node, &pair);
    let mut sent = fill(node, &pair, PATTERN);
    for _ in 0..3 {
        send_and_send_again(node, &pair, sent);
        sent += 2 * MESSAGE;
    }
    receive(&pair.server, PATTERN, 0..sent, 64 << 10);
    small_talk_after(&pair, sent);
}

/// The reader is in the middle of what comes again.
fn partly_read(node: &Node) {
    let pair = node.pair(LOOPBACK);
    direct(node, &pair);
    let sent = fill(node, &pair, PATTERN);
    send_and_send_again(node, &pair, sent);
    let middle = sent + MESSAGE - AGAIN / 2;
    receive(&pair.server, PATTERN, 0..middle, 64 << 10);
    receive(&pair.server, PATTERN, middle..sent + 2 * MESSAGE, 64 << 10);
    small_talk_after(&pair, sent + 2 * MESSAGE);
}

/// Nothing is behind.
fn small_talk_after(pair: &Pair, sent: u64) {
    write_fully(&pair.client, &PATTERN.bytes(sent, 10)).expect("write");
    receive(&pair.server, PATTERN, sent..sent + 10, 64 << 10);
}
