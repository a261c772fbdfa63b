//! Enrols the candidates that the programs find, and finds out how the processes that use them
//! read.
//!
//! Programs notify the agent of a connection that has become a candidate. The agent examines its
//! process and runs the enrolment program on all candidates, which returns when it is due again.
//! The time between passes grows with their cost, so that they take at most a twentieth of a
//! processor.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use syscalls::{Link, Prog, RingBuf, TypedMap, Update};

use super::candidates::Candidates;
use crate::datapath::{Control, Newcomer, Pass, Passes, Process, Reads};
use crate::evidence::{Examiner, Finding};
use crate::host::is_in_initial_namespace;
use crate::instance::{Instance, MAPS};
use crate::observe::Workload;

/// Minimum interval between two reads of the ring buffer, so that a series of new connections does
/// not wake the agent for each.
const READ_AGAIN: Duration = Duration::from_millis(1);
/// The pause after a pass is at least this many times the CPU time that the pass took.
const SHARE: u32 = 20;
/// How many passes follow each other without a pause, for the peers of sockets just enrolled.
const AT_ONCE: u32 = 4;
/// How long the tracepoint stays attached after the last candidate that needs it.
const LINGER: Duration = Duration::from_secs(2);
/// Interval until a process that could not be examined is examined again.
const AGAIN: Duration = Duration::from_secs(5);
/// Capacity for processes that could not be examined.
const REMEMBERED: usize = 4096;

/// Enrols candidates.
pub struct Enrolment {
    candidates: Candidates,
    newcomers: RingBuf,
    readers: TypedMap<Process, u32>,
    examiner: Examiner,
    /// Whether the PIDs that programs report are valid in this process's PID namespace.
    sees_processes: bool,
    /// Processes that could not be examined, and when the next attempt is due.
    unknown: HashMap<Process, Instant>,
    history: History,
    /// When the next pass is due, if there is a candidate.
    due: Option<Instant>,
    /// When the ring buffer may be read again.
    next_read: Instant,
}

/// The tracepoint that counts what `recvmsg` gives to candidates, attached only while one needs it:
/// it costs every receive call of the machine some 50 ns.
struct History {
    program: Option<Prog>,
    attached: Option<Link>,
    /// Whether the last pass found a candidate that needs it.
    is_needed: bool,
    /// When it was last needed.
    needed: Instant,
    control: TypedMap<u32, Control>,
}

impl Enrolment {
    /// Enrolment for this instance, with a program of this kind. `reads` is the tracepoint program,
    /// where the kernel has the tracepoint.
    pub fn new(
        instance: &Instance,
        enrol: Prog,
        passes: Passes,
        reads: Option<Prog>,
    ) -> Result<Enrolment> {
        Ok(Enrolment {
            candidates: Candidates::new(instance, enrol, passes)?,
            newcomers: instance
                .ring(MAPS.newcomers)
                .context("cannot open the ring buffer of candidates")?,
            readers: instance.map(MAPS.readers)?,
            examiner: Examiner::default(),
            sees_processes: sees_processes(),
            unknown: HashMap::new(),
            history: History {
                program: reads,
                attached: None,
                is_needed: false,
                needed: Instant::now(),
                control: instance.map(MAPS.control)?,
            },
            // Candidates left by an earlier agent.
            due: Some(Instant::now()),
            next_read: Instant::now(),
        })
    }

