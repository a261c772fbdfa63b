use super::super::simulation::{Event, Fault, HZ, Helper, Kernel, Op, REFRESH, Way, World, on_every_kernel};
use super::super::{Control, Reason, Wake};

const INTERVAL: (u64, u64) = (6, 5);
const IDLE: (u64, u64) = (6, 4);
const KEEPALIVE: (u64, u64) = (1, 9);
const LOW_WATER: (u64, u64) = (1, 18);

fn set((level, name): (u64, u64), value: u64) -> (u64, u64, u64) {
    (level, name, value)
}

/// Gives a reader bytes in its two queues or takes them away.
fn queues(w: &mut World, reader: u64, direct: bool, tcp: bool) {
    w.queue(reader, direct);
    w.set(reader, |l| l.rcv_nxt, 5_000);
    w.set(reader, |l| l.copied_seq, if tcp { 4_999 } else { 5_000 });
}

/// A reader whose keepalive timer is borrowed.
fn armed(w: &mut World) -> u64 {
    let (_, reader) = w.direct_flow();
    queues(w, reader, true, true);
    w.segment(reader);
    assert_eq!(w.counted(), [(Reason::WakeArmed, 1)]);
    w.options();
    reader
}

fn state(w: &mut World, reader: u64) -> u32 {
    w.lane(reader).expect("a lane").wake
}

#[test]
fn a_segment_of_a_socket_that_is_not_enrolled_or_not_shown_changes_nothing() {
    on_every_kernel(|mut w| {
        let (stranger, _) = w.connection(1, 2);
        queues(&mut w, stranger, true, true);
        w.segment(stranger);
        let (_, reader) = w.direct_flow();
        queues(&mut w, reader, true, true);
        w.event(Event { shown: false, ..Event::new(Op::HdrOptLen, reader) });
        assert_eq!((w.counted(), w.options()), (vec![], vec![]));
    });
}

#[test]
fn a_reader_that_cannot_be_looked_at_is_left_alone() {
    on_every_kernel(|mut w| {
        let faults = [
            (Helper::SkStorageGet, 0, Fault::SocketHidden),
            (Helper::SkcToTcpSock, 0, Fault::Fails),
            (Helper::ProbeReadKernel, 0, Fault::Fails),
            (Helper::ProbeReadKernel, 1, Fault::Fails),
        ];
        for (helper, calls_before, fault) in faults {
            let (_, reader) = w.direct_flow();
            queues(&mut w, reader, true, true);
            w.fault(helper, calls_before, fault);
            w.segment(reader);
            assert_eq!((w.counted(), w.options(), w.pending_faults()), (vec![], vec![], 0));
        }
    });
}

#[test]
fn a_reader_without_bytes_by_tcp_needs_no_look_at_its_direct_queue() {
    on_every_kernel(|mut w| {
        let (_, reader) = w.direct_flow();
        queues(&mut w, reader, true, false);
        w.fails(Helper::ProbeReadKernel);
        w.segment(reader);
        assert_eq!(w.pending_faults(), 1);
        assert_eq!(w.options(), []);
    });
}

/// A flow whose client has turned to TCP while redirected bytes were unread, and whose server has read those.
fn read_first(w: &mut World) -> (u64, u64) {
    let (client, reader) = w.direct_flow();
    w.time_passes(1);
    turn(w, client);
    w.read_direct(reader);
    (client, reader)
}

/// A message goes by TCP.
fn turn(w: &mut World, client: u64) {
    w.control(Control { draining: 1, refresh: REFRESH, ..Control::default() });
    assert_eq!(w.send(client, 10), Way::Tcp);
    w.control(Control { draining: 0, refresh: REFRESH, ..Control::default() });
    w.counted();
}

