//! What the runtimes of languages make of sockets: the same echo, written as each of them would.

use std::net::SocketAddr;
use std::process::Command;

use tcp_shunt::datapath::Counter;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::clients::wrk;
use testkit::isolation::isolated;
use testkit::pattern::{Dice, Pattern};
use testkit::program::{command, finish, source};
use testkit::stage::{Host, SERVER, Stage, same_over_both};
use testkit::toll::Toll;

const PORT: u16 = 7000;

/// Runs a server on one host and its client on the other: what the client prints has to be the
/// same.
fn echo(server: impl Fn(&Stage) -> Command, client: impl Fn(&Stage) -> Command) -> Toll {
    same_over_both(|stage| {
        let _server = stage.serve(Host::Server, server(stage), PORT);
        let said = stage.run(Host::Client, client(stage));
        assert!(!said.is_empty(), "the client said nothing");
        said
    })
}

fn script(interpreter: &'static str, name: &str, role: &str) -> Command {
    let mut command = command(interpreter, [source(name)]);
    command.args([role, &SERVER.to_string(), &PORT.to_string()]);
    command
}

#[test]
fn go_net_http_echoes() {
    isolated(|| {
        let program = build_go_echo();
        let address = format!("{SERVER}:{PORT}");
        let role = |role: &str| go_echo(&program, role, &address);
        echo(|_| role("server"), |_| role("client")).assert_direct(5000, 0.6);
    });
}

/// The Go program, built in a directory that goes away with it.
pub struct GoEcho(TempDir);

pub fn build_go_echo() -> GoEcho {
    let directory = tempfile::tempdir().expect("make a directory");
    let mut build = command("go", ["build", "-o"]);
    build.arg(directory.path().join("echo")).arg(source("echo.go")).env("CGO_ENABLED", "0");
    finish(build);
    GoEcho(directory)
}

/// The Go program as `server` at an address or as a `client` of it.
pub fn go_echo(program: &GoEcho, role: &str, address: &str) -> Command {
    let mut command = Command::new(program.0.path().join("echo"));
    command.args([role, address]);
    command
}

#[test]
fn java_http_echoes() {
    isolated(|| {
        let role = |role| script("java", "Echo.java", role);
        // Its server makes a socket block for as long as it answers.
        echo(|_| role("http-server"), |_| role("http-client"));
    });
}

#[test]
fn java_channels_echo() {
    isolated(|| {
        let role = |role| script("java", "Echo.java", role);
        echo(|_| role("channel-server"), |_| role("channel-client")).assert_direct(2000, 0.6);
    });
}

#[test]
fn java_socket_streams_echo() {
    isolated(|| {
        let role = |role| script("java", "Echo.java", role);
        let toll = echo(|_| role("socket-server"), |_| role("socket-client"));
        toll.assert_left_alone(Counter::BlockingFile);
    });
}

#[test]
fn node_http_echoes() {
    isolated(|| {
        let role = |role| script("node", "echo.js", role);
        echo(|_| role("server"), |_| role("client")).assert_direct(5000, 0.6);
    });
}

#[test]
fn python_asyncio_streams_echo() {
    isolated(|| {
        let role = |role| script("python3", "echo_asyncio.py", role);
        echo(|_| role("server"), |_| role("client")).assert_direct(5000, 0.6);
    });
}

#[test]
fn python_asyncio_serves_http() {
    isolated(|| {
        let toll = same_over_both(|stage| {
            let mut server = command("python3", [source("http_asyncio.py")]);
            server.args([&SERVER.to_string(), &PORT.to_string()]);
            let _server = stage.serve(Host::Server, server, PORT);
            wrk(stage, ["-d3s", "-c4", "-t1", &format!("http://{SERVER}:{PORT}/")]);
        });
        toll.assert_direct(5000, 0.9);
    });
}

#[test]
fn python_blocking_sockets_echo_and_are_left_to_tcp() {
    isolated(|| {
        let role = |role| script("python3", "echo_threads.py", role);
        echo(|_| role("server"), |_| role("client")).assert_left_alone(Counter::BlockingFile);
    });
}

#[test]
fn tokio_streams_echo() {
    const CLIENTS: u64 = 8;
    isolated(|| {
        let toll = same_over_both(|stage| {
            let bind = || std::net::TcpListener::bind((SERVER, PORT)).expect("listen");
            let listener = stage.at(Host::Server, bind);
            listener.set_nonblocking(true).expect("make the listener non-blocking");
            std::thread::scope(|scope| {
                scope.spawn(|| runtime().block_on(tokio_server(listener, CLIENTS)));
                let talk = || runtime().block_on(tokio_clients((SERVER, PORT).into(), CLIENTS));
                stage.at(Host::Client, talk)
            })
        });
        // Its copy sends 8 MB in messages of 8 KB, which go by TCP while more is on its way.
        toll.assert_direct(5000, 0.3);
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("start a runtime")
}

async fn tokio_server(listener: std::net::TcpListener, connections: u64) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("take the listener");
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (mut stream, _) = listener.accept().await.expect("accept");
        streams.spawn(async move {
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.expect("send back");
            writer.shutdown().await.expect("shut down");
        });
    }
    streams.join_all().await;
}

async fn tokio_clients(server: SocketAddr, count: u64) -> Vec<(u64, usize)> {
    let mut clients = tokio::task::JoinSet::new();
    for seed in 0..count {
        clients.spawn(async move {
            let stream = tokio::net::TcpStream::connect(server).await.expect("connect");
            let (mut reader, mut writer) = stream.into_split();
            let mut dice = Dice(seed + 1);
            let mut echoed = 0;
            // Long enough that each connection has been enrolled, on a busy machine, too.
            const SMALL: u64 = 15_000;
            for request in 0..SMALL + 531 {
                let length = match request.saturating_sub(SMALL) {
                    0 | 31.. => dice.length(1000),
                    30 => 8 << 20,
                    _ => dice.length(200_000),
                };
                let mut body = vec![0; length];
                Pattern { seed: seed * 100_000 + request }.fill(0, &mut body);
                let mut answer = vec![0; body.len()];
                let (sent, got) =
                    tokio::join!(writer.write_all(&body), reader.read_exact(&mut answer));
                sent.expect("send");
                got.expect("receive");
                assert!(
                    answer == body,
                    "request {request} of client {seed} was answered with other bytes"
                );
                echoed += answer.len();
            }
            writer.shutdown().await.expect("shut down");
            assert_eq!(reader.read(&mut [0]).await.expect("read the end"), 0);
            (seed, echoed)
        });
    }
    let mut lengths = clients.join_all().await;
    lengths.sort();
    lengths
}
