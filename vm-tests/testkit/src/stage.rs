//! Two hosts for a job, with or without shunt.

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use tcp_shunt::bed::Bed;
use tempfile::TempDir;

use crate::agent::Agent;
use crate::eventually;
use crate::kernel_log::KernelLog;
use crate::program::{self, Running};
use crate::toll::{Toll, received};

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    Client,
    /// Reached at [`SERVER`].
    Server,
}

/// The server's address, seen from both hosts.
pub const SERVER: Ipv4Addr = Bed::SERVER_V4;

pub struct Stage {
    // Before the bed: the agent lets go of the cgroup before it is removed.
    agent: Option<Agent>,
    bed: Bed,
    log: KernelLog,
    directory: TempDir,
    outputs: AtomicU32,
}

impl Stage {
    pub fn new(start: Option<fn(&Path) -> Agent>) -> Self {
        let log = KernelLog::from_now();
        let bed = Bed::new().expect("make a bed (as root, with cgroup v2)");
        let agent = start.map(|start| start(bed.cgroup().path()));
        let directory = tempfile::tempdir().expect("make a directory");
        // Servers that refuse to be root have to reach it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), open).expect("open the directory to all users");
        Self { agent, bed, log, directory, outputs: AtomicU32::new(0) }
    }

    pub fn bed(&self) -> &Bed {
        &self.bed
    }

    /// A path for a file of the job, gone when the job is done.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a configuration file.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, text)
            .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// Runs `work` on a host, in the cgroup.
    pub fn at<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> T {
        match host {
            Host::Client => self.bed.in_client(work),
            Host::Server => self.bed.in_server(work),
        }
        .expect("enter the host")
    }

    /// Starts a server and waits until somebody listens on `port`.
    pub fn serve(&self, host: Host, mut command: Command, port: u16) -> Running {
        let output = self.file(&format!("output-{}", self.outputs.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir(&output).expect("make a directory for the output");
        let mut server = self.at(host, || Running::start(&mut command, &output));
        eventually("the server listens", || {
            server.assert_running();
            self.listens(host, port).then_some(())
        });
        server
    }

    /// Whether somebody listens on a port.
    pub fn listens(&self, host: Host, port: u16) -> bool {
        self.at(host, || listens(port))
    }

    /// Runs a program to its good end and returns what it printed.
    pub fn run(&self, host: Host, command: Command) -> String {
        self.at(host, || program::finish(command))
    }

    fn toll(&self, wire_before: u64) -> Toll {
        Toll { stats: self.agent.as_ref().map(Agent::stats), wire: self.wire() - wire_before }
    }

    fn wire(&self) -> u64 {
        received(self.bed.client()) + received(self.bed.server())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some(agent) = &mut self.agent else { return };
        if std::thread::panicking() {
            eprintln!("{}", agent.describe());
        } else {
            agent.stop();
            self.log.assert_quiet();
        }
    }
}

/// Does a job over plain TCP and accelerated, wants the same result of both, and returns what the
/// second one cost.
pub fn same_over_both<T: PartialEq + Debug>(job: impl Fn(&Stage) -> T) -> Toll {
    let start: fn(&Path) -> Agent = |cgroup| Agent::start(cgroup, &[]);
    let [(plain, _), (accelerated, toll)] = [None, Some(start)].map(|start| {
        let stage = Stage::new(start);
        let wire = stage.wire();
        let started = Instant::now();
        let result = job(&stage);
        let toll = stage.toll(wire);
        println!(
            "{}: {:?}; {toll}",
            if start.is_some() { "shunt" } else { "tcp" },
            started.elapsed()
        );
        (result, toll)
    });
    assert_eq!(accelerated, plain, "shunt on the left, TCP on the right");
    toll
}

/// Whether there is a listener on a port in the calling thread's namespace. To connect to it would
/// be something that it has to cope with.
fn listens(port: u16) -> bool {
    // proc_net_tcp: the local address ends in the port, and 0A is TCP_LISTEN.
    let local = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        let sockets =
            std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        sockets.lines().any(|socket| {
            let mut fields = socket.split_whitespace().skip(1);
            fields.next().is_some_and(|address| address.ends_with(&local))
                && fields.nth(1) == Some("0A")
        })
    })
}
