use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Cgroup, Error, Hook, Nat, Proxy};
use crate::host::{self, Namespace, link};

const CLIENT_LINK: &str = "to-server";
const SERVER_LINK: &str = "to-client";

/// Two hosts, client and server, joined by a veth pair, and a cgroup for their sockets that are to
/// be accelerated.
///
/// Every bed has the same addresses, which exist only in its own namespaces; IPv6 where
/// [`link::has_ipv6`]. Dropping it removes everything.
#[derive(Debug)]
pub struct Bed {
    cgroup: Cgroup,
    client: Namespace,
    server: Namespace,
    client_nat: Nat,
    server_nat: Nat,
}

impl Bed {
    /// The client's address in 10.77.0.0/24.
    pub const CLIENT_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
    /// The server's address in 10.77.0.0/24.
    pub const SERVER_V4: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
    /// The client's address in fd00:77::/64.
    pub const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
    /// The server's address in fd00:77::/64.
    pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2);

    /// Creates a bed. Needs CAP_SYS_ADMIN, CAP_NET_ADMIN and a writable cgroup v2 hierarchy.
    pub fn new() -> Result<Self, Error> {
        let cgroup = Cgroup::new()?;
        let (client, server) = (Namespace::new()?, Namespace::new()?);
        link::veth((CLIENT_LINK, &client), (SERVER_LINK, &server))?;
        client.run(|| configure(CLIENT_LINK, Self::CLIENT_V4, Self::CLIENT_V6))??;
        server.run(|| configure(SERVER_LINK, Self::SERVER_V4, Self::SERVER_V6))??;
        // Possible only when both ends are up.
        client.run(|| {
            wait_until_ready(CLIENT_LINK, Self::CLIENT_V6, Self::SERVER_V4, Self::SERVER_V6)
        })??;
        server.run(|| {
            wait_until_ready(SERVER_LINK, Self::SERVER_V6, Self::CLIENT_V4, Self::CLIENT_V6)
        })??;
        let (client_nat, server_nat) = (Nat::new(&client)?, Nat::new(&server)?);
        Ok(Self { cgroup, client, server, client_nat, server_nat })
    }

    /// The cgroup to attach programs to.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// The client's namespace. Sockets created directly in it are outside the cgroup, as if off the
    /// node.
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// The server's namespace. Sockets created directly in it are outside the cgroup, as if off the
    /// node.
    pub fn server(&self) -> &Namespace {
        &self.server
    }

    /// Runs `work` on a thread in the client's namespace and in the cgroup. Its child threads and
    /// processes start there.
    pub fn in_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        self.inside(&self.client, work)
    }

    /// Runs `work` on a thread in the server's namespace and in the cgroup. Its child threads and
    /// processes start there.
    pub fn in_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        self.inside(&self.server, work)
    }

    fn inside<T: Send>(
        &self,
        namespace: &Namespace,
        work: impl FnOnce() -> T + Send,
    ) -> Result<T, Error> {
        Ok(namespace.run(|| self.cgroup.enter().map(|()| work()))??)
    }

    /// REDIRECTs connections of the client to `port`, at any address, to the client's own port
    /// `to`: a sidecar's outbound hop. The connections of a [`Proxy`] that listens there are
    /// exempt.
    pub fn redirect(&mut self, port: u16, to: u16) -> Result<(), Error> {
        Ok(self.client_nat.redirect(Hook::Output, port, to, Some(Proxy::MARK))?)
    }

    /// REDIRECTs connections arriving at the server's `port` to its port `to`: a sidecar's inbound
    /// hop.
    pub fn redirect_inbound(&mut self, port: u16, to: u16) -> Result<(), Error> {
        Ok(self.server_nat.redirect(Hook::Prerouting, port, to, None)?)
    }

    /// Translates connections of the client to `from` into `to`: a cluster service with one
    /// endpoint.
    pub fn dnat(&mut self, from: SocketAddr, to: SocketAddr) -> Result<(), Error> {
        Ok(self.client_nat.dnat(Hook::Output, from, to)?)
    }
}

