use super::super::evidence::READS;
use super::super::simulation::{
    CLOSE_WAIT, ENROLLED, Enrolment, Fault, GONE, Helper, REFRESH, SOCK_ZEROCOPY, Waiter, Way, World, for_each,
    on_every_kernel,
};
use super::super::{Control, Counter, End, Isns, Mode, Reads, Request, Role, Wait};
use super::ALONE;

fn name(w: &mut World, sk: u64) -> Isns {
    w.candidate(sk).expect("a candidate").name
}

/// What the two ends agree by.
fn entry(w: &mut World, pair: Isns) -> Option<u64> {
    w.value_under("rendezvous", pair)
}

#[test]
fn both_ends_are_enrolled_once_both_can_be_and_find_each_other() {
    for_each(&[true, false], |mut w, client_first| {
        let (client, server) = w.candidates();
        let pair = name(&mut w, client);
        let (first, second) = if client_first { (client, server) } else { (server, client) };
        w.counted();
        assert_eq!(w.enrol(first), Enrolment::Waits(Wait::Peer));
        assert_eq!(w.enrol(first), Enrolment::Waits(Wait::Peer));
        assert_eq!(entry(&mut w, pair), Some(if client_first { 1 } else { 2 }));
        assert_eq!((w.enrol(second), w.enrol(first)), (ENROLLED, ENROLLED));
        assert_eq!(w.counted(), [(Counter::Paired, 1)]);
        assert_eq!(entry(&mut w, pair), Some(w.lane_address(first)));
        for (sk, other, role) in [(client, server, Role::Client), (server, client, Role::Server)] {
            let lane = w.lane(sk).unwrap();
            let own = End {
                name: if sk == client { pair } else { Isns { own: pair.peer, peer: pair.own } },
                sk,
                cookie: w.get(sk, |l| l.cookie),
                lane: w.lane_address(sk),
            };
            assert_eq!((lane.own, lane.role, lane.mode), (own, role as u32, Mode::Tcp as u32));
            assert_eq!(lane.peer.sk, if sk == first { other } else { 0 });
            assert_eq!((w.candidate(sk), w.enrol(sk)), (None, GONE));
        }
        assert_eq!((w.send(second, 1), w.send(first, 1)), (Way::Direct, Way::Direct));
        assert_eq!(w.len("rendezvous"), 0);
    });
}

#[test]
fn a_socket_is_found_by_its_tuple_in_its_namespace_and_known_by_its_cookie() {
    for_each(&[(2, u32::MAX, -1), (10, 7, 7)], |mut w, (family, netns, looked_in)| {
        let (client, _) = w.candidates();
        let cookie = w.get(client, |l| l.cookie);
        let request = Request { cookie, netns, family, ..Request::default() };
        assert_eq!(w.enrol_by(client, request), Enrolment::Waits(Wait::Peer));
        assert_eq!(w.looked_in(), [looked_in]);
        assert_eq!(w.enrol_by(client, Request { cookie: cookie + 1, ..request }), GONE);
        w.fails(Helper::SkLookupTcp);
        assert_eq!(w.enrol_by(client, request), GONE);
        w.fails(Helper::SkbLoadBytes);
        assert_eq!(w.enrol_by(client, request), GONE);
    });
}

#[test]
fn a_socket_that_is_no_candidate_is_gone() {
    on_every_kernel(|mut w| {
        let (client, _) = w.local();
        assert_eq!(w.enrol(client), GONE);
        let (client, _) = w.candidates();
        w.fault(Helper::SkStorageGet, 1, Fault::Fails);
        assert_eq!(w.enrol(client), GONE);
        assert!(w.candidate(client).is_some());
    });
}

#[test]
fn an_end_that_has_the_name_of_its_peer_is_left_alone() {
    on_every_kernel(|mut w| {
        w.reader(Reads::Receives);
        let (client, server) = w.connection(5_000, 5_000);
        w.syn(5_000, 5_000);
        w.establish(client, server);
        w.goes_on(client, server);
        let pair = name(&mut w, client);
        assert_eq!((pair.own, pair), (pair.peer, name(&mut w, server)));
        w.counted();
        for sk in [client, server] {
            assert_eq!((w.enrol(sk), w.counted()), (GONE, vec![]));
            assert_eq!((w.is_refused(sk), entry(&mut w, pair)), (true, Some(ALONE as u64)));
        }
    });
}

