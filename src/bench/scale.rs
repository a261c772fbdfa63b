//! Scalability with many open connections: the cost of commands, of the idle agent, and the memory
//! per connection.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use serde::Serialize;

use super::agent::bytes_of;
use super::pair::{Listener, Pair, Transport};
use super::traffic::pass;
use super::wire::Wire;
use super::{Interrupt, Lab};

/// Connections per listener, fewer than the ports available to clients.
const PER_LISTENER: usize = 20_000;
/// Connections opened and used together.
const BATCH: usize = 2_000;
/// Messages in each direction that make a connection a candidate.
const EXCHANGES: usize = 8;
/// More reads than a program that could splice must be seen to make.
const READS: usize = 300;
/// Time limit for a batch to become direct.
const SETTLING: Duration = Duration::from_secs(5);
/// Observation time of the idle agent.
const IDLE: Duration = Duration::from_secs(5);
/// Other open files of this process.
const OTHER_FILES: u64 = 1_024;

/// Results.
#[derive(Debug, Serialize)]
pub struct Scale {
    /// Open connections.
    pub flows: usize,
    /// Enrolled sockets.
    pub enrolled: u64,
    /// Cost of each command.
    pub commands: Vec<Cost>,
    /// Processor usage of the idle agent, in per cent.
    pub idle_percent: f64,
    /// Kernel memory of a connection over TCP, both ends, in bytes.
    pub tcp_bytes: f64,
    /// The same of a direct connection.
    pub shunt_bytes: f64,
    /// Memory of the agent, in bytes.
    pub agent_bytes: u64,
}

/// Cost of one command.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// The command.
    pub what: &'static str,
    /// Elapsed time in seconds.
    pub seconds: f64,
    /// User and system time in seconds; unknown for work done by the agent.
    pub processor: Option<f64>,
}

/// Measures with `flows` open connections. `progress` is told each step.
pub fn scale(
    flows: usize,
    interrupt: &Interrupt,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Scale> {
    allow_files(4 * flows as u64 + OTHER_FILES)?;
    let folder = std::env::temp_dir().join(format!("shunt-scale-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let socket = folder.join("metrics");
    let endpoint = format!("unix:{}", socket.display());
    let most = flows.to_string();
    let options = ["--max-flows", &most, "--metrics", &endpoint];
    let outcome = Lab::with(Duration::from_millis(1), &options).and_then(|lab| {
        let measured =
            lab.inside_namespace(|| measure(&lab, flows, &options, &socket, interrupt, progress))?;
        let closed = lab.close();
        let measured = measured?;
        closed?;
        Ok(measured)
    });
    let _ = fs::remove_dir_all(&folder);
    outcome
}

fn measure(
    lab: &Lab,
    flows: usize,
    options: &[&str],
    metrics: &Path,
    interrupt: &Interrupt,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Scale> {
    let before = free_memory()?;
    let by_tcp = open(lab, Transport::Tcp, flows, interrupt, progress)?;
    let between = free_memory()?;
    // Opened while these are open: otherwise memory of closed sockets would be reused.
    let pairs = open(lab, Transport::Shunt, flows, interrupt, progress)?;
    let after = free_memory()?;
    let of_each = |before: u64, after: u64| before.saturating_sub(after) as f64 / flows as f64;
    let (tcp_bytes, shunt_bytes) = (of_each(before, between), of_each(between, after));
    drop(by_tcp);

    progress("the commands");
    let agent = lab.agent();
    let enrolled = agent.enrolled()?;
    let mut commands = Vec::new();
    for what in ["status", "stats", "stats --json", "flows", "flows --json"] {
        interrupt.check()?;
        commands.push(cost(what, || agent.command(what).map(drop))?);
    }
    commands.push(Cost { processor: None, ..cost("a scrape of the metrics", || scrape(metrics))? });
    progress("the agent");
    let before = agent.processor_time()?;
    sleep(IDLE);
    let idle_percent =
        (agent.processor_time()? - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    let agent_bytes = agent.memory()?;
    let mut successor = None;
    let replaced = cost("run --replace", || {
        successor = Some(agent.replaced(lab.cgroup(), options)?);
        Ok(())
    })?;
    commands.push(Cost { processor: None, ..replaced });
    let successor = successor.context("the agent was replaced")?;
    commands.push(Cost { processor: None, ..cost("a stop", || successor.stop())? });
    drop(pairs);
    Ok(Scale { flows, enrolled, commands, idle_percent, tcp_bytes, shunt_bytes, agent_bytes })
}

fn cost(what: &'static str, work: impl FnOnce() -> Result<()>) -> Result<Cost> {
    let (began, before) = (Instant::now(), children_time()?);
    work()?;
    Ok(Cost {
        what,
        seconds: began.elapsed().as_secs_f64(),
        processor: Some(children_time()? - before),
    })
}

/// Processor time of the reaped child processes, in seconds.
fn children_time() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

fn open(
    lab: &Lab,
    transport: Transport,
    flows: usize,
    interrupt: &Interrupt,
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Vec<Pair>> {
    let mut pairs: Vec<Pair> = Vec::with_capacity(flows);
    while pairs.len() < flows {
        let listener = lab.making(transport, || Ok(Listener::new()?))?;
        let full = flows.min(pairs.len() + PER_LISTENER);
        while pairs.len() < full {
            interrupt.check()?;
            progress(&format!("{} of {flows} connections by {transport}", pairs.len()));
            let first = pairs.len();
            lab.making(transport, || {
                while pairs.len() < full.min(first + BATCH) {
                    let near = listener.connect()?;
                    pairs.push(Pair { near, far: listener.accept()? });
                }
                Ok(())
            })?;
            settle(transport, &pairs[first..])?;
        }
    }
    Ok(pairs)
}

/// Exchanges messages until the connections are direct, for [`SETTLING`] at most.
///
/// This program could splice, and must be seen to read often on each connection, so it reads byte
/// by byte.
fn settle(transport: Transport, pairs: &[Pair]) -> Result<()> {
    let mut greeting = [0x5a; 64];
    for _ in 0..EXCHANGES {
        for Pair { near, far } in pairs {
            pass(near, far, &mut greeting)?;
            pass(far, near, &mut greeting)?;
        }
    }
    if transport != Transport::Shunt {
        return Ok(());
    }
    let mut byte = [0];
    let deadline = Instant::now() + SETTLING;
    while Instant::now() < deadline {
        let before = Wire::here()?;
        for Pair { near, far } in pairs {
            for (mut from, mut to) in [(near, far), (far, near)] {
                from.write_all(&[0x5a; READS])?;
                for _ in 0..READS {
                    to.read_exact(&mut byte)?;
                }
            }
        }
        if Wire::here()? == before {
            break;
        }
    }
    Ok(())
}

/// Scrapes the metrics like Prometheus.
fn scrape(socket: &Path) -> Result<()> {
    let mut stream =
        UnixStream::connect(socket).context("cannot connect to the agent's metrics")?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: shunt\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "the scrape failed: {:?}", answer.lines().next());
    Ok(())
}

fn allow_files(files: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= files {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, files, hard.max(files)).with_context(|| {
        format!(
            "this process may not open {files} files: raise its hard limit (`ulimit -Hn`) or \
             give it CAP_SYS_RESOURCE, and raise fs.nr_open if that is less; or measure \
             fewer flows"
        )
    })
}

/// Free memory of the machine, in bytes.
fn free_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    bytes_of(&text, "MemFree").context("/proc/meminfo has no MemFree")
}
