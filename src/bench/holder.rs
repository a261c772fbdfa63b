//! Processes that hold open connections: as many as the limit of open files asks for, and at least
//! one for each processor, to open them sooner.
//!
//! Each is this binary again, in the cgroup of the thread that starts it and in a network namespace
//! of its own, like a pod: ports do not run out, and what crosses its loopback is its own traffic.
//! It writes how many connections are open, a line for each batch, and holds them until its
//! standard input ends.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::agent::SELF_EXE;
use super::pair::{Listener, Pair, Transport};
use super::traffic::pass;
use super::wire::Wire;
use super::{Interrupt, Lab};
use crate::host::Namespace;

/// Connections of one process at most, fewer than the ports available to clients.
const MOST: usize = 20_000;
/// Connections opened and used together.
const BATCH: usize = 1_000;
/// Messages in each direction that make a connection a candidate.
const EXCHANGES: usize = 8;
/// More reads than a program that could splice must be seen to make.
const READS: usize = 300;
/// Time limit for a batch to become direct.
const SETTLING: Duration = Duration::from_secs(5);
/// About as long as the agent needs to look at all candidates once.
const PASS: Duration = Duration::from_millis(100);
/// How often to look whether they are direct, before more is read.
const TRIES: usize = 5;
/// Other open files of such a process.
const OTHER_FILES: u64 = 32;
/// How often to look for an interrupt.
const LOOK: Duration = Duration::from_millis(100);

/// Open connections. Dropping this closes them.
#[derive(Debug, Default)]
pub(super) struct Holders(Vec<Holder>);

#[derive(Debug)]
struct Holder {
    child: Child,
    /// How many connections it is to open, and how many are open.
    flows: usize,
    open: usize,
}

/// What a holder, by its number, has said; `None` once it says no more.
type Said = (usize, Option<String>);

impl Holders {
    /// Opens connections by `transport`, and with shunt uses them until they are direct. `progress`
    /// is told how many are open.
    pub fn open(
        lab: &Lab,
        transport: Transport,
        flows: usize,
        interrupt: &Interrupt,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Holders> {
        let processors = thread::available_parallelism()?.get();
        let shares = shares(flows, most_of_one()?, processors);
        let (sender, receiver) = mpsc::channel();
        let mut holders = Holders::default();
        let mut complete = 0;
        while complete < shares.len() {
            let begun = holders.0.len();
            if begun < shares.len().min(complete + processors) {
                let start = || Holder::start(begun, shares[begun], transport, sender.clone());
                holders.0.push(lab.making(transport, start)?);
                continue;
            }
            interrupt.check()?;
            let (number, line) = match receiver.recv_timeout(LOOK) {
                Ok(said) => said,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => bail!("no process holds connections"),
            };
            let holder = &mut holders.0[number];
            let Some(open) = line.and_then(|line| line.trim().parse().ok()) else {
                return Err(holder.failed());
            };
            holder.open = open;
            complete += usize::from(open == holder.flows);
            let all: usize = holders.0.iter().map(|holder| holder.open).sum();
            progress(&format!("{all} of {flows} connections by {transport}"));
        }
        Ok(holders)
    }

    /// Number of processes.
    pub fn processes(&self) -> usize {
        self.0.len()
    }
}

impl Holder {
    fn start(
        number: usize,
        flows: usize,
        transport: Transport,
        said: Sender<Said>,
    ) -> Result<Holder> {
        let mut command = Command::new(SELF_EXE);
        command.args(["bench", "--hold", &flows.to_string()]);
        if transport == Transport::Shunt {
            command.arg("--until-direct");
        }
        // Ctrl-C at the terminal is for this process only, which ends the others.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start a process for connections")?;
        let output = child.stdout.take();
        let holder = Holder { child, flows, open: 0 };
        let output = output.context("its output was not captured")?;
        thread::Builder::new().name("holder-output".into()).spawn(move || {
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            for line in lines.map(Some).chain([None]) {
                // The receiver is gone if another holder has failed.
                if said.send((number, line)).is_err() {
                    break;
                }
            }
        })?;
        Ok(holder)
    }

