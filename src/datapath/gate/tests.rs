use super::super::simulation::{
    BOOKKEEPING, Callers, Fault, Helper, Kernel, REFRESH, Waiter, Way, World, on_every_kernel,
};
use super::super::{Control, Mode, Reason};

/// A receive buffer of 60,000; where redirected bytes are charged to it, beside a window of 3,750, which counts twice.
fn limit(kernel: Kernel) -> u64 {
    match kernel {
        Kernel::Full => 52_500,
        Kernel::Bare => 60_000,
    }
}

/// A flow whose client has to look at its receiver before the next message.
fn without_credit(w: &mut World) -> (u64, u64) {
    let (client, server) = w.direct_flow();
    w.edit_lane(client, |lane| lane.credit = 0);
    (client, server)
}

fn credit(w: &mut World, sk: u64) -> u64 {
    w.lane(sk).expect("a lane").credit.into()
}

// Refresh.

#[test]
fn a_lane_sends_one_message_by_tcp_each_period_and_returns_to_direct_when_it_was_read() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.time_passes(REFRESH - 1);
        assert_eq!(w.send(client, 10), Way::Direct);
        w.read(server);
        w.time_passes(1);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::Refresh, 1)]);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::OrderGate, 1)]);
        w.read(server);
        assert_eq!(w.send(client, 10), Way::Direct);
    });
}

#[test]
fn a_refresh_is_put_off_while_redirected_bytes_are_unread_but_not_for_a_second_period() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.queue(server, true);
        w.time_passes(REFRESH);
        assert_eq!(w.send(client, 10), Way::Direct);
        assert_eq!(w.counted(), []);
        w.time_passes(REFRESH - 1);
        assert_eq!(w.send(client, 10), Way::Direct);
        w.time_passes(1);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::Refresh, 1)]);
    });
}

#[test]
fn a_refresh_of_a_lane_without_credit_is_not_put_off() {
    on_every_kernel(|mut w| {
        let (client, server) = without_credit(&mut w);
        w.queue(server, true);
        w.time_passes(REFRESH);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::Refresh, 1)]);
    });
}

#[test]
fn a_refresh_is_due_when_the_receiver_s_queue_cannot_be_read() {
    on_every_kernel(|mut w| {
        for probe in 0..2 {
            let (client, server) = w.direct_flow();
            w.queue(server, true);
            w.time_passes(REFRESH);
            w.fault(Helper::ProbeReadKernel, probe, Fault::Fails);
            assert_eq!(w.send(client, 10), Way::Tcp);
            assert_eq!(w.counted(), [(Reason::Refresh, 1)]);
            assert_eq!(w.pending_faults(), 0);
        }
    });
}

#[test]
fn the_period_is_asked_of_the_agent_at_each_refresh() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        w.control(Control { draining: 0, refresh: 500, ..Control::default() });
        w.time_passes(REFRESH);
        w.send(client, 10);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.period, lane.refresh_at), (500, w.now() + 500));
    });
}

#[test]
fn the_period_is_a_third_of_the_shorter_conntrack_time_out_of_both_ends() {
    for (own, peer, period) in
        [(900, 1_200, 300), (1_200, 901, 300), (90_000, 90_000, REFRESH), (30_000, 90_000, REFRESH)]
    {
        let mut w = World::new(Kernel::Full);
        let (client, server) = w.direct_flow();
        let elsewhere = w.new_namespace();
        w.set(server, |l| l.namespace, elsewhere);
        let here = w.namespace;
        w.set_optional(here, |l| l.conntrack_established, own);
        w.set_optional(elsewhere, |l| l.conntrack_established, peer);
        w.time_passes(REFRESH);
        w.send(client, 10);
        assert_eq!(w.lane(client).unwrap().period, period, "{own} {peer}");
    }
}

