use super::super::simulation::{Event, Fault, HZ, Helper, Kernel, Op, REFRESH, Way, World, on_every_kernel};
use super::super::{Control, End, Isns, Mode, Reason, Role};

/// State changes and segments sent (`BPF_SOCK_OPS_STATE_CB_FLAG`, `BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG`).
const CALLBACKS: u64 = 0x44;

const PAIR: Isns = Isns { own: 101, peer: 201 };

/// A connection whose SYN has reached a listener: client and server, established soon.
fn hinted(w: &mut World) -> (u64, u64) {
    let ends = w.connection(100, 200);
    w.syn(100, 200);
    ends
}

/// A connection whose client waits for its server.
fn waited_for(w: &mut World) -> (u64, u64) {
    let (client, server) = hinted(w);
    w.event(Event::new(Op::ActiveEstablished, client));
    assert_eq!((w.counted(), w.len("rendezvous")), (vec![], 1));
    (client, server)
}

/// The two events of a connection, each with its socket in a world where it would be enrolled.
fn before_each_event() -> impl Iterator<Item = (World, Op, u64)> {
    Kernel::ALL.into_iter().flat_map(|kernel| {
        let (mut with_client, mut with_server) = (World::new(kernel), World::new(kernel));
        let (client, _) = hinted(&mut with_client);
        let (_, server) = waited_for(&mut with_server);
        [(with_client, Op::ActiveEstablished, client), (with_server, Op::PassiveEstablished, server)]
    })
}

fn assert_not_enrolled(w: &mut World, sk: u64) {
    assert!(w.lane(sk).is_none(), "it has a lane");
    assert!(w.enrolled().iter().all(|&(_, enrolled)| enrolled != sk), "it is in the socket map");
    assert_eq!(w.callbacks(), 0);
    assert_eq!(w.send(sk, 10), Way::Tcp);
}

// Hint.

#[test]
fn a_syn_that_reaches_a_listener_is_noted_under_the_client_s_name() {
    on_every_kernel(|mut w| {
        w.syn(100, u32::MAX);
        assert_eq!(w.entries::<u64>("rendezvous"), [(Isns { own: 101, peer: 0 }, 0)]);
    });
}

#[test]
fn only_a_request_socket_leaves_a_hint() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(100, 200);
        w.event(Event::new(Op::RwndInit, client));
        assert_eq!(w.len("rendezvous"), 0);
    });
}

#[test]
fn a_request_socket_that_cannot_be_read_leaves_no_hint() {
    on_every_kernel(|mut w| {
        // Its address, the client's number, the server's.
        for read in 0..3 {
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            w.syn(100, 200);
            assert_eq!((w.len("rendezvous"), w.pending_faults()), (0, 0));
        }
    });
}

// Client.

#[test]
fn a_client_without_a_hint_is_left_alone() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(100, 200);
        w.syn(100, 201);
        w.event(Event::new(Op::ActiveEstablished, client));
        assert_eq!(w.counted(), [(Reason::NoHint, 1)]);
        assert_not_enrolled(&mut w, client);
        assert_eq!(w.entries::<u64>("rendezvous"), [(Isns { peer: 202, ..PAIR }, 0)]);
    });
}

#[test]
fn a_client_with_a_hint_is_enrolled_and_left_for_its_server() {
    on_every_kernel(|mut w| {
        let (client, _) = hinted(&mut w);
        w.event(Event::new(Op::ActiveEstablished, client));
        assert_eq!(w.counted(), []);
        assert_eq!(w.callbacks(), CALLBACKS);
        assert_eq!(w.enrolled(), [(PAIR, client)]);
        let me = End { name: PAIR, sk: client, cookie: w.get(client, |l| l.cookie), lane: w.lane_address(client) };
        assert_eq!(w.entries::<u64>("rendezvous"), [(PAIR, me.lane)]);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.own, lane.peer, lane.role), (me, End::default(), Role::Client as u32));
        assert_eq!((lane.mode, lane.credit, lane.smallest), (Mode::Tcp as u32, 0, u32::MAX));
    });
}

