use super::super::simulation::{
    Event, Fault, Helper, Op, REFRESH, ROUND_TRIP_CALLBACK, RTO_CALLBACK, SEGMENT_CALLBACK,
    UNKNOWN_OPTION_CALLBACK, World, for_each, on_every_kernel,
};
use super::super::{Control, Counter, Isns};

const PAIR: Isns = Isns { own: 101, peer: 201 };
const SERVER_MARK: u64 = UNKNOWN_OPTION_CALLBACK | ROUND_TRIP_CALLBACK;
const CLIENT_MARK: u64 = SERVER_MARK | RTO_CALLBACK;

/// A connection whose SYN has reached a listener here.
fn hinted(w: &mut World) -> (u64, u64) {
    let ends = w.connection(100, 200);
    w.syn(100, 200);
    ends
}

fn marks(w: &mut World, (client, server): (u64, u64)) -> (u64, u64) {
    (w.callbacks(client), w.callbacks(server))
}

#[test]
fn a_connection_with_both_ends_here_is_marked_at_both_and_nothing_is_left_of_the_note() {
    on_every_kernel(|mut w| {
        let ends = hinted(&mut w);
        assert_eq!(w.entries::<u64>("hints"), [(PAIR, 0)]);
        w.set_callbacks(ends.0, SEGMENT_CALLBACK);
        w.establish(ends.0, ends.1);
        assert_eq!(marks(&mut w, ends), (CLIENT_MARK | SEGMENT_CALLBACK, SERVER_MARK));
        assert_eq!((w.counted(), w.len("hints")), (vec![], 0));
        assert_eq!(w.options(), [], "it costs nothing but the mark");
    });
}

#[test]
fn a_full_socket_and_one_that_cannot_be_read_leave_no_hint() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(100, 200);
        w.event(Event::new(Op::RwndInit, client));
        for read in 0..3 {
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            w.syn(100, 200);
        }
        assert_eq!((w.len("hints"), w.pending_faults()), (0, 0));
    });
}

#[test]
fn a_client_whose_listener_is_elsewhere_and_a_server_whose_client_is_are_left_alone() {
    on_every_kernel(|mut w| {
        let ends = w.connection(100, 200);
        w.establish(ends.0, ends.1);
        assert_eq!(w.counted(), [(Counter::NoHint, 1), (Counter::NoClient, 1)]);
        w.syn(100, 200);
        w.event(Event::new(Op::PassiveEstablished, ends.1));
        assert_eq!(w.counted(), [(Counter::NoClient, 1)]);
        assert_eq!(marks(&mut w, ends), (0, 0));
        assert_eq!(w.len("hints"), 0);
    });
}

#[test]
fn two_clients_that_claim_the_same_pair_cost_the_server_both() {
    on_every_kernel(|mut w| {
        let ends = hinted(&mut w);
        let (impostor, _) = w.connection(100, 200);
        w.event(Event::new(Op::ActiveEstablished, impostor));
        w.event(Event::new(Op::ActiveEstablished, ends.0));
        assert_eq!(w.counted(), [(Counter::Ambiguous, 1)]);
        w.event(Event::new(Op::PassiveEstablished, ends.1));
        assert_eq!(marks(&mut w, ends), (0, 0));
        assert_eq!(w.counted(), [(Counter::NoClient, 1)]);
    });
}

#[test]
fn an_end_that_is_not_suitable_is_left_alone() {
    for_each(&["repaired", "mptcp", "hidden", "unreadable", "draining"], |mut w, case| {
        for at_the_client in [true, false] {
            let mut w = World::new(w.kernel);
            let ends = hinted(&mut w);
            let (op, sk) = if at_the_client {
                (Op::ActiveEstablished, ends.0)
            } else {
                w.event(Event::new(Op::ActiveEstablished, ends.0));
                (Op::PassiveEstablished, ends.1)
            };
            let mut event = Event::new(op, sk);
            let mut outcome = vec![(Counter::Unsuitable, 1)];
            match case {
                "repaired" => event.tcp_flags = 0,
                "draining" => {
                    w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
                    outcome = vec![];
                }
                // What this kernel has not makes nothing unsuitable.
                _ if !w.knows(|l| l.is_mptcp) => continue,
                "mptcp" => w.set_optional(sk, |l| l.is_mptcp, 1),
                "hidden" => w.fault(Helper::ProbeReadKernel, 0, Fault::Fails),
                _ => w.fault(Helper::ProbeReadKernel, 1, Fault::Fails),
            }
            w.event(event);
            assert_eq!(w.counted(), outcome, "{case} {at_the_client}");
            assert_eq!(w.callbacks(sk), 0);
        }
        w.time_passes(1);
    });
}

#[test]
fn a_socket_that_is_connected_again_is_taken_out_and_not_considered_a_second_time() {
    on_every_kernel(|mut w| {
        for enrolled in [true, false] {
            let ends = if enrolled { w.direct_flow() } else { w.candidates() };
            w.counted();
            w.event(Event::new(Op::ActiveEstablished, ends.0));
            assert_eq!(w.counted(), [(Counter::Reused, 1)]);
            assert_eq!(w.callbacks(ends.0), 0);
            assert!(!w.is_enrolled(ends.0) && w.lane(ends.0).is_none());
            assert!(w.candidate(ends.0).is_none());
            w.event(Event::new(Op::PassiveEstablished, ends.1));
            assert_eq!(w.counted(), [(Counter::Reused, 1)]);
        }
    });
}

#[test]
fn a_marked_socket_that_is_not_shown_is_not_considered_again() {
    on_every_kernel(|mut w| {
        let calls = [(Helper::SkStorageGet, 0), (Helper::SkStorageDelete, 0)];
        for hidden_at in std::iter::once(None).chain(calls.map(Some)) {
            let (client, server) = w.candidates();
            w.counted();
            for (op, sk) in [(Op::ActiveEstablished, client), (Op::PassiveEstablished, server)] {
                if let Some((helper, before)) = hidden_at {
                    w.fault(helper, before, Fault::SocketHidden);
                }
                w.event(Event { shown: hidden_at.is_some(), ..Event::new(op, sk) });
                assert_eq!((w.counted(), w.callbacks(sk), w.pending_faults()), (vec![], 0, 0));
            }
        }
    });
}