#[test]
fn a_namespace_that_cannot_be_read_does_not_shorten_the_period() {
    // The reads of a refresh without credit: namespace and time-out of the sender, then of the receiver.
    for (unreadable, period) in [(vec![0], 200), (vec![1], 200), (vec![2], 100), (vec![3], 100), (vec![0, 1], REFRESH)]
    {
        let mut w = World::new(Kernel::Full);
        let (client, server) = without_credit(&mut w);
        let elsewhere = w.new_namespace();
        w.set(server, |l| l.namespace, elsewhere);
        let here = w.namespace;
        w.set_optional(here, |l| l.conntrack_established, 300);
        w.set_optional(elsewhere, |l| l.conntrack_established, 600);
        w.time_passes(REFRESH);
        for &read in &unreadable {
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
        }
        w.send(client, 10);
        assert_eq!(w.pending_faults(), 0);
        assert_eq!(w.lane(client).unwrap().period, period, "{unreadable:?}");
    }
}

#[test]
fn an_end_that_is_not_known_does_not_shorten_the_period() {
    let mut w = World::new(Kernel::Full);
    let (client, _) = w.flow();
    let here = w.namespace;
    w.set_optional(here, |l| l.conntrack_established, 300);
    w.time_passes(REFRESH);
    assert_eq!(w.lane(client).unwrap().peer.sk, 0, "a client that has sent nothing does not know its peer");
    w.edit_lane(client, |lane| lane.own.sk = 0);
    assert_eq!(w.send(client, 10), Way::Tcp);
    assert_eq!(w.counted(), [(Reason::Refresh, 1)]);
    assert_eq!(w.lane(client).unwrap().period, REFRESH);
}

// Identity.

#[test]
fn a_lane_ends_when_the_memory_of_its_receiver_belongs_to_another_socket() {
    on_every_kernel(|mut w| {
        let (client, server) = without_credit(&mut w);
        w.set(server, |l| l.cookie, 77_777);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::PeerGone, 1)]);
        assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);
    });
}

#[test]
fn a_lane_ends_when_the_memory_of_its_receiver_cannot_be_read() {
    on_every_kernel(|mut w| {
        let (client, server) = without_credit(&mut w);
        w.unmap(server);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::PeerGone, 1)]);
        assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);
    });
}

// Order.

#[test]
fn a_lane_returns_to_direct_once_the_receiver_has_read_everything() {
    on_every_kernel(|mut w| {
        let (client, server) = w.connection(1, 2);
        w.syn(1, 2);
        w.send(client, 1_000);
        // Sent while connect() was completing, before the client was enrolled: the first numbers are not these.
        w.set(client, |l| l.write_seq, 2);
        w.set(server, |l| l.rcv_nxt, 2);
        w.establish(client, server);
        w.set(client, |l| l.write_seq, 1_002);
        w.set(server, |l| l.rcv_nxt, 1_002);
        assert_eq!(w.send(client, 5), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::Paired, 1), (Reason::OrderGate, 1)]);
        w.set(server, |l| l.copied_seq, 1_006);
        assert_eq!(w.send(client, 5), Way::Tcp, "one byte is unread");
        w.read(server);
        assert_eq!(w.send(client, 5), Way::Direct);
        assert_eq!(w.send(client, 5), Way::Direct);
    });
}

#[test]
fn a_direct_lane_stays_direct_whatever_the_sequence_numbers_say() {
    on_every_kernel(|mut w| {
        let (client, server) = without_credit(&mut w);
        w.set(server, |l| l.copied_seq, 1);
        assert_eq!(w.send(client, 5), Way::Direct);
    });
}

#[test]
fn a_message_goes_by_tcp_when_the_order_gate_cannot_be_looked_at() {
    on_every_kernel(|mut w| {
        // The sender is not a TCP socket; whose lane it found and the receiver's cookie can be read, but not how far it has read.
        for (helper, calls_before) in
            [(Helper::SkcToTcpSock, 0), (Helper::SkcToTcpSock, 1), (Helper::ProbeReadKernel, 2)]
        {
            let (client, _) = w.flow();
            w.fault(helper, calls_before, Fault::Fails);
            assert_eq!(w.send(client, 10), Way::Tcp);
            assert_eq!(w.counted(), [(Reason::LookFailed, 1)]);
            assert_eq!((w.pending_faults(), w.lane(client).unwrap().mode), (0, Mode::Tcp as u32));
        }
    });
}

