//! Programs that take bytes without recv: by splice(2), in whatever library, or by
//! TCP_ZEROCOPY_RECEIVE (Q1).
//!
//! No name tells of them. Each echoes, or passes on to an echo: whole, over TCP and with shunt,
//! after so many small exchanges that shunt has had every reason to accelerate the connection.

use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use testkit::isolation::isolated;
use testkit::nonblocking::{HANG, put, put_pattern, take, take_pattern, take_to_end};
use testkit::path::ready_for_tests;
use testkit::pattern::Tape;
use testkit::program::{Running, command, find, finish, source};
use testkit::stage::{Host, SERVER, Stage, same_over_both};
use testkit::toll::Toll;

/// Where clients connect to, and where the echo behind a proxy is.
const FRONT: u16 = 9000;
const BACK: u16 = 7000;

/// What is echoed after the small talk.
const LENGTH: u64 = 6 << 20;

/// Programs of these tests, built in a directory that goes away with them.
struct Built(TempDir);

impl Built {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("make a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Compiles `SOURCE.c` as `name`.
    fn c(&self, name: &str, program: &str, options: &[&str]) -> PathBuf {
        let output = self.path(name);
        let mut compile = command("gcc", ["-O2", "-Wall", "-Werror", "-o"]);
        compile.arg(&output).args(options).arg(source(&format!("{program}.c")));
        finish(compile);
        output
    }

    fn go(&self, program: &str) -> PathBuf {
        let output = self.path(program);
        let mut build = command("go", ["build", "-o"]);
        build.arg(&output).arg(source(&format!("{program}.go"))).env("CGO_ENABLED", "0");
        finish(build);
        output
    }
}

fn address(ip: Ipv4Addr, port: u16) -> String {
    format!("{ip}:{port}")
}

/// An echo on the server's loopback, which receives and nothing else.
fn echo_behind(stage: &Stage, built: &Built) -> Running {
    let mut echo = Command::new(built.c("echo", "echo", &[]));
    echo.args(["127.0.0.1", &BACK.to_string()]);
    stage.serve(Host::Server, echo, BACK)
}

/// A connection of the client's host to the program, non-blocking.
fn connect(stage: &Stage, host: Host, ip: Ipv4Addr) -> TcpStream {
    let stream = stage.at(host, || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("make a socket");
        socket.set_nonblocking(true).expect("make it non-blocking");
        let _in_progress = socket.connect(&std::net::SocketAddr::from((ip, FRONT)).into());
        TcpStream::from(socket)
    });
    let room = nix::poll::PollFlags::POLLOUT;
    assert!(testkit::traffic::wait_within(&stream, room, HANG), "not connected");
    ready_for_tests(&stream).expect("set its options");
    stream
}

/// So many small exchanges that a connection is worth accelerating, over a second.
fn small_talk(stream: &TcpStream, upgrades: bool) {
    for round in 0..64 {
        let request = if round == 63 && upgrades { b"upgrade\n" } else { b"request\n" };
        put(stream, request);
        assert_eq!(take(stream, request.len()), request, "round {round}");
        std::thread::sleep(Duration::from_millis(15));
    }
}

/// Small talk, several megabytes there and back at the same time, and an end each way.
fn talk(stream: &TcpStream, seed: u64, upgrades: bool) {
    small_talk(stream, upgrades);
    let pattern = Tape { seed };
    for seed in [1, 2] {
        // One message alone, to be answered before the next.
        let pattern = Tape { seed };
        put_pattern(stream, pattern, 3000, 3000);
        take_pattern(stream, pattern, 3000, 4096);
    }
    std::thread::scope(|scope| {
        scope.spawn(|| put_pattern(stream, pattern, LENGTH, 20_000));
        take_pattern(stream, pattern, LENGTH, 50_000);
    });
    stream.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!(take_to_end(stream, HANG), (Vec::new(), true), "more than was sent, or no end");
}

