use super::super::simulation::{Fault, Helper, Way, World, for_each, on_every_kernel};
use super::super::{Counter, Mode};

/// A flow whose client has to look at its receiver before the next message.
fn without_credit(w: &mut World) -> (u64, u64) {
    let (client, server) = w.direct_flow();
    w.edit_lane(client, |lane| lane.credit = 0);
    (client, server)
}

#[test]
fn a_lane_ends_when_the_memory_of_its_receiver_is_another_s_or_nobody_s() {
    on_every_kernel(|mut w| {
        for unmapped in [false, true] {
            let (client, server) = without_credit(&mut w);
            if unmapped {
                w.fails(Helper::RdonlyCast);
            } else {
                w.set(server, |l| l.cookie, 77_777);
            }
            assert_eq!(w.send(client, 10), Way::Tcp);
            assert_eq!(w.counted(), [(Counter::Ended, 1), (Counter::PeerGone, 1)]);
            assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);
        }
    });
}

#[test]
fn a_message_does_not_wait_for_a_call_on_its_receiver() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.set(server, |l| l.lock_owned, 1);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::ReceiverBusy, 1)]);
        w.set(server, |l| l.lock_owned, 0);
        assert_eq!(w.send(client, 10), Way::Direct);
        // A call that ends while the sender looks: at its third look at the lock.
        w.set(server, |l| l.lock_owned, 1);
        let lock = w.at(server, |l| l.lock_owned);
        w.fault(Helper::RdonlyCast, 2, Fault::Zeroes(lock));
        assert_eq!((w.send(client, 10), w.counted()), (Way::Direct, vec![]));
    });
}

#[test]
fn two_that_send_to_each_other_do_not_wait_for_one_another() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.set(server, |l| l.lock_owned, 1);
        w.edit_lane(server, |lane| lane.looking = 7);
        assert_eq!(w.send(client, 10), Way::Direct);
        w.set(server, |l| l.receive_buffer, 8 << 20);
        assert_eq!(w.send(client, 100_000), Way::Direct);
        w.edit_lane(server, |lane| lane.looking = 0);
        assert_eq!(w.lane(client).unwrap().looking, 0, "it looks no more");
        // The receiver's lane cannot be looked at.
        let (client, server) = w.direct_flow();
        w.set(server, |l| l.lock_owned, 1);
        w.counted();
        w.fails(Helper::ProbeReadKernel);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(
            (w.counted(), w.lane(client).unwrap().looking),
            (vec![(Counter::LookFailed, 1)], 0)
        );
    });
}

#[test]
fn two_that_are_at_work_on_one_connection_all_the_time_rest() {
    on_every_kernel(|mut w| {
        // Which of its messages find the receiver in use, and how many it then takes until it
        // rests.
        for (in_use, small, rests) in [
            ([true; 3], false, Some(64)),
            ([true; 3], true, None),
            ([true, false, false], false, None),
        ] {
            let (client, server) = w.direct_flow();
            w.set(server, |l| l.receive_buffer, 8 << 20);
            let size = if small { 4_095 } else { 4_096 };
            let rested = (1..=200).find(|message| {
                w.set(server, |l| l.lock_owned, u64::from(in_use[message % 3]));
                // The call ends before the sender has looked for long.
                w.edit_lane(server, |lane| lane.looking = 1);
                let way = w.send(client, size);
                w.edit_lane(server, |lane| lane.looking = 0);
                w.set(server, |l| l.lock_owned, 0);
                w.read(server);
                w.time_passes(1);
                way == Way::Tcp
            });
            assert_eq!(rested, rests, "{in_use:?} {small}");
            let mode = w.lane(client).unwrap().mode;
            assert_eq!(mode, if rests.is_some() { Mode::Leaving } else { Mode::Direct } as u32);
        }
    });
}

#[test]
fn a_contended_lane_does_not_speak_for_another_thread_that_may_be_in_a_redirect() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.set(server, |l| l.receive_buffer, 8 << 20);
        w.set(server, |l| l.lock_owned, 1);
        w.users_of_psock(client, 3);
        w.edit_lane(client, |lane| lane.contended = 127);
        assert_eq!(w.send(client, 4_096), Way::Tcp);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.mode, lane.fallbacks), (Mode::Leaving as u32, 0));
    });
}

#[test]
fn nothing_is_redirected_to_a_socket_whose_file_blocks_or_that_has_none() {
    for_each(&["blocks", "no file", "no socket"], |mut w, case| {
        let (client, server) = without_credit(&mut w);
        let held = w.get(server, |l| l.socket);
        match case {
            "blocks" => w.blocks(server, true),
            "no file" => w.set(held, |l| l.socket_file, 0),
            _ => w.set(server, |l| l.socket, 0),
        }
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::Blocking, 1)]);
    });
}

#[test]
fn what_cannot_be_looked_at_is_left_to_tcp() {
    on_every_kernel(|mut w| {
        for read in 0.. {
            let (client, server) = w.flow();
            // So that there is something to look at in the memory gate.
            w.queue(server, true);
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            let way = w.send(client, 10);
            if w.pending_faults() > 0 {
                assert!(read > 0, "{read} reads");
                break;
            }
            let counted = w.counted();
            assert_eq!(way, Way::Tcp, "{read}");
            let causes = [Counter::LookFailed, Counter::Blocking, Counter::Ended, Counter::NoPeer];
            assert!(causes.contains(&counted[0].0), "{read}: {counted:?}");
        }
    });
}

#[test]
fn a_lane_whose_receiver_leaves_ends_before_another_message_is_redirected() {
    for_each(&[Mode::Leaving, Mode::Left], |mut w, mode| {
        let (client, server) = w.direct_flow();
        w.edit_lane(server, |lane| {
            (lane.mode, lane.credit, lane.why) = (mode as u32, 0, Counter::OptionSet as u64);
        });
        assert_eq!(w.send(client, 10), Way::Direct, "its bucket has not counted an ending");
        w.edit_lane(client, |lane| lane.endings += 1);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::Ended, 1), (Counter::PeerLeft, 1)]);
        assert_eq!(w.lane(client).unwrap().mode, Mode::Ended as u32);
    });
}

#[test]
fn an_ending_of_another_flow_in_the_same_bucket_makes_no_difference() {
    on_every_kernel(|mut w| {
        let (client, _) = w.direct_flow();
        w.edit_lane(client, |lane| lane.endings += 1);
        assert_eq!(w.send(client, 10), Way::Direct);
        // That it cannot be found out makes one.
        w.edit_lane(client, |lane| lane.endings += 1);
        w.fails(Helper::ProbeReadKernel);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::Ended, 1), (Counter::PeerLeft, 1)]);
    });
}
