//! iperf3, whose sockets block.

use serde_json::Value;

use testkit::isolation::isolated;
use testkit::program::command;
use testkit::stage::{Host, Stage, same_over_both};

/// Sends in every way it knows, a file too; it has to say that the bytes arrived.
fn measure_all(stage: &Stage) {
    let file = stage.write("file", vec![7; 64 << 20]);
    let file = file.to_str().expect("a path in UTF-8");
    let _iperf = stage.serve(Host::Server, command("iperf3", ["-s", "-B", "10.77.0.2"]), 5201);
    let measure = |arguments: &[&str]| {
        let common = ["-c", "10.77.0.2", "-J"];
        let report = stage.run(Host::Client, command("iperf3", common.iter().chain(arguments)));
        let report: Value = serde_json::from_str(&report).expect("a report in JSON");
        let bytes = |of: &str| {
            report["end"][of]["bytes"].as_u64().unwrap_or_else(|| panic!("no {of}: {report}"))
        };
        (bytes("sum_sent"), bytes("sum_received"))
    };
    let jobs: [&[&str]; 7] = [
        &["-n", "200M"],
        &["-n", "200M", "-R"],
        &["-n", "100M", "-P", "4"],
        &["-n", "64M", "-l", "1000"],
        &["-n", "64M", "-F", file],
        &["-t", "1", "-Z"],
        &["-t", "1", "--bidir"],
    ];
    for options in jobs {
        let (sent, received) = measure(options);
        println!("{options:?}: {sent} sent, {received} received");
        // The server stops when the client says that it is done, whatever is on its way.
        assert!(
            received <= sent && received > sent / 2,
            "{options:?}: {sent} sent, {received} received"
        );
    }
}

#[test]
fn iperf3_blocks_and_is_left_to_tcp() {
    isolated(|| same_over_both(measure_all).assert_untouched());
}
