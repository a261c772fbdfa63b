//! What acts on packets does not see what is in none: captures, queueing disciplines and netem,
//! filters, network policies, bandwidth limits.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use crate::down_paths::set_up;
use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{LOOPBACK, Path, VETH};
use testkit::traffic::{
    by_tcp, direct, read_exactly, small_talk, until_direct, wait_within, write_fully,
};

/// In each message that is captured, or not.
const MARKER: &[u8] = b"a message that a capture would show";

/// Every packet of the client's host, on all of its interfaces, from now on (packet(7)).
fn capture(node: &Node) -> OwnedFd {
    let open = || {
        socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK,
            Some(SockProtocol::EthAll),
        )
    };
    node.outside_in_client(open).expect("capture packets (as root)")
}

/// How many captured packets have the marker in them.
fn marked(capture: &OwnedFd) -> usize {
    let mut packet = vec![0; 1 << 16];
    let mut marked = 0;
    while let Ok(length) = recv(capture.as_raw_fd(), &mut packet, MsgFlags::empty()) {
        marked += usize::from(packet[..length].windows(MARKER.len()).any(|part| part == MARKER));
    }
    marked
}

fn there_and_back(pair: &Pair) {
    for (from, to) in [(&pair.client, &pair.server), (&pair.server, &pair.client)] {
        write_fully(from, MARKER).expect("send");
        let mut arrived = vec![0; MARKER.len()];
        read_exactly(to, &mut arrived).expect("receive");
        assert_eq!(arrived, MARKER);
    }
}

#[test]
fn a_packet_capture_shows_nothing_that_is_sent_directly() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH] {
            let (plain, pair) = (node.pair_outside(path), node.pair(path));
            direct(&node, &pair);
            let capture = capture(&node);
            for _ in 0..100 {
                there_and_back(&pair);
            }
            assert_eq!(marked(&capture), 0, "{path}");
            there_and_back(&plain);
            assert!(marked(&capture) >= 2, "{path}: the capture does not show what goes by TCP");
        }
    });
}

/// The interface of a path at the client's host.
fn cut(node: &Node, path: Path, is_cut: bool) {
    let interface = if path == LOOPBACK { "lo" } else { "to-server" };
    node.outside_in_client(|| set_up(interface, !is_cut));
}

/// An interface that is down passes no packet, whatever the reason why one would not pass: a
/// filter, a policy, netem's loss.
#[test]
fn direct_messages_pass_where_no_packet_does() {
    isolated(|| {
        let node = Node::start();
        for path in [LOOPBACK, VETH] {
            let (plain, pair) = (node.pair_outside(path), node.pair(path));
            direct(&node, &pair);
            small_talk(&plain);
            cut(&node, path, true);
            let before = by_tcp(&pair);
            for _ in 0..1000 {
                small_talk(&pair);
            }
            assert_eq!(by_tcp(&pair), before, "{path}: messages went by TCP");
            write_fully(&plain.client, MARKER).expect("send");
            let arrives = wait_within(&plain.server, PollFlags::POLLIN, Duration::from_millis(500));
            assert!(!arrives, "{path}: a packet passed");
            cut(&node, path, false);
        }
    });
}

/// What a network policy that comes later can rely on: `--refresh` bounds for how long it is not
/// obeyed.
#[test]
fn a_flow_whose_packets_are_stopped_stops_with_the_next_message_of_its_refresh_period() {
    isolated(|| {
        const REFRESH: Duration = Duration::from_secs(2);
        let node = Node::start_with(&["--refresh", "2"]);
        let pair = node.pair(VETH);
        until_direct(&node.agent, std::slice::from_ref(&pair));
        cut(&node, VETH, true);
        let begun = Instant::now();
        let passed = loop {
            write_fully(&pair.client, &[1; 100]).expect("send");
            if !wait_within(&pair.server, PollFlags::POLLIN, Duration::from_millis(300)) {
                break begun.elapsed();
            }
            read_exactly(&pair.server, &mut [0; 100]).expect("receive");
            std::thread::sleep(Duration::from_millis(10));
            assert!(begun.elapsed() < REFRESH * 3, "messages still pass");
        };
        println!("messages passed for {passed:?}");
        cut(&node, VETH, false);
        // Nothing is lost.
        read_exactly(&pair.server, &mut [0; 100]).expect("receive what was held up");
        small_talk(&pair);
    });
}
