use super::super::simulation::{
    CLOSE_WAIT, Callers, FIN_WAIT1, FIN_WAIT2, Fault, HZ, Helper, Kernel, LAST_ACK, REFRESH, Waiter, Way, World,
    on_every_kernel,
};
use super::super::{Isns, Mode, Reason, Wake};

/// A flow whose server has not answered yet.
fn unanswered(w: &mut World) -> (u64, u64) {
    let (client, server) = w.flow();
    assert_eq!(w.send(client, 10), Way::Direct);
    (client, server)
}

fn is_enrolled(w: &mut World, sk: u64) -> bool {
    w.enrolled().iter().any(|&(_, enrolled)| enrolled == sk)
}

#[test]
fn a_socket_that_has_sent_its_fin_and_that_nothing_is_on_its_way_to_is_taken_out() {
    on_every_kernel(|mut w| {
        let (client, server) = unanswered(&mut w);
        w.state_becomes(client, FIN_WAIT1);
        assert_eq!(w.counted(), [(Reason::Left, 1)]);
        assert!(!is_enrolled(&mut w, client) && is_enrolled(&mut w, server));
        // The answer comes by TCP.
        assert_eq!(w.send(server, 10), Way::Tcp);
        w.read(client);
        assert_eq!(w.send(server, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::Ended, 2)]);
    });
}

#[test]
fn a_socket_with_redirected_bytes_to_read_stays() {
    on_every_kernel(|mut w| {
        let (client, _) = unanswered(&mut w);
        w.queue(client, true);
        w.state_becomes(client, FIN_WAIT1);
        assert_eq!(w.counted(), []);
        assert!(is_enrolled(&mut w, client));
    });
}

/// A flow whose server has just sent its client something directly, which the client has read.
fn answered(w: &mut World) -> (u64, u64) {
    let (client, server) = w.direct_flow();
    assert_eq!(w.send(server, 10), Way::Direct);
    w.read(client);
    (client, server)
}

/// How many threads sleep on the server, and how many are in a call on it.
fn in_calls(w: &mut World, server: u64, asleep: usize, calls: u64) {
    w.waiting(server, &vec![Waiter::Thread; asleep]);
    w.users_of_psock(server, calls + 1);
}

#[test]
fn a_socket_leaves_a_direct_peer_when_nobody_can_be_sending_to_it() {
    on_every_kernel(|mut w| {
        for (asleep, calls) in [(0, 0), (1, 1), (2, 2), (4, 4)] {
            let (client, server) = answered(&mut w);
            in_calls(&mut w, server, asleep, calls);
            w.state_becomes(client, FIN_WAIT1);
            assert_eq!(w.counted(), [(Reason::Left, 1)], "{asleep} of {calls}");
            assert!(!is_enrolled(&mut w, client));
        }
    });
}

#[test]
fn a_socket_stays_while_somebody_may_be_sending_to_it() {
    on_every_kernel(|mut w| {
        // The last of them is one of more than are looked at.
        for (asleep, calls) in [(0, 1), (1, 2), (3, 4), (5, 5)] {
            let (client, server) = answered(&mut w);
            in_calls(&mut w, server, asleep, calls);
            w.state_becomes(client, FIN_WAIT1);
            assert_eq!(w.counted(), [], "{asleep} of {calls}");
            assert!(is_enrolled(&mut w, client));
        }
    });
}

#[test]
fn who_only_polls_a_peer_makes_up_for_nobody() {
    on_every_kernel(|mut w| {
        for waiter in [Waiter::Epoll, Waiter::BelowItsStack, Waiter::AboveItsStack] {
            for (calls, left) in [(0, true), (1, false)] {
                let (client, server) = answered(&mut w);
                w.waiting(server, &[waiter; 4]);
                w.users_of_psock(server, calls + 1);
                w.state_becomes(client, FIN_WAIT1);
                assert_eq!(!is_enrolled(&mut w, client), left, "{waiter:?} {calls}");
            }
        }
    });
}