#[test]
fn a_candidate_that_has_become_unsuitable_is_left_alone_and_so_is_its_peer() {
    type Make = fn(&mut World, u64);
    let cases: [(Make, Option<Counter>); 10] = [
        (|w, _| w.fails(Helper::SkcToTcpSock), None),
        (|w, sk| w.set(sk, |l| l.state, CLOSE_WAIT.into()), None),
        (|w, _| w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() }), None),
        (|w, sk| w.set(sk, |l| l.repair, 1), Some(Counter::Unsuitable)),
        (|w, sk| w.set(sk, |l| l.flags, 1 << SOCK_ZEROCOPY), Some(Counter::Guarded)),
        (|w, sk| w.set(sk, |l| l.low_water, 2), Some(Counter::Guarded)),
        (|w, sk| w.set(sk, |l| l.peek_offset, 0), Some(Counter::Guarded)),
        (|w, sk| w.set(sk, |l| l.timestamping, 1), Some(Counter::Guarded)),
        (|w, sk| w.set(sk, |l| l.max_pacing_rate, 1), Some(Counter::Guarded)),
        (|w, sk| w.set(sk, |l| l.user_data, 1), Some(Counter::Foreign)),
    ];
    on_every_kernel(|mut w| {
        for (number, (make, outcome)) in cases.into_iter().enumerate() {
            let (client, server) = w.candidates();
            w.counted();
            let pair = name(&mut w, client);
            make(&mut w, server);
            assert_eq!(w.enrol(server), GONE, "{number}");
            assert_eq!(w.counted(), outcome.map(|outcome| (outcome, 1)).as_slice(), "{number}");
            assert_eq!((w.is_refused(server), entry(&mut w, pair)), (true, Some(ALONE as u64)));
            assert_eq!((w.enrol(server), w.counted()), (GONE, vec![]), "{number}");
            w.control(Control { refresh: REFRESH, ..Control::default() });
            assert_eq!((w.enrol(client), w.counted()), (GONE, vec![]), "{number}");
        }
    });
}

#[test]
fn a_socket_that_asks_for_counts_is_left_alone_where_the_kernel_knows_them() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        w.set_optional(client, |l| l.asks_for_counts, 1);
        let known = w.knows(|l| l.asks_for_counts);
        assert_eq!(w.enrol(client) == GONE, known);
    });
}

#[test]
fn a_mapped_socket_and_one_of_which_that_cannot_be_told_is_left_alone() {
    on_every_kernel(|mut w| {
        let mapped = |w: &mut World, sk| {
            let contents = w.get(w.file(sk), |l| l.file_mapping);
            w.set(contents, |l| l.mappings, 1);
        };
        for case in 0..7 {
            let (client, _) = w.candidates();
            w.counted();
            match case {
                0 => mapped(&mut w, client),
                1 => w.set(client, |l| l.socket, 0),
                2 => w.set(w.get(client, |l| l.socket), |l| l.socket_file, 0),
                read => w.fault(Helper::ProbeReadKernel, read - 3, Fault::Fails),
            }
            assert_eq!((w.enrol(client), w.counted()), (GONE, vec![(Counter::Splices, 1)]), "{case}");
        }
    });
}

#[test]
fn a_candidate_waits_until_the_agent_knows_how_its_process_reads() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        w.evict("readers");
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Process));
        w.reader(Reads::Splices);
        w.counted();
        assert_eq!((w.enrol(client), w.counted()), (GONE, vec![(Counter::Splices, 1)]));
    });
}

#[test]
fn a_process_that_may_splice_has_to_show_that_it_received_everything() {
    on_every_kernel(|mut w| {
        for spliced in [0, 1] {
            let (client, server) = w.candidates();
            w.reader(Reads::MaySplice);
            for call in 0..READS {
                if call == 0 || call == READS - 1 {
                    assert_eq!(w.enrol(client), Enrolment::Waits(Wait::History), "{call}");
                }
                w.send(server, 10);
                w.receive(client, 10);
            }
            if spliced > 0 {
                w.send(server, spliced);
                w.read(client);
            }
            w.counted();
            if spliced > 0 {
                // A call that goes on looks like that, too, but not again and again.
                for _ in 1..super::MISMATCHES {
                    let waits = Enrolment::Waits(Wait::History);
                    assert_eq!((w.enrol(client), w.counted()), (waits, vec![]));
                }
            }
            let (expected, counted) = match spliced {
                0 => (Enrolment::Waits(Wait::Peer), vec![]),
                _ => (GONE, vec![(Counter::Splices, 1)]),
            };
            assert_eq!((w.enrol(client), w.counted()), (expected, counted));
            if spliced == 0 {
                // The tracepoint may be detached while it waits for its peer.
                w.send(server, 10);
                w.read(client);
                for _ in 0..20 {
                    assert_eq!((w.enrol(client), w.counted()), (expected, vec![]));
                }
            }
        }
    });
}

