use super::super::candidate::FIRST;
use super::super::evidence::READS;
use super::super::simulation::{
    CLOSE_WAIT, Enrolment, Fault, Helper, Kernel, REFRESH, SOCK_ZEROCOPY, Waiter, Way, World,
    for_each, on_every_kernel,
};
use super::super::{Control, Counter, End, Isns, Mode, Pass, Reads, Request, Role, Wait};
use super::{ALONE, HURRIES, HURRY, OFTEN, SELDOM};

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
        assert_eq!((w.enrol(second), w.enrol(first)), (Enrolment::Enrolled, Enrolment::Enrolled));
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
            assert_eq!((w.candidate(sk), w.enrol(sk)), (None, Enrolment::Gone));
        }
        assert_eq!((w.send(second, 1), w.send(first, 1)), (Way::Direct, Way::Direct));
        assert_eq!(w.len("rendezvous"), 0);
    });
}

#[test]
fn a_classifier_finds_a_socket_by_its_tuple_in_its_namespace_and_knows_it_by_its_cookie() {
    for (family, netns, looked_in) in [(2, u32::MAX, -1), (10, 7, 7)] {
        let mut w = World::new(Kernel::Bare);
        let (client, _) = w.candidates();
        let cookie = w.get(client, |l| l.cookie);
        let request = Request { cookie, netns, family, ..Request::default() };
        assert_ne!(w.pass_by(client, request).due, u64::MAX);
        assert_eq!(w.looked_in(), [looked_in]);
        assert_eq!(w.pass_by(client, Request { cookie: cookie + 1, ..request }).due, u64::MAX);
        for helper in [Helper::SkLookupTcp, Helper::SkbLoadBytes, Helper::SkStorageGet] {
            w.fails(helper);
            assert_eq!((w.pass_by(client, request).due, w.pending_faults()), (u64::MAX, 0));
        }
        assert!(w.candidate(client).is_some());
    }
}

#[test]
fn an_iterator_over_files_passes_over_what_is_no_socket_or_is_closed() {
    let mut w = World::new(Kernel::Newest);
    let nothing = Pass { due: u64::MAX, ..Pass::default() };
    let (client, _) = w.candidates();
    let file = w.file(client);
    assert_ne!(w.visit_file(nothing, client, file).due, u64::MAX);
    // After the last file, and one that is no socket.
    let other = w.object();
    for file in [0, other] {
        assert_eq!(w.visit_file(nothing, client, file), nothing);
    }
    // It is being closed.
    w.set(w.get(client, |l| l.socket), |l| l.socket_sk, 0);
    assert_eq!(w.visit_file(nothing, client, file), nothing);
    assert!(w.candidate(client).is_some());
}

#[test]
fn a_socket_that_is_no_candidate_is_gone() {
    on_every_kernel(|mut w| {
        let nothing = Pass { due: u64::MAX, ..Pass::default() };
        let (client, _) = w.local();
        assert_eq!(w.pass(client), nothing);
        let (client, _) = w.candidates();
        w.fails(Helper::SkStorageGet);
        assert_eq!((w.pass(client), w.pending_faults()), (nothing, 0));
        assert!(w.candidate(client).is_some());
        assert_eq!(w.pass(0), nothing, "the last call of a pass");
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
            assert_eq!((w.enrol(sk), w.counted()), (Enrolment::Gone, vec![]));
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
            assert_eq!(w.enrol(server), Enrolment::Gone, "{number}");
            assert_eq!(w.counted(), outcome.map(|outcome| (outcome, 1)).as_slice(), "{number}");
            assert_eq!((w.is_refused(server), entry(&mut w, pair)), (true, Some(ALONE as u64)));
            assert_eq!((w.enrol(server), w.counted()), (Enrolment::Gone, vec![]), "{number}");
            w.control(Control { refresh: REFRESH, ..Control::default() });
            assert_eq!((w.enrol(client), w.counted()), (Enrolment::Gone, vec![]), "{number}");
        }
    });
}

