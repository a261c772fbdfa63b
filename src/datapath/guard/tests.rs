use super::super::simulation::{
    Callers, Event, Fault, Helper, Op, REFRESH, SOCK_ZEROCOPY, Way, World, on_every_kernel,
};
use super::super::{Control, Mode, Reason};

fn accept_blocking_readers(w: &mut World) {
    w.control(Control { refresh: REFRESH, blocking_readers: 1, ..Control::default() });
}

/// A connection that both ends have made, of which nothing is established.
fn connection(w: &mut World) -> (u64, u64) {
    let isn = 10 + 10 * w.len("rendezvous") as u32 + w.now() as u32;
    w.time_passes(100);
    let ends = w.connection(isn, isn + 1);
    w.syn(isn, isn + 1);
    ends
}

fn blocking() -> Callers {
    Callers { nonblocking: false, ..Callers::default() }
}

// What an application asks for.

#[test]
fn what_asks_for_something_that_only_tcp_does_is_not_enrolled() {
    type Ask = fn(&mut World, u64);
    let asks: [Ask; 3] = [
        |w, sk| w.set(sk, |l| l.flags, 1 << SOCK_ZEROCOPY),
        |w, sk| w.set(sk, |l| l.low_water, 2),
        |w, sk| w.set_optional(sk, |l| l.asks_for_counts, 1),
    ];
    on_every_kernel(|mut w| {
        for (number, ask) in asks.into_iter().enumerate() {
            let (client, server) = connection(&mut w);
            // One that this kernel does not know asks for nothing.
            let known = number < 2 || w.knows(|l| l.asks_for_counts);
            ask(&mut w, client);
            w.establish(client, server);
            let counted =
                if known { vec![(Reason::NoClient, 1), (Reason::Guarded, 1)] } else { vec![(Reason::Paired, 1)] };
            assert_eq!(w.counted(), counted, "{number}");
            assert_eq!(w.lane(client).is_none(), known);

            let (client, server) = connection(&mut w);
            ask(&mut w, server);
            w.establish(client, server);
            assert_eq!(w.counted(), [(if known { Reason::Guarded } else { Reason::Paired }, 1)], "{number}");
            assert_eq!(w.lane(server).is_none(), known);
        }
    });
}

#[test]
fn other_flags_ask_for_nothing() {
    on_every_kernel(|mut w| {
        let (client, server) = connection(&mut w);
        w.set(client, |l| l.flags, !(1 << SOCK_ZEROCOPY));
        w.establish(client, server);
        assert_eq!(w.counted(), [(Reason::Paired, 1)]);
    });
}

#[test]
fn the_lane_of_a_sender_that_asks_for_something_ends() {
    on_every_kernel(|mut w| {
        let (client, _) = w.flow();
        w.edit_lane(client, |lane| lane.guarded = 1);
        assert_eq!((w.send(client, 10), w.counted()), (Way::Tcp, vec![(Reason::Guarded, 1)]));
        assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);
        assert_eq!((w.send(client, 10), w.counted()), (Way::Tcp, vec![(Reason::Ended, 1)]));
    });
}

// Blocking readers.

#[test]
fn a_client_that_blocks_or_has_no_file_is_not_enrolled_unless_the_operator_accepts_it() {
    on_every_kernel(|mut w| {
        for without in [None, Some("socket"), Some("file")] {
            for accepted in [false, true] {
                let (client, server) = connection(&mut w);
                w.callers(client, blocking());
                match without {
                    Some("socket") => w.set(client, |l| l.socket, 0),
                    Some(_) => w.set(w.get(client, |l| l.socket), |l| l.socket_file, 0),
                    None => {}
                }
                if accepted {
                    accept_blocking_readers(&mut w);
                }
                w.establish(client, server);
                let left_alone = vec![(Reason::NoClient, 1), (Reason::Blocking, 1)];
                assert_eq!(w.counted(), if accepted { vec![(Reason::Paired, 1)] } else { left_alone }, "{without:?}");
                w.control(Control { refresh: REFRESH, ..Control::default() });
            }
        }
    });
}

#[test]
fn the_lane_of_a_sender_that_has_come_to_block_ends_when_it_is_looked_at() {
    on_every_kernel(|mut w| {
        let (client, _) = w.flow();
        w.callers(client, blocking());
        assert_eq!((w.send(client, 10), w.counted()), (Way::Tcp, vec![(Reason::Blocking, 1)]));
        assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);

        for of_file in [false, true] {
            let (client, _) = w.flow();
            let held = w.get(client, |l| l.socket);
            if of_file {
                w.set(held, |l| l.socket_file, 0);
            } else {
                w.set(client, |l| l.socket, 0);
            }
            assert_eq!((w.send(client, 10), w.counted()), (Way::Tcp, vec![(Reason::Blocking, 1)]));
        }
    });
}

