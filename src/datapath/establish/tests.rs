use super::super::simulation::{
    CLOSE, CLOSE_WAIT, Event, FIN_WAIT1, FIN_WAIT2, LAST_ACK, Op, Way, for_each, on_every_kernel,
};
use super::super::{Counter, Mode};

#[test]
fn an_event_that_is_of_no_interest_changes_nothing() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(1, 2);
        w.event(Event::new(Op::NeedsEcn, client));
        assert_eq!(w.counted(), []);
        assert_eq!((w.len("hints"), w.len("lanes"), w.len("socks")), (0, 0, 0));
    });
}

#[test]
fn an_end_that_has_sent_its_fin_sends_nothing_directly_and_its_peer_goes_on() {
    for_each(&[FIN_WAIT1, FIN_WAIT2, LAST_ACK], |mut w, state| {
        let (client, server) = w.direct_flow();
        w.state_becomes(client, state);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.mode, lane.credit), (Mode::Ended as u32, 0));
        assert_eq!(w.counted(), [(Counter::ShutDown, 1)]);
        w.segment(client);
        w.segment(server);
        assert_eq!((w.send(client, 10), w.send(server, 10)), (Way::Tcp, Way::Direct));
        assert_eq!(w.counted(), [(Counter::Ended, 1)]);
        assert_eq!(w.lane(client).unwrap().why, Counter::ShutDown as u64);
    });
}

#[test]
fn a_state_that_ends_nothing_changes_nothing() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        w.state_becomes(client, CLOSE_WAIT);
        assert_eq!((w.counted(), w.send(client, 10)), (vec![], Way::Direct));
    });
}

#[test]
fn a_change_of_state_of_a_socket_without_a_lane_or_not_shown_changes_nothing() {
    on_every_kernel(|mut w| {
        let (stranger, _) = w.connection(1, 2);
        w.event(Event { args: [1, CLOSE], ..Event::new(Op::State, stranger) });
        let (client, _) = w.direct_flow();
        w.event(Event { shown: false, args: [1, CLOSE], ..Event::new(Op::State, client) });
        assert_eq!((w.counted(), w.send(client, 10)), (vec![], Way::Direct));
    });
}

#[test]
fn the_counts_of_a_lane_go_into_the_totals_once_when_its_socket_closes() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        assert_eq!(w.send(client, 400), Way::Direct);
        w.state_becomes(client, CLOSE);
        // One of 100 bytes before that.
        let totals =
            [(Counter::DirectMessages, 2), (Counter::DirectBytes, 500), (Counter::Closed, 1)];
        assert_eq!(w.counted(), [&[(Counter::ShutDown, 1)], totals.as_slice()].concat());
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.direct_messages, lane.direct_bytes), (0, 0));
        assert_eq!((lane.messages_at_empty, lane.messages_at_look, lane.bytes_at_look), (0, 0, 0));
        assert_eq!(lane.mode, Mode::Ended as u32);
        w.state_becomes(client, CLOSE);
        assert_eq!(w.counted(), [(Counter::Closed, 1)]);
        w.read(server);
        assert!(w.is_enrolled(server), "what was sent to it may not have been read");
    });
}
