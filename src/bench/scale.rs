//! Scalability with many open connections: the cost of commands, of the idle agent, and the memory
//! per connection.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::Serialize;

use super::agent::bytes_of;
use super::holder::Holders;
use super::pair::Transport;
use super::{Interrupt, Lab};

/// Observation time of the idle agent.
const IDLE: Duration = Duration::from_secs(5);

/// Results.
#[derive(Debug, Serialize)]
pub struct Scale {
    /// Open connections.
    pub flows: usize,
    /// Processes that hold them.
    pub processes: usize,
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
    /// Kernel memory of the maps before the first connection, in bytes.
    pub map_bytes: u64,
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
    let folder = std::env::temp_dir().join(format!("shunt-scale-{}", std::process::id()));
    fs::create_dir(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let socket = folder.join("metrics");
    let endpoint = format!("unix:{}", socket.display());
    let most = flows.to_string();
    let options = ["--max-flows", &most, "--metrics", &endpoint];
    let outcome = Lab::with(Duration::from_millis(1), &options).and_then(|lab| {
        let measured = measure(&lab, flows, &options, &socket, interrupt, progress);
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
    let agent = lab.agent();
    let map_bytes = agent.map_memory()?;
    let before = kernel_memory()?;
    let by_tcp = Holders::open(lab, Transport::Tcp, flows, interrupt, progress)?;
    let between = kernel_memory()?;
    // Opened while these are open: otherwise memory of closed sockets would be reused.
    let holders = Holders::open(lab, Transport::Shunt, flows, interrupt, progress)?;
    let after = kernel_memory()?;
    let of_each = |before: u64, after: u64| after.saturating_sub(before) as f64 / flows as f64;
    let (tcp_bytes, shunt_bytes) = (of_each(before, between), of_each(between, after));
    drop(by_tcp);

    progress("the commands");
    let enrolled = agent.enrolled()?;
    let mut commands = Vec::new();
    for what in ["status", "stats", "stats --json", "flows", "flows --json"] {
        interrupt.check()?;
        commands.push(cost(what, || agent.command(what).map(drop))?);
    }
    commands.push(cost("top, a frame", || agent.first_frame("top").map(drop))?);
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
    let processes = holders.processes();
    drop(holders);
    Ok(Scale {
        flows,
        processes,
        enrolled,
        commands,
        idle_percent,
        tcp_bytes,
        shunt_bytes,
        map_bytes,
        agent_bytes,
    })
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

/// Kernel memory in bytes: what is neither free nor taken by processes and cached files. Of what the
/// kernel can give back at any time, such as entries of directories that somebody has listed, only
/// the inodes of sockets count.
fn kernel_memory() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let bytes = |name| bytes_of(&text, name).with_context(|| format!("/proc/meminfo: no {name}"));
    let mut others = 0;
    for name in ["MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "SReclaimable"] {
        others += bytes(name)?;
    }
    let caches = fs::read_to_string("/proc/slabinfo").context("cannot read /proc/slabinfo")?;
    Ok(bytes("MemTotal")?.saturating_sub(others) + bytes_of_cache(&caches, "sock_inode_cache"))
}

/// Memory of a slab cache, in bytes; 0 if it is merged with another one. Its line begins with the
/// name, objects in use and in all, and the size of one.
fn bytes_of_cache(caches: &str, name: &str) -> u64 {
    let line = caches.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let mut fields = line.into_iter().flat_map(str::split_whitespace).skip(1);
    let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    next() * next()
}

#[cfg(test)]
mod tests {
    use super::bytes_of_cache;

    #[test]
    fn the_memory_of_a_cache_is_that_of_all_its_objects() {
        let caches = "slabinfo - version: 2.1\n\
            # name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>\n\
            sock_inode_cache_2  7  7   10   19    4 : tunables\n\
            sock_inode_cache  1520   1539    832   19    4 : tunables    0    0    0\n";
        assert_eq!(bytes_of_cache(caches, "sock_inode_cache"), 1539 * 832);
        assert_eq!(bytes_of_cache(caches, "TCP"), 0);
    }
}
