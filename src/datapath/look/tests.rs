use super::super::simulation::{Fault, Helper, Kernel, Way, World, on_every_kernel};
use super::super::{FlowEnd, Isns, Mode, Role};

/// A flow whose client has something in every member.
fn flow(w: &mut World) -> (u64, u64) {
    let (client, server) = w.direct_flow();
    let inode = w.object();
    w.set(inode, |l| l.socket_inode, 987_654_321_012);
    w.set(client, |l| l.bytes_sent, 1 << 40);
    w.set(client, |l| l.family, 2);
    w.set(client, |l| l.state, 1);
    w.set(client, |l| l.local_port, 40_000);
    w.set(client, |l| l.remote_port, 80 << 8);
    w.set(client, |l| l.local_v4, 0x0100_007f);
    w.set(client, |l| l.remote_v4, 0x0200_007f);
    w.set(client, |l| l.copied_seq, w.get(client, |l| l.rcv_nxt) - 100);
    w.set(client, |l| l.socket, inode);
    for (word, content) in [(0, 0x1111_1111_1111_1111), (8, 0x2222_2222_2222_2222)] {
        let half = |field: bpf_asm::KernelField| bpf_asm::KernelField {
            offset: field.offset + word,
            ..field
        };
        w.set_optional(client, |l| l.local_v6.map(half), content);
        w.set_optional(client, |l| l.remote_v6.map(half), !content);
    }
    let (cgroup, folder) = (w.object(), w.object());
    // With two flags in the address.
    w.set(client, |l| l.cgroup, cgroup | 3);
    w.set(cgroup, |l| l.cgroup_folder, folder);
    w.set(folder, |l| l.folder_inode, 77_777_777_777);
    w.queue(client, true);
    (client, server)
}

fn name(w: &mut World, sk: u64) -> Isns {
    w.lane(sk).expect("a lane").own.name
}

/// What is shown of a socket, whichever way.
fn shown(w: &mut World, sk: u64) -> FlowEnd {
    let name = name(w, sk);
    let looked = w.look(name);
    assert_eq!(w.show(sk), looked);
    looked.expect("an enrolled socket")
}

#[test]
fn after_the_last_socket_and_for_one_without_a_lane_nothing_is_shown() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        assert_eq!((w.show(0), w.show(client)), (None, None));
    });
}

#[test]
fn an_enrolled_socket_is_shown_with_its_lane_and_its_members() {
    on_every_kernel(|mut w| {
        let (client, _) = flow(&mut w);
        assert_eq!(w.send(client, 20), Way::Direct);
        let lane = w.lane(client).unwrap();
        let v6 = |byte: u8, last: u8| {
            let mut address = [byte; 16];
            address[8..].fill(last);
            if w.kernel == Kernel::Bare { [0; 16] } else { address }
        };
        let expected = FlowEnd {
            own: lane.own,
            peer: lane.peer,
            direct_messages: 2,
            direct_bytes: 120,
            tcp_bytes: 1 << 40,
            cgroup: 77_777_777_777,
            why: 0,
            inode: 987_654_321_012,
            mode: Mode::Direct as u32,
            role: Role::Client as u32,
            family: 2,
            state: 1,
            direct_unread: 1,
            tcp_unread: 100,
            netns: 4_026_531_840,
            local_port: 40_000,
            remote_port: 80 << 8,
            local_v4: 0x0100_007f,
            remote_v4: 0x0200_007f,
            reserved: 0,
            local_v6: v6(0x11, 0x22),
            remote_v6: v6(0xee, 0xdd),
        };
        assert_eq!(shown(&mut w, client), expected);
    });
}

#[test]
fn a_socket_that_nobody_holds_and_that_nothing_waits_for_is_shown_so() {
    on_every_kernel(|mut w| {
        let (client, _) = flow(&mut w);
        w.set(client, |l| l.socket, 0);
        w.set(client, |l| l.copied_seq, w.get(client, |l| l.rcv_nxt));
        w.queue(client, false);
        let end = shown(&mut w, client);
        assert_eq!((end.inode, end.direct_unread, end.tcp_unread), (0, 0, 0));
        w.queue(client, true);
        w.set(client, |l| l.user_data, 0);
        assert_eq!(shown(&mut w, client).direct_unread, 0, "it is about to leave");
    });
}

#[test]
fn a_name_that_nobody_has_is_not_found() {
    on_every_kernel(|mut w| {
        flow(&mut w);
        assert_eq!(w.look(Isns { own: 1, peer: 1 }), None);
    });
}

#[test]
fn a_request_that_cannot_be_read_is_answered_with_nothing() {
    on_every_kernel(|mut w| {
        let (client, _) = flow(&mut w);
        let name = name(&mut w, client);
        w.fails(Helper::SkbLoadBytes);
        assert_eq!(w.look(name), None);
    });
}

#[test]
fn a_socket_without_a_lane_is_given_back_and_not_shown() {
    on_every_kernel(|mut w| {
        let (client, _) = flow(&mut w);
        let name = name(&mut w, client);
        w.fails(Helper::SkStorageGet);
        assert_eq!(w.look(name), None);
    });
}

#[test]
fn a_member_that_cannot_be_read_is_shown_as_zero_and_spoils_no_other() {
    on_every_kernel(|mut w| {
        let (client, _) = flow(&mut w);
        let whole = shown(&mut w, client);
        for (read_by, least) in [(Helper::ProbeReadKernel, 3), (Helper::RdonlyCast, 13)] {
            let mut reads = 0;
            loop {
                let name = name(&mut w, client);
                w.fault(read_by, reads, Fault::Fails);
                let end = w.look(name).expect("an enrolled socket");
                if w.pending_faults() > 0 {
                    break;
                }
                w.fault(read_by, reads, Fault::Fails);
                assert_eq!(w.show(client), Some(end), "{reads}");
                let different = |end: &FlowEnd| {
                    [
                        end.tcp_bytes != whole.tcp_bytes,
                        end.cgroup != whole.cgroup,
                        end.inode != whole.inode,
                        end.family != whole.family,
                        end.state != whole.state,
                        end.direct_unread != whole.direct_unread,
                        end.tcp_unread != whole.tcp_unread,
                        end.netns != whole.netns,
                        end.local_port != whole.local_port,
                        end.remote_port != whole.remote_port,
                        end.local_v4 != whole.local_v4,
                        end.remote_v4 != whole.remote_v4,
                        end.local_v6 != whole.local_v6,
                        end.remote_v6 != whole.remote_v6,
                    ]
                    .into_iter()
                    .filter(|different| *different)
                    .count()
                };
                assert_eq!(different(&end), 1, "{read_by:?} {reads}: {end:?}");
                assert_eq!((end.own, end.peer, end.mode), (whole.own, whole.peer, whole.mode));
                reads += 1;
            }
            w.clear_faults();
            assert!(reads >= least, "{read_by:?}: {reads} reads");
        }
    });
}
