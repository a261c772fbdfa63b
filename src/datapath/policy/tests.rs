use super::super::simulation::{Event, Fault, Helper, Op, REFRESH, World, on_every_kernel};
use super::super::{Comm, Control, Counter, Isns, Ports, Prefix, rules, ruling};
use super::DEPTH;

const INCLUDED: u64 = ruling::INCLUDED;
const EXCLUDED: u64 = ruling::EXCLUDED;

const PAIR: Isns = Isns { own: 101, peer: 201 };
const CLIENT: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [10, 0, 0, 2];
/// What the client dials; a NAT hop makes the other of it.
const DIALLED: u16 = 80;
const LISTENED: u16 = 15001;
const THREAD: &[u8; 16] = b"a-thread\0\0\0\0\0\0\0\0";

fn comm(name: &str) -> Comm {
    let mut comm = Comm::default();
    comm.name[..name.len()].copy_from_slice(name.as_bytes());
    comm
}

fn rules_are(w: &mut World, rules: u32) {
    w.control(Control { refresh: REFRESH, rules, ..Control::default() });
}

/// Both ends of a connection that nobody knows of yet, and what listens.
struct Ends {
    client: u64,
    server: u64,
    listener: u64,
    request: u64,
}

/// Folders in each other, the innermost first, with these inode numbers.
fn cgroup(w: &mut World, inodes: impl IntoIterator<Item = u64>) -> u64 {
    let folders: Vec<u64> = inodes
        .into_iter()
        .map(|inode| {
            let folder = w.object();
            w.set(folder, |l| l.folder_inode, inode);
            w.set(folder, |l| l.folder_above, 0);
            folder
        })
        .collect();
    for pair in folders.windows(2) {
        w.set(pair[0], |l| l.folder_above, pair[1]);
    }
    let cgroup = w.object();
    w.set(cgroup, |l| l.cgroup_folder, folders[0]);
    cgroup
}

impl Ends {
    /// A client in cgroup 11 and a listener in cgroup 12, both in 10, in 1; called `client` and
    /// `server`.
    fn new(w: &mut World) -> Ends {
        let (client, server) = w.connection(100, 200);
        let (listener, request) = (w.socket(1, 2), w.object());
        w.set(request, |l| l.listener, listener);
        w.set(request, |l| l.local_port, LISTENED.into());
        w.set(client, |l| l.remote_port, DIALLED.to_be().into());
        w.addresses(client, CLIENT, [10, 96, 0, 10]);
        w.addresses(request, SERVER, [10, 0, 0, 254]);
        for (sk, inode) in [(client, 11), (listener, 12)] {
            let cgroup = cgroup(w, [inode, 10, 1]);
            // With tags, as kernels before 5.16 have them.
            w.set(sk, |l| l.cgroup, cgroup | 2);
        }
        w.caller(&comm("server").name, THREAD);
        w.event(Event::new(Op::TcpListen, listener));
        Ends { client, server, listener, request }
    }

    /// The client connects, the listener answers, both are established. What was counted.
    fn establish(&self, w: &mut World) -> Vec<(Counter, u64)> {
        w.counted();
        w.caller(&comm("client").name, THREAD);
        w.event(Event::new(Op::TcpConnect, self.client));
        w.syn_with(self.request, 100, 200);
        w.establish(self.client, self.server);
        let counted = w.counted();
        for sk in [self.client, self.server] {
            assert_eq!(w.callbacks(sk) != 0, counted == ACCELERATED);
        }
        counted
    }
}

/// Both ends are marked.
const ACCELERATED: &[(Counter, u64)] = &[];
/// Nor is the server's end, of course.
const LEFT_ALONE: &[(Counter, u64)] = &[(Counter::NoClient, 1), (Counter::Excluded, 1)];

/// What is counted of a connection with these rules.
fn counted(w: &mut World, kinds: u32, put: impl FnOnce(&mut World)) -> Vec<(Counter, u64)> {
    let ends = Ends::new(w);
    rules_are(w, kinds);
    put(w);
    ends.establish(w)
}

