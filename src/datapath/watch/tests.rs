use super::super::simulation::{
    Event, HZ, Op, ROUND_TRIP_CALLBACK, SEGMENT_CALLBACK, UNKNOWN_OPTION_CALLBACK, World, for_each,
    on_every_kernel,
};
use super::super::{Counter, Mode};

fn asks_for_segments(w: &mut World, sk: u64) -> bool {
    w.callbacks(sk) & SEGMENT_CALLBACK != 0
}

#[test]
fn a_connection_that_goes_on_asks_to_be_seen_at_each_segment() {
    for_each(
        &[(0, 0, false), (1, 2, false), (2, 1, false), (2, 2, true)],
        |mut w, (data_in, data_out, goes_on)| {
            let ends: [u64; 2] = w.local().into();
            for sk in ends {
                w.set_segments(sk, data_in, data_out, 9);
                w.round_trip(sk);
                assert_eq!(asks_for_segments(&mut w, sk), goes_on);
                w.segment(sk);
                assert_eq!(w.candidate(sk).is_some(), goes_on);
            }
        },
    );
}

#[test]
fn a_socket_that_is_not_marked_is_not_watched_whoever_has_asked_for_its_round_trips() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(1_000, 2_000);
        w.set_callbacks(client, ROUND_TRIP_CALLBACK);
        w.set_segments(client, 4, 4, 9);
        w.round_trip(client);
        assert_eq!(w.callbacks(client), ROUND_TRIP_CALLBACK);
        w.set_callbacks(client, ROUND_TRIP_CALLBACK | UNKNOWN_OPTION_CALLBACK);
        w.event(Event { shown: false, ..Event::new(Op::RoundTrip, client) });
        assert!(asks_for_segments(&mut w, client), "what cannot be seen has no lane");
    });
}

#[test]
fn what_a_socket_has_exchanged_before_it_left_the_map_does_not_count() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        let callbacks = w.callbacks(client);
        w.set_callbacks(client, callbacks & !SEGMENT_CALLBACK);
        w.round_trip(client);
        assert!(!asks_for_segments(&mut w, client), "it is enrolled");
        w.set_callbacks(client, callbacks);
        w.edit_lane(client, |lane| {
            (lane.mode, lane.credit, lane.why) = (Mode::Leaving as u32, 0, Counter::Resting as u64);
        });
        w.send(server, 1);
        w.read(client);
        w.segment(client);
        assert!(!w.is_enrolled(client) && !asks_for_segments(&mut w, client));
        w.time_passes(HZ);
        w.round_trip(client);
        assert!(!asks_for_segments(&mut w, client));
        for _ in 0..2 {
            assert!(!asks_for_segments(&mut w, client));
            for (sender, receiver) in [(client, server), (server, client)] {
                w.send(sender, 10);
                w.read(receiver);
            }
            w.round_trip(client);
        }
        assert!(asks_for_segments(&mut w, client));
    });
}

#[test]
fn a_socket_that_has_left_is_let_alone_for_a_second_and_each_time_for_twice_as_long() {
    for_each(
        &[(0, HZ), (1, HZ * 2), (2, HZ * 4), (12, HZ << 12), (40, HZ << 12)],
        |mut w, (times, rest)| {
            let (client, server) = w.direct_flow();
            w.edit_lane(client, |lane| {
                (lane.mode, lane.credit, lane.why) =
                    (Mode::Leaving as u32, 0, Counter::Resting as u64);
                lane.times_left = times;
            });
            w.send(server, 1);
            w.read(client);
            w.segment(client);
            assert!(!w.is_enrolled(client));
            w.set_segments(client, 100, 100, 200);
            w.time_passes(rest - 1);
            w.round_trip(client);
            assert!(!asks_for_segments(&mut w, client));
            w.time_passes(1);
            w.round_trip(client);
            assert!(asks_for_segments(&mut w, client));
        },
    );
}
