//! The mesh that the benchmark measures: sidecars that connections are redirected to, and TLS
//! between them.

use testkit::isolation::isolated;
use testkit::mesh::load::Load;
use testkit::mesh::meter::Meter;
use testkit::mesh::{Kind, Mesh};

/// Packets for each request on each leg, when the sidecars have their connections.
fn packets_per_request(accelerated: bool) -> Vec<f64> {
    let mesh = Mesh::start(Kind::Mtls, 1, accelerated, &[]);
    Load::Connections(4).run(&mesh.stage, 1);
    let before = Meter::read(&mesh.stage);
    let answers = Load::Connections(4).run(&mesh.stage, 2);
    let cost = Meter::read(&mesh.stage) - before;
    assert!(
        0.0 < answers.p50 && answers.p50 <= answers.p99 && cost.cpu > 0,
        "{answers:?} {cost:?}"
    );
    cost.packets.iter().map(|&packets| packets as f64 / answers.requests as f64).collect()
}

#[test]
fn requests_through_two_sidecars_take_packets_on_all_three_legs_by_tcp_and_hardly_any_with_shunt() {
    isolated(|| {
        let tcp = packets_per_request(false);
        assert!(tcp.iter().all(|&packets| packets >= 1.5), "by TCP {tcp:?}");
        // Each of the client's four connections is opened, enrolled and closed in this time.
        let shunt = packets_per_request(true);
        assert!(shunt.iter().all(|&packets| packets < 0.7), "with shunt {shunt:?}, by TCP {tcp:?}");
    });
}
