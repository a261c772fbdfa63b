use super::super::simulation::{
    ANY_HEADER_CALLBACK, CLOSE_WAIT, Fault, HZ, Helper, RTO_CALLBACK, SEGMENT_CALLBACK,
    STATE_CALLBACK, UNKNOWN_OPTION_CALLBACK, World, on_every_kernel,
};
use super::super::{Adoption, Control, Counter, Isns, Role};

const UNPROVEN: u64 = ANY_HEADER_CALLBACK | SEGMENT_CALLBACK;

/// A connection that was open before, client first, that has exchanged something.
fn open(w: &mut World) -> (u64, u64) {
    let (client, server) = w.connection(0xffff_fff0, 7_000);
    for (sender, receiver) in [(client, server), (server, client), (client, server)] {
        w.send(sender, 100);
        w.read(receiver);
    }
    (client, server)
}

fn in_a_cgroup(w: &mut World, sk: u64) {
    let (cgroup, folder) = (w.object(), w.object());
    w.set(sk, |l| l.cgroup, cgroup);
    w.set(cgroup, |l| l.cgroup_folder, folder);
    w.set(folder, |l| l.folder_inode, 77);
}

#[test]
fn an_open_connection_is_shown_with_the_numbers_that_it_began_with_and_what_rules_ask_for() {
    on_every_kernel(|mut w| {
        let (client, server) = open(&mut w);
        w.set(client, |l| l.local_port, 40_000);
        in_a_cgroup(&mut w, client);
        let shown = w.adopt(client).expect("it is shown");
        assert_eq!(shown.own.cookie, w.get(client, |l| l.cookie));
        // Its own number is told less one: see `agent::adoption`.
        assert_eq!(shown.own.name, Isns { own: 0xffff_fff0, peer: 7_001 });
        assert_eq!((shown.local_port, shown.family, shown.state, shown.cgroup), (40_000, 2, 1, 77));
        assert_eq!(
            w.adopt(server).expect("it is shown").own.name,
            Isns { own: 7_001, peer: 0xffff_fff1 }
        );
        assert_eq!((w.callbacks(client), w.len("adoptions")), (0, 0), "nothing has changed");
    });
}

#[test]
fn what_is_known_already_or_will_not_be_enrolled_is_not_shown() {
    type Change = fn(&mut World, u64);
    let changes: [Change; 7] = [
        |w, sk| w.set(sk, |l| l.state, CLOSE_WAIT.into()),
        |w, sk| w.set_callbacks(sk, UNKNOWN_OPTION_CALLBACK),
        |w, sk| w.set(sk, |l| l.user_data, 1),
        |w, sk| w.set(sk, |l| l.repair, 1),
        |w, _| w.control(Control { draining: 1, ..Control::default() }),
        |w, _| w.fails(Helper::SkcToTcpSock),
        |w, sk| w.set_optional(sk, |l| l.is_mptcp, 1),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        on_every_kernel(|mut w| {
            let (client, _) = open(&mut w);
            change(&mut w, client);
            let told_by_mptcp = number == 6 && !w.knows(|l| l.is_mptcp);
            assert_eq!(w.adopt(client).is_some(), told_by_mptcp, "{number}");
        });
    }
    on_every_kernel(|mut w| assert!(w.adopt(0).is_none(), "the last call is for none"));
}

#[test]
fn an_end_of_which_little_can_be_read_is_shown_with_that() {
    on_every_kernel(|mut w| {
        let (client, other) = open(&mut w);
        w.set(other, |l| l.socket, 0);
        assert_eq!(w.adopt(other).expect("it is shown").inode, 0);
        in_a_cgroup(&mut w, client);
        for read in 0..16 {
            w.fault(Helper::ProbeReadKernel, read, Fault::Fails);
            assert!(w.adopt(client).is_some(), "{read}");
            w.clear_faults();
        }
    });
}

#[test]
fn an_end_that_is_to_be_adopted_is_marked_with_its_role_and_keeps_what_others_have_asked_for() {
    on_every_kernel(|mut w| {
        let (client, server) = open(&mut w);
        w.set_callbacks(client, STATE_CALLBACK);
        let adoption = Adoption { says: 3, hears: 4, ..Adoption::default() };
        w.adoptee(client, adoption);
        w.adoptee(server, Adoption { role: Role::Server as u32, ..adoption });
        assert!(w.adopt(client).is_none() && w.adopt(server).is_none(), "they are not shown");
        assert_eq!(w.callbacks(client), UNPROVEN | RTO_CALLBACK | STATE_CALLBACK);
        assert_eq!(w.callbacks(server), UNPROVEN);
        let begun = Adoption { until: w.now() + u64::from(5 * HZ), ..adoption };
        assert_eq!(
            (w.adoption(client), w.len("adoptees")),
            (Some(begun), 0),
            "the agent sees that it is done"
        );
    });
}

#[test]
fn an_end_that_cannot_be_marked_stays_as_it_is_and_the_agent_sees_that() {
    for fails in [Helper::SkStorageGet, Helper::Setsockopt] {
        on_every_kernel(|mut w| {
            let (client, _) = open(&mut w);
            w.adoptee(client, Adoption::default());
            w.fails(fails);
            assert!(w.adopt(client).is_none());
            assert_eq!((w.callbacks(client), w.len("adoptions"), w.len("adoptees")), (0, 0, 1));
            assert_eq!(w.total(Counter::Adopted), 0);
        });
    }
}
