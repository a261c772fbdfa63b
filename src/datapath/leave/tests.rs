use super::super::simulation::{
    Enrolment, Event, Fault, Helper, Op, REFRESH, Waiter, Way, World, for_each, on_every_kernel,
};
use super::super::{Control, Counter, Mode, Wait};

fn drain(w: &mut World) {
    w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
}

fn leaves(w: &mut World, sk: u64) {
    w.edit_lane(sk, |lane| {
        (lane.mode, lane.credit, lane.why) = (Mode::Leaving as u32, 0, Counter::OptionSet as u64);
    });
}

#[test]
fn while_shunt_is_being_stopped_both_sockets_leave_with_their_next_segment() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        drain(&mut w);
        w.options();
        for sk in [client, server] {
            w.segment(sk);
            assert_eq!(w.options(), [(6, 10, 0xffff << 14)], "its window is TCP's own again");
            assert_eq!(
                (w.decided(), w.is_enrolled(sk)),
                (vec![(Counter::Left, 1), (Counter::Stopped, 1)], false)
            );
            let lane = w.lane(sk).unwrap();
            assert_eq!(
                (lane.mode, lane.credit, lane.why),
                (Mode::Left as u32, 0, Counter::Stopped as u64)
            );
        }
        assert_eq!((w.send(client, 1), w.send(server, 1)), (Way::Tcp, Way::Tcp));
        w.segment(client);
        assert_eq!(w.decided(), []);
    });
}

#[test]
fn a_socket_whose_peer_leaves_or_has_left_follows_it() {
    for_each(&[Mode::Leaving, Mode::Left], |mut w, how| {
        let (client, server) = w.direct_flow();
        leaves(&mut w, client);
        if how == Mode::Left {
            w.segment(client);
            assert_eq!(w.decided(), [(Counter::Left, 1)]);
        }
        w.segment(server);
        assert_eq!(w.decided(), [(Counter::Left, 1), (Counter::PeerLeft, 1)]);
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
                (lane.mode, lane.credit, lane.why) =
                    (Mode::Ended as u32, 0, Counter::ShutDown as u64);
            }),
            _ => {}
        }
        w.segment(server);
        assert_eq!((w.decided(), w.is_enrolled(server)), (vec![], true));
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
        assert_eq!((w.decided(), w.is_enrolled(server)), (vec![(Counter::Stopped, 1)], true));
        assert_eq!(w.lane(server).unwrap().mode, Mode::Leaving as u32, "its peer sends it no more");
        w.set(psock, |l| l.deferred_length, 0);
        w.read(server);
        w.segment(server);
        assert_eq!(w.decided(), [(Counter::Left, 1)]);
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
fn a_peer_whose_last_message_went_by_tcp_has_none_on_its_way_whatever_its_lane_says() {
    for_each(&[Mode::Direct, Mode::Tcp, Mode::Ended, Mode::Leaving, Mode::Left], |mut w, peers| {
        for by_tcp in [0, 1] {
            for draining in [true, false] {
                let (client, server) = w.direct_flow();
                w.users_of_psock(client, 2);
                w.edit_lane(client, |lane| {
                    lane.fallbacks = by_tcp;
                    if peers != Mode::Direct {
                        (lane.mode, lane.credit, lane.why) =
                            (peers as u32, 0, Counter::Refresh as u64);
                    }
                });
                if draining {
                    drain(&mut w);
                } else {
                    leaves(&mut w, server);
                }
                w.segment(server);
                w.control(Control { refresh: REFRESH, ..Control::default() });
                assert_eq!(w.is_enrolled(server), by_tcp == 0, "{by_tcp} {draining}");
            }
        }
    });
}

