//! One script, over TCP and over shunt.

use std::net::TcpStream;

use rustix::event::PollFlags;

use crate::differences;
use crate::seen::Seen;
use crate::talk::ready;
use testkit::eventually;
use testkit::isolation::{isolated_as, test_name};
use testkit::node::{Node, Pair, Service};
use testkit::path::LOOPBACK;
use testkit::report::{End, Mode};
use testkit::socket::{option, unconnected};
use testkit::traffic::{direct, small_talk};

/// Runs `script`, the closure of the test function that calls this, over TCP and over shunt, and
/// compares what it saw.
pub fn compare<F: Fn(&Side, &mut Seen)>(script: F) {
    let name = test_name::<F>();
    isolated_as(name, || {
        let node = Node::start_with(REFRESH);
        let run = |accelerated| {
            let mut seen = Seen::default();
            script(&Side { node: &node, accelerated }, &mut seen);
            seen.into_lines()
        };
        let by_tcp = run(false);
        assert!(!by_tcp.is_empty(), "{name} looked at nothing");
        let expected = differences::call(name).expected_of(&by_tcp);
        let over_shunt = run(true);
        if expected != over_shunt {
            panic!("{}", describe(&by_tcp, &expected, &over_shunt));
        }
    });
}

/// A refresh would make an observation differ once in a while.
const REFRESH: &[&str] = &["--refresh", "3600"];

/// The three lists side by side, for the message of a failed test.
fn describe(by_tcp: &[String], expected: &[String], over_shunt: &[String]) -> String {
    let mut text = "over shunt the script saw something else than expected:\n".to_owned();
    for row in 0..by_tcp.len().max(over_shunt.len()) {
        let [tcp, expected, shunt] =
            [by_tcp, expected, over_shunt].map(|list| list.get(row).map_or("", String::as_str));
        if expected == shunt {
            text += &format!("              {shunt}\n");
        } else {
            text +=
                &format!("    by TCP    {tcp}\n    expected  {expected}\n    saw       {shunt}\n");
        }
    }
    text
}

/// Where a script runs: outside of the accelerated cgroup, or inside.
pub struct Side<'a> {
    node: &'a Node,
    accelerated: bool,
}

impl Side<'_> {
    /// Non-blocking ends of a connection that has been used; inside, of a flow that is direct in
    /// both lanes.
    pub fn pair(&self) -> Pair {
        let pair = self.new_pair();
        self.settle(&pair);
        pair
    }

    /// Non-blocking ends of a connection that nothing was sent on.
    pub fn new_pair(&self) -> Pair {
        let service = self.listen();
        let client = self.connect(&service);
        let server = service.accept();
        server.set_nonblocking(true).expect("make it non-blocking");
        Pair { client, server }
    }

    /// Blocking ends of a connection that has been used: it goes by TCP.
    pub fn blocking_pair(&self) -> Pair {
        let pair = self.new_pair();
        for end in [&pair.client, &pair.server] {
            end.set_nonblocking(false).expect("make it block");
        }
        for _ in 0..300 {
            small_talk(&pair);
        }
        assert!(!self.has_redirected(&pair), "a flow of blocking files is direct");
        pair
    }

    pub fn listen(&self) -> Service {
        if self.accelerated {
            self.node.listen(LOOPBACK)
        } else {
            self.node.listen_outside(LOOPBACK)
        }
    }

    /// Connects as programs do that wait in epoll.
    pub fn connect(&self, service: &Service) -> TcpStream {
        let socket = self.inside(|| unconnected(service.target));
        socket.set_nonblocking(true).expect("make it non-blocking");
        if let Err(error) = socket.connect(&service.target.into()) {
            assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "connect: {error}");
        }
        let client = TcpStream::from(socket);
        ready(&client, PollFlags::OUT);
        assert_eq!(option(&client, libc::SOL_SOCKET, libc::SO_ERROR), 0, "connect");
        client.set_nodelay(true).expect("set TCP_NODELAY");
        client
    }

    /// Runs `work` where this side's sockets are made.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        if self.accelerated { self.node.in_client(work) } else { self.node.outside_in_client(work) }
    }

    /// Uses a connection until it goes where this side's connections go.
    pub fn settle(&self, pair: &Pair) {
        if self.accelerated { direct(self.node, pair) } else { small_talk(pair) }
    }

    /// Uses a client's connection until its flow is direct in both lanes, if it is to be.
    pub fn until_direct(&self, client: &TcpStream, mut exchange: impl FnMut()) {
        if !self.accelerated {
            return exchange();
        }
        eventually("the flow is direct in both lanes", || {
            // This program could splice: it has to be seen to read 256 times.
            (0..64).for_each(|_| exchange());
            let direct = |end: &End| end.mode == Mode::Direct && end.direct_messages > 0;
            self.ends(client)?.iter().all(direct).then_some(())
        });
    }

    fn has_redirected(&self, pair: &Pair) -> bool {
        let flow = self.node.flow_of(&pair.client);
        flow.is_some_and(|flow| {
            [flow.client, flow.server].into_iter().flatten().any(|end| end.direct_messages > 0)
        })
    }

    fn ends(&self, client: &TcpStream) -> Option<[End; 2]> {
        let flow = self.node.flow_of(client)?;
        Some([flow.client?, flow.server?])
    }
}
