//! Every kind of reader is told of bytes, whichever way they came, and waits for none that are
//! there.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::Signal;

use testkit::agent::run;
use testkit::isolation::isolated;
use testkit::node::{Node, Pair};
use testkit::path::{Family, LOOPBACK, Path, REDIRECT, Route, VETH};
use testkit::pattern::Pattern;
use testkit::share_of;
use testkit::socket::TcpInfo;
use testkit::traffic::{direct_all, exchange, fill, send, small_talk, wait_within};

const PATTERN: Pattern = Pattern { seed: 30 };
const WRITE: usize = 10_000;
const READ: usize = 64 << 10;

/// The longest time that bytes may be readable before their reader is woken.
const STALL: Duration = Duration::from_secs(1);

const PATHS: [Path; 4] =
    [LOOPBACK, VETH, REDIRECT, Path { family: Family::V6, route: Route::Veth }];

/// How programs wait for bytes.
#[derive(Debug, Clone, Copy)]
enum Reader {
    /// poll before each read.
    Polls,
    /// epoll, as often as there is something to read.
    LevelTriggered,
    /// What tokio and nginx do: one edge, then reads until one is short, which they take for
    /// "drained".
    EdgeTriggered,
    /// The same by one that is busy elsewhere for a while after its first read, then takes whatever
    /// edge there is, and reads on.
    EdgeTriggeredAndBusy,
}

const READERS: [Reader; 4] =
    [Reader::Polls, Reader::LevelTriggered, Reader::EdgeTriggered, Reader::EdgeTriggeredAndBusy];

impl Reader {
    /// Reads `length` bytes of the pattern, `most` at once. Returns the longest wait.
    fn read(self, mut stream: &TcpStream, length: u64, most: usize) -> Duration {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("make an epoll instance");
        let trigger = match self {
            Reader::Polls | Reader::LevelTriggered => EpollFlags::empty(),
            Reader::EdgeTriggered | Reader::EdgeTriggeredAndBusy => EpollFlags::EPOLLET,
        };
        epoll
            .add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN | trigger, 0))
            .expect("register");
        let mut events = [EpollEvent::empty()];
        let mut buffer = vec![0; most];
        let (mut at, mut worst) = (0, Duration::ZERO);
        let mut busy = matches!(self, Reader::EdgeTriggeredAndBusy);
        while at < length {
            let waiting = Instant::now();
            let told = match self {
                Reader::Polls => wait_within(stream, PollFlags::POLLIN, Duration::from_secs(60)),
                _ => epoll.wait(&mut events, EpollTimeout::from(60_000_u16)).expect("wait") > 0,
            };
            assert!(told, "{self:?} is not told: {} of {length} bytes are unread", length - at);
            worst = worst.max(waiting.elapsed());
            loop {
                let read = match stream.read(&mut buffer) {
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{self:?} reads at byte {at}: {error}"),
                };
                assert_ne!(read, 0, "the stream ended at byte {at} of {length}");
                PATTERN.check(at, &buffer[..read]);
                at += read as u64;
                if read < most || trigger.is_empty() {
                    break;
                }
                if std::mem::take(&mut busy) {
                    thread::sleep(Duration::from_millis(1200));
                    epoll.wait(&mut events, EpollTimeout::ZERO).expect("take the edge");
                }
            }
        }
        worst
    }
}

#[test]
fn every_kind_of_reader_is_told_of_direct_bytes_and_of_those_that_came_by_tcp_behind_them() {
    isolated(|| {
        let node = Node::start();
        let cases = PATHS.iter().flat_map(|path| READERS.map(|reader| (*path, reader)));
        let pairs: Vec<Pair> = cases.clone().map(|(path, _)| node.pair(path)).collect();
        direct_all(&node, &pairs);
        for ((path, reader), pair) in cases.zip(pairs) {
            let sent = fill(&node, &pair, PATTERN);
            let worst = reader.read(&pair.server, sent, READ);
            assert!(worst < STALL, "{path}: {reader:?} stalled for {worst:?}");
            exchange(&pair, 31, 1000, 1000);
        }
    });
}

#[test]
fn every_kind_of_reader_gets_a_stream_whose_messages_go_either_way() {
    isolated(|| {
        // A refresh each second, and readers that fall behind, at the beginning in any case.
        let node = Node::start_with(&["--refresh", "1"]);
        for path in [LOOPBACK, VETH] {
            let cases = READERS.iter().flat_map(|reader| [1000, READ].map(|most| (reader, most)));
            let pairs: Vec<Pair> = cases.clone().map(|_| node.pair(path)).collect();
            direct_all(&node, &pairs);
            for ((reader, most), pair) in cases.zip(pairs) {
                let sent = fill(&node, &pair, PATTERN);
                let length = sent + share_of(24 << 20) as u64;
                thread::scope(|scope| {
                    scope.spawn(|| send(&pair.client, PATTERN, sent..length, 200_000));
                    reader.read(&pair.server, length, most);
                });
            }
        }
    });
}

#[test]
fn a_client_is_told_as_its_server_is() {
    isolated(|| {
        let node = Node::start();
        let pairs = READERS.map(|_| node.pair(VETH));
        direct_all(&node, &pairs);
        for (reader, pair) in READERS.into_iter().zip(pairs) {
            let mut sent = 0;
            let by_tcp = TcpInfo::of(&pair.server).bytes_sent();
            while TcpInfo::of(&pair.server).bytes_sent() == by_tcp {
                sent += (&pair.server).write(&PATTERN.bytes(sent, WRITE)).expect("write") as u64;
            }
            let worst = reader.read(&pair.client, sent, READ);
            assert!(worst < STALL, "{reader:?} stalled for {worst:?}");
        }
    });
}

#[test]
fn readers_are_told_when_the_agent_has_been_killed() {
    isolated(|| {
        let mut node = Node::start();
        let pairs = READERS.map(|_| node.pair(VETH));
        direct_all(&node, &pairs);
        let sent: Vec<u64> = pairs.iter().map(|pair| fill(&node, pair, PATTERN)).collect();
        node.agent.signal(Signal::SIGKILL);
        node.agent.wait();
        for ((reader, pair), sent) in READERS.into_iter().zip(&pairs).zip(sent) {
            let worst = reader.read(&pair.server, sent, READ);
            assert!(worst < STALL, "{reader:?} stalled for {worst:?}");
            small_talk(pair);
        }
        let detached = run(&["detach", "--name", node.agent.name()]);
        assert_eq!(detached.status.code(), Some(0), "{detached:?}");
    });
}
