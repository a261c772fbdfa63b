//! Stopping, detaching and replacing lose nothing while a receiver holds its socket's lock (Q8).
//!
//! A page fault in the receiver's own call holds the lock; a message for it is then on its way into
//! its queue, between the sender's checks and the queue, while shunt takes itself out.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::PollFlags;
use nix::sys::signal::Signal;

use testkit::SetOnDrop;
use testkit::agent::{Agent, run};
use testkit::isolation::isolated;
use testkit::memory_fault::{Filler, Hole};
use testkit::node::{Node, Pair, new_bed};
use testkit::nonblocking::{Carrier, Ground, HANG, put, read_within, small_talk, take};
use testkit::path::{LOOPBACK, VETH};
use testkit::pattern::Tape;
use testkit::traffic::wait_within;

/// How long the receiver holds its socket: longer than an agent looks for what is unread.
const HELD: Duration = Duration::from_millis(1500);

/// In which call the receiver's process touches the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Receive,
    Send,
}

/// Runs `act` while the receiver of a message holds its socket, and checks what arrives.
fn while_held(pair: &Pair, call: Call, act: impl FnOnce() + Send) {
    let hole = Hole::open();
    if call == Call::Receive {
        put(&pair.client, b"M1M1");
        assert!(
            wait_within(&pair.server, PollFlags::POLLIN, HANG),
            "the first message has not arrived"
        );
    }
    std::thread::scope(|scope| {
        let hole = &hole;
        let filler = Filler(hole);
        let receiver = scope.spawn(move || {
            let (fd, page) = (pair.server.as_raw_fd(), hole.pointer());
            // SAFETY: the page is mapped, and belongs to the kernel until the call returns.
            unsafe {
                match call {
                    Call::Receive => libc::recv(fd, page, 4, 0),
                    Call::Send => libc::send(fd, page, 4, libc::MSG_NOSIGNAL),
                }
            }
        });
        hole.wait_until_touched();
        let sender = scope.spawn(|| put(&pair.client, b"M2M2M2M2"));
        std::thread::sleep(Duration::from_millis(50));
        let fill = scope.spawn(move || {
            std::thread::sleep(HELD);
            drop(filler);
        });
        // It may wait for what has not been read.
        let acting = scope.spawn(act);
        fill.join().expect("the page is filled");
        assert_eq!(receiver.join().expect("the receiver"), 4);
        sender.join().expect("the sender");
        put(&pair.client, b"END.");
        let arrived = take(&pair.server, 4);
        assert_eq!(arrived, b"M2M2", "a hole in the stream");
        assert_eq!(take(&pair.server, 8), b"M2M2END.");
        if call == Call::Send {
            assert_eq!(take(&pair.client, 4), [0; 4]);
        }
        acting.join().expect("what was to be done meanwhile");
    });
    small_talk(pair);
}

/// Over TCP, and over shunt while `act` takes it away; afterwards the agent has to end well.
fn nothing_is_lost_when(act: impl Fn(&mut Node) + Sync) {
    for call in [Call::Receive, Call::Send] {
        let mut node = Node::start_on(new_bed(), &[]);
        let [tcp, direct] = [Carrier::Tcp, Carrier::Shunt]
            .map(|carrier| Ground { node: &node, carrier }.open_settled(LOOPBACK));
        while_held(&tcp, call, || {});
        eprintln!("a receiver in {call:?}");
        while_held(&direct, call, || act(&mut node));
    }
}

/// Q8.
#[test]
fn a_stop_while_a_receiver_holds_its_socket_leaves_no_hole() {
    isolated(|| nothing_is_lost_when(|node| node.agent.signal(Signal::SIGTERM)));
}

/// Q8.
#[test]
fn a_detach_while_a_receiver_holds_its_socket_leaves_no_hole() {
    isolated(|| {
        nothing_is_lost_when(|node| {
            node.agent.signal(Signal::SIGKILL);
            node.agent.wait();
            let detached = run(&["detach", "--name", node.agent.name()]);
            assert_eq!(detached.status.code(), Some(0), "{detached:?}");
        });
    });
}

/// Q8.
#[test]
fn a_take_over_while_a_receiver_holds_its_socket_leaves_no_hole() {
    isolated(|| {
        nothing_is_lost_when(|node| {
            let status = node.agent.replace(&[]).wait().expect("wait for the agent before");
            assert_eq!(status.code(), Some(0), "{status}");
        });
    });
}

/// Q8: one after the other, under messages that never stop.
#[test]
fn stops_and_starts_under_small_messages_both_ways_lose_nothing() {
    isolated(|| {
        let mut node = Node::start_on(new_bed(), &[]);
        let ground = Ground { node: &node, carrier: Carrier::Shunt };
        let pairs: Vec<Pair> = [LOOPBACK, VETH].map(|path| ground.open_direct(path)).into();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stopped = SetOnDrop(&stop);
            let talks: Vec<_> =
                pairs.iter().map(|pair| scope.spawn(|| talk(pair, &stop))).collect();
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(300));
                node.agent.stop();
                std::thread::sleep(Duration::from_millis(100));
                node.agent = Agent::start(node.bed.cgroup().path(), &[]);
            }
            drop(stopped);
            for talk in talks {
                assert!(talk.join().expect("a talk") > 0);
            }
        });
    });
}

/// Streams of small messages both ways, each checked; returns how many bytes.
fn talk(pair: &Pair, stop: &AtomicBool) -> u64 {
    let (there, back) = (Tape { seed: 81 }, Tape { seed: 82 });
    let one_way = |from: &TcpStream, to: &TcpStream, pattern: Tape| {
        std::thread::scope(|scope| {
            let sender = scope.spawn(move || {
                let mut at = 0;
                while !stop.load(Ordering::Relaxed) {
                    put(from, pattern.bytes(at, 600));
                    at += 600;
                }
                from.shutdown(Shutdown::Write).expect("shut down");
                at
            });
            let (mut buffer, mut at) = (vec![0; 4096], 0);
            loop {
                match read_within(to, &mut buffer, HANG) {
                    Some(Ok(0)) => break,
                    Some(Ok(read)) => {
                        pattern.check(at, &buffer[..read]);
                        at += read as u64;
                    }
                    outcome => panic!("{outcome:?} at byte {at}"),
                }
            }
            assert_eq!(at, sender.join().expect("the sender"), "bytes at the end are lost");
            at
        })
    };
    std::thread::scope(|scope| {
        let there = scope.spawn(|| one_way(&pair.client, &pair.server, there));
        one_way(&pair.server, &pair.client, back) + there.join().expect("the other way")
    })
}
