use super::super::simulation::{
    ANY_HEADER_CALLBACK, Enrolment, Event, Fault, HZ, Helper, Op, REFRESH, SEGMENT_CALLBACK,
    UNKNOWN_OPTION_CALLBACK, Way, World, on_every_kernel,
};
use super::super::{Adoption, Counter, Reads, Role, Wait};
use super::LENGTH;

/// A segment without an option.
const NOTHING: &[u8] = &[];

const CLIENTS: u64 = 0x1111_2222_3333_4444;
const SERVERS: u64 = 0x5555_6666_7777_8888;

/// A connection that was open before and is being adopted, client first.
fn adopted(w: &mut World) -> (u64, u64) {
    let (client, server) = w.connection(100, 200);
    w.adoptee(client, Adoption { says: CLIENTS, hears: SERVERS, ..Adoption::default() });
    let role = Role::Server as u32;
    w.adoptee(server, Adoption { says: SERVERS, hears: CLIENTS, role, ..Adoption::default() });
    w.adopt(client);
    w.adopt(server);
    w.counted();
    (client, server)
}

fn is_local(w: &mut World, sk: u64) -> bool {
    w.callbacks(sk) & (UNKNOWN_OPTION_CALLBACK | ANY_HEADER_CALLBACK | SEGMENT_CALLBACK)
        == UNKNOWN_OPTION_CALLBACK | SEGMENT_CALLBACK
}

#[test]
fn ends_whose_numbers_come_out_at_each_other_are_local_and_paired_as_any_other() {
    on_every_kernel(|mut w| {
        w.reader(Reads::Receives);
        let (client, server) = adopted(&mut w);
        let mut rounds = 0;
        while !(is_local(&mut w, client) && is_local(&mut w, server)) {
            w.segment_to(client, server);
            w.segment_to(server, client);
            rounds += 1;
            assert!(rounds < 12, "it has no end");
        }
        assert_eq!((w.len("adoptions"), w.counted()), (0, vec![(Counter::Adopted, 2)]));
        assert_eq!(w.segment_to(client, server), NOTHING, "nothing is said any more");
        w.segment(server);
        assert_eq!(w.enrol(client), Enrolment::Waits(Wait::Peer));
        assert_eq!((w.enrol(server), w.enrol(client)), (Enrolment::Enrolled, Enrolment::Enrolled));
        assert_eq!((w.send(server, 10), w.send(client, 10)), (Way::Direct, Way::Direct));

        // Also when it comes back after a rest.
        for _ in 0..64 {
            w.time_passes(REFRESH);
            w.send(client, 10);
        }
        w.send(server, 10);
        w.read(client);
        w.read(server);
        w.segment(client);
        w.segment(server);
        assert_eq!(w.len("socks"), 0);
        w.time_passes(HZ);
        w.goes_on(client, server);
        assert_eq!(w.newcomers().len(), 4, "each end has been a candidate twice");
    });
}

#[test]
fn the_option_is_an_experimental_one_with_the_ends_number_and_whether_it_has_heard_the_peers() {
    on_every_kernel(|mut w| {
        let (client, server) = adopted(&mut w);
        let option = w.segment_to(client, server);
        assert_eq!((option[0], option[1]), (254, LENGTH));
        assert_eq!((option[6..8].to_vec(), &option[8..]), (vec![0, 0], &CLIENTS.to_le_bytes()[..]));
        let answer = w.segment_to(server, client);
        assert_eq!((answer[6..8].to_vec(), &answer[8..]), (vec![1, 0], &SERVERS.to_le_bytes()[..]));
    });
}

#[test]
fn an_end_whose_peers_number_does_not_come_is_left_to_tcp() {
    on_every_kernel(|mut w| {
        let (client, server) = adopted(&mut w);
        // What another connection would carry, what is too short, what nobody knows, and nothing.
        let mut wrong = w.segment_to(server, client);
        assert_eq!(w.adoption(client).unwrap().heard, 1);
        let (other, _) = adopted(&mut w);
        wrong[8] ^= 1;
        for option in [&wrong[..], &wrong[..8], &[254, 4, 0, 0], &[30, 4, 0, 0], &[]] {
            w.option_comes(other, option);
            assert_eq!(w.adoption(other).unwrap().heard, 0);
        }
        // Few segments for a long time, and many until then.
        w.time_passes(5 * HZ);
        for _ in 0..512 {
            assert_ne!(w.segment_to(other, server), NOTHING);
        }
        w.counted();
        assert_eq!(w.segment_to(other, server), NOTHING);
        assert_eq!((w.callbacks(other), w.adoption(other)), (0, None));
        assert_eq!(w.counted(), [(Counter::Unproven, 1)]);
    });
}

#[test]
fn one_that_has_been_heard_and_hears_nothing_back_goes_on_for_a_while() {
    on_every_kernel(|mut w| {
        let (client, server) = adopted(&mut w);
        for _ in 0..20 {
            w.segment_to(client, server);
        }
        assert_eq!(
            (w.adoption(server).unwrap().heard, w.adoption(client).unwrap().segments),
            (1, 20)
        );
        w.segment_to(server, client);
        assert_eq!((w.adoption(client).unwrap().heard, w.adoption(client).unwrap().echoes), (3, 0));
        for _ in 0..4 {
            assert_ne!(w.segment_to(client, server), NOTHING);
        }
        assert_eq!(
            (w.segment_to(client, server), w.adoption(server).unwrap().heard),
            (NOTHING.to_vec(), 3)
        );
    });
}

#[test]
fn a_mark_without_an_adoption_and_a_socket_that_is_not_shown_come_to_nothing() {
    on_every_kernel(|mut w| {
        let (client, server) = adopted(&mut w);
        let option = w.segment_to(client, server);
        for op in [Op::HdrOptLen, Op::WriteHdrOpt, Op::ParseHdrOpt] {
            w.event(Event { shown: false, ..Event::new(op, client) });
            w.fault(Helper::SkStorageGet, 0, Fault::Fails);
            w.event(Event::new(op, client));
        }
        for _ in 0..600 {
            assert_ne!(w.segment_to(client, server), NOTHING);
        }
        w.time_passes(5 * HZ);
        w.fault(Helper::SkStorageGet, 0, Fault::SocketHidden);
        assert_eq!(w.segment_to(client, server), NOTHING);
        w.option_comes(server, &option);
        assert_eq!(w.pending_faults(), 0);
        assert_eq!(w.len("lanes"), 0);
    });
}

#[test]
fn a_socket_that_is_connected_again_while_it_is_adopted_is_left_alone() {
    on_every_kernel(|mut w| {
        let (client, _) = adopted(&mut w);
        w.event(Event::new(Op::ActiveEstablished, client));
        assert_eq!((w.callbacks(client), w.counted()), (0, vec![(Counter::Reused, 1)]));
    });
}
