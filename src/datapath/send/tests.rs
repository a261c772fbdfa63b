use super::super::simulation::{
    BOOKKEEPING, Fault, HZ, Helper, Kernel, REFRESH, SEGMENT_CALLBACK, Way, World, on_every_kernel,
};
use super::super::{Control, Counter, Mode, Reads};

#[test]
fn a_message_without_a_socket_or_a_lane_goes_by_tcp_and_is_not_counted() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(1, 2);
        assert_eq!((w.message(0, 100), w.message(client, 100)), (None, None));
        assert_eq!(w.counted(), []);
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
fn while_shunt_is_being_stopped_every_message_goes_by_tcp() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
        assert_eq!(w.send(client, 100), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::Draining, 1)]);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.mode, lane.credit), (Mode::Tcp as u32, 0));
        w.control(Control { refresh: REFRESH, ..Control::default() });
        assert_eq!(w.send(client, 100), Way::Direct);
        assert_eq!(w.entered(server)[2..], [(Way::Tcp, 600..700), (Way::Direct, 700..800)]);
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
        for (missing, way) in [(0, Way::Direct), (1, Way::Tcp)] {
            let (client, server) = w.direct_flow();
            w.edit_lane(client, |lane| lane.credit = 100 + BOOKKEEPING as u32 - missing);
            let cookie = w.get(server, |l| l.cookie);
            w.set(server, |l| l.cookie, cookie + 1_000);
            assert_eq!(w.send(client, 100), way);
            let counted = [(Counter::Ended, 1), (Counter::PeerGone, 1)];
            assert_eq!(w.counted(), counted[..2 * missing as usize]);
        }
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
        assert_eq!(w.counted(), [(Counter::Ended, 1), (Counter::PeerGone, 1)]);
        let after = w.lane(client).unwrap();
        let sums = |lane: super::super::Lane| (lane.direct_messages, lane.direct_bytes);
        assert_eq!(sums(after), sums(before));
        assert_eq!((after.mode, after.credit), (Mode::Ended as u32, 0));
        w.read(server);
        assert_eq!(w.send(client, 70), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::Ended, 1)]);
        assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);
    });
}

#[test]
fn each_message_by_tcp_puts_the_next_refresh_a_whole_period_away() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        w.time_passes(17);
        w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
        w.send(client, 1);
        let lane = w.lane(client).unwrap();
        assert_eq!(lane.refresh_at, w.now() + u64::from(lane.period));
    });
}

#[test]
fn a_message_goes_by_tcp_when_its_own_socket_cannot_be_looked_at() {
    on_every_kernel(|mut w| {
        let (client, _) = w.flow();
        w.fails(Helper::SkcToTcpSock);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::LookFailed, 1)]);
        assert_eq!(w.lane(client).unwrap().mode, Mode::Tcp as u32);
    });
}

#[test]
fn many_messages_by_tcp_in_a_row_send_the_socket_out_of_the_map_and_answers_bring_it_back() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        let by_tcp = |w: &mut World, expected| {
            w.time_passes(REFRESH);
            assert_eq!(w.send(client, 10), Way::Tcp);
            assert_eq!(w.lane(client).unwrap().mode, expected as u32);
        };
        for _ in 0..63 {
            by_tcp(&mut w, Mode::Tcp);
        }
        w.counted();
        by_tcp(&mut w, Mode::Leaving);
        assert_eq!(w.counted(), [(Counter::Refresh, 1), (Counter::Resting, 1)]);
        assert_eq!(w.lane(client).unwrap().why, Counter::Resting as u64);
        // A message in between makes no difference, and its peer follows it.
        assert_eq!((w.send(server, 10), w.send(client, 10)), (Way::Tcp, Way::Tcp));
        w.read(client);
        w.read(server);
        w.segment(client);
        w.segment(server);
        assert_eq!((w.len("socks"), w.lane(server).unwrap().mode), (0, Mode::Left as u32));
        w.segment(client);
        assert_eq!(w.newcomers().len(), 0, "it is judged by what comes from here on");
        // A call that goes on still holds what the socket had in the map: it is asked again, and
        // not taken for another's.
        w.set(client, |l| l.user_data, 1);
        w.counted();
        w.goes_on(client, server);
        assert_eq!((w.newcomers().len(), w.counted()), (0, vec![]), "it rests for a second");
        w.time_passes(HZ);
        w.goes_on(client, server);
        assert_eq!((w.newcomers().len(), w.counted()), (1, vec![(Counter::Candidates, 1)]));
        w.set(client, |l| l.user_data, 0);
        w.segment(client);
        assert_eq!(w.newcomers().len(), 1);
        w.enrol(client);
        w.enrol(server);
        w.enrol(client);
        assert_eq!((w.send(server, 10), w.send(client, 10)), (Way::Direct, Way::Direct));
    });
}

#[test]
fn a_lane_that_was_direct_in_between_has_not_sent_many_by_tcp_in_a_row_and_one_that_has_ended_does_not_leave()
 {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        for _ in 0..70 {
            w.time_passes(REFRESH);
            assert_eq!((w.send(client, 10), w.send(client, 10)), (Way::Tcp, Way::Direct));
            w.read(server);
        }
        w.edit_lane(client, |lane| {
            (lane.mode, lane.fallbacks, lane.credit) = (Mode::Ended as u32, 63, 0);
            lane.why = Counter::ShutDown as u64;
        });
        w.time_passes(REFRESH);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);
    });
}

/// Delivery to a stranger, bytes that overtake others or get lost, a verdict other than to pass,
/// memory out of bounds, a lane that is not what it says: the simulation stops at each.
#[test]
fn whatever_fails_at_any_moment_of_a_flow_both_ends_still_speak_to_each_other() {
    let failing = [
        Helper::MapLookupElem,
        Helper::MapUpdateElem,
        Helper::SkStorageGet,
        Helper::ProbeReadKernel,
        Helper::MsgRedirectHash,
        Helper::SkcToTcpSock,
        Helper::SkLookupTcp,
        Helper::SkbLoadBytes,
        Helper::RingbufOutput,
        Helper::Setsockopt,
    ];
    let mut too_late = 0;
    for kernel in Kernel::ALL {
        for helper in failing {
            let most = if helper == Helper::ProbeReadKernel { 400 } else { 100 };
            // Every call of the beginning, and some of the others.
            for calls_before in (0..20).chain((20..most).step_by(7)) {
                let mut w = World::new(kernel);
                let (client, server) = w.connection(100, 200);
                w.reader(Reads::Receives);
                w.syn(100, 200);
                w.fault(helper, calls_before, Fault::Fails);
                w.story(client, server);
                too_late += w.pending_faults();
            }
        }
    }
    assert!(too_late > 0, "the story is longer than the faults reach");
}

#[test]
fn the_story_of_a_flow_goes_through_all_that_a_socket_can_be() {
    on_every_kernel(|mut w| {
        let (client, server) = w.connection(100, 200);
        w.reader(Reads::Receives);
        w.syn(100, 200);
        w.story(client, server);
        let direct = |w: &mut World, sk| w.entered(sk).iter().any(|(way, _)| *way == Way::Direct);
        assert!(direct(&mut w, client) && direct(&mut w, server));
        let counted = w.counted();
        for counter in [Counter::Paired, Counter::Left, Counter::Closed, Counter::Draining] {
            assert!(
                counted.iter().any(|&(counted, _)| counted == counter),
                "{counter:?}: {counted:?}"
            );
        }
        assert_eq!(w.callbacks(client) & SEGMENT_CALLBACK, 0, "it has left");
    });
}
