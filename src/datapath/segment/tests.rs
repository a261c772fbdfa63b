use super::super::Control;
use super::super::simulation::{Event, FIN_WAIT1, Fault, Helper, Op, REFRESH, World, on_every_kernel};

/// `SO_RCVLOWAT`: level, name, value.
fn low_water(value: u64) -> (u64, u64, u64) {
    (1, 18, value)
}

/// A flow whose client has sent a message by TCP, which its server has read.
fn used(w: &mut World) -> (u64, u64) {
    let (client, server) = w.flow();
    w.options();
    w.set(client, |l| l.write_seq, w.get(client, |l| l.write_seq) + 1);
    w.set(server, |l| l.rcv_nxt, w.get(server, |l| l.rcv_nxt) + 1);
    w.read(server);
    (client, server)
}

#[test]
fn a_client_gets_room_for_its_reader_when_it_is_enrolled_and_keeps_its_low_water_mark() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(1, 2);
        w.syn(1, 2);
        w.event(Event::new(Op::ActiveEstablished, client));
        assert_eq!(w.options(), [low_water(196_608), low_water(1)]);
        assert_eq!(w.get(client, |l| l.low_water), 1);
        w.set(client, |l| l.write_seq, 3);
        w.segment(client);
        assert_eq!(w.options(), [], "once");
    });
}

#[test]
fn a_client_that_is_nobody_s_or_no_tcp_socket_gets_no_room() {
    on_every_kernel(|mut w| {
        let (client, _) = w.connection(1, 2);
        w.syn(1, 2);
        w.set(client, |l| l.socket, 0);
        w.control(Control { refresh: REFRESH, blocking_readers: 1, ..Control::default() });
        w.event(Event::new(Op::ActiveEstablished, client));
        for failing in [Fault::Fails, Fault::SocketHidden] {
            let isn = w.now() as u32;
            w.time_passes(9);
            let (client, _) = w.connection(isn, 2);
            w.syn(isn, 2);
            match failing {
                // The second time: the first is to see whether it is suitable.
                Fault::Fails => w.fault(Helper::SkcToTcpSock, 1, failing),
                Fault::SocketHidden => w.fault(Helper::SockHashUpdate, 0, failing),
            }
            w.event(Event::new(Op::ActiveEstablished, client));
            assert_eq!((w.lane(client).unwrap().roomy, w.pending_faults()), (0, 0));
        }
        assert_eq!(w.options(), []);
    });
}

#[test]
fn a_server_that_has_sent_or_received_gets_room_for_its_reader_once_and_keeps_its_low_water_mark() {
    on_every_kernel(|mut w| {
        let (_, server) = used(&mut w);
        w.set(server, |l| l.low_water, 33);
        w.segment(server);
        assert_eq!(w.options(), [low_water(196_608), low_water(33)]);
        assert_eq!(w.get(server, |l| l.low_water), 33);
        w.segment(server);
        assert_eq!(w.options(), []);

        let (_, server) = w.flow();
        w.options();
        w.set(server, |l| l.write_seq, w.get(server, |l| l.write_seq) + 1);
        w.segment(server);
        assert_eq!(w.options(), [low_water(196_608), low_water(1)]);
    });
}

#[test]
fn an_unused_or_a_closing_server_gets_no_room() {
    on_every_kernel(|mut w| {
        let (_, unused) = w.flow();
        w.options();
        w.segment(unused);
        let (_, closing) = used(&mut w);
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
