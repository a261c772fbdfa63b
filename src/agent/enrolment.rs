//! Enrols the candidates that the programs find, and finds out how the processes that use them read.
//!
//! A program tells of a connection that has become a candidate. The agent runs the program that enrols for it, and as long as that says
//! what it waits for, again: once the process is examined, when no thread sleeps on the socket, when its peer is ready, when it has a history. It does so
//! ever more seldom, so that those who wait for good cost little.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytemuck::bytes_of;
use syscalls::{Link, Prog, RingBuf, TypedMap, Update};

use super::Instance;
use crate::datapath::{Answer, Newcomer, Process, RECORD_AT, Reads, Request, Wait};
use crate::evidence::{Examiner, Finding};
use crate::host::NamespaceIds;

/// How long a candidate waits for its first attempt: most connections that end soon have ended then, and cost no more.
const FIRST: Duration = Duration::from_millis(1);
/// Between two attempts for a candidate, at first.
const SOON: Duration = Duration::from_micros(100);
/// The longest pause between two attempts.
const SELDOM: Duration = Duration::from_secs(2);
/// The longest pause while something is about to change.
const OFTEN: Duration = Duration::from_millis(20);
/// How long the tracepoint stays attached after the last candidate that needs it.
const LINGER: Duration = Duration::from_secs(2);
/// After how long a process that could not be examined is examined again.
const AGAIN: Duration = Duration::from_secs(5);
/// How many processes are remembered that could not be examined.
const REMEMBERED: usize = 4096;

/// Enrols candidates.
pub struct Enrolment {
    enrol: Prog,
    newcomers: RingBuf,
    readers: TypedMap<Process, u32>,
    examiner: Examiner,
    namespaces: NamespaceIds,
    /// Whether the numbers of processes that programs tell are this process's, too.
    sees_processes: bool,
    /// Processes that could not be examined, and when that is tried again.
    unknown: HashMap<Process, Instant>,
    history: History,
    waiting: Vec<Waiting>,
    /// When the ring buffer may be read again.
    next_read: Instant,
}

/// A candidate that waits.
struct Waiting {
    newcomer: Newcomer,
    due: Instant,
    pause: Duration,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Enrolled,
    Waits(Wait),
    /// It is closed, or left alone.
    Gone,
    /// Its network namespace is not found.
    Hidden,
}

/// The tracepoint that counts what `recvmsg` gives to candidates, attached only while one needs it: it costs every receive call of
/// the machine some 50 ns.
struct History {
    program: Option<Prog>,
    attached: Option<Link>,
    needed: Instant,
}

impl Enrolment {
    /// Of the candidates of this instance. `reads` is the program at the tracepoint, where the kernel has that.
    pub fn new(instance: &Instance, enrol: Prog, reads: Option<Prog>) -> Result<Enrolment> {
        Ok(Enrolment {
            enrol,
            newcomers: RingBuf::new(instance.map("newcomers")?).context("cannot be told of candidates")?,
            readers: TypedMap::new(instance.map("readers")?)?,
            examiner: Examiner::default(),
            namespaces: NamespaceIds::new()?,
            sees_processes: sees_processes(),
            unknown: HashMap::new(),
            history: History { program: reads, attached: None, needed: Instant::now() },
            waiting: Vec::new(),
            next_read: Instant::now(),
        })
    }

