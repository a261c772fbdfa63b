use super::super::simulation::{BOOKKEEPING, REFRESH, Way, World, on_every_kernel};
use super::super::{Counter, Mode};
use super::{LARGE, LIMIT};

/// A flow whose client has to look at its receiver, which has room for more than [`LIMIT`], before
/// the next message.
fn without_credit(w: &mut World) -> (u64, u64) {
    let (client, server) = w.direct_flow();
    w.edit_lane(client, |lane| lane.credit = 0);
    w.set(server, |l| l.receive_buffer, 8 << 20);
    (client, server)
}

fn credit(w: &mut World, sk: u64) -> u64 {
    w.lane(sk).expect("a lane").credit.into()
}

const MOST: u64 = LIMIT as u64;

// Arrival.

#[test]
fn a_lane_returns_to_direct_once_all_that_it_sent_by_tcp_has_arrived() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        w.time_passes(REFRESH);
        assert_eq!(w.send_slowly(client, 1_000), Way::Tcp);
        assert_eq!(w.send_slowly(client, 5), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::ArrivalGate, 1), (Counter::Refresh, 1)]);
        w.arrives(server);
        assert_eq!(w.send(client, 5), Way::Direct, "nobody has read it");
        let ways: Vec<Way> = w.entered(server).iter().map(|(way, _)| *way).collect();
        assert_eq!(ways, [Way::Tcp, Way::Tcp, Way::Direct]);
    });
}

#[test]
fn a_segment_that_is_between_two_queues_has_not_arrived() {
    on_every_kernel(|mut w| {
        for in_the_receive_queue in [true, false] {
            let (client, server) = w.flow();
            let psock = w.psock(server);
            if in_the_receive_queue {
                w.set(server, |l| l.receive_queue_length, 1);
            } else {
                w.set(psock, |l| l.deferred_length, 1);
            }
            assert_eq!(w.send(client, 5), Way::Tcp);
            assert_eq!(w.counted(), [(Counter::ArrivalGate, 1)]);
            w.set(psock, |l| l.deferred_length, 0);
            assert_eq!(w.send(client, 5), Way::Direct);
        }
    });
}

#[test]
fn bytes_that_arrive_while_a_socket_is_enrolled_are_not_overtaken_nor_given_out_twice() {
    on_every_kernel(|mut w| {
        let (client, server) = w.candidates();
        w.send(client, 500);
        w.read_up_to(server, 200);
        // They have come since it was looked at.
        w.set(server, |l| l.receive_queue_length, 0);
        for sk in [client, server, client] {
            w.enrol(sk);
        }
        w.set(server, |l| l.receive_queue_length, 1);
        assert_eq!(w.send(client, 5), Way::Tcp);
        assert_eq!(w.entered(server), [(Way::Tcp, 600..900), (Way::Tcp, 900..905)]);
        assert_eq!(w.send(client, 5), Way::Direct);
        assert_eq!(w.read_up_to(server, 1_000), 310);
    });
}

#[test]
fn a_socket_that_has_left_the_map_is_not_looked_at() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        w.set(server, |l| l.user_data, 0);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::LookFailed, 1)]);
    });
}

#[test]
fn a_direct_lane_stays_direct_whatever_the_sequence_numbers_say() {
    on_every_kernel(|mut w| {
        let (client, server) = without_credit(&mut w);
        w.set(server, |l| l.rcv_nxt, 1);
        w.set(server, |l| l.rcv_wup, 1);
        assert_eq!(w.send(client, 5), Way::Direct);
    });
}

// Small messages in one direction.

/// How many messages of ten bytes may go unanswered.
const MOST_UNANSWERED: u64 = super::UNANSWERED as u64 / (10 + BOOKKEEPING);

/// The ways of messages of this size to a receiver that reads and does not answer, the sender's
/// numbers having been seen.
fn unanswered(w: &mut World, client: u64, server: u64, size: u32) -> Vec<Way> {
    (0..MOST_UNANSWERED + 40)
        .map(|_| {
            let way = w.send(client, size);
            w.read(server);
            way
        })
        .collect()
}

#[test]
fn small_messages_that_nothing_answers_stay_with_tcp_which_may_join_them() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        w.set(server, |l| l.receive_buffer, 8 << 20);
        let ways = unanswered(&mut w, client, server, 10);
        assert_eq!(
            ways.iter().filter(|way| **way == Way::Direct).count(),
            MOST_UNANSWERED as usize
        );
        assert_eq!(w.counted()[0].0, Counter::OneWay);
    });
}