#[test]
fn of_two_clients_that_claim_one_pair_neither_is_paired() {
    on_every_kernel(|mut w| {
        let (impostor, _) = waited_for(&mut w);
        let (client, server) = w.connection(100, 200);
        w.event(Event::new(Op::ActiveEstablished, client));
        assert_eq!(w.counted(), [(Reason::Ambiguous, 1)]);
        assert_eq!(w.len("rendezvous"), 0);
        w.event(Event::new(Op::PassiveEstablished, server));
        assert_eq!(w.counted(), [(Reason::NoClient, 1)]);
        for end in [impostor, client, server] {
            assert_eq!(w.send(end, 10), Way::Tcp);
        }
    });
}

#[test]
fn of_two_clients_that_claim_one_pair_at_once_neither_is_paired() {
    on_every_kernel(|mut w| {
        // The first is enrolled; what it left is not to be seen yet.
        let (first, _) = waited_for(&mut w);
        w.put("rendezvous", PAIR, 0u64);
        let (second, server) = w.connection(100, 200);
        w.event(Event::new(Op::ActiveEstablished, second));
        assert_eq!(w.counted(), [(Reason::Ambiguous, 1)]);
        assert!(w.lane(second).is_none());
        assert_eq!(w.len("rendezvous"), 0);
        w.event(Event::new(Op::PassiveEstablished, server));
        assert_eq!(w.counted(), [(Reason::NoClient, 1)]);
        for end in [first, second, server] {
            assert_eq!(w.send(end, 10), Way::Tcp);
        }
    });
}

#[test]
fn a_hint_that_finds_no_place_means_tcp() {
    on_every_kernel(|mut w| {
        w.fill("rendezvous");
        let (client, server) = hinted(&mut w);
        w.establish(client, server);
        assert_eq!(w.counted(), [(Reason::NoHint, 1), (Reason::NoClient, 1)]);
        assert_not_enrolled(&mut w, client);
    });
}

// Server.

#[test]
fn a_server_takes_the_client_that_waits_under_its_pair() {
    on_every_kernel(|mut w| {
        let (client, server) = waited_for(&mut w);
        w.event(Event::new(Op::PassiveEstablished, server));
        assert_eq!(w.counted(), [(Reason::Paired, 1)]);
        assert_eq!(w.callbacks(), CALLBACKS);
        let name = Isns { own: 201, peer: 101 };
        assert_eq!(w.enrolled(), [(PAIR, client), (name, server)]);
        let me = End { name, sk: server, cookie: w.get(server, |l| l.cookie), lane: w.lane_address(server) };
        let lane = w.lane(server).unwrap();
        assert_eq!((lane.own, lane.role), (me, Role::Server as u32));
        assert_eq!(lane.peer, w.lane(client).unwrap().own);
        assert_eq!(w.entries::<u64>("rendezvous"), [(PAIR, me.lane)], "for its client");
    });
}

#[test]
fn a_server_whose_client_is_elsewhere_is_left_alone() {
    on_every_kernel(|mut w| {
        let (_, server) = hinted(&mut w);
        w.event(Event::new(Op::PassiveEstablished, server));
        assert_eq!(w.counted(), [(Reason::NoClient, 1)]);
        assert_eq!(w.len("rendezvous"), 0, "nobody will need it any more");
        assert_not_enrolled(&mut w, server);
    });
}

#[test]
fn a_server_does_not_take_a_lane_with_another_name_nor_one_that_cannot_be_read() {
    on_every_kernel(|mut w| {
        let (stranger, _) = waited_for(&mut w);
        let lane = w.lane_address(stranger);
        let unreadable = w.object();
        w.unmap(unreadable);
        for (name, note) in [(Isns { own: 1, ..PAIR }, lane), (Isns { peer: 1, ..PAIR }, lane), (PAIR, unreadable)] {
            let (_, server) = w.connection(100, 200);
            w.edit_lane(stranger, |lane| lane.own.name = name);
            w.put("rendezvous", PAIR, note);
            w.event(Event::new(Op::PassiveEstablished, server));
            assert_eq!(w.counted(), [(Reason::NoClient, 1)]);
            assert_eq!(w.len("rendezvous"), 0);
            assert_not_enrolled(&mut w, server);
        }
    });
}

