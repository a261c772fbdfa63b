//! Interfaces, addresses and routes by rtnetlink (rtnetlink(7),
//! include/uapi/linux/{if_link,if_addr,rtnetlink,veth}.h).
//!
//! Every function except [`veth`] acts in the namespace of the calling thread.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::SockProtocol;

use super::netlink::{Attributes, Request, Socket, attribute};
use super::{Error, Namespace};

/// `VETH_INFO_PEER`: the peer interface, as a `struct ifinfomsg` and attributes.
const VETH_INFO_PEER: u16 = 1;

/// `IF_OPER_UP` of RFC 2863: operational.
const IF_OPER_UP: u8 = 6;

/// Creates a pair of interfaces, each in its namespace, down and without addresses. A name has 1 to
/// 15 bytes.
pub fn veth(here: (&str, &Namespace), there: (&str, &Namespace)) -> Result<(), Error> {
    let action = format!("create the veth pair {} and {}", here.0, there.0);
    if [here.0, there.0].iter().any(|name| name.len() >= libc::IFNAMSIZ) {
        return Err(Error::Netlink {
            action,
            cause: io::Error::from_raw_os_error(libc::ENAMETOOLONG),
        });
    }
    let namespace = there.1.as_fd().as_raw_fd().to_ne_bytes();
    let peer =
        Attributes::new().string(libc::IFLA_IFNAME, there.0).with(libc::IFLA_NET_NS_FD, &namespace);
    let peer = [ifinfomsg(0, 0).as_slice(), peer.as_bytes()].concat();
    let attributes = Attributes::new().string(libc::IFLA_IFNAME, here.0).nest(
        libc::IFLA_LINKINFO,
        Attributes::new()
            .string(libc::IFLA_INFO_KIND, "veth")
            .nest(libc::IFLA_INFO_DATA, Attributes::new().with(VETH_INFO_PEER, &peer)),
    );
    here.1.run(|| create(&action, libc::RTM_NEWLINK, ifinfomsg(0, 0), attributes))?
}

/// Whether the kernel has IPv6, which `ipv6.disable=1` turns off.
pub fn has_ipv6() -> bool {
    Path::new("/proc/thread-self/net/if_inet6").exists()
}

/// Sets an interface up.
pub fn set_up(name: &str) -> Result<(), Error> {
    let action = format!("set the interface {name} up");
    let header = ifinfomsg(index(name, &action)?, libc::IFF_UP as u32);
    request(&action, libc::RTM_NEWLINK, 0, header, Attributes::new())
}

/// Sets the MTU, in bytes.
pub fn set_mtu(name: &str, mtu: u32) -> Result<(), Error> {
    let action = format!("set the MTU of {name} to {mtu}");
    let header = ifinfomsg(index(name, &action)?, 0);
    request(
        &action,
        libc::RTM_NEWLINK,
        0,
        header,
        Attributes::new().with(libc::IFLA_MTU, &mtu.to_ne_bytes()),
    )
}

/// Adds an address that is usable at once: without duplicate address detection for IPv6.
pub fn add_address(name: &str, address: IpAddr, prefix_length: u8) -> Result<(), Error> {
    let action = format!("give {name} the address {address}/{prefix_length}");
    // struct ifaddrmsg: family, prefix length, flags, scope (0: universe), index.
    let mut header = vec![family(address), prefix_length, libc::IFA_F_NODAD as u8, 0];
    header.extend(index(name, &action)?.to_ne_bytes());
    let address = octets(address);
    let attributes =
        Attributes::new().with(libc::IFA_LOCAL, &address).with(libc::IFA_ADDRESS, &address);
    create(&action, libc::RTM_NEWADDR, header, attributes)
}

/// Sets the default route to `gateway`, which must be reachable on an interface that is up.
pub fn add_default_route(gateway: IpAddr) -> Result<(), Error> {
    let action = format!("add a default route by {gateway}");
    // struct rtmsg: family, prefix lengths of destination and cause, TOS, table, protocol, scope,
    // type, flags u32.
    let mut header = vec![family(gateway), 0, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_BOOT];
    header.extend([libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST, 0, 0, 0, 0]);
    let attributes = Attributes::new().with(libc::RTA_GATEWAY, &octets(gateway));
    create(&action, libc::RTM_NEWROUTE, header, attributes)
}

/// Waits until the interface carries packets. The kernel starts its queue a moment after both ends
/// are up; a SYN sent before that is lost and retransmitted a second later.
pub fn wait_until_running(name: &str) -> Result<(), Error> {
    let action = format!("wait until the interface {name} is running");
    let header = ifinfomsg(index(name, &action)?, 0);
    let mut socket = Socket::open(SockProtocol::NetlinkRoute)?;
    wait(&action, "it has no carrier", || {
        // On a request for one interface (not a dump of all) recent kernels update its state first;
        // others do within a second.
        let (kind, flags) = (libc::RTM_GETLINK, libc::NLM_F_ACK);
        let get = Request { kind, flags, header: header.clone(), attributes: Attributes::new() };
        let replies = socket.exchange(&action, &[get])?;
        let mut states = replies
            .iter()
            .filter_map(|link| attribute(link.get(header.len()..)?, libc::IFLA_OPERSTATE));
        Ok(states.any(|state| state == [IF_OPER_UP]))
    })
}

