use super::super::rendezvous::ALONE;
use super::super::simulation::{
    CLOSE_WAIT, Enrolment, Event, Fault, Helper, Op, REFRESH, SOCK_ZEROCOPY, STATE_CALLBACK,
    UNKNOWN_OPTION_CALLBACK, World, for_each, on_every_kernel,
};
use super::super::{Candidate, Comm, Control, Counter, Isns, Newcomer, Refusal, Role};
use super::{FIRST, PATIENCE, ROOM, SOON, WINDOW};

const ALONE_ENTRY: u64 = ALONE as u64;

/// A connection whose client, at its next segment, is a candidate, unless something is in the way.
fn about_to_be(w: &mut World) -> (u64, u64) {
    let (client, server) = w.local();
    w.set_segments(client, 4, 4, 9);
    w.round_trip(client);
    (client, server)
}

#[test]
fn an_end_that_makes_no_pause_is_a_candidate_after_thirty_two_segments_each_way() {
    let cases = [
        (0, 2, 2, false),
        (0, 31, 32, false),
        (0, 32, 31, false),
        (0, 32, 32, true),
        (1, 2, 2, true),
    ];
    for_each(&cases, |mut w, (pause, data_in, data_out, worth_it)| {
        let ends: [u64; 2] = w.local().into();
        for sk in ends {
            w.set_segments(sk, data_in, data_out, 64);
            w.round_trip(sk);
            let last = w.now() as u32 - pause;
            w.set(sk, |l| l.sent_last, last.into());
            w.segment(sk);
            assert_eq!(w.candidate(sk).is_some(), worth_it);
        }
    });
}

#[test]
fn a_candidate_is_known_by_its_name_its_process_and_where_it_is() {
    on_every_kernel(|mut w| {
        let (client, server) = w.local();
        w.addresses(client, [10, 0, 0, 1], [10, 0, 0, 2]);
        w.set(client, |l| l.local_port, 40_000);
        w.set(client, |l| l.remote_port, 80);
        w.set(w.first_thread(), |l| l.thread_id, 1);
        w.goes_on(client, server);
        assert_eq!(w.counted(), [(Counter::Candidates, 2)]);
        let [of_client, of_server] = w.newcomers().try_into().unwrap();
        let mapped = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, last];
        let v6 = |last| if w.knows(|l| l.local_v6) { mapped(last) } else { [0; 16] };
        let expected = Newcomer {
            cookie: w.get(client, |l| l.cookie),
            process: w.process(),
            netns: 4_026_531_840,
            netns_cookie: 11,
            family: 2,
            local_port: 40_000,
            remote_port: 80,
            local_v4: u32::from_ne_bytes([10, 0, 0, 1]),
            remote_v4: u32::from_ne_bytes([10, 0, 0, 2]),
            local_v6: v6(1),
            remote_v6: v6(2),
            thread: of_client.thread,
            ..Newcomer::default()
        };
        assert_eq!(of_client, expected);
        assert_eq!(of_server.cookie, w.get(server, |l| l.cookie));
        for (sk, role) in [(client, Role::Client), (server, Role::Server)] {
            let own = w.get(sk, |l| l.write_seq) as u32 - 400;
            let name = Isns { own, peer: w.get(sk, |l| l.rcv_nxt) as u32 - 400 };
            let (cookie, process, program) =
                (w.get(sk, |l| l.cookie), w.process(), Comm::of("an-application"));
            let (role, pause, due) = (role as u32, SOON as u64, w.now_ns() + FIRST as u64);
            let expected = Candidate {
                name,
                cookie,
                process,
                program,
                sk,
                role,
                pause,
                due,
                ..Candidate::default()
            };
            assert_eq!(w.candidate(sk), Some(expected));
            assert_eq!(w.callbacks(sk) & STATE_CALLBACK, STATE_CALLBACK);
        }
        w.segment(client);
        assert_eq!((w.counted(), w.newcomers().len()), (vec![], 0), "once");
    });
}