// Readers.

/// The way of the first message to a server that these wait for, and what was counted.
fn first_message_to(w: &mut World, waiters: &[Waiter], users_of_psock: u64) -> (Way, Vec<(Reason, u64)>) {
    let (client, server) = w.flow();
    w.waiting(server, waiters);
    w.users_of_psock(server, users_of_psock);
    (w.send(client, 10), w.counted())
}

#[test]
fn a_lane_stays_on_tcp_while_somebody_is_inside_a_call_on_its_receiver() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        w.set(server, |l| l.lock_owned, 1);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::ReaderGate, 1)]);
        w.read(server);
        w.set(server, |l| l.lock_owned, 0);
        assert_eq!(w.send(client, 10), Way::Direct);
    });
}

#[test]
fn a_lane_stays_on_tcp_while_more_threads_sleep_than_hold_on_to_the_psock() {
    on_every_kernel(|mut w| {
        for asleep in 1..=4 {
            let waiters = vec![Waiter::Thread; asleep];
            let users = asleep as u64;
            assert_eq!(first_message_to(&mut w, &waiters, users), (Way::Tcp, vec![(Reason::ReaderGate, 1)]));
            assert_eq!(first_message_to(&mut w, &waiters, users + 1), (Way::Direct, vec![]));
        }
    });
}

#[test]
fn a_receiver_that_nobody_waits_for_or_that_only_is_polled_keeps_no_lane_on_tcp() {
    on_every_kernel(|mut w| {
        for waiter in [Waiter::Epoll, Waiter::BelowItsStack, Waiter::AboveItsStack] {
            for waiting in 0..=4 {
                assert_eq!(first_message_to(&mut w, &vec![waiter; waiting], 1), (Way::Direct, vec![]), "{waiter:?}");
            }
        }
    });
}

#[test]
fn a_lane_stays_on_tcp_while_more_wait_for_its_receiver_than_are_looked_at() {
    on_every_kernel(|mut w| {
        let five = [Waiter::Epoll; 5];
        assert_eq!(first_message_to(&mut w, &five, 9), (Way::Tcp, vec![(Reason::ReaderGate, 1)]));
    });
}

#[test]
fn a_message_goes_by_tcp_when_the_readers_cannot_be_looked_at() {
    // After the peer, its cookie and sequence number: lock, wait queue and its head; of each waiter who it is, its stack, and the next; the psock
    // and its users.
    let reads = 3..6 + 4 * 3 + 2;
    let stacks = [7, 10, 13, 16];
    for (kernel, read) in Kernel::ALL.into_iter().flat_map(|kernel| reads.clone().map(move |read| (kernel, read))) {
        let mut w = World::new(kernel);
        let (client, server) = w.flow();
        w.waiting(server, &[Waiter::Thread; 4]);
        w.users_of_psock(server, 4);
        w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
        let expected = if stacks.contains(&read) {
            // One who has no stack is not asleep, so no more sleep than hold on to the psock.
            (Way::Direct, vec![])
        } else {
            (Way::Tcp, vec![(Reason::LookFailed, 1)])
        };
        assert_eq!((w.send(client, 10), w.counted()), expected, "read {read}");
        assert_eq!(w.pending_faults(), 0);
    }
}

#[test]
fn a_direct_lane_stays_direct_whoever_waits() {
    on_every_kernel(|mut w| {
        let (client, server) = without_credit(&mut w);
        w.waiting(server, &[Waiter::Thread; 4]);
        assert_eq!(w.send(client, 10), Way::Direct);
    });
}

