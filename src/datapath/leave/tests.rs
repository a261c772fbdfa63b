use super::super::simulation::{Fault, Helper, REFRESH, Waiter, Way, World, for_each, on_every_kernel};
use super::super::{Control, Counter, Mode};

fn drain(w: &mut World) {
    w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
}

fn leaves(w: &mut World, sk: u64) {
    w.edit_lane(sk, |lane| {
        (lane.mode, lane.credit, lane.why) = (Mode::Leaving as u32, 0, Counter::OptionSet as u64);
    });
}

fn mode(w: &mut World, sk: u64) -> u32 {
    w.lane(sk).expect("a lane").mode
}

#[test]
fn while_shunt_is_being_stopped_both_sockets_leave_with_their_next_segment() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        drain(&mut w);
        for sk in [client, server] {
            w.segment(sk);
            assert_eq!((w.counted(), w.is_enrolled(sk)), (vec![(Counter::Left, 1)], false));
            assert_eq!(mode(&mut w, sk), Mode::Left as u32);
        }
        assert_eq!((w.send(client, 1), w.send(server, 1)), (Way::Tcp, Way::Tcp));
        w.segment(client);
        assert_eq!(w.counted(), []);
    });
}

#[test]
fn a_socket_whose_peer_leaves_or_has_left_follows_it() {
    for_each(&[Mode::Leaving, Mode::Left], |mut w, how| {
        let (client, server) = w.direct_flow();
        leaves(&mut w, client);
        if how == Mode::Left {
            w.segment(client);
            assert_eq!(w.counted(), [(Counter::Left, 1)]);
        }
        w.segment(server);
        assert_eq!(w.counted(), [(Counter::Left, 1), (Counter::PeerLeft, 1)]);
        assert_eq!(w.lane(server).unwrap().why, Counter::PeerLeft as u64);
    });
}

#[test]
fn an_end_whose_peer_is_unknown_gone_or_in_use_stays_as_it_is() {
    for_each(&["nobody", "unknown", "unreadable", "direct", "ended"], |mut w, case| {
        let (client, server) = if case == "nobody" { w.flow() } else { w.direct_flow() };
        match case {
            "nobody" => w.evict("rendezvous"),
            "unknown" => w.set(client, |l| l.cookie, 99_999),
            "unreadable" => w.fails(Helper::ProbeReadKernel),
            "ended" => w.edit_lane(client, |lane| {
                (lane.mode, lane.credit, lane.why) = (Mode::Ended as u32, 0, Counter::ShutDown as u64);
            }),
            _ => {}
        }
        w.segment(server);
        assert_eq!((w.counted(), w.is_enrolled(server)), (vec![], true));
    });
}

#[test]
fn a_socket_stays_while_bytes_wait_for_its_reader() {
    for_each(&["ingress", "received", "deferred"], |mut w, case| {
        let (client, server) = w.direct_flow();
        let psock = w.psock(server);
        match case {
            "ingress" => assert_eq!(w.send(client, 10), Way::Direct),
            "received" => w.set(server, |l| l.receive_queue_length, 1),
            _ => w.set(psock, |l| l.deferred_length, 1),
        }
        drain(&mut w);
        w.segment(server);
        assert_eq!((w.counted(), w.is_enrolled(server)), (vec![], true));
        w.set(psock, |l| l.deferred_length, 0);
        w.read(server);
        w.segment(server);
        assert_eq!(w.counted(), [(Counter::Left, 1)]);
    });
}

#[test]
fn a_socket_stays_while_its_peer_is_in_a_call_that_does_not_sleep() {
    // Who waits for the peer, how many hold on to its psock, and whether the socket may leave.
    let cases: [(&[Waiter], u64, bool); 6] = [
        (&[], 1, true),
        (&[], 2, false),
        (&[Waiter::Thread], 2, true),
        (&[Waiter::Thread], 3, false),
        (&[Waiter::Epoll], 2, false),
        (&[Waiter::Epoll; 5], 1, false),
    ];
    on_every_kernel(|mut w| {
        for (waiters, users, may_leave) in cases {
            let (client, server) = w.direct_flow();
            w.waiting(client, waiters);
            w.users_of_psock(client, users);
            drain(&mut w);
            w.segment(server);
            assert_eq!(!w.is_enrolled(server), may_leave, "{waiters:?} {users}");
            w.control(Control { refresh: REFRESH, ..Control::default() });
        }
    });
}

#[test]
fn a_socket_that_leaves_by_itself_asks_its_peer_only_while_that_is_direct() {
    for_each(&[Mode::Direct, Mode::Tcp, Mode::Ended], |mut w, peers| {
        let (client, server) = w.direct_flow();
        w.users_of_psock(client, 2);
        w.edit_lane(client, |lane| {
            if peers != Mode::Direct {
                (lane.mode, lane.credit, lane.why) = (peers as u32, 0, Counter::Refresh as u64);
            }
        });
        leaves(&mut w, server);
        w.segment(server);
        assert_eq!(w.is_enrolled(server), peers == Mode::Direct);
        if peers == Mode::Tcp {
            // While shunt is being stopped it does not know.
            let (client, server) = w.direct_flow();
            w.users_of_psock(client, 2);
            w.edit_lane(client, |lane| {
                (lane.mode, lane.credit, lane.why) = (peers as u32, 0, Counter::Refresh as u64);
            });
            drain(&mut w);
            w.segment(server);
            assert!(w.is_enrolled(server));
        }
    });
}

