//! curl and wrk, which speak to servers of every other kind here, too.

use std::ffi::OsStr;
use std::fs;

use crate::languages::{build_go_echo, go_echo};
use testkit::isolation::isolated;
use testkit::program::command;
use testkit::stage::{Host, Stage, same_over_both};

/// Has wrk send requests over eight connections for a second: every one has to be answered well.
pub fn load(stage: &Stage, url: &str) {
    wrk(stage, ["-d1s", "-c8", "-t1", url]);
}

/// Runs wrk: every request has to be answered well.
pub fn wrk<S: AsRef<OsStr>>(stage: &Stage, arguments: impl IntoIterator<Item = S>) {
    let wrk = command("wrk", arguments);
    let what = format!("{wrk:?}");
    let report = stage.run(Host::Client, wrk);
    assert!(report.contains("Requests/sec"), "{report}");
    for complaint in ["Socket errors", "Non-2xx"] {
        assert!(!report.contains(complaint), "{what}: {report}");
    }
}

#[test]
fn curl_and_wrk_are_answered_direct() {
    isolated(|| {
        let echo = build_go_echo();
        let toll = same_over_both(|stage| {
            let _echo = stage.serve(Host::Server, go_echo(&echo, "server", ":7000"), 7000);
            load(stage, "http://10.77.0.2:7000/");
            for length in [1, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000] {
                let body = stage.write("body", vec![length as u8; length]);
                // Three times over one connection, then over three at once.
                for parallel in ["--no-parallel", "--parallel"] {
                    let mut curl = command("curl", ["-sS", "--fail", "--max-time", "30", parallel]);
                    let answers = ["1", "2", "3"].map(|answer| stage.file(answer));
                    for answer in &answers {
                        curl.arg("--data-binary").arg(format!("@{}", body.display()));
                        curl.arg("-o").arg(answer).arg("http://10.77.0.2:7000/").arg("--next");
                        curl.args(["-sS", "--fail"]);
                    }
                    curl.args(["-o", "/dev/null", "http://10.77.0.2:7000/"]);
                    stage.run(Host::Client, curl);
                    for answer in answers {
                        let read = |path| fs::read(path).expect("read the body or its answer");
                        assert!(read(&answer) == read(&body), "{length} bytes {parallel}");
                        fs::remove_file(answer).expect("remove the answer");
                    }
                }
            }
        });
        toll.assert_direct(5000, 0.8);
    });
}