// Earlier callers.

/// A flow whose server has sent nothing yet, to a client of which this can be told.
fn first_of_server(w: &mut World, callers: Callers) -> (u64, u64) {
    w.control(Control { refresh: REFRESH, blocking_readers: 1, ..Control::default() });
    let (client, server) = w.flow();
    w.callers(client, callers);
    (client, server)
}

#[test]
fn a_server_s_first_message_is_direct_when_nobody_can_be_in_an_earlier_call_on_its_client() {
    on_every_kernel(|mut w| {
        for (callers, users_of_psock) in [
            (Callers::default(), 1),
            (Callers { connected: false, nonblocking: true, ..Callers::default() }, 1),
            (Callers { connected: true, nonblocking: false, ..Callers::default() }, 1),
            // A thread that shares its descriptors is in the receive function of enrolled sockets.
            (Callers { holders: 2, ..Callers::default() }, 2),
            (Callers { holders: 3, ..Callers::default() }, 3),
        ] {
            let (client, server) = first_of_server(&mut w, callers);
            w.users_of_psock(client, users_of_psock);
            assert_eq!((w.send(server, 10), w.counted()), (Way::Direct, vec![]), "{callers:?}");
        }
    });
}

#[test]
fn a_server_s_first_message_goes_by_tcp_while_somebody_may_be_in_an_earlier_call_on_its_client() {
    on_every_kernel(|mut w| {
        for (callers, users_of_psock) in [
            // `connect` has not returned, or it did not wait and the descriptor is one that waits by now.
            (Callers { connected: false, nonblocking: false, ..Callers::default() }, 1),
            (Callers { holders: 2, ..Callers::default() }, 1),
            (Callers { holders: 2, nonblocking: true, ..Callers::default() }, 1),
            (Callers { holders: 3, ..Callers::default() }, 2),
        ] {
            let (client, server) = first_of_server(&mut w, callers);
            w.users_of_psock(client, users_of_psock);
            assert_eq!((w.send(server, 10), w.counted()), (Way::Tcp, vec![(Reason::ReaderGate, 1)]), "{callers:?}");
            // Whoever was there has been woken by it.
            assert_eq!((w.send(server, 10), w.counted()), (Way::Tcp, vec![(Reason::OrderGate, 1)]));
            w.read(client);
            assert_eq!((w.send(server, 10), w.counted()), (Way::Direct, vec![]), "{callers:?}");
        }
    });
}

#[test]
fn a_client_s_first_message_is_direct_whoever_is_in_a_call_on_its_server() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        w.callers(server, Callers { connected: false, nonblocking: true, holders: 9 });
        assert_eq!((w.send(client, 10), w.counted()), (Way::Direct, vec![]));
    });
}

#[test]
fn a_server_s_first_message_goes_by_tcp_when_its_client_s_callers_cannot_be_looked_at() {
    // After the cookie, how far the client has read, and of a client that is not connected: its socket and file, whether it is connected,
    // whether it waits, who holds on to the file; the psock and its users.
    for (kernel, read) in Kernel::ALL.into_iter().flat_map(|kernel| (2..9).map(move |read| (kernel, read))) {
        let mut w = World::new(kernel);
        let (_, server) = first_of_server(&mut w, Callers { connected: false, nonblocking: true, holders: 1 });
        w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
        assert_eq!((w.send(server, 10), w.counted()), (Way::Tcp, vec![(Reason::ReaderGate, 1)]), "read {read}");
        assert_eq!(w.pending_faults(), 0);
    }
    on_every_kernel(|mut w| {
        let (client, server) = first_of_server(&mut w, Callers::default());
        w.set(client, |l| l.user_data, 0);
        assert_eq!(
            (w.send(server, 10), w.counted()),
            (Way::Tcp, vec![(Reason::ReaderGate, 1)]),
            "it is enrolled no more"
        );
    });
}

// Memory.

