//! iperf3: as many bytes as fit, which is what the memory gate is for.

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
            for options in
                [&["-n", "200M"][..], &["-n", "200M", "-R"], &["-n", "100M", "-P", "4"], &["-n", "64M", "-l", "1000"]]
            {
                let (sent, received) = measure(options);
                println!("{options:?}: {sent} {received}");
                assert_eq!(sent, received, "{options:?}");
            }
            for options in [&["-t", "1", "-Z"][..], &["-t", "1", "--bidir"], &["-n", "64M", "-F", file]] {
                let (sent, received) = measure(options);
                println!("{options:?}: {sent} {received}");
                assert!(received > 0 && received <= sent, "{options:?}");
            }
        });
        println!("{toll}");
    });
}