/// [`talk`] on two connections at the same time.
fn echoes(stage: &Stage, upgrades: bool) {
    let streams = [0, 1].map(|_| connect(stage, Host::Client, SERVER));
    std::thread::scope(|scope| {
        for (stream, seed) in streams.iter().zip(100..) {
            scope.spawn(move || talk(stream, seed, upgrades));
        }
    });
}

/// A program at [`FRONT`] that echoes, after what `prepare` does.
fn echoes_whole(built: &Built, program: impl Fn(&Stage) -> Command, upgrades: bool) -> Toll {
    same_over_both(|stage| {
        let _echo = echo_behind(stage, built);
        let _program = stage.serve(Host::Server, program(stage), FRONT);
        echoes(stage, upgrades);
    })
}

fn with_arguments(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args([&SERVER.to_string(), &FRONT.to_string()]).args(arguments);
    command
}

/// Q1.
#[test]
fn a_go_proxy_that_copies_passes_everything_on() {
    isolated(|| {
        let built = Built::new();
        let proxy = built.go("proxy");
        let arguments =
            ["copy".to_owned(), address(SERVER, FRONT), address(Ipv4Addr::LOCALHOST, BACK)];
        let toll = echoes_whole(
            &built,
            |_| {
                let mut command = Command::new(&proxy);
                command.args(&arguments);
                command
            },
            false,
        );
        assert_eq!(toll.direct(), 0, "{toll}");
    });
}

/// Q1.
#[test]
fn a_go_proxy_that_reads_lines_first_and_copies_after_an_upgrade_passes_everything_on() {
    isolated(|| {
        let built = Built::new();
        let proxy = built.go("proxy");
        let arguments =
            ["upgrade".to_owned(), address(SERVER, FRONT), address(Ipv4Addr::LOCALHOST, BACK)];
        echoes_whole(
            &built,
            |_| {
                let mut command = Command::new(&proxy);
                command.args(&arguments);
                command
            },
            true,
        );
    });
}

/// Q1.
#[test]
fn a_server_that_splices_from_the_first_byte_gets_everything() {
    isolated(|| {
        let built = Built::new();
        let splice = built.c("one", "splice", &[]);
        let toll = echoes_whole(&built, |_| with_arguments(&splice, &["first"]), false);
        assert_eq!(toll.direct(), 0, "{toll}");
    });
}

/// Q1: what it has done until now says nothing of what it does next.
#[test]
fn a_server_that_receives_at_first_and_splices_later_gets_everything() {
    isolated(|| {
        let built = Built::new();
        let splice = built.c("two", "splice", &[]);
        echoes_whole(&built, |_| with_arguments(&splice, &["late"]), false);
    });
}

/// Q1: its executable imports no splice.
#[test]
fn a_server_that_splices_by_the_bare_system_call_gets_everything() {
    isolated(|| {
        let built = Built::new();
        let splice = built.c("three", "splice", &["-DBY_SYSCALL"]);
        for when in ["first", "late"] {
            echoes_whole(&built, |_| with_arguments(&splice, &[when]), false);
        }
    });
}

/// Q1: nor does one that is linked statically.
#[test]
fn a_static_server_that_splices_gets_everything() {
    isolated(|| {
        let built = Built::new();
        let splice = built.c("four", "splice", &["-static"]);
        for when in ["first", "late"] {
            echoes_whole(&built, |_| with_arguments(&splice, &[when]), false);
        }
    });
}

/// Q1: evidence of a program is not valid after it has executed another one.
#[test]
fn a_connection_that_is_handed_to_a_program_that_splices_keeps_everything() {
    isolated(|| {
        let built = Built::new();
        let splice = built.c("five", "splice", &[]);
        let splice = splice.to_str().expect("a path in UTF-8").to_owned();
        let hand_over = built.c("hand_over", "hand_over", &[]);
        echoes_whole(&built, |_| with_arguments(&hand_over, &[&splice]), false);
    });
}