    /// Why it has ended, or what it said instead of a number.
    fn failed(&mut self) -> anyhow::Error {
        // Both fail only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut said = String::new();
        if let Some(mut errors) = self.child.stderr.take() {
            let _ = errors.read_to_string(&mut said);
        }
        let Holder { flows, open, .. } = self;
        anyhow::anyhow!("a process opened {open} of {flows} connections: {}", said.trim())
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        // All at once, since to close thousands of connections takes a while. Both fail only for a
        // process that has been reaped.
        for Holder { child, .. } in &mut self.0 {
            let _ = child.kill();
        }
        for Holder { child, .. } in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// Connections of each process.
fn shares(flows: usize, most: usize, processors: usize) -> Vec<usize> {
    let processes = flows.div_ceil(most).max(processors.min(flows.div_ceil(BATCH))).max(1);
    (0..processes)
        .map(|number| flows * (number + 1) / processes - flows * number / processes)
        .collect()
}

/// How many connections the limit of open files lets one process hold, both ends.
fn most_of_one() -> Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let most = usize::try_from(hard.saturating_sub(OTHER_FILES) / 2).unwrap_or(MOST).min(MOST);
    anyhow::ensure!(
        most > 0,
        "a process may open {hard} files, too few: raise the hard limit (`ulimit -Hn`)"
    );
    Ok(most)
}

/// Opens connections, and uses them until they are direct if `until_direct`. `opened` is told how
/// many are open, and returns at the last when they may be closed.
pub fn hold(
    flows: usize,
    until_direct: bool,
    mut opened: impl FnMut(usize) -> Result<()> + Send,
) -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
        .context("cannot raise the limit of open files")?;
    Namespace::new()?.run(|| {
        let listener = Listener::new()?;
        let mut pairs: Vec<Pair> = Vec::with_capacity(flows);
        while pairs.len() < flows {
            let first = pairs.len();
            while pairs.len() < flows.min(first + BATCH) {
                let near = listener.connect()?;
                pairs.push(Pair { near, far: listener.accept()? });
            }
            settle(&pairs[first..], until_direct)?;
            opened(pairs.len())?;
        }
        // They stay open as long as whoever started this process lives.
        io::copy(&mut io::stdin(), &mut io::sink())?;
        Ok(())
    })?
}

/// Exchanges messages, if `until_direct` until nothing crosses the loopback, for [`SETTLING`] at
/// most.
fn settle(pairs: &[Pair], until_direct: bool) -> Result<()> {
    let mut greeting = [0x5a; 64];
    let mut exchange = || {
        for Pair { near, far } in pairs {
            pass(near, far, &mut greeting)?;
            pass(far, near, &mut greeting)?;
        }
        Ok::<_, io::Error>(())
    };
    for _ in 0..EXCHANGES {
        exchange()?;
    }
    let deadline = Instant::now() + SETTLING;
    while until_direct && Instant::now() < deadline {
        // What is read before the agent has looked at a connection does not count.
        sleep(PASS);
        read_often(pairs)?;
        for _ in 0..TRIES {
            sleep(PASS);
            let before = Wire::here()?;
            exchange()?;
            if Wire::here()? == before {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// This program could splice, and has to be seen to read often on each connection.
fn read_often(pairs: &[Pair]) -> Result<()> {
    let mut byte = [0];
    for Pair { near, far } in pairs {
        for (mut from, mut to) in [(near, far), (far, near)] {
            from.write_all(&[0x5a; READS])?;
            for _ in 0..READS {
                to.read_exact(&mut byte)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_shared_out_to_as_many_processes_as_limits_ask_for() {
        assert_eq!(shares(1, 9_984, 2), [1]);
        assert_eq!(shares(2_000, 9_984, 2), [1_000, 1_000]);
        assert_eq!(shares(7, 3, 1), [2, 2, 3]);
        for flows in [1, 2_001, 20_000, 200_000, 1_000_000] {
            let shares = shares(flows, 9_984, 2);
            assert_eq!(shares.iter().sum::<usize>(), flows);
            assert!(shares.iter().all(|share| (1..=9_984).contains(share)), "{shares:?}");
        }
    }
}
