use super::super::simulation::{Fault, Helper, Kernel, REFRESH, Way, for_each, on_every_kernel};
use super::super::{Control, Counter};

#[test]
fn a_lane_sends_one_message_by_tcp_each_period() {
    on_every_kernel(|mut w| {
        let (client, server) = w.direct_flow();
        w.control(Control { refresh: 5_000, ..Control::default() });
        w.time_passes(REFRESH);
        assert_eq!(w.send(client, 10), Way::Tcp);
        assert_eq!(w.counted(), [(Counter::Refresh, 1)]);
        let lane = w.lane(client).unwrap();
        assert_eq!((lane.period, lane.refresh_at), (5_000, w.now() + 5_000));
        // It has arrived: the next one is direct, and behind it.
        assert_eq!(w.send(client, 10), Way::Direct);
        w.read(server);
        w.time_passes(4_999);
        assert_eq!(w.send(client, 10), Way::Direct);
        w.time_passes(1);
        assert_eq!(w.send(client, 10), Way::Tcp);
    });
}

#[test]
fn a_fresh_lane_looks_for_its_period_soon_unless_the_agent_allows_less() {
    for (allowed, period) in [(REFRESH, 83), (50, 50)] {
        on_every_kernel(|mut w| {
            w.control(Control { refresh: allowed, ..Control::default() });
            let (client, _) = w.flow();
            assert_eq!(w.lane(client).unwrap().period, period);
        });
    }
}

#[test]
fn the_period_is_a_third_of_the_shorter_conntrack_time_out_of_both_ends() {
    let cases = [
        (900, 1_200, 300),
        (1_200, 901, 300),
        (90_000, 90_000, REFRESH),
        (30_000, 90_000, REFRESH),
    ];
    for_each(&cases, |mut w, (own, peer, period)| {
        if w.kernel == Kernel::Bare {
            return;
        }
        let (client, server) = w.direct_flow();
        let elsewhere = w.new_namespace();
        w.set(server, |l| l.namespace, elsewhere);
        let here = w.namespace;
        w.set_optional(here, |l| l.conntrack_established, own);
        w.set_optional(elsewhere, |l| l.conntrack_established, peer);
        w.time_passes(REFRESH);
        w.send(client, 10);
        assert_eq!(w.lane(client).unwrap().period, period);
    });
}

#[test]
fn a_namespace_that_cannot_be_read_does_not_shorten_the_period() {
    // Namespace and time-out of the sender, then of the receiver.
    let cases =
        [(vec![0], 200), (vec![1], 200), (vec![2], 100), (vec![3], 100), (vec![0, 1], REFRESH)];
    for_each(&cases, |mut w, (unreadable, period)| {
        if w.kernel == Kernel::Bare {
            return;
        }
        let (client, server) = w.direct_flow();
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
        assert_eq!(w.lane(client).unwrap().period, period);
    });
}

#[test]
fn an_end_that_is_not_known_does_not_shorten_the_period() {
    on_every_kernel(|mut w| {
        if w.kernel == Kernel::Bare {
            return;
        }
        let (_, server) = w.flow();
        let here = w.namespace;
        w.set_optional(here, |l| l.conntrack_established, 300);
        w.time_passes(REFRESH);
        assert_eq!(
            w.lane(server).unwrap().peer.sk,
            0,
            "the first that was enrolled looks for its peer later"
        );
        w.edit_lane(server, |lane| lane.own.sk = 0);
        assert_eq!(w.send(server, 10), Way::Tcp);
        assert_eq!(w.lane(server).unwrap().period, REFRESH);
    });
}