#[test]
fn an_empty_receiver_lends_half_its_buffer_and_where_that_is_charged_not_twice_the_window_that_it_has_offered() {
    on_every_kernel(|mut w| {
        let (client, _) = without_credit(&mut w);
        assert_eq!(w.send(client, 200), Way::Direct);
        assert_eq!(credit(&mut w, client), limit(w.kernel) / 2 - 200 - BOOKKEEPING);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.smallest, lane.messages_at_empty, lane.bytes_at_empty), (200, 1, 100));
    });
}

#[test]
fn what_is_left_of_the_window_counts_twice_and_a_quarter_of_the_buffer_is_lent_in_any_case() {
    let mut w = World::new(Kernel::Full);
    // Window, bytes of it that have come, and twice what is lent of a buffer of 60,000.
    for (window, come, limit) in
        [(0, 0, 60_000), (10_000, 0, 40_000), (10_000, 4_000, 48_000), (22_500, 0, 15_000), (22_501, 0, 15_000)]
    {
        let (client, server) = without_credit(&mut w);
        w.set(server, |l| l.rcv_wnd, window);
        w.set(server, |l| l.rcv_wup, w.get(server, |l| l.rcv_nxt) - come);
        assert_eq!(w.send(client, 200), Way::Direct);
        assert_eq!(credit(&mut w, client), limit / 2 - 200 - BOOKKEEPING, "{window} {come}");
    }
}

#[test]
fn a_window_may_reach_over_the_end_of_the_sequence_numbers() {
    let mut w = World::new(Kernel::Full);
    let (client, server) = without_credit(&mut w);
    w.set(server, |l| l.rcv_wnd, 10_000);
    w.set(server, |l| l.rcv_wup, 0xffff_f000);
    w.set(server, |l| l.rcv_nxt, 0x0000_0000);
    assert_eq!(w.send(client, 200), Way::Direct);
    // 10,000 less the 4,096 that have come are left.
    assert_eq!(credit(&mut w, client), (60_000 - 2 * 5_904) / 2 - 200 - BOOKKEEPING);
}

#[test]
fn a_message_that_fills_the_limit_is_direct_and_a_byte_more_is_not() {
    on_every_kernel(|mut w| {
        let (client, server) = without_credit(&mut w);
        assert_eq!(w.send(client, (limit(w.kernel) - BOOKKEEPING) as u32), Way::Direct);
        assert_eq!(credit(&mut w, client), 0);
        w.read(server);
        assert_eq!(w.send(client, (limit(w.kernel) - BOOKKEEPING + 1) as u32), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::MemoryGate, 1)]);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.mode, lane.credit), (Mode::Tcp as u32, 0));
    });
}

#[test]
fn unread_messages_count_with_their_bookkeeping() {
    on_every_kernel(|mut w| {
        let (client, _) = without_credit(&mut w);
        for _ in 0..3 {
            assert_eq!(w.send(client, 100), Way::Direct);
        }
        w.edit_lane(client, |lane| lane.credit = 0);
        assert_eq!(w.send(client, 50), Way::Direct);
        assert_eq!(credit(&mut w, client), (limit(w.kernel) - 3 * (100 + BOOKKEEPING)) / 2 - 50 - BOOKKEEPING);
    });
}

/// A lane that has sent ten messages of 100 bytes since its receiver was seen empty, and must look at it before the next.
fn ten_messages(w: &mut World) -> (u64, u64) {
    let (client, server) = without_credit(w);
    for _ in 0..10 {
        w.send(client, 100);
    }
    w.edit_lane(client, |lane| lane.credit = 0);
    (client, server)
}