#[test]
fn what_was_sent_a_fiftieth_of_a_second_ago_has_arrived() {
    on_every_kernel(|mut w| {
        for (passed, left) in [(HZ / 50 + 1, false), (HZ / 50 + 2, true)] {
            let (client, server) = answered(&mut w);
            in_calls(&mut w, server, 0, 1);
            w.time_passes(passed);
            w.state_becomes(client, FIN_WAIT1);
            assert_eq!(!is_enrolled(&mut w, client), left, "{passed}");
        }
    });
}

#[test]
fn a_lane_to_a_socket_that_has_sent_its_fin_ends_even_if_it_has_credit() {
    on_every_kernel(|mut w| {
        let (client, server) = answered(&mut w);
        in_calls(&mut w, server, 0, 1);
        w.state_becomes(client, FIN_WAIT1);
        assert!(is_enrolled(&mut w, client));
        assert_eq!((w.send(server, 10), w.counted()), (Way::Tcp, vec![(Reason::Ended, 1)]));
        assert_eq!(w.lane(server).unwrap().mode, Mode::Ended as u32);

        // A lane that cannot be read is one of a socket that has gone.
        let (client, server) = answered(&mut w);
        w.state_becomes(client, FIN_WAIT1);
        w.counted();
        w.fails(Helper::ProbeReadKernel);
        assert_eq!((w.send(server, 10), w.counted(), w.pending_faults()), (Way::Tcp, vec![(Reason::Ended, 1)], 0));
    });
}

#[test]
fn another_flow_in_the_same_bucket_stays_direct_and_is_asked_once() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        let (stranger, _) = answered(&mut w);
        let bucket = w.lane(stranger).unwrap().bucket;
        for sk in [client, server] {
            w.edit_lane(sk, |lane| lane.bucket = bucket);
        }
        w.state_becomes(stranger, FIN_WAIT1);
        w.counted();
        assert_eq!(w.send(client, 10), Way::Direct);
        // The second time nothing is read.
        w.fails(Helper::ProbeReadKernel);
        assert_eq!((w.send(client, 10), w.counted(), w.pending_faults()), (Way::Direct, vec![], 1));
    });
}

#[test]
fn a_client_that_never_looked_for_its_peer_does_so_before_it_leaves() {
    on_every_kernel(|mut w| {
        for state in [FIN_WAIT1, FIN_WAIT2, LAST_ACK] {
            let (client, _) = w.flow();
            w.state_becomes(client, state);
            assert_eq!((w.counted(), w.len("rendezvous")), (vec![(Reason::Left, 1)], 0));
            assert!(!is_enrolled(&mut w, client));
        }
    });
}

#[test]
fn a_socket_whose_peer_is_not_known_or_is_another_by_now_stays() {
    on_every_kernel(|mut w| {
        let (client, _) = w.flow();
        w.evict("rendezvous");
        w.state_becomes(client, FIN_WAIT1);
        assert!(is_enrolled(&mut w, client));

        let (client, server) = w.flow();
        let (ours, theirs) = (w.lane(client).unwrap().own.name, w.lane(server).unwrap().own.name);
        let note = w.lane_address(server);
        w.put("rendezvous", ours, 0u64);
        w.state_becomes(client, FIN_WAIT1);
        assert!(is_enrolled(&mut w, client));
        w.put("rendezvous", ours, note);
        for name in [Isns { own: 1, ..theirs }, Isns { peer: 1, ..theirs }] {
            w.edit_lane(server, |lane| lane.own.name = name);
            w.state_becomes(client, FIN_WAIT1);
            assert!(is_enrolled(&mut w, client));
        }

        let (client, server) = unanswered(&mut w);
        w.set(server, |l| l.cookie, 77_777);
        w.state_becomes(client, FIN_WAIT1);
        assert!(is_enrolled(&mut w, client));
        assert_eq!(w.counted(), []);
    });
}

