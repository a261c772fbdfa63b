use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::server::Server;
use super::{MESSAGE, Measured, Side};
use crate::bed::{Bed, Proxy};
use crate::bench::Latency;
use crate::bench::agent::{Agent, Counters};
use crate::bench::traffic;
use crate::bench::wire::Wire;
use crate::host::Namespace;

/// Requests on each connection before the measurement: this program contains the splice system
/// call, so a connection becomes direct only after 256 reads by recvmsg.
const WARM_UP: usize = 600;

/// Ports of the servers and the proxy, to which the client's request connections are REDIRECTed.
struct Ports {
    requests: u16,
    bulk: u16,
    proxy: u16,
}

impl Side {
    fn ports(self) -> Ports {
        match self {
            Side::Without => Ports { requests: 8001, bulk: 8002, proxy: 15001 },
            Side::With => Ports { requests: 9001, bulk: 9002, proxy: 15002 },
        }
    }
}

/// The two hosts and everything on them, in the order of removal.
#[derive(Debug)]
pub struct Scene {
    proxies: Vec<Proxy>,
    servers: Vec<Server>,
    agent: Agent,
    bed: Bed,
}

impl Scene {
    pub fn new() -> Result<Self> {
        let bed = Bed::new()?;
        let agent = Agent::start("demo", bed.cgroup().path(), &[])?;
        let mut scene = Self { proxies: Vec::new(), servers: Vec::new(), agent, bed };
        for side in [Side::Without, Side::With] {
            let Ports { requests, bulk, proxy } = side.ports();
            scene.bed.redirect(requests, proxy)?;
            let servers = scene.on(scene.bed.server(), side, || {
                [
                    Server::start(at(requests), |client| traffic::answer(client, MESSAGE)),
                    Server::start(at(bulk), |client| traffic::receive_bulk(client, |_| {})),
                ]
            })?;
            for server in servers {
                scene.servers.push(server.context("cannot start a server")?);
            }
            let proxy = scene.on(scene.bed.client(), side, || Proxy::start(proxy))??;
            scene.proxies.push(proxy);
        }
        Ok(scene)
    }

    /// Stops everything; fails if the agent could not detach.
    pub fn close(self) -> Result<()> {
        let Self { proxies, servers, agent, bed } = self;
        drop(proxies);
        drop(servers);
        let stopped = agent.stop();
        drop(bed);
        stopped
    }

    /// The agent's counters.
    pub fn counters(&self) -> Result<Counters> {
        self.agent.counters()
    }

    /// Sends requests over `connections` connections concurrently for `length`.
    pub fn requests(
        &self,
        side: Side,
        connections: usize,
        length: Duration,
        measured: &mut Measured,
    ) -> Result<()> {
        let clients = self.connect(side, side.ports().requests, connections)?;
        for client in &clients {
            let mut buffer = vec![0x5a; MESSAGE];
            for _ in 0..WARM_UP {
                traffic::request(client, &mut buffer).context("a request failed")?;
            }
        }
        let before = self.wire()?;
        let start = Instant::now();
        let latencies: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = clients
                .iter()
                .map(|client| scope.spawn(|| send_requests(client, start + length)))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let time = start.elapsed();
        let wire = self.wire()? - before;
        measured.wire.packets += wire.packets;
        measured.wire.bytes += wire.bytes;
        let mut requests = 0;
        for latency in latencies {
            let latency = latency.context("a request failed")?;
            requests += latency.count();
            measured.latency.add(&latency);
        }
        measured.rates.push(requests as f64 / time.as_secs_f64());
        Ok(())
    }

    /// Transfers as much as possible over one connection to the server for `length`.
    pub fn bulk(&self, side: Side, length: Duration, measured: &mut Measured) -> Result<()> {
        for client in self.connect(side, side.ports().bulk, 1)? {
            let (bytes, time) = traffic::send_bulk(&client, traffic::BULK, length, |_| {})
                .context("the bulk transfer failed")?;
            measured.throughputs.push(bytes as f64 / time.as_secs_f64());
        }
        Ok(())
    }

    fn connect(&self, side: Side, port: u16, count: usize) -> Result<Vec<Socket>> {
        let connect = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            socket.connect(&at(port).into())?;
            traffic::prepare(socket)
        };
        let clients = self.on(self.bed.client(), side, || {
            (0..count).map(|_| connect()).collect::<Result<_, _>>()
        })?;
        clients.context("cannot connect to the server")
    }

    /// Traffic on the interfaces of the client's host: both hops of every connection.
    fn wire(&self) -> Result<Wire> {
        self.bed.client().run(Wire::here)?
    }

    /// Runs `work` on a host, inside the cgroup for one side and outside for the other.
    fn on<T: Send>(
        &self,
        host: &Namespace,
        side: Side,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T> {
        Ok(host.run(|| {
            if side == Side::With {
                self.bed.cgroup().enter()?;
            }
            Ok::<_, crate::bed::Error>(work())
        })??)
    }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from((Bed::SERVER_V4, port))
}

fn send_requests(client: &Socket, until: Instant) -> std::io::Result<Latency> {
    let mut latency = Latency::default();
    let mut buffer = vec![0x5a; MESSAGE];
    let mut begun = Instant::now();
    while begun < until {
        traffic::request(client, &mut buffer)?;
        let ended = Instant::now();
        latency.record(ended - begun);
        begun = ended;
    }
    Ok(latency)
}