#[test]
fn each_message_by_tcp_says_so_and_the_first_direct_one_takes_it_back() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        let by_tcp = |w: &mut World| w.lane(client).unwrap().fallbacks;
        assert_eq!(by_tcp(&mut w), 0);
        w.time_passes(REFRESH);
        assert_eq!((w.send(client, 1), by_tcp(&mut w)), (Way::Tcp, 1));
        w.read(server);
        assert_eq!((w.send(client, 1), by_tcp(&mut w)), (Way::Direct, 0));
        // The message that finds the lane's end, and those after it.
        leaves(&mut w, server);
        w.leaves_socket_map(server);
        for message in 1..4 {
            assert_eq!((w.send(client, 1), by_tcp(&mut w)), (Way::Tcp, message));
        }
    });
}

#[test]
fn a_message_by_tcp_says_nothing_while_another_thread_may_be_in_a_redirect() {
    on_every_kernel(|mut w| {
        for (users, fallbacks) in [(1, 1), (2, 1), (3, 0), (9, 0)] {
            let (client, _) = w.direct_flow();
            w.users_of_psock(client, users);
            w.time_passes(REFRESH);
            assert_eq!(w.send(client, 1), Way::Tcp);
            assert_eq!(w.lane(client).unwrap().fallbacks, fallbacks, "{users}");
        }
        // It cannot be told.
        for case in 0..3 {
            let (client, _) = w.direct_flow();
            drain(&mut w);
            match case {
                0 => w.set(client, |l| l.user_data, 0),
                1 => w.fails(Helper::ProbeReadKernel),
                _ => w.fails(Helper::RdonlyCast),
            }
            assert_eq!(
                (w.send(client, 1), w.lane(client).unwrap().fallbacks),
                (Way::Tcp, 0),
                "{case}"
            );
            w.control(Control { refresh: REFRESH, ..Control::default() });
        }
    });
}

#[test]
fn a_socket_stays_while_another_thread_is_in_a_call_on_it() {
    // How many hold on to its psock, whether the segment is sent in a call, and whether the socket
    // may leave.
    let cases = [
        (1, false, true),
        (1, true, true),
        (2, true, true),
        (2, false, false),
        (3, true, false),
        (3, false, false),
    ];
    on_every_kernel(|mut w| {
        for (users, in_a_call, may_leave) in cases {
            let (_, server) = w.direct_flow();
            leaves(&mut w, server);
            w.users_of_psock(server, users);
            w.event(Event { in_a_call, ..Event::new(Op::HdrOptLen, server) });
            assert_eq!(!w.is_enrolled(server), may_leave, "{users} {in_a_call}");
        }
        // It cannot be told.
        for (helper, fault) in
            [(Helper::RdonlyCast, Fault::SocketHidden), (Helper::SkcToTcpSock, Fault::Fails)]
        {
            let (_, server) = w.direct_flow();
            leaves(&mut w, server);
            w.fault(helper, 0, fault);
            w.segment(server);
            assert_eq!((w.pending_faults(), w.is_enrolled(server)), (0, true), "{helper:?}");
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
            w.fault(Helper::RdonlyCast, read, Fault::Fails);
            w.segment(server);
            w.control(Control { refresh: REFRESH, ..Control::default() });
            stayed += u32::from(w.is_enrolled(server));
            if w.pending_faults() > 0 {
                assert!(read > 4 && stayed > 1, "{read} reads, {stayed}");
                break;
            }
        }
        w.clear_faults();
        // A peer that another has the memory of, that has no psock, and one that has been there and
        // cannot be found.
        for case in 0..3 {
            let (client, server) = if case == 2 { w.flow() } else { w.direct_flow() };
            match case {
                0 => w.set(client, |l| l.cookie, 99_999),
                1 => w.set(client, |l| l.user_data, 0),
                _ => w.evict("rendezvous"),
            }
            drain(&mut w);
            w.segment(server);
            assert_eq!(w.is_enrolled(server), case == 2, "{case}");
            w.control(Control { refresh: REFRESH, ..Control::default() });
        }
        let (_, server) = w.direct_flow();
        w.set(server, |l| l.user_data, 0);
        drain(&mut w);
        w.counted();
        w.segment(server);
        assert_eq!(w.counted(), [(Counter::Stopped, 1)], "another socket map's");
        // In the middle: before its queue is looked at, and before its users are.
        for read in [1, 3] {
            w.control(Control { refresh: REFRESH, ..Control::default() });
            let (_, server) = w.direct_flow();
            let at = w.at(server, |l| l.user_data);
            w.fault(Helper::ProbeReadKernel, read, Fault::Zeroes(at));
            drain(&mut w);
            w.segment(server);
            assert_eq!((w.pending_faults(), w.is_enrolled(server)), (0, true), "{read}");
        }
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
        for (client_first, case) in
            [true, false].into_iter().flat_map(|first| (0..6).map(move |case| (first, case)))
        {
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
                // As long as the other is there and is not found, it may be sending.
                assert_eq!(w.is_enrolled(own), !draining || case != 4, "{case} {draining}");
                w.control(Control { refresh: REFRESH, ..Control::default() });
            }
        }
    });
}