#[test]
fn a_pass_that_comes_while_a_socket_becomes_a_candidate_does_not_refuse_it() {
    on_every_kernel(|mut w| {
        let (client, _) = about_to_be(&mut w);
        let (mut seen, mut tried) = (0, 0);
        w.in_the_middle(
            |w| w.segment(client),
            |w| {
                if let Some(candidate) = w.candidate(client) {
                    assert_eq!((candidate.refused, candidate.sk), (0, client));
                    seen += 1;
                    // Its first attempt is due by then: who sends has lost its processor.
                    w.time_passes(10);
                    w.pass(client);
                    let refused =
                        w.candidate(client).is_some_and(|candidate| candidate.refused != 0);
                    assert!(!refused, "after {seen} calls");
                    let waits = w.candidate(client).is_some_and(|candidate| candidate.wait != 0);
                    tried += u32::from(waits);
                }
            },
        );
        assert!(seen > 4 && tried == seen, "{seen} {tried}");
    });
}

#[test]
fn a_candidate_gets_room_for_its_reader_a_bounded_window_and_keeps_its_low_water_mark() {
    on_every_kernel(|mut w| {
        let most = WINDOW as u64;
        // No more than a quarter of the buffer that there is.
        for (buffer, window) in [(4 * most, most), (64 * most, most)] {
            let (client, _) = about_to_be(&mut w);
            w.set(client, |l| l.receive_buffer, buffer);
            w.segment(client);
            assert_eq!(w.options(), [(1, 18, ROOM.into()), (1, 18, 1), (6, 10, window)]);
            assert_eq!(w.get(client, |l| l.low_water), 1);
            for (buffer, window) in [(4 * most - 4, most - 1), (64 * most, most)] {
                w.set(client, |l| l.receive_buffer, buffer);
                w.segment(client);
                assert_eq!(w.options(), [(6, 10, window)]);
            }
        }
    });
}

#[test]
fn an_enrolled_socket_is_given_a_bounded_window_at_each_segment() {
    on_every_kernel(|mut w| {
        let most = WINDOW as u64;
        for (buffer, bound) in [(64 * most, most), (4 * most, most), (4 * most - 4, most - 1)] {
            let (client, _) = w.flow();
            w.set(client, |l| l.receive_buffer, buffer);
            for _ in 0..2 {
                w.segment(client);
                assert_eq!(w.options(), [(6, 10, bound)], "{buffer}");
            }
            assert!(w.is_enrolled(client));
        }
    });
}

#[test]
fn a_segment_of_a_socket_that_is_not_marked_is_not_considered() {
    on_every_kernel(|mut w| {
        let (client, _) = about_to_be(&mut w);
        let callbacks = w.callbacks(client);
        w.set_callbacks(client, callbacks & !UNKNOWN_OPTION_CALLBACK);
        w.segment(client);
        assert_eq!((w.counted(), w.len("candidates")), (vec![], 0));
        w.set_callbacks(client, callbacks);
        w.segment(client);
        assert_eq!(w.counted(), [(Counter::Candidates, 1)]);
    });
}

#[test]
fn a_candidate_that_was_refused_is_forgotten_at_its_next_segment_with_all_of_its_window() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        w.set(client, |l| l.low_water, 2);
        assert_eq!(w.enrol(client), Enrolment::Gone);
        w.options();
        w.counted();
        w.segment(client);
        assert_eq!((w.callbacks(client), w.options()), (0, vec![(6, 10, 0xffff << 14)]));
        assert_eq!(w.candidate(client), None);
        w.segment(client);
        assert_eq!((w.options(), w.counted()), (vec![], vec![]));
    });
}

#[test]
fn what_is_no_moment_to_consider_a_socket_at_is_let_pass() {
    for_each(&["closing", "draining", "interrupt", "hidden", "not tcp"], |mut w, case| {
        let (client, _) = about_to_be(&mut w);
        let mut event = Event::new(Op::HdrOptLen, client);
        match case {
            "closing" => event.state = CLOSE_WAIT,
            "draining" => {
                w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() })
            }
            "interrupt" => event.in_a_call = false,
            "hidden" => event.shown = false,
            _ => w.fails(Helper::SkcToTcpSock),
        }
        w.event(event);
        assert_eq!((w.counted(), w.len("candidates"), w.len("rendezvous")), (vec![], 0, 0));
        w.control(Control { refresh: REFRESH, ..Control::default() });
        w.segment(client);
        assert_eq!(w.counted(), [(Counter::Candidates, 1)]);
    });
}