#[test]
fn a_socket_stays_when_it_cannot_be_told_what_is_on_its_way_to_it() {
    on_every_kernel(|w| {
        // Its peer's cookie, how its peer sends and since when; who waits for its peer, and of each whether it sleeps, and the next; its
        // peer's psock and users; its own psock and queue.
        for read in 0..5 + 4 * 3 + 2 + 2 {
            let mut w = World::new(w.kernel);
            let (client, server) = answered(&mut w);
            in_calls(&mut w, server, 4, 4);
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            w.state_becomes(client, FIN_WAIT1);
            assert_eq!((w.counted(), w.pending_faults()), (vec![], 0));
            assert!(is_enrolled(&mut w, client));
        }
    });
}

#[test]
fn a_socket_without_a_psock_has_no_queue_to_look_at() {
    on_every_kernel(|mut w| {
        // Its own, when it leaves and when it sends a segment.
        let (client, _) = unanswered(&mut w);
        let tagged = w.get(client, |l| l.user_data);
        w.set(client, |l| l.user_data, 3);
        w.set(client, |l| l.rcv_nxt, w.get(client, |l| l.copied_seq) + 1);
        w.segment(client);
        w.state_becomes(client, FIN_WAIT1);
        assert_eq!(w.counted(), []);
        assert!(is_enrolled(&mut w, client));
        let ours = w.lane(client).unwrap().own.name;
        assert!(w.look(ours).is_some());
        w.set(client, |l| l.user_data, tagged);

        // Its peer's, when it leaves.
        let (client, server) = answered(&mut w);
        w.set(server, |l| l.user_data, 3);
        w.state_becomes(client, FIN_WAIT1);
        assert_eq!(w.counted(), []);
        assert!(is_enrolled(&mut w, client));

        // Its peer's, when a refresh is due, and when a thread waits.
        let (client, server) = w.direct_flow();
        w.set(server, |l| l.user_data, 3);
        w.time_passes(REFRESH);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::Refresh, 1)]);
        let (client, server) = w.flow();
        w.waiting(server, &[Waiter::Thread]);
        w.set(server, |l| l.user_data, 3);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::LookFailed, 1)]);

        // When nobody waits, only a kernel that does not charge bytes looks at it.
        if w.kernel == Kernel::Bare {
            let (client, server) = w.flow();
            w.set(server, |l| l.user_data, 3);
            assert_eq!(w.send(client, 10), Way::Tcp);
            assert_eq!(w.counted(), [(Reason::LookFailed, 1)]);
        }
    });
}

#[test]
fn an_end_whose_peer_has_sent_a_fin_sends_nothing_directly_and_stays() {
    on_every_kernel(|mut w| {
        let (client, _) = unanswered(&mut w);
        w.state_becomes(client, CLOSE_WAIT);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.mode, lane.credit), (Mode::Ended as u32, 0));
        assert!(is_enrolled(&mut w, client));
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::Ended, 1)]);
    });
}

#[test]
fn a_socket_leaves_when_its_fin_is_acknowledged_by_a_peer_whose_lane_has_ended() {
    on_every_kernel(|mut w| {
        let (client, server) = answered(&mut w);
        in_calls(&mut w, server, 0, 1);
        w.state_becomes(client, FIN_WAIT1);
        assert!(is_enrolled(&mut w, client));
        w.state_becomes(server, CLOSE_WAIT);
        w.state_becomes(client, FIN_WAIT2);
        assert_eq!(w.counted(), [(Reason::Left, 1)]);
        assert!(!is_enrolled(&mut w, client) && is_enrolled(&mut w, server));
    });
}

// At a segment.

/// The callback for a change of state, and the one for segments.
const CALLBACKS: [u64; 2] = [1 << 2, 1 << 6];

/// Sends a segment of a socket that has these callbacks, and tells which it has afterwards.
fn segment_with(w: &mut World, sk: u64, callbacks: u64) -> u64 {
    w.set_callbacks(callbacks);
    w.segment(sk);
    w.callbacks()
}