#[test]
fn a_lane_stays_on_tcp_while_its_receiver_blocks_or_has_no_file_yet() {
    type Blocks = fn(&mut World, u64) -> (u64, u64);
    let blocks: [Blocks; 3] = [
        |w, sk| {
            w.callers(sk, blocking());
            (0, 0)
        },
        |w, sk| {
            let held = w.get(sk, |l| l.socket);
            w.set(sk, |l| l.socket, 0);
            (sk, held)
        },
        |w, sk| {
            let held = w.get(sk, |l| l.socket);
            let file = w.get(held, |l| l.socket_file);
            w.set(held, |l| l.socket_file, 0);
            (held, file)
        },
    ];
    on_every_kernel(|mut w| {
        for (number, block) in blocks.into_iter().enumerate() {
            let (client, server) = w.flow();
            let (object, held) = block(&mut w, server);
            assert_eq!((w.send(client, 10), w.counted()), (Way::Tcp, vec![(Reason::Blocking, 1)]), "{number}");
            w.read(server);
            assert_eq!(w.lane(client).unwrap().mode, Mode::Tcp as u32, "it may become what it is to be");
            match number {
                0 => w.callers(server, Callers::default()),
                1 => w.set(object, |l| l.socket, held),
                _ => w.set(object, |l| l.socket_file, held),
            }
            assert_eq!((w.send(client, 10), w.counted()), (Way::Direct, vec![]), "{number}");
        }
    });
}

#[test]
fn readers_that_block_are_sent_to_directly_where_the_operator_accepts_it() {
    on_every_kernel(|mut w| {
        accept_blocking_readers(&mut w);
        let (client, server) = w.flow();
        for sk in [client, server] {
            w.callers(sk, blocking());
        }
        assert_eq!((w.send(client, 10), w.counted()), (Way::Direct, vec![]));
        assert_eq!((w.send(server, 10), w.counted()), (Way::Direct, vec![]));
        w.segment(server);
        assert_eq!(w.enrolled().len(), 2);
    });
}

#[test]
fn the_lane_to_a_receiver_that_has_left_because_it_blocks_ends() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        w.callers(server, blocking());
        w.edit_lane(server, |lane| lane.mode = Mode::Ended as u32);
        assert_eq!((w.send(client, 10), w.counted()), (Way::Tcp, vec![(Reason::Ended, 1)]));
        assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);

        // A lane that cannot be read is one of a socket that has gone.
        let (client, server) = w.flow();
        w.callers(server, blocking());
        assert_eq!(w.send(client, 10), Way::Tcp);
        w.read(server);
        w.counted();
        w.edit_lane(client, |lane| lane.peer.lane = 8);
        assert_eq!((w.send(client, 10), w.counted()), (Way::Tcp, vec![(Reason::Ended, 1)]));
    });
}

#[test]
fn a_receiver_that_cannot_be_looked_at_is_sent_to_by_tcp() {
    on_every_kernel(|w| {
        // After its lane, its cookie, how far it has read, whether somebody is inside a call on it and who waits for it: its socket,
        // the file, and the flags.
        for read in 5..8 {
            let mut w = World::new(w.kernel);
            let (client, _) = w.flow();
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            assert_eq!((w.send(client, 10), w.counted()), (Way::Tcp, vec![(Reason::Blocking, 1)]));
            assert_eq!(w.pending_faults(), 0);
        }
    });
}

#[test]
fn a_socket_that_goes_while_it_is_looked_at_is_not_enrolled() {
    on_every_kernel(|mut w| {
        for (helper, fault) in [(Helper::SkcToTcpSock, Fault::Fails), (Helper::MapLookupElem, Fault::SocketHidden)] {
            for role in [Op::ActiveEstablished, Op::PassiveEstablished] {
                let (client, server) = connection(&mut w);
                if role == Op::PassiveEstablished {
                    w.event(Event::new(Op::ActiveEstablished, client));
                }
                let sk = if role == Op::PassiveEstablished { server } else { client };
                w.fault(helper, 0, fault);
                w.event(Event::new(role, sk));
                assert_eq!((w.counted(), w.pending_faults()), (vec![], 0));
                assert!(w.lane(sk).is_none());
            }
        }
    });
}
