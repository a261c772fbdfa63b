use super::super::simulation::{CLOSE, Helper, Way, on_every_kernel};
use super::{AT_ONCE, TIMES};

#[test]
fn what_was_read_of_a_segment_is_cut_off_and_no_byte_more() {
    on_every_kernel(|mut w| {
        let (_, server) = w.flow();
        let read = w.get(server, |l| l.copied_seq) as u32;
        let once = AT_ONCE as u32;
        for ahead in [0, 1, once - 1, once, once + 1, 2 * once, 3 * once + 7] {
            assert_eq!(w.verdict(server, read.wrapping_sub(ahead)), ahead);
        }
        assert_eq!(w.verdict(server, read.wrapping_add(1)), 0);
        let most = once * TIMES as u32;
        assert_eq!(w.verdict(server, read.wrapping_sub(most + 1)), most, "no segment is so long");
    });
}

#[test]
fn what_has_arrived_before_is_cut_off_whether_it_was_read_or_not() {
    on_every_kernel(|mut w| {
        // Also across the end of the sequence numbers.
        for read in [5_000, u32::MAX - 1_200] {
            let (_, server) = w.flow();
            w.set(server, |l| l.copied_seq, read.into());
            w.put_under("arrived", w.get(server, |l| l.cookie), read);
            assert_eq!(w.verdict_on(server, read, 1_000), 0);
            // Sent again, with more.
            assert_eq!(w.verdict_on(server, read.wrapping_add(600), 1_000), 400);
            assert_eq!(w.verdict_on(server, read.wrapping_add(1_600), 10), 0);
            // Some of it has been read since.
            w.set(server, |l| l.copied_seq, read.wrapping_add(800).into());
            assert_eq!(w.verdict_on(server, read.wrapping_add(700), 1_000), 910);
            // All of it, also bytes that `arrived` does not have.
            w.set(server, |l| l.copied_seq, read.wrapping_add(1_720).into());
            assert_eq!(w.verdict_on(server, read.wrapping_add(1_700), 100), 20);
            // Nothing is known but what has been read.
            w.fails(Helper::MapLookupElem);
            assert_eq!(w.verdict_on(server, read.wrapping_add(1_700), 100), 20);
        }
    });
}

#[test]
fn a_socket_that_leaves_or_closes_leaves_nothing_of_what_has_arrived() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        assert_eq!(w.len("arrived"), 2);
        for (sk, left) in [(client, 1), (server, 0)] {
            w.state_becomes(sk, CLOSE);
            assert_eq!(w.len("arrived"), left);
        }
    });
}

#[test]
fn a_segment_that_cannot_be_looked_at_or_cut_passes_as_it_is() {
    on_every_kernel(|mut w| {
        let (_, server) = w.flow();
        let read = w.get(server, |l| l.copied_seq) as u32;
        assert_eq!(w.verdict(0, read.wrapping_sub(5)), 0);
        for helper in [Helper::SkcToTcpSock, Helper::ProbeReadKernel, Helper::SkbAdjustRoom] {
            w.fails(helper);
            assert_eq!((w.verdict(server, read.wrapping_sub(5)), w.pending_faults()), (0, 0));
        }
        w.fails(Helper::SkbAdjustRoom);
        assert_eq!(w.verdict(server, read.wrapping_sub(5_000)), 0);
    });
}

#[test]
fn segments_enter_the_queue_of_redirected_messages_in_the_order_of_arrival() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        w.time_passes(super::super::simulation::REFRESH);
        assert_eq!((w.send(client, 10), w.send(client, 20)), (Way::Tcp, Way::Direct));
        w.read_up_to(server, 5);
        w.time_passes(super::super::simulation::REFRESH);
        assert_eq!((w.send(client, 30), w.send(client, 40)), (Way::Tcp, Way::Direct));
        let entered = w.entered(server);
        let ways = [(Way::Tcp, 10), (Way::Direct, 20), (Way::Tcp, 30), (Way::Direct, 40)];
        assert_eq!(
            entered.iter().map(|(way, bytes)| (*way, bytes.end - bytes.start)).collect::<Vec<_>>(),
            ways
        );
        assert_eq!(w.read_up_to(server, 1_000), 95);
    });
}