#[test]
fn a_candidate_waits_while_its_file_blocks_or_a_thread_sleeps_on_it() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        w.blocks(client, true);
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Blocking));
        w.blocks(client, false);
        w.waiting(client, &[Waiter::Thread]);
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Blocking));
        w.waiting(client, &[Waiter::Epoll; 5]);
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Blocking), "more than are looked at");
        w.waiting(client, &[]);
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Peer));
    });
}

#[test]
fn a_candidate_waits_until_everything_was_read() {
    on_every_kernel(|mut w| {
        let (client, server) = w.candidates();
        w.send(server, 10);
        w.read_up_to(client, 9);
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Unread));
        w.read(client);
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Peer));
    });
}

#[test]
fn a_candidate_that_vanishes_while_it_is_left_alone_is_gone() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        w.set(client, |l| l.repair, 1);
        w.fault(Helper::SkStorageGet, 2, Fault::Fails);
        assert_eq!((w.enrol(client), w.pending_faults()), (GONE, 0));
    });
}

#[test]
fn a_candidate_waits_while_it_cannot_be_told_who_sleeps_on_it() {
    on_every_kernel(|mut w| {
        for waiting in 0..=4 {
            let (client, _) = w.candidates();
            w.waiting(client, &vec![Waiter::Epoll; waiting]);
            // Behind what is read for mappings: the socket, its file, that one's flags; the queue, its head, and of each that waits
            // who it is, its stack and the next. One that has no stack does not sleep.
            for read in 4..9 + 3 * waiting as u32 {
                w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
                let is_stack = read > 8 && (read - 9) % 3 == 1;
                let expected = if is_stack { Wait::Peer } else { Wait::Blocking };
                assert_eq!(w.enrol(client), Enrolment::Waits(expected), "{waiting} {read}");
            }
            assert_eq!((w.pending_faults(), w.enrol(client)), (0, Enrolment::Waits(Wait::Peer)));
        }
        // It is closed meanwhile.
        for of_file in [true, false] {
            let (client, _) = w.candidates();
            let held = w.get(client, |l| l.socket);
            let at = if of_file { w.at(held, |l| l.socket_file) } else { w.at(client, |l| l.socket) };
            w.fault(Helper::ProbeReadKernel, 3, Fault::Zeroes(at));
            assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Blocking));
        }
    });
}

#[test]
fn a_lane_that_is_not_the_peer_s_is_not_believed() {
    on_every_kernel(|mut w| {
        for case in 0..4 {
            let (client, server) = w.candidates();
            assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Peer));
            assert_eq!(w.enrol(server), ENROLLED);
            w.counted();
            match case {
                0 => w.edit_lane(server, |lane| lane.own.name.own += 1),
                1 => w.edit_lane(server, |lane| lane.own.name.peer += 1),
                // At the second look it is gone, or cannot be read.
                2 => w.fault(Helper::MapLookupElem, 2, Fault::Fails),
                _ => w.unmap_lane(server),
            }
            assert_eq!((w.enrol(client), w.counted()), (GONE, vec![(Counter::Ambiguous, 1)]), "{case}");
            assert_eq!(w.pending_faults(), 0);
        }
    });
}

#[test]
fn what_the_kernel_does_not_put_into_the_map_is_left_alone() {
    for_each(&["no memory", "refused", "taken", "full"], |mut w, case| {
        let (client, server) = w.candidates();
        w.enrol(client);
        w.counted();
        let outcome = match case {
            "no memory" => {
                w.fault(Helper::SkStorageGet, 2, Fault::Fails);
                Counter::NoMemory
            }
            "refused" => {
                w.fault(Helper::MapUpdateElem, 0, Fault::Fails);
                Counter::SocksFull
            }
            "taken" => {
                let name = name(&mut w, server);
                w.take_name(name);
                Counter::Ambiguous
            }
            _ => {
                w.fill("socks");
                Counter::SocksFull
            }
        };
        assert_eq!((w.enrol(server), w.counted()), (GONE, vec![(outcome, 1)]));
        assert!(w.lane(server).is_none() && w.is_refused(server));
        assert_eq!((w.enrol(client), w.pending_faults()), (GONE, 0), "it would only pay");
    });
}