/// On a kernel each, with one rule: of either verdict, and with and without the need to be
/// included.
fn every_verdict(kind: u32, holds: bool, put: impl Fn(&mut World, u64)) {
    for (said, only_included, accelerated) in [
        (EXCLUDED, false, !holds),
        (INCLUDED, false, true),
        (INCLUDED, true, holds),
        (INCLUDED | EXCLUDED, true, false),
    ] {
        on_every_kernel(|mut w| {
            let kinds = kind | if only_included { rules::ONLY_INCLUDED } else { 0 };
            let expected = if accelerated { ACCELERATED } else { LEFT_ALONE };
            assert_eq!(
                counted(&mut w, kinds, |w| put(w, said)),
                expected,
                "{said} {only_included}"
            );
        });
    }
}

// What rules hold for.

#[test]
fn without_rules_nothing_is_looked_at() {
    on_every_kernel(|mut w| {
        let ends = Ends::new(&mut w);
        w.set(ends.request, |l| l.listener, 1);
        w.set(ends.client, |l| l.cgroup, 1);
        assert_eq!(ends.establish(&mut w), ACCELERATED);
        assert_eq!(w.len("clients"), 0);
    });
}

#[test]
fn a_rule_of_a_kind_that_is_switched_off_counts_for_nothing() {
    on_every_kernel(|mut w| {
        let every_kind_but = |kind: u32| !kind & 15;
        for kind in [rules::PORTS, rules::ADDRESSES, rules::PROCESSES, rules::CGROUPS] {
            let mut w = World::new(w.kernel);
            let counted = counted(&mut w, every_kind_but(kind), |w| match kind {
                rules::PORTS => w.ports(&ports(DIALLED, EXCLUDED)),
                rules::ADDRESSES => w.put_under("addresses", prefix(CLIENT, 32), EXCLUDED),
                rules::PROCESSES => w.put_under("processes", comm("client"), EXCLUDED),
                _ => w.put_under("cgroups", 10u64, EXCLUDED),
            });
            assert_eq!(counted, ACCELERATED, "{kind}");
        }
        w.time_passes(1);
    });
}

fn ports(port: u16, said: u64) -> Ports {
    let mut ports = Ports::default();
    bytemuck::bytes_of_mut(&mut ports)[usize::from(port) / 4] = (said as u8) << (port % 4 * 2);
    ports
}

#[test]
fn a_rule_by_port_holds_for_the_port_that_was_dialled_and_the_one_that_is_listened_at() {
    for (port, holds) in [
        (DIALLED, true),
        (LISTENED, true),
        (DIALLED + 1, false),
        (LISTENED - 1, false),
        (u16::MAX, false),
    ] {
        every_verdict(rules::PORTS, holds, |w, said| w.ports(&ports(port, said)));
    }
}

fn prefix(address: [u8; 4], length: u32) -> Prefix {
    let mapped = std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets();
    Prefix { length: 96 + length, address: bytemuck::pod_read_unaligned(&mapped) }
}

#[test]
fn a_rule_by_address_holds_for_every_address_that_either_end_sees() {
    for (address, length, holds) in [
        (CLIENT, 32, true),
        (SERVER, 32, true),
        ([10, 96, 0, 0], 16, true),
        ([10, 0, 0, 254], 31, true),
        ([10, 97, 0, 0], 16, false),
        ([11, 0, 0, 0], 8, false),
    ] {
        every_verdict(rules::ADDRESSES, holds, |w, said| {
            w.put_under("addresses", prefix(address, length), said)
        });
    }
    let everything = Prefix { length: 0, address: [0; 4] };
    every_verdict(rules::ADDRESSES, true, |w, said| w.put_under("addresses", everything, said));
}