    /// What becomes readable when there is a candidate; `None` for a while after it was read. Where connections come one after the
    /// other, the agent does not wake up for each.
    pub fn newcomers(&self) -> Option<BorrowedFd<'_>> {
        (Instant::now() >= self.next_read).then(|| self.newcomers.as_fd())
    }

    /// The time-out until the next attempt is due, or the ring buffer may be read again: at most `longest`.
    pub fn period(&self, longest: Duration) -> Duration {
        let now = Instant::now();
        let read = Some(self.next_read).filter(|read| *read > now);
        let due = self.waiting.iter().map(|waiting| waiting.due).chain(read).min();
        due.map_or(longest, |due| due.saturating_duration_since(now).min(longest))
    }

    /// Takes in newcomers, and makes every attempt that is due.
    pub fn step(&mut self) -> Result<()> {
        let now = Instant::now();
        if now >= self.next_read {
            let (waiting, next_read) = (&mut self.waiting, &mut self.next_read);
            self.newcomers.drain(|record| {
                if let Ok(newcomer) = bytemuck::try_pod_read_unaligned(record) {
                    *next_read = now + FIRST;
                    waiting.push(Waiting { newcomer, due: now + FIRST, pause: SOON });
                }
            })?;
        }
        let mut history = false;
        let (mut due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|waiting| waiting.due <= now);
        self.waiting = later;
        while let Some(mut waiting) = due.pop() {
            let wait = match self.attempt(&waiting.newcomer)? {
                Outcome::Waits(wait) => Some(wait),
                Outcome::Gone => continue,
                // Whether the socket is still there is not known, either.
                Outcome::Hidden if waiting.pause >= SELDOM => continue,
                Outcome::Hidden => None,
                Outcome::Enrolled => {
                    // Its peer has waited for that.
                    let pair = waiting.newcomer.pair;
                    let peers = self.waiting.extract_if(.., |other| other.newcomer.pair == pair);
                    due.extend(peers.map(|peer| Waiting { pause: SOON, ..peer }));
                    continue;
                }
            };
            history |= wait == Some(Wait::History);
            // A history grows with every read, and a moment without unread bytes comes soon.
            let grows = matches!(wait, Some(Wait::History | Wait::Unread));
            waiting.pause = (waiting.pause * 2).min(if grows { OFTEN } else { SELDOM });
            waiting.due = Instant::now() + waiting.pause;
            self.waiting.push(waiting);
        }
        self.history.keep(history);
        Ok(())
    }

    /// Runs the program for a candidate.
    fn attempt(&mut self, newcomer: &Newcomer) -> Result<Outcome> {
        let process = newcomer.process.pid;
        let Some(id) = self.namespaces.of(newcomer.netns_cookie, newcomer.netns, newcomer.thread, process) else {
            tracing::debug!(pid = process, netns = newcomer.netns, "its network namespace is not found");
            return Ok(Outcome::Hidden);
        };
        let outcome = self.run(newcomer, id)?;
        if outcome == Outcome::Waits(Wait::Process) && self.examine(&newcomer.process) {
            return self.run(newcomer, id);
        }
        Ok(outcome)
    }

    fn run(&mut self, newcomer: &Newcomer, namespace: i32) -> Result<Outcome> {
        let mut packet = [0; RECORD_AT + size_of::<Request>()];
        packet[RECORD_AT..].copy_from_slice(bytes_of(&request(newcomer, namespace)));
        let answer = self.enrol.transform(&mut packet).context("cannot run the program that enrols")?.retval;
        let waits = [Wait::Process, Wait::History, Wait::Blocking, Wait::Peer, Wait::Unread];
        let outcome = match waits.into_iter().find(|wait| *wait as u32 == answer) {
            Some(wait) => Outcome::Waits(wait),
            None if answer == Answer::Enrolled as u32 => Outcome::Enrolled,
            None => Outcome::Gone,
        };
        tracing::trace!(cookie = newcomer.cookie, pid = newcomer.process.pid, ?outcome, "candidate");
        Ok(outcome)
    }

    /// Finds out how a process reads; whether that was possible.
    fn examine(&mut self, process: &Process) -> bool {
        if !self.sees_processes {
            return false;
        }
        let now = Instant::now();
        if self.unknown.get(process).is_some_and(|again| now < *again) {
            return false;
        }
        match self.examiner.examine(process.pid) {
            Ok(finding) => {
                report(process, &finding);
                self.unknown.remove(process);
                self.readers.update(process, &(finding.reads as u32), Update::ANY).is_ok()
            }
            Err(error) => {
                if self.unknown.len() >= REMEMBERED {
                    self.unknown.clear();
                }
                if self.unknown.insert(*process, now + AGAIN).is_none() {
                    tracing::info!(
                        pid = process.pid,
                        "left to TCP: it cannot be found out how this process reads its sockets: {error}"
                    );
                }
                false
            }
        }
    }
}

