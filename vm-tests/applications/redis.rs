//! Redis: one event loop, pipelines of commands, and replies larger than a buffer.

use testkit::isolation::isolated;
use testkit::program::command;
use testkit::stage::{Host, Stage, same_over_both};

fn benchmark(stage: &Stage, arguments: &[&str]) {
    let report = stage.run(
        Host::Client,
        command("redis-benchmark", ["-h", "10.77.0.2", "-q"].iter().chain(arguments)),
    );
    assert!(report.contains("requests per second") && !report.contains("rror"), "{report}");
}

fn ask(stage: &Stage, arguments: &[&str]) -> String {
    stage.run(Host::Client, command("redis-cli", ["-h", "10.77.0.2"].iter().chain(arguments)))
}

#[test]
fn redis_counts_every_command_of_its_benchmark_and_keeps_values_whole() {
    isolated(|| {
        let toll = same_over_both(|stage| {
            let options = ["--bind", "10.77.0.2", "--protected-mode", "no", "--save", "", "--dir"];
            let mut server = command("redis-server", options);
            server.arg(stage.directory());
            let _redis = stage.serve(Host::Server, server, 6379);
            benchmark(stage, &["-t", "incr,lpush,sadd", "-n", "20000", "-c", "20"]);
            benchmark(stage, &["-t", "incr,lpush", "-n", "60000", "-c", "20", "-P", "32"]);
            benchmark(stage, &["-t", "set,get", "-n", "2000", "-c", "10", "-d", "60000"]);
            benchmark(stage, &["-t", "lrange_600,mset", "-n", "2000", "-c", "10"]);
            let fill = "for i = 1, 200 do redis.call('set', 'v' .. i, string.rep(tostring(i), i * 400)) end return 'OK'";
            ask(stage, &["eval", fill, "0"]);
            // A reply of some tens of megabytes, compared byte by byte with TCP's.
            let script = "local all = {} for i = 1, 200 do all[i] = redis.call('get', 'v' .. i) end return all";
            [
                ask(stage, &["eval", script, "0"]),
                ask(stage, &["get", "counter:__rand_int__"]),
                ask(stage, &["llen", "mylist"]),
                ask(stage, &["strlen", "key:__rand_int__"]),
            ]
        });
        toll.assert_direct(50_000, 0.9);
    });
}