#[test]
fn a_socket_whose_lane_has_ended_leaves_at_its_next_segment_and_its_segments_are_of_no_interest_any_more() {
    on_every_kernel(|mut w| {
        let (client, _) = unanswered(&mut w);
        let all = CALLBACKS[0] | CALLBACKS[1];
        assert_eq!(segment_with(&mut w, client, all), all);
        assert!(is_enrolled(&mut w, client), "a lane that goes on");
        w.edit_lane(client, |lane| lane.mode = Mode::Ended as u32);
        assert_eq!(segment_with(&mut w, client, all), CALLBACKS[0]);
        assert!(!is_enrolled(&mut w, client));
        assert_eq!(w.counted(), [(Reason::Left, 1)]);
    });
}

#[test]
fn a_socket_leaves_once_its_reader_has_read_what_was_redirected() {
    on_every_kernel(|mut w| {
        let (client, _) = unanswered(&mut w);
        w.edit_lane(client, |lane| lane.mode = Mode::Ended as u32);
        w.queue(client, true);
        w.segment(client);
        assert!(is_enrolled(&mut w, client));
        w.read(client);
        w.segment(client);
        assert!(!is_enrolled(&mut w, client));
    });
}

#[test]
fn a_socket_stays_while_its_keepalive_timer_is_borrowed() {
    on_every_kernel(|mut w| {
        let (client, _) = unanswered(&mut w);
        w.edit_lane(client, |lane| {
            lane.mode = Mode::Ended as u32;
            lane.wake = Wake::Armed as u32;
        });
        w.queue(client, true);
        w.segment(client);
        assert!(is_enrolled(&mut w, client));
        // It gets its timer back, and goes.
        w.read(client);
        w.segment(client);
        assert!(!is_enrolled(&mut w, client));
    });
}

#[test]
fn a_socket_that_goes_while_the_program_runs_stays() {
    on_every_kernel(|mut w| {
        let (client, _) = unanswered(&mut w);
        w.fault(Helper::SkStorageGet, 0, Fault::SocketHidden);
        w.state_becomes(client, FIN_WAIT1);
        let (client, _) = unanswered(&mut w);
        w.fault(Helper::SkStorageGet, 1, Fault::Fails);
        w.state_becomes(client, FIN_WAIT1);
        assert_eq!((w.counted(), w.pending_faults()), (vec![], 0));
        assert!(is_enrolled(&mut w, client));
    });
}

#[test]
fn a_socket_leaves_that_somebody_waits_for_who_has_not_said_that_he_will_not_block() {
    on_every_kernel(|mut w| {
        for (nonblocking, waiter, leaves) in [
            (false, Some(Waiter::Thread), true),
            (false, Some(Waiter::Epoll), true),
            (false, None, false),
            (true, Some(Waiter::Thread), false),
        ] {
            let (client, _) = unanswered(&mut w);
            w.callers(client, Callers { nonblocking, ..Callers::default() });
            w.waiting(client, waiter.as_slice());
            w.segment(client);
            assert_eq!(!is_enrolled(&mut w, client), leaves, "{nonblocking} {waiter:?}");
            assert_eq!(w.lane(client).unwrap().mode == Mode::Ended as u32, leaves);
            assert_eq!(w.counted(), if leaves { vec![(Reason::Left, 1)] } else { vec![] });
        }
    });
}

#[test]
fn a_socket_stays_if_it_cannot_be_told_whether_somebody_waits_for_it() {
    on_every_kernel(|w| {
        for read in 0..2 {
            let mut w = World::new(w.kernel);
            let (client, _) = unanswered(&mut w);
            w.callers(client, Callers { nonblocking: false, ..Callers::default() });
            w.waiting(client, &[Waiter::Thread]);
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            w.segment(client);
            assert_eq!((w.counted(), w.pending_faults()), (vec![], 0));
        }
        // Nobody has accepted it, or nobody has a file of it.
        let mut w = World::new(w.kernel);
        let (client, _) = unanswered(&mut w);
        w.callers(client, Callers { nonblocking: false, ..Callers::default() });
        w.set(client, |l| l.wait_queue, 0);
        w.segment(client);
        w.set(w.get(client, |l| l.socket), |l| l.socket_file, 0);
        w.segment(client);
        assert_eq!(w.counted(), []);
        assert!(is_enrolled(&mut w, client));
    });
}