#[test]
fn a_socket_that_asks_for_counts_is_left_alone_where_the_kernel_knows_them() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        w.set_optional(client, |l| l.asks_for_counts, 1);
        let known = w.knows(|l| l.asks_for_counts);
        assert_eq!(w.enrol(client) == Enrolment::Gone, known);
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
                read @ (3 | 4) => w.fault(Helper::RdonlyCast, read - 3, Fault::Fails),
                read => w.fault(Helper::ProbeReadKernel, read - 5, Fault::Fails),
            }
            assert_eq!(
                (w.enrol(client), w.counted()),
                (Enrolment::Gone, vec![(Counter::Splices, 1)]),
                "{case}"
            );
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
        assert_eq!((w.enrol(client), w.counted()), (Enrolment::Gone, vec![(Counter::Splices, 1)]));
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
                _ => (Enrolment::Gone, vec![(Counter::Splices, 1)]),
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
fn a_candidate_with_a_small_buffer_waits_until_tcp_has_not_been_offered_all_of_it() {
    on_every_kernel(|mut w| {
        // Bytes of buffer and window, and whether the memory gate would be open to a few messages.
        let cases = [
            (32_768, 16_384, false),
            (32_768, 12_289, false),
            (32_768, 12_288, true),
            // A quarter of so little.
            (8_192, 3_073, false),
            (8_192, 3_072, true),
            // A sixteenth of so much is enough.
            (131_072, 65_536, true),
            (131_056, 65_536, false),
            (1 << 31, 1 << 30, true),
        ];
        for (buffer, window, open) in cases {
            let (client, server) = w.candidates();
            w.send(server, 700);
            w.read(client);
            w.set(client, |l| l.receive_buffer, buffer);
            // Of an offer that was larger, all but this has been used up.
            w.set(client, |l| l.rcv_wnd, window + 700);
            let wrapped = w.get(client, |l| l.rcv_nxt) as u32;
            w.set(client, |l| l.rcv_wup, wrapped.wrapping_sub(700).into());
            let expected = if open { Wait::Peer } else { Wait::Room };
            assert_eq!(w.enrol(client), Enrolment::Waits(expected), "{buffer} {window}");
        }
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
        w.fault(Helper::SkStorageGet, 1, Fault::Fails);
        assert_eq!((w.enrol(client), w.pending_faults()), (Enrolment::NotTried, 0));
        // While it is told to wait.
        let (client, _) = w.candidates();
        w.blocks(client, true);
        w.fault(Helper::SkStorageGet, 1, Fault::Fails);
        assert_eq!((w.enrol(client), w.pending_faults()), (Enrolment::NotTried, 0));
    });
}

#[test]
fn a_candidate_waits_while_it_cannot_be_told_who_sleeps_on_it() {
    on_every_kernel(|mut w| {
        for waiting in 0..=4 {
            let (client, _) = w.candidates();
            w.waiting(client, &vec![Waiter::Epoll; waiting]);
            // Behind what is read for mappings: the socket, its file, that one's flags; by calls
            // the queue, its head, and of each that waits who it is, its stack and the next. One
            // that has no stack does not sleep.
            for read in 2..5 {
                w.fault(Helper::RdonlyCast, read, Fault::Fails);
                assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Blocking), "{waiting} {read}");
            }
            for read in 2..4 + 3 * waiting as u32 {
                w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
                let is_stack = read > 3 && (read - 4) % 3 == 1;
                let expected = if is_stack { Wait::Peer } else { Wait::Blocking };
                assert_eq!(w.enrol(client), Enrolment::Waits(expected), "{waiting} {read}");
            }
            assert_eq!((w.pending_faults(), w.enrol(client)), (0, Enrolment::Waits(Wait::Peer)));
        }
        // It is closed meanwhile.
        for of_file in [true, false] {
            let (client, _) = w.candidates();
            let held = w.get(client, |l| l.socket);
            let at =
                if of_file { w.at(held, |l| l.socket_file) } else { w.at(client, |l| l.socket) };
            w.fault(Helper::RdonlyCast, 2, Fault::Zeroes(at));
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
            assert_eq!(w.enrol(server), Enrolment::Enrolled);
            w.counted();
            match case {
                0 => w.edit_lane(server, |lane| lane.own.name.own += 1),
                1 => w.edit_lane(server, |lane| lane.own.name.peer += 1),
                // At the second look it is gone, or cannot be read.
                2 => w.fault(Helper::MapLookupElem, 3, Fault::Fails),
                _ => w.unmap_lane(server),
            }
            assert_eq!(
                (w.enrol(client), w.counted()),
                (Enrolment::Gone, vec![(Counter::Ambiguous, 1)]),
                "{case}"
            );
            assert_eq!(w.pending_faults(), 0);
        }
    });
}