#[test]
fn unanswered_are_only_those_since_the_last_answer_however_often_the_receiver_is_looked_at() {
    on_every_kernel(|mut w| {
        let (client, server) = w.flow();
        w.set(server, |l| l.receive_buffer, 8 << 20);
        for message in 0..MOST_UNANSWERED + 10 {
            w.edit_lane(client, |lane| lane.credit = 0);
            let way = if message < MOST_UNANSWERED { Way::Direct } else { Way::Tcp };
            assert_eq!(w.send(client, 10), way, "{message} of {MOST_UNANSWERED}");
            w.read(server);
        }
    });
}

#[test]
fn an_answer_of_either_way_a_large_message_or_a_jiffy_that_has_passed_keeps_them_direct() {
    on_every_kernel(|w| {
        for case in 0..4 {
            let mut w = World::new(w.kernel);
            let (client, server) = w.flow();
            w.set(server, |l| l.receive_buffer, 8 << 20);
            unanswered(&mut w, client, server, 10);
            let mut size = 10;
            match case {
                0 => assert_eq!(w.send(server, 1), Way::Direct),
                1 => w.set(client, |l| l.rcv_nxt, 77),
                2 => w.time_passes(1),
                _ => size = LARGE as u32,
            }
            // It has left or is about to; a fresh lane decides.
            w.edit_lane(client, |lane| {
                (lane.mode, lane.credit, lane.fallbacks) = (Mode::Tcp as u32, 0, 0)
            });
            assert_eq!(w.send(client, size), Way::Direct, "{case}");
        }
    });
}

// Memory.

#[test]
fn an_empty_receiver_lends_half_the_limit() {
    on_every_kernel(|mut w| {
        let (client, _) = without_credit(&mut w);
        let size = LARGE as u32;
        assert_eq!(w.send(client, size), Way::Direct);
        assert_eq!(credit(&mut w, client), MOST / 2 - u64::from(size) - BOOKKEEPING);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.smallest, lane.messages_at_empty), (size, 1));
    });
}

#[test]
fn for_small_messages_no_more_is_lent_than_may_go_unanswered() {
    on_every_kernel(|mut w| {
        let (client, _) = without_credit(&mut w);
        assert_eq!(w.send(client, 200), Way::Direct);
        assert_eq!(credit(&mut w, client), super::UNANSWERED as u64 - 200 - BOOKKEEPING);
    });
}

#[test]
fn no_more_is_lent_than_the_buffer_has_beside_twice_the_window_that_was_offered() {
    on_every_kernel(|mut w| {
        // Window, bytes of it that have come, and twice what is lent of a buffer of 60,000.
        for (window, come, limit) in
            [(0, 0, 60_000), (10_000, 0, 40_000), (10_000, 4_000, 48_000), (22_500, 0, 15_000)]
        {
            let (client, server) = without_credit(&mut w);
            w.set(server, |l| l.receive_buffer, 60_000);
            w.set(server, |l| l.rcv_wnd, window);
            w.set(server, |l| l.rcv_wup, w.get(server, |l| l.rcv_nxt) - come);
            assert_eq!(w.send(client, 1_000), Way::Direct);
            assert_eq!(credit(&mut w, client), limit / 2 - 1_000 - BOOKKEEPING, "{window} {come}");
        }
        // The window may reach over the end of the sequence numbers, and be larger than the buffer,
        // a sixteenth of which is lent in any case.
        for (window, size, way) in
            [(10_000, 200, Way::Direct), (40_000, 200, Way::Direct), (40_000, 3750, Way::Tcp)]
        {
            let (client, server) = without_credit(&mut w);
            w.set(server, |l| l.receive_buffer, 60_000);
            w.set(server, |l| l.rcv_wnd, window);
            w.set(server, |l| l.rcv_wup, 0xffff_f000);
            w.set(server, |l| l.rcv_nxt, 0);
            assert_eq!(w.send(client, size), way, "{window} {size}");
        }
    });
}

#[test]
fn a_message_that_fills_the_limit_is_direct_and_a_byte_more_is_not() {
    on_every_kernel(|mut w| {
        let (client, server) = without_credit(&mut w);
        assert_eq!(w.send(client, (MOST - BOOKKEEPING) as u32), Way::Direct);
        assert_eq!(credit(&mut w, client), 0);
        w.read(server);
        assert_eq!(w.send(client, (MOST - BOOKKEEPING + 1) as u32), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::MemoryGate, 1)]);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.mode, lane.credit), (Mode::Tcp as u32, 0));
    });
}