#[test]
fn a_socket_whose_queues_or_peer_cannot_be_looked_at_stays_or_is_alone() {
    on_every_kernel(|mut w| {
        let mut stayed = 0;
        for read in 0.. {
            let (client, server) = w.direct_flow();
            w.waiting(client, &[Waiter::Epoll]);
            drain(&mut w);
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            w.segment(server);
            w.control(Control { refresh: REFRESH, ..Control::default() });
            stayed += u32::from(w.is_enrolled(server));
            if w.pending_faults() > 0 {
                assert!(read > 12 && stayed > 8, "{read} reads, {stayed}");
                break;
            }
        }
        w.clear_faults();
        // A peer that another has the memory of, that has no psock, and none at all.
        for case in 0..3 {
            let (client, server) = if case == 2 { w.flow() } else { w.direct_flow() };
            match case {
                0 => w.set(client, |l| l.cookie, 99_999),
                1 => w.set(client, |l| l.user_data, 0),
                _ => w.evict("rendezvous"),
            }
            drain(&mut w);
            w.segment(server);
            assert!(!w.is_enrolled(server), "{case}");
            w.control(Control { refresh: REFRESH, ..Control::default() });
        }
        let (_, server) = w.direct_flow();
        w.set(server, |l| l.user_data, 0);
        drain(&mut w);
        w.counted();
        w.segment(server);
        assert_eq!(w.counted(), [], "another socket map's");
        // In the middle.
        w.control(Control { refresh: REFRESH, ..Control::default() });
        let (_, server) = w.direct_flow();
        let at = w.at(server, |l| l.user_data);
        w.fault(Helper::ProbeReadKernel, 3, Fault::Zeroes(at));
        drain(&mut w);
        w.segment(server);
        assert_eq!((w.pending_faults(), w.is_enrolled(server)), (0, true));
    });
}

/// A flow in which this end was enrolled first, and has not found its peer.
fn lonely(w: &mut World, client_first: bool) -> (u64, u64) {
    let (client, server) = w.candidates();
    let (first, second) = if client_first { (client, server) } else { (server, client) };
    for sk in [second, first, second] {
        w.enrol(sk);
    }
    assert_eq!(w.lane(first).unwrap().peer.sk, 0);
    w.counted();
    (first, second)
}

#[test]
fn whoever_has_not_found_its_peer_looks_for_it_before_it_leaves() {
    on_every_kernel(|mut w| {
        for (client_first, case) in [true, false].into_iter().flat_map(|first| (0..6).map(move |case| (first, case))) {
            for draining in [true, false] {
                let (own, peer) = lonely(&mut w, client_first);
                w.users_of_psock(peer, 2);
                w.edit_lane(peer, |lane| match case {
                    0 => lane.own.name.own += 1,
                    1 => lane.own.name.peer += 1,
                    _ => {}
                });
                match case {
                    2 => w.unmap_lane(peer),
                    3 => w.evict("rendezvous"),
                    // With nothing in the way.
                    4 => w.users_of_psock(peer, 1),
                    _ => {}
                }
                if draining {
                    drain(&mut w);
                }
                w.segment(own);
                let found = case > 3;
                assert_eq!(w.lane(own).unwrap().peer.sk != 0, found, "{case}");
                let stays = if draining { found && case != 4 } else { true };
                assert_eq!(w.is_enrolled(own), stays, "{case} {draining}");
                w.control(Control { refresh: REFRESH, ..Control::default() });
            }
        }
    });
}

#[test]
fn a_socket_stays_while_it_cannot_be_told_who_sleeps_on_its_peer() {
    on_every_kernel(|mut w| {
        for waiting in 0..=4 {
            for read in 0.. {
                let mut w = World::new(w.kernel);
                let (client, server) = w.direct_flow();
                w.waiting(client, &vec![Waiter::Epoll; waiting]);
                w.users_of_psock(client, 2);
                drain(&mut w);
                w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
                w.segment(server);
                w.control(Control { refresh: REFRESH, ..Control::default() });
                if w.pending_faults() > 0 {
                    assert!(read as usize >= 10 + 3 * waiting, "{read} reads");
                    break;
                }
            }
        }
        w.time_passes(1);
    });
}

#[test]
fn a_socket_that_has_left_is_counted_when_it_closes() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        drain(&mut w);
        w.segment(client);
        w.counted();
        w.state_becomes(client, super::super::simulation::CLOSE);
        assert_eq!(
            w.counted(),
            [(Counter::DirectMessages, 1), (Counter::DirectBytes, 100), (Counter::Closed, 1)]
        );
    });
}