/// Waits until the host's IPv6 address is resolvable: until it has joined the solicited-node
/// multicast group (RFC 4291, section 2.7.1). The kernel joins a moment after the interface is up;
/// a solicitation before that is lost and repeated a second later.
pub fn wait_until_found(name: &str, address: Ipv6Addr) -> Result<(), Error> {
    let action = format!("wait until {name} has joined the solicited-node group of {address}");
    let [.., a, b, c] = address.octets();
    let group = format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}");
    wait(&action, "the interface is down", || {
        let groups = std::fs::read_to_string("/proc/thread-self/net/igmp6")
            .map_err(|cause| Error::Netlink { action: action.clone(), cause })?;
        Ok(groups.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next() == Some(name) && fields.next() == Some(&group)
        }))
    })
}

fn wait(
    action: &str,
    otherwise: &str,
    mut is_done: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !is_done()? {
        if Instant::now() >= deadline {
            let cause = io::Error::new(io::ErrorKind::TimedOut, format!("{otherwise} after 5 s"));
            return Err(Error::Netlink { action: action.into(), cause });
        }
        sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn create(action: &str, kind: u16, header: Vec<u8>, attributes: Attributes) -> Result<(), Error> {
    request(action, kind, libc::NLM_F_CREATE | libc::NLM_F_EXCL, header, attributes)
}

fn request(
    action: &str,
    kind: u16,
    flags: i32,
    header: Vec<u8>,
    attributes: Attributes,
) -> Result<(), Error> {
    let request = Request { kind, flags: flags | libc::NLM_F_ACK, header, attributes };
    Socket::open(SockProtocol::NetlinkRoute)?.send(action, &[request])
}

/// `struct ifinfomsg`: family, padding, type u16, index u32, flags u32, mask of changed flags u32.
fn ifinfomsg(index: u32, flags: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    for word in [index, flags, flags] {
        header.extend(word.to_ne_bytes());
    }
    header
}

fn index(name: &str, action: &str) -> Result<u32, Error> {
    if_nametoindex(name)
        .map_err(|errno| Error::Netlink { action: action.into(), cause: errno.into() })
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    use nix::net::if_::if_nameindex;
    use socket2::SockRef;

    #[test]
    fn segments_follow_the_mtu() {
        fn segment() -> u32 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
            let client =
                TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
            SockRef::from(&client).tcp_mss().expect("a segment size")
        }
        let namespace = Namespace::new().expect("make a namespace (as root)");
        let before = namespace.run(segment).expect("run inside");
        namespace.run(|| set_mtu("lo", 1500)).expect("run inside").expect("set the MTU");
        let after = namespace.run(segment).expect("run inside");
        assert!(before > 1500, "segments of {before} bytes before");
        assert!((1400..1500).contains(&after), "segments of {after} bytes after");
    }

    #[test]
    fn waiting_in_vain_ends_with_the_reason() {
        let namespace = Namespace::new().expect("make a namespace (as root)");
        veth(("one", &namespace), ("two", &namespace)).expect("make a pair");
        let outcomes = namespace
            .run(|| {
                std::thread::scope(|scope| {
                    let running = scope.spawn(|| wait_until_running("one"));
                    let found = scope.spawn(|| wait_until_found("one", Ipv6Addr::LOCALHOST));
                    [running.join(), found.join()].map(|outcome| outcome.expect("a thread"))
                })
            })
            .expect("run inside");
        for (outcome, reason) in
            outcomes.into_iter().zip(["it has no carrier", "the interface is down"])
        {
            let text = outcome.expect_err("both ends are down").to_string();
            assert!(text.contains(reason) && text.contains("one"), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_action_and_leaves_nothing_behind() {
        let make = || Namespace::new().expect("make a namespace (as root)");
        let (here, there) = (make(), make());
        let text = |outcome: Result<(), Error>| outcome.expect_err("a refusal").to_string();

        let missing = text(here.run(|| set_up("nothing")).expect("run inside"));
        assert!(missing.starts_with("cannot set the interface nothing up: "), "{missing}");

        veth(("one", &here), ("two", &there)).expect("make a pair");
        let taken = text(veth(("one", &here), ("three", &there)));
        assert!(
            taken.starts_with("cannot create the veth pair one and three: File exists"),
            "{taken}"
        );
        let long = text(veth(("four", &here), ("sixteen-bytes-in", &there)));
        assert!(long.contains("sixteen-bytes-in"), "{long}");

        let names = |namespace: &Namespace| {
            let mut names: Vec<_> = namespace
                .run(|| {
                    if_nameindex()
                        .expect("list")
                        .iter()
                        .map(|link| link.name().to_owned())
                        .collect()
                })
                .expect("run inside");
            names.retain(|name: &std::ffi::CString| {
                [c"one", c"two", c"three", c"four"].contains(&name.as_c_str())
            });
            names
        };
        assert_eq!(names(&here), [c"one".to_owned()]);
        assert_eq!(names(&there), [c"two".to_owned()]);
    }
}
