//! Many connections, in more processes than one.

use nix::sys::resource::{Resource, setrlimit};
use serde_json::Value;

use testkit::agent::run;
use testkit::isolation::isolated;

#[test]
fn a_bench_opens_as_many_connections_as_are_asked_for_whatever_one_process_may_open() {
    isolated(|| {
        // Enough for an agent, and for a few connections.
        setrlimit(Resource::RLIMIT_NOFILE, 128, 128).expect("limit the open files");
        let bench = run(&["bench", "--flows", "150", "--json"]);
        assert_eq!(bench.status.code(), Some(0), "{bench:?}");
        let measured: Value = serde_json::from_slice(&bench.stdout).expect("JSON");
        assert_eq!(measured["flows"], 150);
        assert_eq!(measured["enrolled"], 300);
        assert!(measured["processes"].as_u64() > Some(2), "{measured}");
        let commands = measured["commands"].as_array().expect("a list");
        let known: Vec<&str> =
            commands.iter().filter_map(|command| command["what"].as_str()).collect();
        assert!(["flows", "top, a frame", "a stop"].iter().all(|what| known.contains(what)));
    });
}