#[test]
fn a_rule_by_process_holds_for_the_one_that_listens_and_the_one_that_connects() {
    for (name, holds) in [("client", true), ("server", true), ("clien", false), ("a-thread", false)]
    {
        every_verdict(rules::PROCESSES, holds, |w, said| {
            w.put_under("processes", comm(name), said)
        });
    }
}

#[test]
fn a_rule_by_cgroup_holds_for_all_below_it_and_the_nearest_says_everything() {
    for (inode, holds) in [(11, true), (12, true), (10, true), (1, true), (13, false)] {
        every_verdict(rules::CGROUPS, holds, |w, said| {
            w.put_under("cgroups", u64::from(inode as u32), said)
        });
    }
    on_every_kernel(|mut w| {
        let counted = counted(&mut w, rules::CGROUPS, |w| {
            for (inode, said) in [(11u64, INCLUDED), (12, INCLUDED), (10, EXCLUDED)] {
                w.put_under("cgroups", inode, said);
            }
        });
        assert_eq!(counted, ACCELERATED);
    });
}

#[test]
fn a_cgroup_that_lies_too_deep_excludes() {
    on_every_kernel(|mut w| {
        for (depth, expected) in [(DEPTH, ACCELERATED), (DEPTH + 1, LEFT_ALONE)] {
            for at_the_client in [true, false] {
                let mut w = World::new(w.kernel);
                let ends = Ends::new(&mut w);
                rules_are(&mut w, rules::CGROUPS);
                let deep = cgroup(&mut w, 100..100 + depth as u64);
                w.set(if at_the_client { ends.client } else { ends.listener }, |l| l.cgroup, deep);
                assert_eq!(ends.establish(&mut w), expected, "{depth}");
            }
        }
        w.time_passes(1);
    });
}

// Who is who.

#[test]
fn a_listener_is_noted_by_its_cookie_with_the_name_of_the_first_thread() {
    on_every_kernel(|mut w| {
        let listener = w.socket(1, 2);
        // The kernel leaves the end of an earlier name behind the name.
        w.caller(b"sh\0earlier-name\0", THREAD);
        w.event(Event::new(Op::TcpListen, listener));
        let cookie = w.get(listener, |l| l.cookie);
        assert_eq!(w.value_under::<u64, Comm>("listeners", cookie), Some(comm("sh")));
        // The same socket again, and the longest name.
        w.caller(b"fifteen-letters\0", THREAD);
        w.event(Event::new(Op::TcpListen, listener));
        assert_eq!(w.value_under::<u64, Comm>("listeners", cookie), Some(comm("fifteen-letters")));
    });
}

#[test]
fn what_listens_without_being_noted_is_excluded_where_there_are_rules_by_process() {
    on_every_kernel(|mut w| {
        for helper in [Helper::RdonlyCast, Helper::ProbeReadKernelStr] {
            let mut w = World::new(w.kernel);
            let ends = Ends::new(&mut w);
            w.evict("listeners");
            w.fails(helper);
            w.event(Event::new(Op::TcpListen, ends.listener));
            assert_eq!((w.len("listeners"), w.pending_faults()), (0, 0));
            rules_are(&mut w, rules::PROCESSES);
            assert_eq!(ends.establish(&mut w), LEFT_ALONE);
        }
        w.time_passes(1);
    });
}

#[test]
fn a_client_whose_process_cannot_be_seen_is_excluded() {
    on_every_kernel(|mut w| {
        for helper in [Helper::RdonlyCast, Helper::ProbeReadKernelStr] {
            let mut w = World::new(w.kernel);
            let ends = Ends::new(&mut w);
            rules_are(&mut w, rules::PROCESSES);
            w.fails(helper);
            assert_eq!(ends.establish(&mut w), LEFT_ALONE);
        }
        w.time_passes(1);
    });
}

