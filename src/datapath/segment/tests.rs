use super::super::simulation::{Event, FIN_WAIT1, Op, World, on_every_kernel};

/// `SO_RCVLOWAT`: level, name, value.
fn low_water(value: u64) -> (u64, u64, u64) {
    (1, 18, value)
}

/// A flow whose client has sent a message by TCP.
fn used(w: &mut World) -> (u64, u64) {
    let (client, server) = w.flow();
    w.set(client, |l| l.write_seq, w.get(client, |l| l.write_seq) + 1);
    w.set(server, |l| l.rcv_nxt, w.get(server, |l| l.rcv_nxt) + 1);
    w.read(server);
    (client, server)
}

#[test]
fn a_socket_that_has_sent_or_received_gets_room_for_its_reader_once_and_keeps_its_low_water_mark() {
    on_every_kernel(|mut w| {
        let (client, server) = used(&mut w);
        for sk in [client, server] {
            w.set(sk, |l| l.low_water, 33);
            w.segment(sk);
            assert_eq!(w.options(), [low_water(196_608), low_water(33)]);
            assert_eq!(w.get(sk, |l| l.low_water), 33);
            w.segment(sk);
            assert_eq!(w.options(), []);
        }
    });
}

#[test]
fn an_unused_or_a_closing_socket_gets_no_room() {
    on_every_kernel(|mut w| {
        let (unused, _) = w.flow();
        w.segment(unused);
        let (closing, _) = used(&mut w);
        w.event(Event { state: FIN_WAIT1, ..Event::new(Op::HdrOptLen, closing) });
        assert_eq!(w.options(), []);
        w.segment(closing);
        assert_eq!(w.options(), [low_water(196_608), low_water(1)]);
    });
}

#[test]
fn a_socket_that_has_not_been_accepted_gets_its_room_later() {
    on_every_kernel(|mut w| {
        let (_, server) = used(&mut w);
        let held = w.get(server, |l| l.socket);
        w.set(server, |l| l.socket, 0);
        w.segment(server);
        assert_eq!(w.options(), []);
        w.set(server, |l| l.socket, held);
        w.segment(server);
        assert_eq!(w.options(), [low_water(196_608), low_water(1)]);
    });
}

#[test]
fn a_reader_that_has_not_read_what_came_gets_its_room_later() {
    on_every_kernel(|mut w| {
        let (_, server) = used(&mut w);
        w.set(server, |l| l.rcv_nxt, w.get(server, |l| l.rcv_nxt) + 1);
        w.segment(server);
        assert_eq!(w.options(), []);
        w.read(server);
        w.segment(server);
        assert_eq!(w.options(), [low_water(196_608), low_water(1)]);
    });
}
