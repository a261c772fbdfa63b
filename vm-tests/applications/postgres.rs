//! PostgreSQL: a process for each connection, `COPY` both ways, and books that have to balance.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::isolation::isolated;
use testkit::program::{command, finish};
use testkit::stage::{Host, Stage, same_over_both};

/// It refuses to be root.
fn as_postgres(program: &str) -> Command {
    let mut command =
        command("setpriv", ["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(testkit::program::find(program));
    command
}

fn client(stage: &Stage, program: &str, arguments: &[&str]) -> String {
    let mut client = as_postgres(program);
    client.args(["-h", "10.77.0.2", "-U", "postgres"]).args(arguments).current_dir("/");
    stage.run(Host::Client, client)
}

fn query(stage: &Stage, sql: &str) -> String {
    client(stage, "psql", &["-X", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql])
}

fn cluster(stage: &Stage) -> testkit::program::Running {
    let data = stage.file("data");
    fs::create_dir(&data).expect("make a directory");
    finish(command("chown", ["postgres".as_ref(), data.as_path()]));
    let mut make = as_postgres("initdb");
    make.args(["--no-sync", "--auth=trust", "--pgdata"]).arg(&data).current_dir("/");
    finish(make);
    let rules = data.join("pg_hba.conf");
    fs::write(rules, "host all all 10.77.0.0/24 trust\n").expect("write who may connect");
    let mut server = as_postgres("postgres");
    server.arg("-D").arg(&data).current_dir("/");
    for option in ["listen_addresses=10.77.0.2", "unix_socket_directories=", "fsync=off"] {
        server.args(["-c", option]);
    }
    let server = stage.serve(Host::Server, server, 5432);
    // It listens before it serves.
    let mut ready = command("sh", ["-c", "until \"$0\" -q -h 10.77.0.2; do sleep 0.1; done"]);
    ready.arg(testkit::program::find("pg_isready"));
    stage.run(Host::Client, ready);
    server
}

/// Rows of up to some kilobytes.
fn rows(file: &Path) -> String {
    let mut text = String::new();
    for row in 0..20_000_u64 {
        writeln!(
            text,
            "{row}\t{}",
            format!("{:x}", row * row * 2_654_435_761).repeat(1 + row as usize % 97)
        )
        .expect("write to a string");
    }
    fs::write(file, &text).expect("write the rows");
    text
}

#[test]
fn postgres_balances_its_books_after_pgbench_and_copies_rows_whole() {
    isolated(|| {
        let toll = same_over_both(|stage| {
            let _postgres = cluster(stage);
            client(stage, "pgbench", &["-i", "-q", "-s", "1", "postgres"]);
            for mode in ["simple", "prepared"] {
                client(
                    stage,
                    "pgbench",
                    &["-n", "-c", "8", "-j", "2", "-t", "150", "-M", mode, "postgres"],
                );
            }
            let books =
                "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history),
                (select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history),
                (select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history),
                (select count(*) from pgbench_history)";
            let books = query(stage, books);
            assert_eq!(books, "t|t|t|2400\n");

            let file = stage.file("rows");
            let sent = rows(&file);
            query(stage, "create table copied (id int, text text)");
            query(stage, &format!("\\copy copied from '{}'", file.display()));
            assert!(
                query(stage, "copy (select * from copied order by id) to stdout") == sent,
                "COPY changed the rows"
            );
            books
                + &query(
                    stage,
                    "select count(*), md5(string_agg(text, '' order by id)) from copied",
                )
        });
        toll.assert_direct(15_000, 0.9);
    });
}