#[test]
fn a_socket_that_another_process_connects_with_has_that_ones_verdict() {
    on_every_kernel(|mut w| {
        rules_are(&mut w, rules::PROCESSES);
        w.put_under("processes", comm("first"), EXCLUDED);
        w.put_under("processes", comm("second"), INCLUDED);
        let (client, _) = w.connection(100, 200);
        for (name, said) in [
            ("first", Some(EXCLUDED)),
            ("second", Some(INCLUDED)),
            ("third", None),
            ("fourth", None),
        ] {
            w.caller(&comm(name).name, THREAD);
            w.event(Event::new(Op::TcpConnect, client));
            assert_eq!(w.value_under::<u64, u64>("clients", client), said, "{name}");
        }
    });
}

#[test]
fn nothing_is_kept_for_a_client_that_is_not_shown_or_has_no_room() {
    on_every_kernel(|mut w| {
        rules_are(&mut w, rules::PROCESSES);
        w.put_under("processes", comm("client"), EXCLUDED);
        w.caller(&comm("client").name, THREAD);
        let (client, _) = w.connection(100, 200);
        w.event(Event { shown: false, ..Event::new(Op::TcpConnect, client) });
        assert_eq!(w.len("clients"), 0);
        w.fails(Helper::SkStorageGet);
        w.event(Event::new(Op::TcpConnect, client));
        assert_eq!((w.len("clients"), w.pending_faults()), (0, 0));
    });
}

// When something fails.

const EVERY_KIND: u32 = rules::PORTS | rules::ADDRESSES | rules::PROCESSES | rules::CGROUPS;

#[test]
fn a_listeners_end_that_cannot_be_looked_at_is_excluded() {
    /// Of the request socket itself; without them there is no hint.
    const FIRST: u32 = 3;
    on_every_kernel(|mut w| {
        for read in FIRST.. {
            let mut w = World::new(w.kernel);
            let ends = Ends::new(&mut w);
            rules_are(&mut w, EVERY_KIND);
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            w.syn_with(ends.request, 100, 200);
            if w.pending_faults() > 0 {
                assert_eq!(w.entries::<u64>("hints"), [(PAIR, 0)]);
                assert!(read > FIRST + 9, "{read} reads");
                break;
            }
            assert_eq!(w.entries::<u64>("hints"), [(PAIR, EXCLUDED)], "{read}");
        }
        w.time_passes(1);
    });
}

#[test]
fn a_client_that_cannot_be_looked_at_is_not_accelerated() {
    on_every_kernel(|mut w| {
        let mut excluded = 0;
        for read in 0.. {
            let mut w = World::new(w.kernel);
            let ends = Ends::new(&mut w);
            rules_are(&mut w, EVERY_KIND);
            w.event(Event::new(Op::TcpConnect, ends.client));
            w.syn_with(ends.request, 100, 200);
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            w.event(Event::new(Op::ActiveEstablished, ends.client));
            if w.pending_faults() > 0 {
                break;
            }
            match w.counted().as_slice() {
                [(Counter::Excluded, 1)] => {
                    assert_eq!(w.callbacks(ends.client), 0);
                    excluded += 1;
                }
                // What is asked before and after.
                _ => assert_eq!(w.callbacks(ends.client) != 0, excluded > 0, "{read}"),
            }
        }
        assert!(excluded > 9, "{excluded}");
        w.time_passes(1);
    });
}

#[test]
fn a_client_that_is_hidden_while_it_is_judged_is_excluded() {
    on_every_kernel(|mut w| {
        let mut excluded = 0;
        for read in 0..40 {
            let mut w = World::new(w.kernel);
            let ends = Ends::new(&mut w);
            rules_are(&mut w, EVERY_KIND);
            w.event(Event::new(Op::TcpConnect, ends.client));
            w.syn_with(ends.request, 100, 200);
            w.fault(Helper::ProbeReadKernel, read, Fault::SocketHidden);
            w.event(Event::new(Op::ActiveEstablished, ends.client));
            excluded += u32::from(w.counted() == [(Counter::Excluded, 1)]);
        }
        assert!(excluded > 0);
        w.time_passes(1);
    });
}