// Both.

#[test]
fn the_first_refresh_comes_within_a_third_of_a_second_and_within_what_the_agent_allows() {
    let soon = HZ / 3;
    for (refresh, first) in [(soon - 1, soon - 1), (soon, soon), (soon + 1, soon)] {
        for (mut w, op, sk) in before_each_event() {
            w.control(Control { draining: 0, refresh, ..Control::default() });
            w.event(Event::new(op, sk));
            let lane = w.lane(sk).unwrap();
            assert_eq!((lane.period, lane.refresh_at), (first, w.now() + u64::from(first)));
        }
    }
}

#[test]
fn a_socket_that_the_context_does_not_show_is_left_alone() {
    for (mut w, op, sk) in before_each_event() {
        w.event(Event { shown: false, ..Event::new(op, sk) });
        assert_eq!(w.counted(), []);
        assert_not_enrolled(&mut w, sk);
    }
}

#[test]
fn nobody_is_enrolled_while_shunt_is_being_stopped() {
    for (mut w, op, sk) in before_each_event() {
        w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
        w.event(Event::new(op, sk));
        assert_eq!(w.counted(), []);
        assert_not_enrolled(&mut w, sk);
    }
}

#[test]
fn a_repaired_connection_whose_handshake_nobody_saw_is_left_alone() {
    for (mut w, op, sk) in before_each_event() {
        w.event(Event { tcp_flags: 0, ..Event::new(op, sk) });
        assert_eq!(w.counted(), [(Reason::Unsuitable, 1)]);
        assert_not_enrolled(&mut w, sk);
    }
}

#[test]
fn a_subflow_of_mptcp_is_left_alone_and_so_is_what_cannot_be_told() {
    let full = || before_each_event().filter(|(w, ..)| w.kernel == Kernel::Full);
    for (mut w, op, sk) in full() {
        w.set_optional(sk, |l| l.is_mptcp, 1);
        w.event(Event::new(op, sk));
        assert_eq!(w.counted(), [(Reason::Unsuitable, 1)]);
        assert_not_enrolled(&mut w, sk);
    }
    for read in 0..2 {
        for (mut w, op, sk) in full() {
            // A server has read whose lane it found.
            let read = read + u32::from(op == Op::PassiveEstablished);
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            w.event(Event::new(op, sk));
            assert_eq!((w.counted(), w.pending_faults()), (vec![(Reason::Unsuitable, 1)], 0));
            assert_not_enrolled(&mut w, sk);
        }
    }
}

#[test]
fn a_socket_without_memory_for_its_lane_is_not_enrolled() {
    for (mut w, op, sk) in before_each_event() {
        // The first call asks whether it had a flow before.
        w.fault(Helper::SkStorageGet, 1, Fault::Fails);
        w.event(Event::new(op, sk));
        assert_eq!((w.counted(), w.pending_faults()), (vec![(Reason::LaneFull, 1)], 0));
        assert_not_enrolled(&mut w, sk);
    }
}

#[test]
fn a_socket_that_the_socket_map_refuses_keeps_no_lane() {
    for (mut w, op, sk) in before_each_event() {
        w.fill("socks");
        w.event(Event::new(op, sk));
        assert_eq!(w.counted(), [(Reason::SocksFull, 1)]);
        assert_not_enrolled(&mut w, sk);
    }
}

#[test]
fn a_server_whose_name_is_taken_is_not_enrolled() {
    on_every_kernel(|mut w| {
        let (client, server) = waited_for(&mut w);
        w.event(Event::new(Op::PassiveEstablished, server));
        let (_, second) = w.connection(100, 200);
        let lane = w.lane_address(client);
        w.put("rendezvous", PAIR, lane);
        w.counted();
        w.event(Event::new(Op::PassiveEstablished, second));
        assert_eq!(w.counted(), [(Reason::SocksFull, 1)]);
        assert_not_enrolled(&mut w, second);
    });
}

