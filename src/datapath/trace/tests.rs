use super::super::simulation::{
    ADDRESSES, CLOSE, FIN_WAIT1, Fault, HZ, Helper, LAST_ACK, REFRESH, Waiter, Way, World,
    on_every_kernel,
};
use super::super::{Counter, Event, Mode, Role};

/// What happened, in short.
fn told(w: &mut World) -> Vec<(u32, u32, u32)> {
    w.told().iter().map(|event| (event.role, event.mode, event.reason)).collect()
}

const CLIENT: u32 = Role::Client as u32;
const SERVER: u32 = Role::Server as u32;

#[test]
fn each_change_of_a_lane_is_told_once_with_its_reason() {
    on_every_kernel(|mut w| {
        w.trace(10 * REFRESH);
        let (client, server) = w.flow();
        assert_eq!(told(&mut w), []);
        w.time_passes(REFRESH);
        for way in [Way::Tcp, Way::Tcp, Way::Tcp] {
            assert_eq!(w.send_slowly(client, 10), way);
        }
        let arrival = (CLIENT, Mode::Tcp as u32, Counter::ArrivalGate as u32);
        assert_eq!(told(&mut w), [(CLIENT, Mode::Tcp as u32, Counter::Refresh as u32), arrival]);
        w.arrives(server);
        for _ in 0..3 {
            assert_eq!(w.send(client, 10), Way::Direct);
        }
        assert_eq!(told(&mut w), [(CLIENT, Mode::Direct as u32, Counter::Paired as u32)]);

        w.state_becomes(client, FIN_WAIT1);
        w.state_becomes(client, CLOSE);
        let of = |role, reason| (role, Mode::Ended as u32, reason as u32);
        let ended = [of(CLIENT, Counter::ShutDown), of(CLIENT, Counter::Closed)];
        assert_eq!(told(&mut w), ended);
        w.state_becomes(server, LAST_ACK);
        assert_eq!(told(&mut w), [of(SERVER, Counter::ShutDown)]);
    });
}

#[test]
fn what_is_told_names_the_socket_and_its_addresses_and_counts_what_went_directly() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        let lane = w.lane(client).unwrap();
        w.trace(HZ);
        w.time_passes(HZ / 2);
        w.state_becomes(client, FIN_WAIT1);
        w.state_becomes(client, CLOSE);
        let events = w.told();
        let word = |word: u32| ADDRESSES as u32 + word;
        let expected = Event {
            at: w.now_ns(),
            name: lane.own.name,
            cookie: lane.own.cookie,
            direct_messages: 1,
            direct_bytes: 100,
            reason: Counter::Closed as u32,
            mode: Mode::Ended as u32,
            role: CLIENT,
            family: word(0),
            remote_v4: word(1),
            local_v4: word(2),
            remote_v6: [3, 4, 5, 6].map(word),
            local_v6: [7, 8, 9, 10].map(word),
            remote_port: word(11),
            local_port: word(12),
        };
        assert_eq!(events.last(), Some(&expected));
        assert_eq!(events.len(), 2);
    });
}

#[test]
fn nobody_is_told_who_does_not_trace_or_no_longer() {
    on_every_kernel(|mut w| {
        let (client, server) = w.connection(5, 6);
        w.syn(5, 6);
        w.reader(super::super::Reads::Receives);
        w.story(client, server);
        assert_eq!(w.told(), []);

        w.control(super::super::Control { refresh: REFRESH, ..Default::default() });
        w.trace(HZ);
        w.time_passes(HZ);
        let (client, _) = w.direct_flow();
        w.time_passes(REFRESH);
        w.send(client, 1);
        assert_eq!(w.told(), []);
    });
}

#[test]
fn what_does_not_fit_is_counted_and_makes_no_difference_to_the_message() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        w.trace(10 * REFRESH);
        w.time_passes(REFRESH);
        w.fails(Helper::RingbufOutput);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::Refresh, 1), (Counter::TraceLost, 1)]);
        w.fault(Helper::RingbufOutput, 0, Fault::Fails);
        assert_eq!(w.send(client, 10), Way::Direct);
        assert_eq!(w.counted(), [(Counter::TraceLost, 1)]);
        assert_eq!(w.told(), []);
    });
}

#[test]
fn the_reason_of_a_lane_that_goes_by_tcp_is_kept_until_it_is_direct_again() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        assert_eq!(w.lane(client).unwrap().why, 0);
        w.time_passes(REFRESH);
        w.send(client, 10);
        assert_eq!(w.lane(client).unwrap().why, Counter::Refresh as u64);
        w.send(client, 10);
        assert_eq!(w.lane(client).unwrap().why, 0);
    });
}

/// Flows in which all that can be told happens: one whose client falls asleep over its blocking
/// file, one whose server is gone, one that rests.
fn all_that_can_be_told(w: &mut World) {
    let (client, server) = w.connection(5, 6);
    w.syn(5, 6);
    w.reader(super::super::Reads::Receives);
    w.story(client, server);
    w.control(super::super::Control { refresh: REFRESH, ..Default::default() });

    let (client, server) = w.direct_flow();
    w.blocks(client, true);
    w.waiting(client, &[Waiter::Thread]);
    w.segment(client);
    w.send(server, 10);

    let (client, server) = w.direct_flow();
    w.leaves_socket_map(server);
    w.send(client, 10);

    let (client, _) = w.direct_flow();
    for _ in 0..65 {
        w.time_passes(REFRESH);
        w.send(client, 1);
    }
}

#[test]
fn all_that_can_be_told_can_be_lost_or_be_of_interest_to_nobody_any_more() {
    on_every_kernel(|w| {
        let mut traced = World::new(w.kernel);
        traced.trace(200 * REFRESH);
        all_that_can_be_told(&mut traced);
        let told = told(&mut traced);
        for reason in [
            Counter::Paired,
            Counter::Refresh,
            Counter::ShutDown,
            Counter::Closed,
            Counter::Sleeper,
            Counter::PeerGone,
            Counter::Resting,
        ] {
            assert!(told.iter().any(|&(_, _, told)| told == reason as u32), "{reason:?}: {told:?}");
        }

        let mut late = World::new(w.kernel);
        late.trace(1);
        late.time_passes(1);
        all_that_can_be_told(&mut late);
        assert_eq!(late.told(), []);

        let mut full = World::new(w.kernel);
        full.trace(200 * REFRESH);
        full.no_events();
        all_that_can_be_told(&mut full);
        assert_eq!(full.told(), []);
        assert_eq!(full.total(Counter::TraceLost), told.len() as u64);
    });
}