#[test]
fn if_all_unread_bytes_were_sent_since_the_last_look_no_more_messages_count_than_were_sent_since_then() {
    let mut w = World::new(Kernel::Full);
    let (client, server) = ten_messages(&mut w);
    // The last look was before the last four messages; one byte of the first was the smallest since the queue was empty.
    for (unread, queued) in [(400, 4), (399, 4), (1, 4)] {
        w.edit_lane(client, |lane| {
            lane.messages_at_look = lane.direct_messages - 4;
            lane.bytes_at_look = lane.direct_bytes - 400;
            lane.smallest = 1;
            lane.credit = 0;
        });
        w.set(server, |l| l.receive_allocated, unread);
        assert_eq!(w.send(client, 100), Way::Direct);
        assert_eq!(credit(&mut w, client), (limit(w.kernel) - unread - queued * BOOKKEEPING) / 2 - 100 - BOOKKEEPING);
        let lane = w.lane(client).unwrap();
        let before_this = (lane.direct_messages - 1, lane.direct_bytes - 100);
        assert_eq!((lane.messages_at_look, lane.bytes_at_look), before_this);
    }
}

#[test]
fn otherwise_no_more_messages_count_than_the_unread_bytes_can_make_or_were_sent_since_the_queue_was_empty() {
    let mut w = World::new(Kernel::Full);
    for (unread, smallest, queued) in [(150, 100, 2), (900, 100, 10), (900, 1, 10)] {
        let (client, server) = ten_messages(&mut w);
        w.edit_lane(client, |lane| {
            (lane.messages_at_look, lane.bytes_at_look) = (lane.direct_messages, lane.direct_bytes);
            lane.smallest = smallest;
        });
        w.set(server, |l| l.receive_allocated, unread);
        assert_eq!(w.send(client, 100), Way::Direct);
        assert_eq!(credit(&mut w, client), (limit(w.kernel) - unread - queued * BOOKKEEPING) / 2 - 100 - BOOKKEEPING);
    }
}

#[test]
fn a_message_that_is_more_than_half_of_what_is_left_is_lent_what_it_takes() {
    on_every_kernel(|mut w| {
        let (client, _) = without_credit(&mut w);
        assert_eq!(w.send(client, (limit(w.kernel) / 2 - BOOKKEEPING + 1) as u32), Way::Direct);
        assert_eq!(credit(&mut w, client), 0);
    });
}

#[test]
fn tiny_messages_to_a_reader_that_does_not_read_fill_the_limit_by_their_bookkeeping() {
    on_every_kernel(|mut w| {
        let (client, _) = w.flow();
        let most = limit(w.kernel) / (1 + BOOKKEEPING);
        let direct = (0..most + 10).take_while(|_| w.send(client, 1) == Way::Direct).count() as u64;
        assert_eq!(direct, most);
        assert_eq!(w.counted(), [(Reason::MemoryGate, 1)]);
    });
}

#[test]
fn a_receiver_that_holds_more_than_the_limit_gets_nothing_more_directly() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.send(client, 100);
        w.set(server, |l| l.receive_buffer, 0);
        let limit = limit(w.kernel);
        w.set(server, |l| l.receive_allocated, limit);
        w.edit_lane(client, |lane| {
            lane.credit = 0;
            lane.direct_bytes += limit;
        });
        assert_eq!(w.send(client, 1), Way::Tcp);
        assert_eq!(w.counted(), [(Reason::MemoryGate, 1)]);
    });
}

#[test]
fn a_message_goes_by_tcp_when_the_memory_gate_cannot_be_looked_at() {
    on_every_kernel(|mut w| {
        // Of a direct lane the first read is the cookie, then comes the receive buffer; then, where the kernel charges redirected bytes,
        // three for the window and one for what the buffer holds, and where it does not, two of the queue.
        let reads = match w.kernel {
            Kernel::Full => 1..6,
            Kernel::Bare => 1..4,
        };
        for read in reads {
            let (client, _) = without_credit(&mut w);
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            assert_eq!(w.send(client, 10), Way::Tcp);
            assert_eq!(w.counted(), [(Reason::LookFailed, 1)]);
            assert_eq!((w.pending_faults(), w.lane(client).unwrap().mode), (0, Mode::Tcp as u32));
        }
    });
}