/// Q1: TCP_ZEROCOPY_RECEIVE maps what is in TCP's queue.
#[test]
fn a_server_that_receives_by_mapping_pages_gets_everything() {
    isolated(|| {
        let built = Built::new();
        let zerocopy = built.c("zerocopy", "zerocopy", &[]);
        for when in ["first", "late"] {
            echoes_whole(&built, |_| with_arguments(&zerocopy, &[when]), false);
        }
    });
}

/// Moves a descriptor to number 3 in the program that is started, as socket activation does.
fn with_descriptor_3(command: &mut Command, descriptor: RawFd) {
    // SAFETY: dup2 and fcntl are what may be called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let done = if descriptor == 3 {
                libc::fcntl(3, libc::F_SETFD, 0)
            } else {
                libc::dup2(descriptor, 3)
            };
            if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        });
    }
}

/// Q1: systemd's proxy, whose listener another process has opened.
#[test]
fn systemd_socket_proxyd_passes_everything_on() {
    isolated(|| {
        let built = Built::new();
        same_over_both(|stage| {
            let _echo = echo_behind(stage, &built);
            let listener = stage
                .at(Host::Server, || std::net::TcpListener::bind((SERVER, FRONT)).expect("listen"));
            let mut proxy = command(
                "sh",
                [
                    "-c",
                    "LISTEN_FDS=1 LISTEN_PID=$$ exec /lib/systemd/systemd-socket-proxyd \"$0\"",
                    &address(Ipv4Addr::LOCALHOST, BACK),
                ],
            );
            with_descriptor_3(&mut proxy, listener.as_raw_fd());
            let _proxy = stage.serve(Host::Server, proxy, FRONT);
            // Only the proxy holds it from now on.
            drop(listener);
            echoes(stage, false);
        });
    });
}

/// Q1.
#[test]
fn docker_proxy_passes_everything_on() {
    isolated(|| {
        let built = Built::new();
        let options: [&str; 10] = [
            "-proto",
            "tcp",
            "-host-ip",
            "10.77.0.2",
            "-host-port",
            "9000",
            "-container-ip",
            "127.0.0.1",
            "-container-port",
            "7000",
        ];
        // It tells its parent by descriptor 3 that it listens.
        let script = "exec \"$0\" \"$@\" 3>/dev/null";
        let program = find("docker-proxy");
        echoes_whole(
            &built,
            |_| {
                let mut proxy = command("sh", ["-c", script]);
                proxy.arg(&program).args(options);
                proxy
            },
            false,
        );
    });
}

/// Q1.
#[test]
fn etcd_gateway_passes_everything_on() {
    isolated(|| {
        let built = Built::new();
        echoes_whole(
            &built,
            |_| {
                let endpoints = format!("--endpoints={}", address(Ipv4Addr::LOCALHOST, BACK));
                let listen = format!("--listen-addr={}", address(SERVER, FRONT));
                let mut gateway = command("etcd", ["gateway", "start", &endpoints, &listen]);
                // Debian's build for arm64 asks for it.
                gateway.env("ETCD_UNSUPPORTED_ARCH", "arm64");
                gateway
            },
            false,
        );
    });
}

/// Q1: pasta splices what comes by loopback into the namespace that it makes.
#[test]
fn pasta_passes_everything_on() {
    isolated(|| {
        let built = Built::new();
        let echo = built.c("inside", "echo", &[]);
        same_over_both(|stage| {
            let mut pasta = command(
                "pasta",
                ["-f", "--runas", "0", "-t", &format!("{FRONT}:{BACK}"), "-u", "none"],
            );
            pasta
                .args(["-T", "none", "-U", "none", "--"])
                .arg(&echo)
                .args(["127.0.0.1", &BACK.to_string()]);
            let _pasta = stage.serve(Host::Server, pasta, FRONT);
            // It listens before the echo inside does.
            std::thread::sleep(Duration::from_millis(300));
            let stream = connect(stage, Host::Server, Ipv4Addr::LOCALHOST);
            talk(&stream, 120, false);
        });
    });
}