#[test]
fn a_socket_that_connects_again_is_taken_out_and_its_old_peer_does_not_reach_it() {
    on_every_kernel(|mut w| {
        for (op, other_speaks) in
            [(Op::ActiveEstablished, Reason::PeerGone), (Op::PassiveEstablished, Reason::PeerGone)]
        {
            let (client, server) = w.direct_flow();
            let (reused, other) = if op == Op::ActiveEstablished { (client, server) } else { (server, client) };
            w.event(Event::new(op, reused));
            assert_eq!(w.counted(), [(Reason::Reused, 1)]);
            assert_not_enrolled(&mut w, reused);
            assert_eq!(w.send(other, 10), Way::Tcp);
            assert_eq!(w.counted(), [(other_speaks, 1)]);
        }
    });
}

/// The verifier wants the context's socket looked at again after each call; here it really goes.
#[test]
fn a_socket_that_goes_while_the_program_runs_is_left_where_it_is() {
    // Before its cookie is asked for, and before its refused lane would be deleted.
    for (mut w, op, sk) in before_each_event() {
        w.fault(Helper::GetSocketCookie, 0, Fault::SocketHidden);
        w.event(Event::new(op, sk));
        assert_eq!((w.counted(), w.pending_faults()), (vec![], 0));
        assert_not_enrolled(&mut w, sk);
    }
    for (mut w, op, sk) in before_each_event() {
        w.fault(Helper::SockHashUpdate, 0, Fault::SocketHidden);
        w.fails(Helper::SockHashUpdate);
        w.event(Event::new(op, sk));
        assert_eq!((w.counted(), w.pending_faults()), (vec![], 0));
        assert!(w.enrolled().iter().all(|&(_, enrolled)| enrolled != sk));
    }
    for op in [Op::ActiveEstablished, Op::PassiveEstablished] {
        on_every_kernel(|mut w| {
            let (client, _) = w.direct_flow();
            w.fault(Helper::SkStorageGet, 0, Fault::SocketHidden);
            w.event(Event::new(op, client));
            assert_eq!((w.counted(), w.pending_faults()), (vec![], 0));
            assert!(w.enrolled().iter().all(|&(_, enrolled)| enrolled != client));
        });
    }
}

// Peer.

#[test]
fn a_client_whose_server_has_not_come_yet_speaks_tcp() {
    on_every_kernel(|mut w| {
        let (client, server) = waited_for(&mut w);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::NoPeer, 1)]);
        w.set(server, |l| l.rcv_nxt, 101);
        w.event(Event::new(Op::PassiveEstablished, server));
        w.set(server, |l| l.rcv_nxt, 111);
        w.read(server);
        assert_eq!(w.send(client, 10), Way::Direct);
    });
}

#[test]
fn a_client_looks_for_its_server_once() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        assert_eq!(w.len("rendezvous"), 1);
        assert_eq!(w.send(client, 10), Way::Direct);
        assert_eq!(w.len("rendezvous"), 0);
        assert_eq!(w.lane(client).unwrap().peer, w.lane(server).unwrap().own);
        w.edit_lane(client, |lane| lane.credit = 0);
        assert_eq!(w.send(client, 10), Way::Direct);
    });
}

#[test]
fn a_client_does_not_take_a_lane_with_another_name_nor_one_that_cannot_be_read() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        let lane = w.lane_address(server);
        let unreadable = w.object();
        w.unmap(unreadable);
        let own = w.lane(client).unwrap().own.name;
        let swapped = Isns { own: own.peer, peer: own.own };
        for (name, note) in [
            (Isns { own: 1, ..swapped }, lane),
            (Isns { peer: 1, ..swapped }, lane),
            (own, lane),
            (swapped, unreadable),
            (swapped, 0),
        ] {
            w.edit_lane(server, |lane| lane.own.name = name);
            w.put("rendezvous", own, note);
            assert_eq!(w.send(client, 10), Way::Tcp);
            assert_eq!(w.counted(), [(Reason::NoPeer, 1)]);
            assert_eq!(w.lane(client).unwrap().peer, End::default());
            assert_eq!(w.len("rendezvous"), 1, "its server may still come");
        }
    });
}

#[test]
fn a_client_whose_server_was_evicted_speaks_tcp() {
    on_every_kernel(|mut w| {
        let (client, _) = w.flow();
        w.evict("rendezvous");
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::NoPeer, 1)]);
    });
}