#[test]
fn what_hides_in_between_is_no_candidate() {
    on_every_kernel(|mut w| {
        // The lane, then the candidate; and each that is read of it, the cookie being asked last.
        for (helper, calls_before) in
            [(Helper::SkStorageGet, 0), (Helper::SkStorageGet, 1), (Helper::GetSocketCookie, 0)]
        {
            let (client, _) = about_to_be(&mut w);
            w.fault(helper, calls_before, Fault::SocketHidden);
            w.segment(client);
            assert_eq!((w.counted(), w.pending_faults()), (vec![], 0));
            assert_eq!(w.candidate(client), None);
        }
        // One that was refused.
        let (client, _) = w.candidates();
        w.set(client, |l| l.low_water, 2);
        assert_eq!(w.enrol(client), Enrolment::Gone);
        let callbacks = w.callbacks(client);
        w.fault(Helper::SkStorageGet, 1, Fault::SocketHidden);
        w.segment(client);
        assert_eq!(
            (w.pending_faults(), w.callbacks(client), w.is_refused(client)),
            (0, callbacks, true)
        );
    });
}

#[test]
fn what_cannot_be_enrolled_is_left_alone_at_both_ends() {
    type Make = fn(&mut World, u64);
    let cases: [(Make, Counter); 11] = [
        (|w, sk| w.set(sk, |l| l.user_data, 1), Counter::Foreign),
        (|w, sk| w.set(sk, |l| l.repair, 1), Counter::Unsuitable),
        (|w, sk| w.set(sk, |l| l.socket, 0), Counter::Unsuitable),
        (|w, sk| w.set(sk, |l| l.flags, 1 << SOCK_ZEROCOPY), Counter::Guarded),
        (|w, sk| w.set(sk, |l| l.low_water, 2), Counter::Guarded),
        (|w, sk| w.set(sk, |l| l.peek_offset, 0), Counter::Guarded),
        (|w, sk| w.set(sk, |l| l.timestamping, 1), Counter::Guarded),
        (|w, sk| w.set(sk, |l| l.max_pacing_rate, 1_000_000), Counter::Guarded),
        (|w, sk| w.set_optional(sk, |l| l.asks_for_counts, 1), Counter::Guarded),
        (|w, sk| w.blocks(sk, true), Counter::BlockingFile),
        (|w, sk| w.set(w.get(sk, |l| l.socket), |l| l.socket_file, 0), Counter::Unsuitable),
    ];
    on_every_kernel(|mut w| {
        for (number, (make, outcome)) in cases.into_iter().enumerate() {
            for at_the_client in [true, false] {
                let (client, server) = w.local();
                let sk = if at_the_client { client } else { server };
                w.set_segments(sk, 4, 4, PATIENCE as u32);
                w.round_trip(sk);
                make(&mut w, sk);
                w.segment(sk);
                if number == 8 && !w.knows(|l| l.asks_for_counts) {
                    assert_eq!(w.counted(), [(Counter::Candidates, 1)]);
                    continue;
                }
                assert_eq!(w.counted(), [(outcome, 1)], "{number}");
                assert_eq!((w.candidate(sk), w.callbacks(sk)), (None, 0));
                let name = Isns {
                    own: w.get(client, |l| l.write_seq) as u32,
                    peer: w.get(client, |l| l.rcv_nxt) as u32,
                };
                assert_eq!(
                    w.value_under::<Isns, u64>("rendezvous", name),
                    Some(ALONE_ENTRY),
                    "{number}"
                );
            }
        }
    });
}

#[test]
fn what_is_left_alone_is_counted_by_reason_and_program() {
    on_every_kernel(|mut w| {
        let refuse = |w: &mut World, unreadable: Option<Helper>| {
            let (client, _) = about_to_be(w);
            w.set(client, |l| l.low_water, 2);
            if let Some(helper) = unreadable {
                w.fails(helper);
            }
            w.segment(client);
            assert_eq!(w.callbacks(client), 0);
        };
        let refusal =
            Refusal { program: Comm::of("an-application"), outcome: Counter::Guarded as u32 };
        for times in 1..=2_u64 {
            refuse(&mut w, None);
            assert_eq!(w.value_under("refusals", refusal), Some(times));
        }
        w.counted();
        refuse(&mut w, Some(Helper::ProbeReadKernelStr));
        assert_eq!((w.counted(), w.len("refusals")), (vec![], 1), "the name of its process");
    });
}

