//! A node with shunt running on it: two hosts, NAT between them, one accelerated cgroup.

use std::net::{SocketAddr, TcpListener, TcpStream};

use tcp_shunt::bed::Bed;

use crate::agent::Agent;
use crate::eventually;
use crate::kernel_log::KernelLog;
use crate::path::{Path, ready_for_tests};
use crate::report::{Flow, Stats, canonical};

/// Dropped at the end of a test that passes, it stops the agent as an operator does and checks that
/// this goes well, that nothing stays pinned and that the kernel complained about nothing.
pub struct Node {
    // Before the bed: the agent lets go of the cgroup before it is removed.
    pub agent: Agent,
    pub bed: Bed,
    log: KernelLog,
}

/// Refreshes would make exact expectations of what goes by TCP wrong once in a while.
const REFRESH: &[&str] = &["--refresh", "3600"];

/// A listener and the address at which clients reach it.
pub struct Service {
    pub listener: TcpListener,
    pub target: SocketAddr,
}

/// The two ends of one connection.
pub struct Pair {
    pub client: TcpStream,
    pub server: TcpStream,
}

impl Node {
    pub fn start() -> Self {
        Self::start_with(REFRESH)
    }

    /// Starts the agent with further options for `shunt run`.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_on(new_bed(), options)
    }

    /// Starts the agent by another binary than the one under test, which replaces it later.
    pub fn start_by(binary: &std::path::Path) -> Self {
        let start = |bed: &Bed| Agent::start_by(binary, bed.cgroup().path(), REFRESH);
        Self::assemble(new_bed(), |_| (), start).0
    }

    /// Starts the agent with these options on a bed in which there may be sockets.
    pub fn start_on(bed: Bed, options: &[&str]) -> Self {
        Self::start_after(bed, options, |_| ()).0
    }

    /// The same, after `before`.
    pub fn start_after<T>(bed: Bed, options: &[&str], before: impl FnOnce(&Bed) -> T) -> (Self, T) {
        Self::assemble(bed, before, |bed| Agent::start(bed.cgroup().path(), options))
    }

    fn assemble<T>(
        mut bed: Bed,
        before: impl FnOnce(&Bed) -> T,
        start: impl FnOnce(&Bed) -> Agent,
    ) -> (Self, T) {
        let log = KernelLog::from_now();
        Path::prepare(&mut bed).expect("write the NAT rules");
        let there = before(&bed);
        let agent = start(&bed);
        // What is left alone from here on is not taken for one that was open before.
        agent.has_logged("looked for open connections", 1);
        (Self { agent, bed, log }, there)
    }

    /// Runs `work` in the client's namespace and in the cgroup.
    pub fn in_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.bed.in_client(work).expect("enter the client")
    }

    /// Runs `work` in the server's namespace and in the cgroup.
    pub fn in_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.bed.in_server(work).expect("enter the server")
    }

    /// Runs `work` in the client's namespace, outside the cgroup.
    pub fn outside_in_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.bed.client().run(work).expect("enter the client's namespace")
    }

    /// A listener inside the cgroup.
    pub fn listen(&self, path: Path) -> Service {
        listen_on(&self.bed, path)
    }

    /// A listener that shunt has nothing to do with, as if on another node.
    pub fn listen_outside(&self, path: Path) -> Service {
        listen_outside_of(&self.bed, path)
    }

    /// A client inside the cgroup.
    pub fn connect(&self, service: &Service) -> TcpStream {
        self.in_client(|| service.connect())
    }

    /// A connection with both ends inside the cgroup, and nothing sent on it.
    pub fn pair(&self, path: Path) -> Pair {
        pair_on(&self.bed, path)
    }

    /// The same connection without shunt.
    pub fn pair_outside(&self, path: Path) -> Pair {
        let service = self.listen_outside(path);
        let client = self.outside_in_client(|| service.connect());
        Pair { client, server: service.accept() }
    }

    pub fn stats(&self) -> Stats {
        self.agent.stats()
    }

    /// Waits until nothing is left of connections that have closed. What was said at the rendezvous
    /// of ends that never met is evicted.
    pub fn nothing_is_enrolled(&self) {
        eventually("no socket is enrolled", || {
            let stats = self.stats();
            (stats.entries("socks") == 0).then_some(())
        });
    }

    /// Bytes that were redirected, by whatever connection: one that goes by TCP for long is not
    /// listed any more.
    pub fn redirected(&self) -> u64 {
        self.stats().counter("direct_bytes")
    }

    /// The flow whose client has `client`'s address.
    pub fn flow_of(&self, client: &TcpStream) -> Option<Flow> {
        let address = canonical(client.local_addr().expect("the client's address"));
        let flows = self.agent.flows();
        flows
            .into_iter()
            .find(|flow| flow.client.as_ref().is_some_and(|end| canonical(end.local) == address))
    }
}

impl Service {
    /// Connects, in the namespace and cgroup of the calling thread.
    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.target)
            .unwrap_or_else(|error| panic!("connect to {}: {error}", self.target));
        ready_for_tests(&client).expect("set the client's options");
        client
    }

    pub fn accept(&self) -> TcpStream {
        let (server, _) = self.listener.accept().expect("accept");
        ready_for_tests(&server).expect("set the server's options");
        server
    }
}

pub fn new_bed() -> Bed {
    Bed::new().expect("make a bed (as root, with cgroup v2)")
}

/// A listener inside the cgroup of a bed.
pub fn listen_on(bed: &Bed, path: Path) -> Service {
    let bind = || path.bind();
    let bound = if path.stays_at_the_client() { bed.in_client(bind) } else { bed.in_server(bind) };
    service(path, bound.expect("enter the listener's namespace"))
}

/// A listener outside of it.
pub fn listen_outside_of(bed: &Bed, path: Path) -> Service {
    let home = if path.stays_at_the_client() { bed.client() } else { bed.server() };
    service(path, home.run(|| path.bind()).expect("enter the listener's namespace"))
}

/// A connection with both ends inside the cgroup of a bed, and nothing sent on it.
pub fn pair_on(bed: &Bed, path: Path) -> Pair {
    let service = listen_on(bed, path);
    let client = bed.in_client(|| service.connect()).expect("enter the client");
    Pair { client, server: service.accept() }
}

pub fn service(path: Path, bound: std::io::Result<TcpListener>) -> Service {
    let listener = bound.unwrap_or_else(|error| panic!("listen for {path}: {error}"));
    let target = path.target(&listener).expect("the listener's address");
    Service { listener, target }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.agent.describe());
        } else {
            self.agent.stop();
            self.log.assert_quiet();
        }
    }
}