    /// Becomes readable when there is a new candidate; `None` for a while after it was read.
    pub fn newcomers(&self) -> Option<BorrowedFd<'_>> {
        (Instant::now() >= self.next_read).then(|| self.newcomers.as_fd())
    }

    /// The time-out until the next pass is due, or the ring buffer may be read again: at most
    /// `longest`.
    pub fn period(&self, longest: Duration) -> Duration {
        let now = Instant::now();
        let read = Some(self.next_read).filter(|read| *read > now);
        let due = self.due.into_iter().chain(read).min();
        due.map_or(longest, |due| due.saturating_duration_since(now).min(longest))
    }

    /// Reads new candidates, and makes the pass that is due.
    pub fn step(&mut self) -> Result<()> {
        let now = Instant::now();
        if now >= self.next_read {
            self.take_in(now)?;
        }
        if self.due.is_none_or(|due| now < due) {
            return self.history.keep();
        }
        let began = clock(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        let mut found = Pass::default();
        for _ in 0..AT_ONCE {
            found = self.candidates.pass()?;
            if found.enrolled == 0 {
                break;
            }
        }
        let took = clock(ClockId::CLOCK_THREAD_CPUTIME_ID)?.saturating_sub(began);
        let end = Instant::now();
        self.due = after_boot(found.due, end)?.map(|due| due.max(end + took * SHARE));
        self.history.is_needed = found.histories > 0;
        self.history.keep()
    }

    /// Reads the ring buffer. The first attempts of the new candidates are due when it may be read
    /// again.
    fn take_in(&mut self, now: Instant) -> Result<()> {
        let mut newcomers: Vec<Newcomer> = Vec::new();
        self.newcomers.drain(|record| {
            newcomers.extend(bytemuck::try_pod_read_unaligned::<Newcomer>(record))
        })?;
        if newcomers.is_empty() {
            return Ok(());
        }
        for newcomer in newcomers {
            if self.readers.lookup(&newcomer.process)?.is_none() {
                self.examine(&newcomer.process)?;
            }
            self.candidates.add(newcomer);
        }
        self.next_read = now + READ_AGAIN;
        self.due = Some(self.due.map_or(self.next_read, |due| due.min(self.next_read)));
        Ok(())
    }

    /// Determines how a process reads its sockets, if possible.
    fn examine(&mut self, process: &Process) -> Result<()> {
        let now = Instant::now();
        if !self.sees_processes || self.unknown.get(process).is_some_and(|again| now < *again) {
            return Ok(());
        }
        match self.examiner.examine(process.pid) {
            Ok(finding) => {
                report(process, &finding);
                self.unknown.remove(process);
                self.readers.update(process, &(finding.reads as u32), Update::ANY)?;
            }
            Err(error) => {
                if self.unknown.len() >= REMEMBERED {
                    self.unknown.clear();
                }
                if self.unknown.insert(*process, now + AGAIN).is_none() {
                    tracing::info!(
                        pid = process.pid,
                        workload = workload(process),
                        "left to TCP: cannot examine how this process reads its sockets: {error}"
                    );
                }
            }
        }
        Ok(())
    }
}

/// Converts a time of `CLOCK_MONOTONIC`, in nanoseconds, as programs report it; `None` for
/// `u64::MAX`, which means never.
fn after_boot(time: u64, now: Instant) -> Result<Option<Instant>> {
    if time == u64::MAX {
        return Ok(None);
    }
    let since_boot = clock(ClockId::CLOCK_MONOTONIC)?;
    Ok(Some(now + Duration::from_nanos(time).saturating_sub(since_boot)))
}

fn clock(id: ClockId) -> Result<Duration> {
    Ok(clock_gettime(id).context("cannot read the clock")?.into())
}

/// Whether this process is in the initial PID namespace, whose PIDs programs report. In another
/// namespace the same number is a different process.
fn sees_processes() -> bool {
    let initial = is_in_initial_namespace();
    if !initial {
        tracing::warn!(
            "nothing will be accelerated: the processes of this node cannot be seen from this PID namespace (in Kubernetes: hostPID: \
             true; with an engine: --pid=host)"
        );
    }
    initial
}

fn report(process: &Process, finding: &Finding) {
    let because = &finding.because;
    match finding.reads {
        Reads::Receives => tracing::debug!(pid = process.pid, "reads by recvmsg: {because}"),
        Reads::MaySplice => {
            tracing::debug!(
                pid = process.pid,
                "direct once it has shown that it does not splice: {because}"
            );
        }
        Reads::Splices => tracing::info!(
            pid = process.pid,
            workload = workload(process),
            "left to TCP: {because}"
        ),
    }
}

/// The container that a process runs in, or what else its cgroup is called.
fn workload(process: &Process) -> Option<String> {
    let workload = Workload::of_process(process.pid)?;
    Some(workload.short()).filter(|name| !name.is_empty())
}

impl History {
    /// Attaches the tracepoint while it is needed, and detaches it some time afterwards. Reads that
    /// it misses would count as spliced, so it does not change between two passes.
    fn keep(&mut self) -> Result<()> {
        if !self.is_needed {
            if self.attached.is_some() && self.needed.elapsed() > LINGER {
                self.attached = None;
            }
            return Ok(());
        }
        self.needed = Instant::now();
        if self.attached.is_some() {
            return Ok(());
        }
        let Some(program) = &self.program else { return Ok(()) };
        // Histories that began while it was attached before, or by another agent, begin anew.
        let control = self.control.lookup(&0)?.context("an array map has no entry 0")?;
        self.control.update(
            &0,
            &Control { tracings: control.tracings.wrapping_add(1).max(1), ..control },
            Update::ANY,
        )?;
        match Link::to_traced(program) {
            Ok(link) => self.attached = Some(link),
            Err(error) => {
                tracing::warn!(
                    "programs that could splice stay with TCP: cannot trace receive calls: {error}"
                );
                self.program = None;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_has_passed_is_now_and_the_end_of_time_is_none() {
        let now = Instant::now();
        assert_eq!(after_boot(u64::MAX, now).unwrap(), None);
        assert_eq!(after_boot(1, now).unwrap(), Some(now));
        let since_boot = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
        let later = after_boot((since_boot + Duration::from_secs(5)).as_nanos() as u64, now)
            .unwrap()
            .unwrap()
            - now;
        assert!(later <= Duration::from_secs(5) && later > Duration::from_secs(4), "{later:?}");
    }
}