/// Whether this process is in the initial PID namespace, whose numbers programs tell: in another one, a number is another process, and
/// what is found out about that says nothing.
fn sees_processes() -> bool {
    /// `PROC_PID_INIT_INO` (include/linux/proc_ns.h).
    const INITIAL: u64 = 0xeffffffc;
    let initial = std::fs::metadata("/proc/self/ns/pid").is_ok_and(|about| about.ino() == INITIAL);
    if !initial {
        tracing::warn!(
            "nothing will be accelerated: the processes of this node cannot be seen from this PID namespace (in Kubernetes: hostPID: \
             true; with an engine: --pid=host)"
        );
    }
    initial
}

/// A candidate as a packet to its socket has it.
fn request(newcomer: &Newcomer, namespace: i32) -> Request {
    const AF_INET: u32 = libc::AF_INET as u32;
    const AF_INET6: u32 = libc::AF_INET6 as u32;
    let mut tuple = [0; 9];
    let ports = [newcomer.remote_port as u16, (newcomer.local_port as u16).to_be()];
    let ports = bytemuck::cast(ports);
    let mapped = Ipv6Addr::from(newcomer.local_v6).to_ipv4_mapped().is_some();
    let family = if newcomer.family == AF_INET || mapped { AF_INET } else { AF_INET6 };
    if family == AF_INET {
        tuple[..3].copy_from_slice(&[newcomer.remote_v4, newcomer.local_v4, ports]);
    } else {
        tuple[..4].copy_from_slice(&bytemuck::cast::<_, [u32; 4]>(newcomer.remote_v6));
        tuple[4..8].copy_from_slice(&bytemuck::cast::<_, [u32; 4]>(newcomer.local_v6));
        tuple[8] = ports;
    }
    Request { cookie: newcomer.cookie, netns: namespace.cast_unsigned(), family, tuple, padding: 0 }
}

fn report(process: &Process, finding: &Finding) {
    let because = &finding.because;
    match finding.reads {
        Reads::Receives => tracing::debug!(pid = process.pid, "reads by recvmsg: {because}"),
        Reads::MaySplice => {
            tracing::debug!(pid = process.pid, "direct once it has shown that it does not splice: {because}");
        }
        Reads::Splices => tracing::info!(pid = process.pid, "left to TCP: {because}"),
    }
}

impl History {
    /// Attaches the tracepoint if it is needed, and detaches it some time after it was.
    fn keep(&mut self, needed: bool) {
        if !needed {
            if self.attached.is_some() && self.needed.elapsed() > LINGER {
                self.attached = None;
            }
            return;
        }
        self.needed = Instant::now();
        if self.attached.is_some() {
            return;
        }
        let Some(program) = &self.program else { return };
        match Link::to_traced(program) {
            Ok(link) => self.attached = Some(link),
            Err(error) => {
                tracing::warn!("programs that could splice stay with TCP: cannot trace receive calls: {error}");
                self.program = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_asked_for_as_a_packet_to_its_socket_has_it() {
        let newcomer = Newcomer {
            cookie: 7,
            family: libc::AF_INET as u32,
            local_port: 80,
            remote_port: u32::from(0x1234u16.to_be()),
            local_v4: u32::from_ne_bytes([10, 0, 0, 1]),
            remote_v4: u32::from_ne_bytes([10, 0, 0, 2]),
            ..Newcomer::default()
        };
        let asked = request(&newcomer, -1);
        assert_eq!((asked.cookie, asked.netns, asked.family), (7, u32::MAX, libc::AF_INET as u32));
        assert_eq!(bytes_of(&asked.tuple)[..12], [10, 0, 0, 2, 10, 0, 0, 1, 0x12, 0x34, 0, 80]);

        let v6 = |last| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).octets();
        let newcomer = Newcomer { family: libc::AF_INET6 as u32, local_v6: v6(1), remote_v6: v6(2), ..newcomer };
        let asked = request(&newcomer, 3);
        assert_eq!((asked.netns, asked.family), (3, libc::AF_INET6 as u32));
        assert_eq!(bytes_of(&asked.tuple), [&v6(2)[..], &v6(1), &[0x12, 0x34, 0, 80]].concat());

        let mapped = |last| std::net::Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets();
        let newcomer = Newcomer { local_v6: mapped(1), remote_v6: mapped(2), ..newcomer };
        assert_eq!(bytes_of(&request(&newcomer, 3).tuple)[..8], [10, 0, 0, 2, 10, 0, 0, 1]);
    }
}