fn configure(name: &str, v4: Ipv4Addr, v6: Ipv6Addr) -> Result<(), host::Error> {
    link::add_address(name, IpAddr::V4(v4), 24)?;
    if link::has_ipv6() {
        link::add_address(name, IpAddr::V6(v6), 64)?;
    }
    link::set_up(name)
}

fn wait_until_ready(
    name: &str,
    own_v6: Ipv6Addr,
    gateway_v4: Ipv4Addr,
    gateway_v6: Ipv6Addr,
) -> Result<(), host::Error> {
    link::wait_until_running(name)?;
    link::add_default_route(IpAddr::V4(gateway_v4))?;
    if link::has_ipv6() {
        link::wait_until_found(name, own_v6)?;
        link::add_default_route(IpAddr::V6(gateway_v6))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::time::Duration;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    const LIMIT: Duration = Duration::from_secs(10);

    fn bed() -> Bed {
        Bed::new().expect("create a bed (as root, with cgroup v2 mounted)")
    }

    fn server_addresses() -> [IpAddr; 2] {
        [Bed::SERVER_V4.into(), Bed::SERVER_V6.into()]
    }

    fn listen(bed: &Bed, address: SocketAddr) -> TcpListener {
        bed.in_server(|| TcpListener::bind(address)).expect("run in the server").expect("listen")
    }

    fn connect(bed: &Bed, address: SocketAddr) -> std::io::Result<TcpStream> {
        bed.in_client(|| TcpStream::connect_timeout(&address, LIMIT)).expect("run in the client")
    }

    /// Accepts the connection within the limit, and exchanges a word each way.
    fn converse(listener: &TcpListener, client: &mut TcpStream) -> TcpStream {
        let mut arrival = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        let arrived =
            poll(&mut arrival, PollTimeout::try_from(LIMIT).expect("a limit")).expect("wait");
        assert_eq!(arrived, 1, "no connection arrived");
        let (mut server, _) = listener.accept().expect("accept");
        client.set_read_timeout(Some(LIMIT)).expect("limit the wait");
        server.set_read_timeout(Some(LIMIT)).expect("limit the wait");
        let mut word = [0; 4];
        client.write_all(b"ping").expect("send");
        server.read_exact(&mut word).expect("receive");
        assert_eq!(&word, b"ping");
        server.write_all(b"pong").expect("answer");
        client.read_exact(&mut word).expect("receive the answer");
        assert_eq!(&word, b"pong");
        server
    }

    #[test]
    fn connections_of_both_families_cross_the_wire() {
        let bed = bed();
        let clients: [IpAddr; 2] = [Bed::CLIENT_V4.into(), Bed::CLIENT_V6.into()];
        for (server, client) in server_addresses().into_iter().zip(clients) {
            let listener = listen(&bed, SocketAddr::new(server, 8080));
            let mut stream = connect(&bed, SocketAddr::new(server, 8080)).expect("connect");
            let accepted = converse(&listener, &mut stream);
            assert_eq!(accepted.peer_addr().expect("a peer").ip(), client);
        }
    }

    #[test]
    fn work_is_in_the_cgroup_only_on_request() {
        let bed = bed();
        let membership = || {
            std::fs::read_to_string("/proc/thread-self/cgroup").expect("read this thread's cgroup")
        };
        let name = bed.cgroup().path().file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(bed.in_client(membership).expect("run").contains(name));
        assert!(bed.in_server(membership).expect("run").contains(name));
        assert!(!bed.client().run(membership).expect("run").contains(name));
        assert!(!bed.server().run(membership).expect("run").contains(name));
    }

    #[test]
    fn two_beds_with_the_same_addresses_are_separate() {
        let (one, two) = std::thread::scope(|scope| {
            let (one, two) = (scope.spawn(bed), scope.spawn(bed));
            (one.join().expect("a bed"), two.join().expect("a bed"))
        });
        assert_ne!(one.cgroup().path(), two.cgroup().path());
        let address = SocketAddr::from((Bed::SERVER_V4, 8080));
        let listener = listen(&one, address);
        let refused = connect(&two, address).expect_err("nobody listens in the second bed");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let mut stream = connect(&one, address).expect("connect");
        converse(&listener, &mut stream);

        let second = listen(&two, address);
        drop((one, listener, stream));
        let mut stream = connect(&two, address).expect("connect after the other bed is dropped");
        converse(&second, &mut stream);
    }

    #[test]
    fn dropping_removes_everything_also_after_a_panic() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let outcome = std::thread::spawn(move || {
            let bed = bed();
            let _proxy = bed
                .in_client(|| Proxy::start(15001))
                .expect("run in the client")
                .expect("start a proxy");
            sender.send(bed.cgroup().path().to_owned()).expect("tell the path");
            panic!("as a failing test does");
        })
        .join();
        outcome.expect_err("the thread panicked");
        let path = receiver.recv().expect("the cgroup's path");
        assert!(!path.exists());
    }

    #[test]
    fn a_redirect_sends_a_port_of_any_address_to_the_own_host_and_keeps_its_destination() {
        for original in server_addresses() {
            let mut bed = bed();
            bed.redirect(80, 15001).expect("redirect");
            let local = if original.is_ipv4() { "0.0.0.0:15001" } else { "[::]:15001" };
            let sidecar = bed
                .in_client(|| TcpListener::bind(local))
                .expect("run in the client")
                .expect("listen");
            let mut stream = connect(&bed, SocketAddr::new(original, 80)).expect("connect");
            assert_eq!(stream.peer_addr().expect("a peer"), SocketAddr::new(original, 80));
            let accepted = converse(&sidecar, &mut stream);
            let socket = socket2::SockRef::from(&accepted);
            let wanted = if original.is_ipv4() {
                socket.original_dst_v4()
            } else {
                socket.original_dst_v6()
            };
            assert_eq!(
                wanted.expect("an original destination").as_socket(),
                Some(SocketAddr::new(original, 80))
            );
            assert_eq!(accepted.local_addr().expect("an address").port(), 15001);

            let other = connect(&bed, SocketAddr::new(original, 81))
                .expect_err("port 81 is not redirected");
            assert_eq!(other.kind(), std::io::ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn a_redirect_exempts_the_proxy_s_own_connections() {
        for server in server_addresses() {
            let mut bed = bed();
            bed.redirect(80, 15001).expect("redirect");
            let address = SocketAddr::new(server, 80);
            let listener = listen(&bed, address);
            let mut marked = bed
                .in_client(|| {
                    let socket = socket2::Socket::new(
                        socket2::Domain::for_address(address),
                        socket2::Type::STREAM,
                        None,
                    )?;
                    socket.set_mark(Proxy::MARK)?;
                    socket.connect_timeout(&address.into(), LIMIT)?;
                    Ok::<TcpStream, std::io::Error>(socket.into())
                })
                .expect("run in the client")
                .expect("connect with the mark");
            converse(&listener, &mut marked);
            let unmarked = connect(&bed, address).expect_err("redirected to where nobody listens");
            assert_eq!(unmarked.kind(), std::io::ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn a_dnat_rule_translates_one_address_and_port_to_another() {
        let services: [IpAddr; 2] =
            [[10, 96, 0, 1].into(), [0xfd00, 0x96, 0, 0, 0, 0, 0, 1].into()];
        for (service, server) in services.into_iter().zip(server_addresses()) {
            let mut bed = bed();
            let (service, backend) = (SocketAddr::new(service, 80), SocketAddr::new(server, 8080));
            bed.dnat(service, backend).expect("translate");
            let listener = listen(&bed, backend);
            let mut stream = connect(&bed, service).expect("connect to the service");
            assert_eq!(stream.peer_addr().expect("a peer"), service);
            let accepted = converse(&listener, &mut stream);
            assert_eq!(accepted.local_addr().expect("an address"), backend);
            connect(&bed, SocketAddr::new(server, 80))
                .expect_err("only the service's address is translated");
        }
    }

    #[test]
    fn each_host_has_its_own_conntrack_timeouts() {
        let bed = bed();
        let name = "net/netfilter/nf_conntrack_tcp_timeout_established";
        bed.client().set_sysctl(name, "5").expect("write");
        assert_eq!(bed.client().sysctl(name).expect("read"), "5");
        assert_ne!(bed.server().sysctl(name).expect("read"), "5");
    }

    #[test]
    fn a_proxy_on_each_side_relays_every_byte_and_the_half_close() {
        for server in server_addresses() {
            let mut bed = bed();
            let outbound = bed
                .in_client(|| Proxy::start(15001))
                .expect("run in the client")
                .expect("start a proxy");
            let inbound = bed
                .in_server(|| Proxy::start(0))
                .expect("run in the server")
                .expect("start a proxy");
            bed.redirect(80, outbound.port()).expect("redirect");
            bed.redirect_inbound(80, inbound.port()).expect("redirect");
            let listener = listen(&bed, SocketAddr::new(server, 80));
            let mut client = connect(&bed, SocketAddr::new(server, 80)).expect("connect");
            let mut accepted = converse(&listener, &mut client);
            // The inbound proxy is on the server's host: otherwise the client's address would be
            // seen.
            assert_eq!(accepted.peer_addr().expect("a peer").ip(), server);

            let sent: Vec<u8> =
                (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    client.write_all(&sent).expect("send");
                    client.shutdown(std::net::Shutdown::Write).expect("end the request");
                });
                let mut received = Vec::new();
                accepted.read_to_end(&mut received).expect("receive to the end");
                assert!(
                    received == sent,
                    "received {} of {} bytes, or others",
                    received.len(),
                    sent.len()
                );
            });
            accepted.write_all(b"done").expect("answer after the end of the request");
            drop(accepted);
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("receive the answer to its end");
            assert_eq!(answer, "done");
        }
    }

    #[test]
    fn a_dropped_proxy_closes_its_connections_and_frees_its_port() {
        let mut bed = bed();
        let proxy = bed
            .in_client(|| Proxy::start(15001))
            .expect("run in the client")
            .expect("start a proxy");
        bed.redirect(80, 15001).expect("redirect");
        let address = SocketAddr::from((Bed::SERVER_V4, 80));
        let listener = listen(&bed, address);
        let mut stream = connect(&bed, address).expect("connect");
        let _accepted = converse(&listener, &mut stream);
        let dropping = std::thread::spawn(move || drop(proxy));
        match stream.read(&mut [0; 1]) {
            Ok(0) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            other => panic!("the connection is still open: {other:?}"),
        }
        dropping.join().expect("the proxy ends");
        bed.in_client(|| Proxy::start(15001))
            .expect("run in the client")
            .expect("start another on the same port");
    }

    #[test]
    fn a_connection_made_to_the_proxy_itself_is_closed() {
        let mut bed = bed();
        // A rule enables connection tracking, which has an original destination for every
        // connection.
        bed.redirect(80, 15001).expect("redirect");
        let _proxy = bed
            .in_client(|| Proxy::start(15001))
            .expect("run in the client")
            .expect("start a proxy");
        for address in
            [SocketAddr::from((Bed::CLIENT_V4, 15001)), SocketAddr::from((Bed::CLIENT_V6, 15001))]
        {
            let mut stream = connect(&bed, address).expect("connect");
            stream.set_read_timeout(Some(LIMIT)).expect("limit the wait");
            assert_eq!(stream.read(&mut [0; 1]).expect("an end in time"), 0);
        }
        let tracked = bed.client().sysctl("net/netfilter/nf_conntrack_count").expect("read");
        assert_eq!(tracked, "2", "connections: each of the two, and none from the proxy to itself");
    }
}