#[test]
fn what_the_kernel_does_not_put_into_the_map_is_left_alone() {
    for_each(
        &["no memory", "hidden", "no memory for what has arrived", "refused", "taken", "full"],
        |mut w, case| {
            let (client, server) = w.candidates();
            w.enrol(client);
            w.counted();
            let outcome = match case {
                "no memory" => {
                    w.fault(Helper::SkStorageGet, 1, Fault::Fails);
                    Counter::NoMemory
                }
                "hidden" => {
                    w.fault(Helper::SkcToTcpSock, 1, Fault::Fails);
                    Counter::NoMemory
                }
                "no memory for what has arrived" => {
                    w.fault(Helper::MapUpdateElem, 0, Fault::Fails);
                    Counter::NoMemory
                }
                "refused" => {
                    w.fault(Helper::MapUpdateElem, 1, Fault::Fails);
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
            assert_eq!((w.enrol(server), w.counted()), (Enrolment::Gone, vec![(outcome, 1)]));
            assert!(w.lane(server).is_none() && w.is_refused(server));
            assert_eq!(
                (w.enrol(client), w.pending_faults()),
                (Enrolment::Gone, 0),
                "it would only pay"
            );
        },
    );
}

#[test]
fn an_attempt_is_due_some_time_after_the_one_before_and_ever_later() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        w.waiting(client, &[Waiter::Thread]);
        assert_eq!(w.candidate(client).unwrap().due, w.now_ns() + FIRST as u64);
        assert_eq!(w.pass(client), Pass { due: w.now_ns() + FIRST as u64, ..Pass::default() });
        assert_eq!(w.candidate(client).unwrap().wait, 0, "it was not tried");
        w.time_passes(1);
        let mut pause = 125_000;
        while pause <= SELDOM as u64 {
            let due = w.now_ns() + pause;
            assert_eq!(w.pass(client), Pass { due, ..Pass::default() });
            let candidate = w.candidate(client).unwrap();
            assert_eq!(
                (candidate.due, candidate.pause, candidate.wait),
                (due, pause, Wait::Blocking as u32)
            );
            w.edit_candidate(client, |candidate| candidate.due = 0);
            pause += pause / 4;
        }
        assert_eq!(
            (w.pass(client).due, w.candidate(client)),
            (u64::MAX, None),
            "it has waited for long"
        );
        w.segment(client);
        assert!(w.candidate(client).is_some());
    });
}

#[test]
fn a_candidate_whose_peer_is_ready_or_never_will_be_is_due_at_once() {
    for_each(&["ready", "enrolled", "alone"], |mut w, case| {
        let (client, server) = w.candidates();
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Peer));
        let due = w.candidate(client).unwrap().due;
        assert_eq!(w.pass(client), Pass { due, ..Pass::default() });
        match case {
            "ready" => {
                let pair = name(&mut w, client);
                w.put("rendezvous", pair, 3_u64);
            }
            "enrolled" => assert_eq!(w.enrol(server), Enrolment::Enrolled),
            _ => {
                w.set(server, |l| l.repair, 1);
                assert_eq!(w.enrol(server), Enrolment::Gone);
            }
        }
        let found = w.pass(client);
        assert_eq!(
            (found.enrolled, w.is_refused(client)),
            (u32::from(case != "alone"), case == "alone")
        );
    });
}

#[test]
fn a_candidate_whose_entry_at_the_rendezvous_was_evicted_waits_until_it_is_due() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Peer));
        w.evict("rendezvous");
        let due = w.candidate(client).unwrap().due;
        assert_eq!((w.pass(client).due, w.len("rendezvous")), (due, 0));
        assert_eq!((w.enrol(client), w.len("rendezvous")), (Enrolment::Waits(Wait::Peer), 1));
    });
}