#[test]
fn a_message_that_is_more_than_half_of_what_is_left_is_lent_what_it_takes() {
    on_every_kernel(|mut w| {
        let (client, _) = without_credit(&mut w);
        assert_eq!(w.send(client, (MOST / 2 - BOOKKEEPING + 1) as u32), Way::Direct);
        assert_eq!(credit(&mut w, client), 0);
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
        assert_eq!(w.send(client, LARGE as u32), Way::Direct);
        let left = MOST - 3 * (100 + BOOKKEEPING);
        assert_eq!(credit(&mut w, client), left / 2 - LARGE as u64 - BOOKKEEPING);
    });
}

#[test]
fn as_many_messages_count_as_can_be_unread() {
    on_every_kernel(|mut w| {
        // Unread bytes; messages since the last look, and since the one before; the smallest since
        // the queue was empty, ten messages ago; how many count.
        for (unread, last, before, smallest, queued) in [
            (400, 4, 6, 1, 4),
            (1, 4, 6, 1, 4),
            (401, 4, 6, 1, 6),
            (600, 4, 6, 1, 6),
            (601, 4, 6, 100, 7),
            (150, 0, 0, 100, 2),
            (900, 0, 0, 100, 10),
            (900, 0, 0, 1, 10),
        ] {
            let (client, server) = without_credit(&mut w);
            for _ in 0..10 {
                w.send(client, 100);
            }
            w.edit_lane(client, |lane| {
                lane.messages_at_look = lane.direct_messages - last;
                lane.bytes_at_look = lane.direct_bytes - 100 * last;
                lane.messages_at_look_before = lane.direct_messages - before;
                lane.bytes_at_look_before = lane.direct_bytes - 100 * before;
                (lane.smallest, lane.credit) = (smallest, 0);
            });
            w.set(server, |l| l.receive_allocated, unread);
            assert_eq!(w.send(client, LARGE as u32), Way::Direct);
            let left = MOST - unread - queued * BOOKKEEPING;
            assert_eq!(
                credit(&mut w, client),
                left / 2 - LARGE as u64 - BOOKKEEPING,
                "{unread} {smallest}"
            );
            let lane = w.lane(client).unwrap();
            let before_this = (lane.direct_messages - 1, lane.direct_bytes - LARGE as u64);
            assert_eq!((lane.messages_at_look, lane.bytes_at_look), before_this);
            assert_eq!(lane.messages_at_look_before, before_this.0 - last);
            assert_eq!(lane.bytes_at_look_before, before_this.1 - 100 * last);
        }
    });
}

#[test]
fn a_receiver_that_does_not_read_gets_no_more_than_the_limit() {
    on_every_kernel(|mut w| {
        for size in [3_000, LARGE as u64] {
            let (client, server) = without_credit(&mut w);
            let most = MOST / (size + BOOKKEEPING);
            let mut direct = 0;
            while w.send(client, size as u32) == Way::Direct {
                direct += 1;
                // Small ones are not sent all at once.
                w.time_passes(1);
            }
            assert_eq!(direct, most);
            assert_eq!(w.counted(), [(Counter::MemoryGate, 1)]);
            assert_eq!(w.read_up_to(server, u64::MAX), (most + 1) * size);
        }
    });
}

#[test]
fn a_receiver_whose_cgroup_limits_its_socket_memory_is_looked_at_before_each_message() {
    // Pages that are used, how many may be, and whether a message of ten pages is redirected.
    for (used, limit, way, looks) in [
        (0, 1 << 30, Way::Direct, false),
        (100, 118, Way::Direct, true),
        (101, 118, Way::Tcp, true),
    ] {
        on_every_kernel(|mut w| {
            if !w.knows(|l| l.memory_cgroup) {
                return;
            }
            let (client, server) = without_credit(&mut w);
            let cgroup = w.object();
            w.set_optional(server, |l| l.memory_cgroup, cgroup);
            w.set_optional(cgroup, |l| l.socket_memory_used, used);
            w.set_optional(cgroup, |l| l.socket_memory_limit, limit);
            assert_eq!(w.send(client, 40_960), way, "{used}");
            assert_eq!(credit(&mut w, client) == 0, looks);
            let counted: &[(Counter, u64)] =
                if way == Way::Tcp { &[(Counter::ShortOfMemory, 1)] } else { &[] };
            assert_eq!(w.counted(), counted);
        });
    }
}
