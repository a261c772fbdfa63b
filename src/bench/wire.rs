//! Traffic of the interfaces of a network namespace, as counted by the kernel: the proof of what
//! bypassed TCP.

use std::fs;
use std::ops::Sub;

use anyhow::{Context, Result};

/// Packets and bytes sent and received by the interfaces of a namespace, loopback counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire {
    /// Packets; a GSO packet counts as one.
    pub packets: u64,
    /// Bytes including all headers.
    pub bytes: u64,
}

/// IPv4, and TCP with the timestamp option: the headers of a loopback packet of an open connection.
const HEADERS: u64 = 20 + 32;

impl Wire {
    /// Approximate application bytes, if all of it was TCP over IPv4.
    pub fn payload(&self) -> u64 {
        self.bytes.saturating_sub(self.packets * HEADERS)
    }

    /// The current counters in the namespace of the calling thread.
    pub fn here() -> Result<Self> {
        let path = "/proc/thread-self/net/dev";
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        parse(&text).with_context(|| format!("{path} is malformed: {text:?}"))
    }
}

impl Sub for Wire {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

/// Two header lines, then `name: bytes packets errs drop fifo frame compressed multicast` and the
/// same for sending.
fn parse(text: &str) -> Option<Wire> {
    let mut wire = Wire::default();
    for line in text.lines().skip(2) {
        let (name, columns) = line.split_once(':')?;
        let columns =
            columns.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
        let [bytes, packets, .., sent_bytes, sent_packets, _, _, _, _, _, _] = columns[..] else {
            return None;
        };
        wire.packets += packets;
        wire.bytes += bytes;
        // Loopback receives what it sends.
        if name.trim() != "lo" {
            wire.packets += sent_packets;
            wire.bytes += sent_bytes;
        }
    }
    Some(wire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    const HEADINGS: &str = "Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

    #[test]
    fn both_directions_of_an_interface_count_and_loopback_once() {
        let text = format!(
            "{HEADINGS}    lo:    1000      10    0    0    0     0          0         0     1000      10    0    0    0     0       0          0\n  \
             veth: 7 1 0 0 0 0 0 0 20 3 0 0 0 0 0 0\n"
        );
        assert_eq!(parse(&text), Some(Wire { packets: 14, bytes: 1027 }));
        for broken in ["no colon\n", "lo: 1 2\n", "lo: a b c d e f g h i j k l m n o p\n"] {
            assert_eq!(parse(&format!("{HEADINGS}{broken}")), None, "{broken}");
        }
    }

    #[test]
    fn a_connection_over_loopback_is_counted() {
        let namespace = crate::host::Namespace::new().expect("make a namespace (as root)");
        let seen = namespace
            .run(|| {
                let before = Wire::here().expect("count");
                let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
                let mut client = TcpStream::connect(listener.local_addr().expect("an address"))
                    .expect("connect");
                let (mut server, _) = listener.accept().expect("accept");
                client.write_all(&[0; 1000]).expect("send");
                server.read_exact(&mut [0; 1000]).expect("receive");
                Wire::here().expect("count") - before
            })
            .expect("run inside");
        assert!(seen.packets >= 4 && seen.bytes >= 1000, "{seen:?}");
        // SYN and SYN-ACK have more options than segments of an open connection.
        assert!((1000..1020).contains(&seen.payload()), "{seen:?}");
    }
}