#[test]
fn while_a_history_grows_it_is_looked_at_often() {
    on_every_kernel(|mut w| {
        let (client, server) = w.candidates();
        w.reader(Reads::MaySplice);
        let mut pause = 100_000;
        for _ in 0..40 {
            pause = (pause + pause / 4).min(OFTEN as u64);
            w.send(server, 10);
            w.receive(client, 10);
            w.edit_candidate(client, |candidate| candidate.due = 0);
            w.pass(client);
            let candidate = w.candidate(client).unwrap();
            assert_eq!(candidate.wait, Wait::History as u32);
            assert_eq!(candidate.pause, pause);
            let found = w.pass(client);
            assert_eq!(
                (found.histories, found.due),
                (1, w.candidate(client).unwrap().due),
                "it is not due"
            );
        }
        let mut attempts = 0;
        while w.candidate(client).is_some() {
            w.edit_candidate(client, |candidate| candidate.due = 0);
            assert_eq!(w.pass(client).histories, 1);
            attempts += 1;
        }
        assert_eq!(attempts, 16, "it does not grow any more");
    });
}

#[test]
fn one_whose_peer_is_enrolled_is_tried_often_for_a_while() {
    on_every_kernel(|mut w| {
        let (client, server) = w.candidates();
        for sk in [server, client] {
            w.enrol(sk);
        }
        assert!(w.is_enrolled(client));
        w.set(server, |l| l.receive_queue_length, 1);
        let waits = |w: &mut World, pause| {
            w.edit_candidate(server, |candidate| (candidate.due, candidate.pause) = (0, pause));
            w.pass(server);
            w.candidate(server).map(|candidate| candidate.pause)
        };
        // It had waited for its peer.
        assert_eq!(waits(&mut w, 800_000), Some(125_000));
        assert_eq!(waits(&mut w, 125_000), Some(156_250));
        for _ in 2..HURRIES {
            assert_eq!(waits(&mut w, HURRY as u64), Some(HURRY as u64));
        }
        assert_eq!(waits(&mut w, HURRY as u64), Some(HURRY as u64 * 5 / 4));
    });
}

#[test]
fn what_one_has_left_at_the_rendezvous_goes_with_it_when_it_has_waited_for_long() {
    for_each(&["ready", "nothing", "enrolled", "alone"], |mut w, case| {
        let (client, server) = w.candidates();
        let pair = name(&mut w, client);
        let expected = match case {
            "ready" => {
                w.enrol(client);
                None
            }
            "nothing" => None,
            "enrolled" => {
                w.enrol(client);
                w.enrol(server);
                Some(w.lane_address(server))
            }
            _ => {
                w.put("rendezvous", pair, ALONE as u64);
                Some(ALONE as u64)
            }
        };
        w.blocks(client, true);
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Blocking));
        w.edit_candidate(client, |candidate| {
            (candidate.due, candidate.pause, candidate.hurried) =
                (0, SELDOM as u64, HURRIES as u32);
        });
        assert_eq!((w.pass(client).due, w.candidate(client)), (u64::MAX, None));
        assert_eq!(entry(&mut w, pair), expected);
    });
}

#[test]
fn a_socket_whose_memory_was_given_to_another_while_the_program_ran_is_taken_out_again() {
    on_every_kernel(|mut w| {
        for case in 0..2 {
            let (client, server) = w.candidates();
            w.enrol(client);
            let pair = name(&mut w, client);
            w.counted();
            if case == 0 {
                let cookie = w.at(server, |l| l.cookie);
                w.fault(Helper::MapUpdateElem, 1, Fault::Zeroes(cookie));
            } else {
                w.fault(Helper::SkcToTcpSock, 2, Fault::Fails);
            }
            w.edit_candidate(server, |candidate| candidate.due = 0);
            assert_eq!((w.pass(server).enrolled, w.counted(), w.pending_faults()), (0, vec![], 0));
            assert!(w.lane(server).is_none() && !w.is_enrolled(server));
            assert_eq!(entry(&mut w, pair), Some(3));
        }
    });
}

#[test]
fn a_pass_says_when_the_first_of_those_that_wait_is_due() {
    for_each(&[true, false], |mut w, tried| {
        let (first, _) = w.candidates();
        w.time_passes(1);
        let (second, _) = w.candidates();
        if tried {
            for sk in [first, second] {
                w.waiting(sk, &[Waiter::Thread]);
            }
            w.edit_candidate(first, |candidate| candidate.due = 0);
            w.edit_candidate(second, |candidate| (candidate.due, candidate.pause) = (0, 1_000_000));
        }
        let found = w.pass_over(&[first, second]);
        let due = [first, second].map(|sk| w.candidate(sk).unwrap().due);
        assert_eq!((found.due, due[0] < due[1]), (due[0], true));
        assert_eq!(w.pass_over(&[second, first]).due, due[0]);
    });
}