#[test]
fn a_socket_that_the_version_before_may_have_enrolled_keeps_its_callbacks_while_that_drains() {
    on_every_kernel(|mut w| {
        let (client, _) = about_to_be(&mut w);
        let callbacks = w.callbacks(client);
        w.set(client, |l| l.user_data, 1);
        w.control(Control { older: 1, refresh: REFRESH, ..Control::default() });
        w.segment(client);
        assert_eq!(
            (w.counted(), w.callbacks(client), w.candidate(client)),
            (vec![], callbacks, None)
        );
        w.control(Control { refresh: REFRESH, ..Control::default() });
        w.segment(client);
        assert_eq!((w.counted(), w.callbacks(client)), (vec![(Counter::Foreign, 1)], 0));
    });
}

#[test]
fn flags_that_ask_for_nothing_are_in_nobody_s_way() {
    on_every_kernel(|mut w| {
        let (client, _) = about_to_be(&mut w);
        w.set(client, |l| l.flags, !(1 << SOCK_ZEROCOPY));
        w.segment(client);
        assert_eq!(w.counted(), [(Counter::Candidates, 1)]);
    });
}

#[test]
fn a_file_that_blocks_may_not_do_so_later() {
    on_every_kernel(|mut w| {
        let (client, _) = about_to_be(&mut w);
        w.blocks(client, true);
        w.set_segments(client, 4, 4, PATIENCE as u32 - 1);
        w.segment(client);
        assert_eq!((w.counted(), w.len("rendezvous")), (vec![], 0));
        w.blocks(client, false);
        w.segment(client);
        assert_eq!(w.counted(), [(Counter::Candidates, 1)]);
    });
}

#[test]
fn a_candidate_that_the_agent_does_not_hear_of_or_that_has_no_room_is_none_until_its_next_segment()
{
    on_every_kernel(|mut w| {
        for (helper, calls_before) in [(Helper::SkStorageGet, 2), (Helper::RingbufOutput, 0)] {
            let (client, _) = about_to_be(&mut w);
            w.fault(helper, calls_before, Fault::Fails);
            w.segment(client);
            assert_eq!(w.counted(), [(Counter::NoMemory, 1)]);
            assert_eq!((w.candidate(client), w.newcomers().len()), (None, 0));
            assert_eq!(w.callbacks(client) & STATE_CALLBACK, 0);
            w.segment(client);
            assert_eq!(w.counted(), [(Counter::Candidates, 1)]);
            w.newcomers();
        }
        let (client, _) = about_to_be(&mut w);
        w.fails(Helper::RingbufOutput);
        w.fault(Helper::RingbufOutput, 0, Fault::SocketHidden);
        w.segment(client);
        assert_eq!(w.counted(), []);
    });
}

#[test]
fn a_candidate_of_which_something_cannot_be_read_is_none() {
    on_every_kernel(|mut w| {
        let (client, _) = about_to_be(&mut w);
        w.fails(Helper::ProbeReadKernelStr);
        w.segment(client);
        assert_eq!((w.candidate(client), w.counted()), (None, vec![]), "the name of its process");
        // Where its socket is, and its namespace; that it has a file which does not block, the name
        // of its process and that this has memory of its own. The rest is there, then.
        let needed = [
            (Helper::ProbeReadKernel, vec![0, 1, 2, 3]),
            (Helper::RdonlyCast, vec![0, 1, 2, 3, 5, 8]),
        ];
        for (helper, needed) in needed {
            for read in 0.. {
                let (client, _) = about_to_be(&mut w);
                w.fault(helper, read, Fault::Fails);
                w.segment(client);
                if w.pending_faults() > 0 {
                    assert!(read as usize >= needed.len(), "{helper:?}: {read} reads");
                    w.clear_faults();
                    break;
                }
                assert_eq!(
                    w.candidate(client).is_none(),
                    needed.contains(&read),
                    "{helper:?} {read}"
                );
                w.counted();
            }
        }
    });
}

#[test]
fn a_thread_of_the_kernel_is_no_process_that_reads() {
    on_every_kernel(|mut w| {
        let (client, _) = about_to_be(&mut w);
        w.set(w.first_thread(), |l| l.memory, 0);
        w.segment(client);
        assert_eq!((w.counted(), w.candidate(client)), (vec![], None));
    });
}
