use super::super::simulation::on_every_kernel;

/// `SO_RCVLOWAT`: level, name, value.
fn low_water(value: u64) -> (u64, u64, u64) {
    (1, 18, value)
}

#[test]
fn at_its_first_segment_a_socket_gets_room_for_its_reader_and_keeps_its_low_water_mark() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        for sk in [client, server] {
            w.set(sk, |l| l.low_water, 33);
            w.segment(sk);
            assert_eq!(w.options(), [low_water(1 << 20), low_water(33)]);
            assert_eq!(w.get(sk, |l| l.low_water), 33);
            w.segment(sk);
            assert_eq!(w.options(), []);
        }
    });
}

#[test]
fn a_socket_that_has_not_been_accepted_gets_its_room_later() {
    on_every_kernel(|mut w| {
        let (_, server) = w.flow();
        let held = w.get(server, |l| l.socket);
        w.set(server, |l| l.socket, 0);
        w.segment(server);
        assert_eq!(w.options(), []);
        w.set(server, |l| l.socket, held);
        w.segment(server);
        assert_eq!(w.options(), [low_water(1 << 20), low_water(1)]);
    });
}
