use super::super::simulation::{
    Event, Fault, Helper, Op, Waiter, Way, World, for_each, on_every_kernel,
};
use super::super::{Counter, Mode};

/// A flow whose client's file blocks, which these wait for.
fn waited_for(w: &mut World, waiters: &[Waiter]) -> (u64, u64) {
    let (client, server) = w.direct_flow();
    w.blocks(client, true);
    w.waiting(client, waiters);
    (client, server)
}

#[test]
fn a_thread_that_sleeps_on_a_socket_that_has_come_to_block_sends_it_out_of_the_map() {
    on_every_kernel(|mut w| {
        let (client, server) = waited_for(&mut w, &[Waiter::Epoll, Waiter::Thread]);
        w.segment(client);
        assert_eq!(w.decided(), [(Counter::Left, 1), (Counter::Sleeper, 1)]);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.mode, lane.why), (Mode::Left as u32, Counter::Sleeper as u64));
        assert!(!w.is_enrolled(client));
        assert_eq!(w.send(server, 1), Way::Tcp);
    });
}

#[test]
fn who_only_polls_stays_whether_the_file_blocks_or_not() {
    for_each(&[Waiter::Epoll, Waiter::BelowItsStack, Waiter::AboveItsStack], |mut w, waiter| {
        for waiting in 0..=5 {
            let (client, server) = waited_for(&mut w, &vec![waiter; waiting]);
            w.segment(client);
            w.blocks(client, false);
            w.waiting(client, &[Waiter::Thread]);
            w.segment(client);
            assert_eq!(w.counted(), []);
            assert_eq!((w.send(client, 1), w.send(server, 1)), (Way::Direct, Way::Direct));
        }
        let (client, _) = w.direct_flow();
        w.blocks(client, true);
        w.segment(client);
        assert_eq!(w.counted(), [], "nobody has accepted it");
    });
}

#[test]
fn what_cannot_be_looked_at_stays() {
    on_every_kernel(|mut w| {
        for (waiting, helper, least) in (0..=4)
            .flat_map(|n| [(n, Helper::RdonlyCast, 3), (n, Helper::ProbeReadKernel, 2 + 3 * n)])
        {
            for read in 0.. {
                let mut w = World::new(w.kernel);
                // Enrolled first, it has not found its peer.
                let (_, server) = w.flow();
                w.blocks(server, true);
                w.waiting(server, &vec![Waiter::Epoll; waiting]);
                w.fault(helper, read, Fault::Fails);
                w.segment(server);
                assert_eq!((w.counted(), w.is_enrolled(server)), (vec![], true));
                if w.pending_faults() > 0 {
                    assert!(read as usize >= least, "{waiting} {helper:?}: {read} reads");
                    break;
                }
            }
        }
        for without in ["socket", "file"] {
            let (client, _) = waited_for(&mut w, &[Waiter::Thread]);
            let held = w.get(client, |l| l.socket);
            if without == "socket" {
                w.set(client, |l| l.socket, 0);
            } else {
                w.set(held, |l| l.socket_file, 0);
            }
            w.segment(client);
            assert_eq!(w.counted(), []);
        }
    });
}

#[test]
fn a_segment_of_a_socket_that_is_not_shown_changes_nothing() {
    on_every_kernel(|mut w| {
        let (client, server) = waited_for(&mut w, &[Waiter::Thread]);
        w.event(Event { shown: false, ..Event::new(Op::HdrOptLen, client) });
        assert_eq!(w.counted(), []);
        w.edit_lane(client, |lane| {
            (lane.mode, lane.credit, lane.why) = (Mode::Leaving as u32, 0, Counter::Sleeper as u64);
        });
        w.fault(Helper::SkStorageGet, 0, Fault::SocketHidden);
        w.segment(client);
        w.fault(Helper::SkStorageGet, 1, Fault::Fails);
        w.segment(client);
        assert_eq!((w.counted(), w.pending_faults()), (vec![], 0));
        assert_eq!(w.send(server, 1), Way::Direct, "it does not know yet");
    });
}
