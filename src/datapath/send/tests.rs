use super::super::simulation::{BOOKKEEPING, Fault, Helper, Kernel, REFRESH, Way, World, on_every_kernel};
use super::super::{Control, Mode, Reason};

#[test]
fn a_message_without_a_socket_goes_by_tcp() {
    on_every_kernel(|mut w| {
        assert_eq!(w.send(0, 100), Way::Tcp);
        assert_eq!(w.counted(), []);
    });
}

#[test]
fn a_message_of_a_socket_that_is_not_enrolled_goes_by_tcp_and_is_not_counted() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(1, 2);
        assert_eq!(w.send(client, 100), Way::Tcp);
        assert_eq!(w.counted(), []);
        assert!(w.lane(client).is_none());
    });
}

#[test]
fn while_shunt_is_being_stopped_every_message_goes_by_tcp_and_afterwards_the_order_gate_decides() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
        assert_eq!(w.send(client, 100), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::Draining, 1)]);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.mode, lane.credit), (Mode::Tcp as u32, 0));

        w.control(Control { draining: 0, refresh: REFRESH, ..Control::default() });
        assert_eq!(w.send(client, 100), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::OrderGate, 1)]);
        w.read(server);
        assert_eq!(w.send(client, 100), Way::Direct);
    });
}

#[test]
fn the_common_message_takes_its_bytes_and_its_bookkeeping_off_the_credit_and_counts_nothing() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        let before = w.lane(client).unwrap();
        assert_eq!(w.send(client, 333), Way::Direct);
        let after = w.lane(client).unwrap();
        assert_eq!(u64::from(before.credit - after.credit), 333 + BOOKKEEPING);
        assert_eq!(after.direct_messages, before.direct_messages + 1);
        assert_eq!(after.direct_bytes, before.direct_bytes + 333);
        assert_eq!(w.counted(), []);
    });
}

#[test]
fn credit_can_be_spent_to_the_last_byte_without_a_look_at_the_receiver() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.unmap(server);
        w.edit_lane(client, |lane| lane.credit = 100 + BOOKKEEPING as u32);
        assert_eq!(w.send(client, 100), Way::Direct);
        assert_eq!(w.lane(client).unwrap().credit, 0);
    });
}

#[test]
fn a_credit_one_byte_short_needs_a_look_at_the_receiver() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.unmap(server);
        w.edit_lane(client, |lane| lane.credit = 99 + BOOKKEEPING as u32);
        assert_eq!(w.send(client, 100), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::PeerGone, 1)]);
    });
}

#[test]
fn a_lane_remembers_its_smallest_message() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        for (size, smallest) in [(300, 100), (50, 50), (200, 50), (50, 50)] {
            assert_eq!(w.send(client, size), Way::Direct);
            assert_eq!(w.lane(client).unwrap().smallest, smallest);
        }
    });
}

#[test]
fn a_message_that_cannot_be_redirected_goes_by_tcp_is_not_counted_as_direct_and_ends_the_lane() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        let before = w.lane(client).unwrap();
        w.leaves_socket_map(server);
        assert_eq!(w.send(client, 70), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::PeerGone, 1)]);
        let after = w.lane(client).unwrap();
        assert_eq!((after.direct_messages, after.direct_bytes), (before.direct_messages, before.direct_bytes));
        assert_eq!((after.mode, after.credit), (Mode::Ended as u32, 0));

        w.read(server);
        assert_eq!(w.send(client, 70), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::Ended, 1)]);
        assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);
    });
}

#[test]
fn the_first_message_of_each_end_is_direct() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        for sk in [client, server] {
            assert_eq!(w.send(sk, 10), Way::Direct);
            assert_eq!(w.lane(sk).unwrap().mode, Mode::Direct as u32);
        }
        assert_eq!(w.counted(), []);
    });
}

#[test]
fn each_message_by_tcp_puts_the_next_refresh_a_whole_period_away() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        w.time_passes(17);
        w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
        w.send(client, 1);
        assert_eq!(w.lane(client).unwrap().refresh_at, w.now() + u64::from(REFRESH));
    });
}

/// Delivery to a stranger, a verdict other than to pass, memory out of bounds: the simulation stops at each.
#[test]
fn whatever_fails_at_any_moment_of_a_flow_both_ends_still_speak_to_each_other() {
    let failing = [
        Helper::MapLookupElem,
        Helper::MapUpdateElem,
        Helper::SkStorageGet,
        Helper::ProbeReadKernel,
        Helper::SockHashUpdate,
        Helper::MsgRedirectHash,
        Helper::SkcToTcpSock,
        Helper::Setsockopt,
    ];
    let mut too_late = 0;
    for kernel in Kernel::ALL {
        for helper in failing {
            for calls_before in 0..45 {
                let mut w = World::new(kernel);
                let (client, server) = w.connection(100, 200);
                w.syn(100, 200);
                w.fault(helper, calls_before, Fault::Fails);
                w.story(client, server);
                too_late += w.pending_faults();
            }
        }
    }
    assert!(too_late > 0, "the story is longer than the faults reach");
}
