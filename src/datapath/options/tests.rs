use super::super::simulation::{Helper, Way, World, on_every_kernel};
use super::super::{Counter, Mode};
use super::*;

/// The option is set by the kernel, from what the application gave.
const BY_THE_KERNEL: (bool, i32) = (true, 0);
const REFUSED: bool = false;

fn set(w: &mut World, sk: u64, level: i32, name: i32, value: i32) -> (bool, i32) {
    w.set_option(sk, level, name, &value.to_le_bytes())
}

#[test]
fn an_option_that_asks_for_what_only_tcp_does_ends_both_lanes() {
    on_every_kernel(|mut w| {
        for (level, name, harmless) in ASKS {
            let (client, server) = w.direct_flow();
            assert_eq!(set(&mut w, server, level, name, harmless), BY_THE_KERNEL);
            assert_eq!(
                (w.send(client, 10), w.send(server, 10)),
                (Way::Direct, Way::Direct),
                "{level} {name}"
            );
            w.read(client);
            w.read(server);
            assert_eq!(set(&mut w, server, level, name, harmless + 1), BY_THE_KERNEL);
            assert_eq!(set(&mut w, server, level, name, harmless + 1), BY_THE_KERNEL);
            assert_eq!(
                (w.send(client, 10), w.send(server, 10)),
                (Way::Tcp, Way::Tcp),
                "{level} {name}"
            );
            assert_eq!(
                w.counted(),
                [(Counter::Ended, 2), (Counter::OptionSet, 1), (Counter::PeerLeft, 1)],
                "{level} {name}"
            );
            let lane = w.lane(server).unwrap();
            assert_eq!((lane.credit, lane.mode), (0, Mode::Leaving as u32));
            assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);
        }
    });
}

#[test]
fn other_options_and_other_sockets_are_the_kernel_s() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        for (level, name) in [(SOL_SOCKET, 2), (SOL_TCP, 1), (0, SO_RCVLOWAT), (41, TCP_ULP)] {
            assert_eq!(set(&mut w, client, level, name, 100), BY_THE_KERNEL, "{level} {name}");
        }
        let stranger = w.socket(1, 2);
        for (level, name) in [(SOL_SOCKET, SO_RCVLOWAT), (SOL_TCP, TCP_ULP)] {
            assert_eq!(set(&mut w, stranger, level, name, 100), BY_THE_KERNEL, "{level} {name}");
        }
        assert_eq!((w.send(client, 10), w.send(server, 10)), (Way::Direct, Way::Direct));
    });
}

#[test]
fn a_value_that_is_too_short_is_the_kernel_s_to_refuse() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        for (level, name) in [(SOL_SOCKET, SO_RCVLOWAT), (SOL_TCP, TCP_INQ)] {
            assert_eq!(
                w.set_option(server, level, name, &[100, 0, 0]),
                BY_THE_KERNEL,
                "{level} {name}"
            );
        }
        assert_eq!(w.send(client, 10), Way::Direct);
    });
}

#[test]
fn a_protocol_above_tcp_is_refused_while_the_socket_is_enrolled() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        assert_eq!(w.set_option(server, SOL_TCP, TCP_ULP, b"tls").0, REFUSED);
        assert_eq!(w.send(client, 10), Way::Direct, "it goes on as it was");
        w.set(server, |l| l.user_data, 0);
        assert_eq!(w.set_option(server, SOL_TCP, TCP_ULP, b"tls"), BY_THE_KERNEL, "it has left");
        w.fails(Helper::ProbeReadKernel);
        assert_eq!(w.set_option(server, SOL_TCP, TCP_ULP, b"tls"), BY_THE_KERNEL, "it is gone");
    });
}
