use super::super::simulation::{CLOSE, Event, FIN_WAIT1, FIN_WAIT2, LAST_ACK, Op, Way, on_every_kernel};
use super::super::{Mode, Reason};

#[test]
fn an_event_that_is_of_no_interest_changes_nothing() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(1, 2);
        w.event(Event::new(Op::NeedsEcn, client));
        assert_eq!(w.counted(), []);
        assert_eq!((w.len("rendezvous"), w.len("lanes"), w.len("socks")), (0, 0, 0));
    });
}

#[test]
fn an_end_that_has_sent_its_fin_sends_nothing_directly() {
    on_every_kernel(|mut w| {
        for state in [FIN_WAIT1, FIN_WAIT2, LAST_ACK] {
            let (client, server) = w.direct_flow();
            w.state_becomes(client, state);
            let lane = w.lane(client).unwrap();
            assert_eq!((lane.mode, lane.credit), (Mode::Ended as u32, 0));
            assert_eq!(w.send(client, 10), Way::Tcp);
            // Its peer goes on by TCP.
            assert_eq!(w.send(server, 10), Way::Tcp);
            assert_eq!(w.counted(), [(Reason::Left, 1), (Reason::Ended, 2)]);
        }
    });
}

#[test]
fn a_change_of_state_of_a_socket_that_is_not_enrolled_or_not_shown_changes_nothing() {
    on_every_kernel(|mut w| {
        let (stranger, _) = w.connection(1, 2);
        w.state_becomes(stranger, CLOSE);
        let (client, _) = w.direct_flow();
        w.event(Event { shown: false, args: [1, CLOSE], ..Event::new(Op::State, client) });
        assert_eq!(w.counted(), []);
        assert_eq!(w.send(client, 10), Way::Direct);
    });
}

#[test]
fn the_counts_of_a_lane_go_into_the_totals_once_when_its_socket_closes() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        assert_eq!(w.send(client, 400), Way::Direct);
        w.state_becomes(client, CLOSE);
        // One of 100 bytes before that.
        assert_eq!(w.counted(), [(Reason::DirectMessages, 2), (Reason::DirectBytes, 500), (Reason::Closed, 1)]);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.direct_messages, lane.direct_bytes), (0, 0));
        assert_eq!((lane.messages_at_empty, lane.bytes_at_empty), (0, 0));
        assert_eq!(lane.mode, Mode::Ended as u32);
        w.state_becomes(client, CLOSE);
        assert_eq!(w.counted(), [(Reason::Closed, 1)]);
        w.state_becomes(server, CLOSE);
        assert_eq!(w.counted(), [(Reason::DirectMessages, 1), (Reason::DirectBytes, 100), (Reason::Closed, 1)]);
    });
}

#[test]
fn what_is_left_at_the_rendezvous_is_taken_back_when_it_closes() {
    on_every_kernel(|mut w| {
        // Its server never came.
        let (client, _) = w.connection(1, 2);
        w.syn(1, 2);
        w.event(Event::new(Op::ActiveEstablished, client));
        assert_eq!(w.len("rendezvous"), 1);
        w.state_becomes(client, CLOSE);
        assert_eq!(w.len("rendezvous"), 0);

        // It never sent anything, so it never looked for its server.
        let (client, server) = w.flow();
        assert_eq!(w.len("rendezvous"), 1);
        w.state_becomes(server, CLOSE);
        assert_eq!(w.len("rendezvous"), 1, "a server takes nothing back");
        w.state_becomes(client, CLOSE);
        assert_eq!(w.len("rendezvous"), 0);
    });
}

#[test]
fn a_state_that_ends_nothing_changes_nothing() {
    on_every_kernel(|mut w| {
        // Listening, which no connection becomes.
        let (client, _) = w.direct_flow();
        w.state_becomes(client, 10);
        assert_eq!(w.counted(), []);
        assert_eq!(w.send(client, 10), Way::Direct);
    });
}