#[test]
fn whoever_is_enrolled_alone_leaves_and_is_not_to_be_met_any_more() {
    for_each(&[true, false], |mut w, client_first| {
        let (client, server) = w.candidates();
        let (first, second) = if client_first { (client, server) } else { (server, client) };
        for sk in [second, first] {
            w.enrol(sk);
        }
        assert_eq!((w.len("rendezvous"), w.is_enrolled(first)), (1, true));
        w.segment(first);
        assert!(w.is_enrolled(first), "nobody wants it to");
        drain(&mut w);
        w.segment(first);
        assert_eq!((w.len("rendezvous"), w.is_enrolled(first)), (0, false));
        w.control(Control { refresh: REFRESH, ..Control::default() });
        assert_eq!(w.enrol(second), Enrolment::Waits(Wait::Peer));
    });
}

#[test]
fn a_socket_stays_while_the_lane_of_its_peer_cannot_be_looked_at() {
    on_every_kernel(|mut w| {
        for read in 0.. {
            let (client, server) = w.direct_flow();
            leaves(&mut w, client);
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            w.segment(server);
            if w.pending_faults() > 0 {
                assert!(read > 0 && !w.is_enrolled(server), "{read} reads");
                break;
            }
            // Behind its mode, and four reads of the own psock and queue: how many messages it has
            // sent by TCP, which who is gone does not say.
            if read <= 5 {
                assert_eq!(w.is_enrolled(server), read < 5, "{read}");
            }
        }
    });
}

#[test]
fn a_socket_stays_while_it_cannot_be_told_who_sleeps_on_its_peer() {
    on_every_kernel(|mut w| {
        for (waiting, helper, least) in (0..=4)
            .flat_map(|n| [(n, Helper::RdonlyCast, 5), (n, Helper::ProbeReadKernel, 5 + 3 * n)])
        {
            for read in 0.. {
                let mut w = World::new(w.kernel);
                let (client, server) = w.direct_flow();
                w.waiting(client, &vec![Waiter::Epoll; waiting]);
                w.users_of_psock(client, 2);
                drain(&mut w);
                w.fault(helper, read, Fault::Fails);
                w.segment(server);
                w.control(Control { refresh: REFRESH, ..Control::default() });
                if w.pending_faults() > 0 {
                    assert!(read as usize >= least, "{waiting} {helper:?}: {read} reads");
                    break;
                }
            }
        }
        w.time_passes(1);
    });
}

#[test]
fn what_a_socket_redirected_is_counted_when_it_leaves_and_it_when_it_closes() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        drain(&mut w);
        w.segment(client);
        let redirected = [(Counter::DirectMessages, 1), (Counter::DirectBytes, 100)];
        let counted = w.counted();
        assert!(redirected.iter().all(|one| counted.contains(one)), "{counted:?}");
        w.state_becomes(client, super::super::simulation::CLOSE);
        assert_eq!(w.counted(), [(Counter::Closed, 1)], "its messages once");
    });
}
