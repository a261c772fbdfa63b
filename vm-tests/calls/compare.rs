//! One script, over TCP and over shunt.

use std::net::TcpStream;

use crate::differences;
use crate::harness::eventually;
use crate::harness::isolation::{isolated_as, test_name};
use crate::harness::node::{Node, Pair, Service};
use crate::harness::path::LOOPBACK;
use crate::harness::report::{End, Mode};
use crate::harness::traffic::{settle, warm_up};
use crate::seen::Seen;

/// Runs `script`, the closure of the test function that calls this, over TCP and over shunt, and compares what it saw.
pub fn compare<F: Fn(&Side, &mut Seen) + Sync>(script: F) {
    let name = test_name::<F>();
    isolated_as(name, || {
        let node = Node::start();
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

/// The three lists beside each other, for whoever reads a failed test.
fn describe(by_tcp: &[String], expected: &[String], over_shunt: &[String]) -> String {
    let mut text = "over shunt the script saw something else than expected:\n".to_owned();
    for row in 0..by_tcp.len().max(over_shunt.len()) {
        let [tcp, expected, shunt] =
            [by_tcp, expected, over_shunt].map(|list| list.get(row).map_or("", String::as_str));
        if expected == shunt {
            text += &format!("              {shunt}\n");
        } else {
            text += &format!("    by TCP    {tcp}\n    expected  {expected}\n    saw       {shunt}\n");
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
    /// Non-blocking ends of a connection that has been used; inside, of a flow that is direct in both lanes.
    pub fn pair(&self) -> Pair {
        let pair = self.new_pair();
        make_nonblocking(&pair);
        self.settle(&pair);
        pair
    }

    /// Blocking ends of a connection that has been used.
    pub fn blocking_pair(&self) -> Pair {
        let pair = self.new_pair();
        warm_up(&pair);
        pair
    }

    /// Ends of a connection that nothing was sent on, with a read time-out.
    pub fn new_pair(&self) -> Pair {
        let service = self.listen();
        let client = self.connect(&service);
        Pair { client, server: service.accept() }
    }

    pub fn listen(&self) -> Service {
        if self.accelerated { self.node.listen(LOOPBACK) } else { self.node.listen_outside(LOOPBACK) }
    }

    pub fn connect(&self, service: &Service) -> TcpStream {
        self.inside(|| service.connect())
    }

    /// Runs `work` where this side's sockets are made.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        if self.accelerated { self.node.in_client(work) } else { self.node.outside_in_client(work) }
    }

    /// Uses a connection until it goes where this side's connections go.
    pub fn settle(&self, pair: &Pair) {
        if !self.accelerated {
            return warm_up(pair);
        }
        settle(pair);
        eventually("the flow is direct in both lanes", || {
            warm_up(pair);
            let flow = self.node.flow_of(&pair.client)?;
            let is_direct =
                |end: Option<End>| end.is_some_and(|end| end.mode == Mode::Direct && end.direct_messages > 0);
            (is_direct(flow.client) && is_direct(flow.server)).then_some(())
        });
    }
}

pub fn make_nonblocking(pair: &Pair) {
    for end in [&pair.client, &pair.server] {
        end.set_nonblocking(true).expect("make it non-blocking");
    }
}
