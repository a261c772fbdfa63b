//! iperf3, whose sockets block: as fast as without shunt, since it is left alone.

use serde_json::Value;

use crate::harness::isolation::isolated;
use crate::program::command;
use crate::stage::{Host, same_over_both};

#[test]
fn iperf3_receives_all_that_it_sends_however_it_sends() {
    isolated(|| {
        let file = tempfile::NamedTempFile::new().expect("make a file");
        std::fs::write(file.path(), vec![7; 64 << 20]).expect("write a file");
        let file = file.path().to_str().expect("a path in UTF-8");
        let toll = same_over_both(|stage| {
            let _iperf = stage.serve(Host::Server, command("iperf3", ["-s", "-B", "10.77.0.2"]), 5201);
            let measure = |arguments: &[&str]| {
                let common = ["-c", "10.77.0.2", "-J"];
                let report = stage.run(Host::Client, command("iperf3", common.iter().chain(arguments)));
                let report: Value = serde_json::from_str(&report).expect("a report in JSON");
                let bytes =
                    |of: &str| report["end"][of]["bytes"].as_u64().unwrap_or_else(|| panic!("no {of}: {report}"));
                (bytes("sum_sent"), bytes("sum_received"))
            };
            let mut jobs = vec![
                vec!["-n", "200M"],
                vec!["-n", "200M", "-R"],
                vec!["-n", "100M", "-P", "4"],
                vec!["-n", "64M", "-l", "1000"],
            ];
            jobs.extend([vec!["-t", "1", "-Z"], vec!["-t", "1", "--bidir"], vec!["-n", "64M", "-F", file]]);
            for options in jobs {
                let (sent, received) = measure(&options);
                println!("{options:?}: {sent} sent, {received} received");
                // The server stops when the client says that it is done, whatever is on its way.
                assert!(received <= sent && received > sent / 2, "{options:?}: {sent} sent, {received} received");
            }
        });
        toll.assert_left_alone();
    });
}