#[test]
fn a_reader_that_has_read_what_was_redirected_before_the_first_acknowledgement_is_woken_by_it_once() {
    on_every_kernel(|mut w| {
        let (client, reader) = read_first(&mut w);
        w.segment(reader);
        assert_eq!((w.counted(), w.options()), (vec![(Reason::Woken, 1)], vec![set(LOW_WATER, 1)]));
        assert_eq!(state(&mut w, reader), Wake::Idle as u32);
        // What follows by TCP is no turn.
        turn(&mut w, client);
        w.segment(reader);
        assert_eq!((w.counted(), w.options()), (vec![], vec![]));
        // This is one.
        w.read(reader);
        assert_eq!(w.send(client, 10), Way::Direct);
        w.time_passes(1);
        turn(&mut w, client);
        w.read_direct(reader);
        w.segment(reader);
        assert_eq!(w.counted(), [(Reason::Woken, 1)]);
    });
}

#[test]
fn a_reader_whose_peer_cannot_be_looked_at_is_woken() {
    on_every_kernel(|mut w| {
        let (_, reader) = read_first(&mut w);
        // Its psock and its queue come before.
        w.fault(Helper::ProbeReadKernel, 2, Fault::Fails);
        w.segment(reader);
        assert_eq!((w.counted(), w.pending_faults()), (vec![(Reason::Woken, 1)], 0));
    });
}

#[test]
fn with_bytes_in_both_queues_the_keepalive_timer_is_borrowed_at_one_second() {
    on_every_kernel(|mut w| {
        let (_, reader) = w.direct_flow();
        queues(&mut w, reader, true, true);
        w.segment(reader);
        assert_eq!(w.counted(), [(Reason::WakeArmed, 1)]);
        assert_eq!(w.options(), [set(INTERVAL, 1), set(IDLE, 1), set(KEEPALIVE, 1)]);
        assert_eq!(state(&mut w, reader), Wake::Armed as u32);
        // And an agent is told, if one reads.
        let name = w.lane(reader).unwrap().own.name;
        assert_eq!(w.armed(), [name]);
        let (_, reader) = w.direct_flow();
        queues(&mut w, reader, true, true);
        w.fails(Helper::RingbufOutput);
        w.segment(reader);
        assert_eq!((state(&mut w, reader), w.armed().len()), (Wake::Armed as u32, 0));
    });
}

#[test]
fn the_application_s_own_keepalive_settings_are_noted_in_seconds() {
    on_every_kernel(|mut w| {
        // In jiffies; less than a second is more than the option can say.
        for (idle, interval, noted) in [(30 * HZ, HZ - 1, (30, 1)), (HZ - 1, 40 * HZ, (1, 40))] {
            let (_, reader) = w.direct_flow();
            w.set(reader, |l| l.flags, 0b1111_1010);
            w.set(reader, |l| l.keepalive_idle, idle.into());
            w.set(reader, |l| l.keepalive_interval, interval.into());
            queues(&mut w, reader, true, true);
            w.segment(reader);
            let lane = w.lane(reader).unwrap();
            assert_eq!((lane.keepalive_on, (lane.keepalive_idle, lane.keepalive_interval)), (1, noted));
            assert_eq!(w.get(reader, |l| l.flags), 0b1111_1010);
        }
    });
}

#[test]
fn settings_that_the_application_did_not_make_are_noted_as_the_namespace_has_them() {
    on_every_kernel(|mut w| {
        let reader = armed(&mut w);
        let lane = w.lane(reader).unwrap();
        let (idle, interval) = match w.kernel {
            Kernel::Full => (7_200, 75),
            Kernel::Bare => (1, 1),
        };
        assert_eq!((lane.keepalive_on, lane.keepalive_idle, lane.keepalive_interval), (0, idle, interval));
    });
}

#[test]
fn an_armed_reader_is_left_alone_while_it_has_redirected_bytes_to_read() {
    on_every_kernel(|mut w| {
        let reader = armed(&mut w);
        for tcp in [true, false] {
            queues(&mut w, reader, true, tcp);
            w.segment(reader);
            assert_eq!((w.counted(), w.options()), (vec![], vec![]));
            assert_eq!(state(&mut w, reader), Wake::Armed as u32);
        }
    });
}

