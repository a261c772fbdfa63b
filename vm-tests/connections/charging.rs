//! Whose memory it is that queued bytes take.

use testkit::eventually;
use testkit::isolation::isolated;
use testkit::memory::SocketMemory;
use testkit::node::{Node, Pair};
use testkit::path::LOOPBACK;
use testkit::pattern::Pattern;
use testkit::traffic::{direct, receive, send, small_talk};

const THERE: Pattern = Pattern { seed: 95 };
/// Less than a receiver lets a lane redirect that is not answered.
const UNREAD: u64 = 256 << 10;
/// What the kernel may keep for a socket that holds nothing any more, and gives it the next time.
const KEPT: u64 = 64 << 10;

/// By how much the charge of the memory cgroup grows with bytes that one end has sent directly and
/// the other has not read.
fn charged(node: &Node, memory: &SocketMemory, pair: &Pair) -> u64 {
    direct(node, pair);
    eventually("all of it is direct", || {
        let (redirected, before) = (node.redirected(), memory.usage());
        send(&pair.client, THERE, 0..UNREAD, 16 << 10);
        let charged = memory.usage().saturating_sub(before);
        let all = node.redirected() - redirected == UNREAD;
        receive(&pair.server, THERE, 0..UNREAD, 64 << 10);
        small_talk(pair);
        all.then_some(charged)
    })
}

/// As over TCP. In version 1 it is `memory.kmem.tcp`, in version 2 `sock` of `memory.stat`: the
/// same call of the kernel (`mem_cgroup_charge_skmem`) charges either.
#[test]
fn bytes_that_nobody_has_read_are_charged_to_their_receiver_and_not_to_their_sender() {
    isolated(|| {
        let node = Node::start();
        let Some(memory) = SocketMemory::new() else {
            return eprintln!("on this kernel the memory of sockets is not counted by itself");
        };
        let service = node.listen(LOOPBACK);
        // A socket is charged to where it is accepted or connects.
        let client = node.connect(&service);
        let pair = Pair { client, server: memory.run(|| service.accept()) };
        let receiver = charged(&node, &memory, &pair);
        let client = memory.run(|| node.connect(&service));
        let other = Pair { client, server: service.accept() };
        let sender = charged(&node, &memory, &other);
        println!("{receiver} bytes are charged to a receiver, {sender} to a sender, of {UNREAD}");
        assert!(receiver >= UNREAD - KEPT, "{receiver} bytes are charged to the receiver");
        assert!(sender <= KEPT, "{sender} bytes are charged to the sender");
        drop((pair, other));
    });
}
