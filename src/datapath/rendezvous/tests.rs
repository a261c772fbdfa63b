use super::super::simulation::{Fault, Helper, Way, World, on_every_kernel};
use super::super::{Counter, Isns, Mode};

/// A flow whose server has not looked for its client; and the name that both meet under.
fn met(w: &mut World) -> (u64, u64, Isns) {
    let (client, server) = w.flow();
    let pair = w.lane(client).unwrap().own.name;
    assert_eq!(w.lane(server).unwrap().peer.sk, 0);
    (client, server, pair)
}

#[test]
fn the_first_that_was_enrolled_finds_its_peer_at_its_first_message() {
    on_every_kernel(|mut w| {
        let (client, server, _) = met(&mut w);
        assert_eq!(w.send(server, 1), Way::Direct);
        assert_eq!(w.lane(server).unwrap().peer, w.lane(client).unwrap().own);
        assert_eq!(w.len("rendezvous"), 0, "it has taken the entry away");
    });
}

#[test]
fn a_lane_whose_peer_is_not_found_goes_by_tcp() {
    on_every_kernel(|mut w| {
        for case in 0..5 {
            let (client, server, pair) = met(&mut w);
            match case {
                0 => w.evict("rendezvous"),
                1 => w.put("rendezvous", pair, 4_u64),
                2 => w.edit_lane(client, |lane| lane.own.name.own += 1),
                3 => w.edit_lane(client, |lane| lane.own.name.peer += 1),
                // It finds itself.
                _ => {
                    let own = w.lane_address(server);
                    w.put("rendezvous", pair, own);
                }
            }
            assert_eq!(w.send(server, 1), Way::Tcp, "{case}");
            assert_eq!(w.counted(), [(Counter::NoPeer, 1)]);
            assert_eq!(w.lane(server).unwrap().peer.sk, 0);
        }
    });
}

#[test]
fn the_client_that_was_enrolled_first_meets_under_the_same_name() {
    on_every_kernel(|mut w| {
        let (client, server) = w.candidates();
        for sk in [server, client, server] {
            w.enrol(sk);
        }
        assert_eq!(w.lane(client).unwrap().peer.sk, 0);
        w.counted();
        w.fault(Helper::MapLookupElem, 0, Fault::Fails);
        assert_eq!((w.send(client, 1), w.send(client, 1)), (Way::Tcp, Way::Direct));
        assert_eq!(w.counted(), [(Counter::NoPeer, 1)]);
    });
}

#[test]
fn what_went_by_tcp_before_an_end_knew_its_peer_is_no_reason_to_rest() {
    on_every_kernel(|mut w| {
        let (client, server, pair) = met(&mut w);
        let client = w.lane_address(client);
        w.evict("rendezvous");
        for _ in 0..100 {
            assert_eq!(w.send_slowly(server, 1), Way::Tcp);
        }
        w.put("rendezvous", pair, client);
        // The client is found, but not all that was sent has arrived.
        assert_eq!(
            (w.send_slowly(server, 1), w.lane(server).unwrap().mode),
            (Way::Tcp, Mode::Tcp as u32)
        );
        assert_ne!(w.lane(server).unwrap().peer.sk, 0);
    });
}