#[test]
fn an_armed_reader_is_woken_once_when_only_bytes_by_tcp_wait_and_gets_its_timer_back() {
    on_every_kernel(|mut w| {
        let reader = armed(&mut w);
        w.set(reader, |l| l.low_water, 33);
        w.set(reader, |l| l.keepalive_idle, u64::from(99 * HZ));
        w.set(reader, |l| l.keepalive_interval, u64::from(11 * HZ));
        queues(&mut w, reader, false, true);
        w.segment(reader);
        assert_eq!(w.counted(), [(Reason::Woken, 1)]);
        assert_eq!(w.options(), [set(LOW_WATER, 33), set(KEEPALIVE, 0)], "its present value, and the timer");
        assert_eq!(state(&mut w, reader), Wake::Idle as u32);
        w.segment(reader);
        assert_eq!((w.counted(), w.options()), (vec![], vec![]));
    });
}

#[test]
fn an_armed_reader_is_woken_whether_its_peer_s_turn_is_known_or_not_to_be_told() {
    on_every_kernel(|mut w| {
        let reader = armed(&mut w);
        w.edit_lane(reader, |lane| lane.peer_turned_at = u64::MAX);
        queues(&mut w, reader, false, true);
        // Its psock and its queue come before.
        w.fault(Helper::ProbeReadKernel, 2, Fault::Fails);
        w.segment(reader);
        assert_eq!((w.counted(), w.pending_faults()), (vec![(Reason::Woken, 1)], 0));

        // Known already: the same turn arms it again.
        w.segment(reader);
        w.counted();
        queues(&mut w, reader, true, true);
        w.segment(reader);
        assert_eq!(w.counted(), [(Reason::WakeArmed, 1)]);
        queues(&mut w, reader, false, true);
        w.segment(reader);
        assert_eq!(w.counted(), [(Reason::Woken, 1)]);
    });
}

#[test]
fn the_timer_is_given_back_when_both_queues_are_empty() {
    on_every_kernel(|mut w| {
        let (_, reader) = w.direct_flow();
        w.set(reader, |l| l.flags, 0b1000);
        w.set(reader, |l| l.keepalive_idle, u64::from(30 * HZ));
        w.set(reader, |l| l.keepalive_interval, u64::from(5 * HZ));
        queues(&mut w, reader, true, true);
        w.segment(reader);
        w.options();
        queues(&mut w, reader, false, false);
        w.segment(reader);
        assert_eq!(w.options(), [set(INTERVAL, 5), set(IDLE, 30), set(KEEPALIVE, 1)]);
        assert_eq!(state(&mut w, reader), Wake::Idle as u32);
        assert_eq!(w.get(reader, |l| l.keepalive_idle), u64::from(30 * HZ));
        assert_eq!(w.get(reader, |l| l.keepalive_interval), u64::from(5 * HZ));
        w.segment(reader);
        assert_eq!(w.options(), []);
    });
}

#[test]
fn keepalive_that_was_off_is_off_again() {
    on_every_kernel(|mut w| {
        let reader = armed(&mut w);
        assert_eq!(w.get(reader, |l| l.flags), 0b1000);
        queues(&mut w, reader, false, false);
        w.segment(reader);
        assert_eq!(w.get(reader, |l| l.flags), 0);
    });
}

#[test]
fn what_the_application_has_set_anew_in_the_meantime_stays() {
    on_every_kernel(|mut w| {
        let reader = armed(&mut w);
        w.set(reader, |l| l.keepalive_idle, u64::from(99 * HZ));
        w.set(reader, |l| l.keepalive_interval, u64::from(11 * HZ));
        queues(&mut w, reader, false, false);
        w.segment(reader);
        assert_eq!(w.options(), [set(KEEPALIVE, 0)]);
        assert_eq!(w.get(reader, |l| l.keepalive_idle), u64::from(99 * HZ));
        assert_eq!(w.get(reader, |l| l.keepalive_interval), u64::from(11 * HZ));
    });
}
