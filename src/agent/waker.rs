//! Wakes readers: sooner than kernel programs can, and where they cannot.
//!
//! What `datapath::wake` does by setting `SO_RCVLOWAT` from a program has to wait for a segment, at worst for the next second of a
//! timer; and on some kernels the option only stores its value there. A process can do the same at any time to any socket that it has a
//! descriptor of, and the agent may take one of another process's descriptors, if it has CAP_SYS_PTRACE and sees the process. So programs tell it
//! of readers whose two queues hold bytes.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{getsockopt, setsockopt};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use syscalls::RingBuf;

use super::Instance;
use crate::datapath::{FlowEnd, Isns, Reason, Wake};
use crate::observe::{Cookie, Processes};

sockopt_impl!(
    /// Setting it, even to its present value, makes TCP look whether its bytes should wake somebody.
    LowWater, Both, nix::libc::SOL_SOCKET, nix::libc::SO_RCVLOWAT, i32
);

/// Looks for readers to wake.
#[derive(Debug)]
pub struct Waker {
    alarms: Option<RingBuf>,
    /// Readers that programs told of, and where their socket is held, as far as that is known.
    waiting: HashMap<Isns, Option<Holder>>,
    /// How often programs have tried to wake somebody, on kernels where they cannot.
    tried: Option<u64>,
    /// How long the last look took.
    took: Duration,
    /// When processes may be looked through again: on a large node that takes a while.
    scan_at: Instant,
}

/// A process and its descriptor of a socket.
#[derive(Clone, Copy, Debug)]
struct Holder {
    pid: u32,
    fd: i32,
}

impl Waker {
    /// One that is told of readers by the programs of this instance.
    pub fn new(instance: &Instance, programs_wake: bool) -> Result<Waker> {
        let alarms = RingBuf::new(instance.map("armed")?).context("cannot read which readers are to be woken")?;
        Ok(Waker { alarms: Some(alarms), ..Self::without_alarms(programs_wake) })
    }

    /// One that only does what programs cannot.
    pub fn without_alarms(programs_wake: bool) -> Waker {
        let tried = (!programs_wake).then_some(0);
        Waker { alarms: None, waiting: HashMap::new(), tried, took: Duration::ZERO, scan_at: Instant::now() }
    }

    /// What becomes readable when programs tell of a reader.
    pub fn alarms(&self) -> Option<BorrowedFd<'_>> {
        self.alarms.as_ref().map(AsFd::as_fd)
    }

    /// How long to wait before the next look: a tenth of the time at most is spent with looking.
    pub fn period(&self) -> Duration {
        const WHILE_SOMEBODY_WAITS: Duration = Duration::from_millis(20);
        const OTHERWISE: Duration = Duration::from_millis(200);
        if self.waiting.is_empty() { OTHERWISE } else { WHILE_SOMEBODY_WAITS.max(self.took * 10) }
    }

    /// Wakes the readers that it was told of as soon as they have read what was redirected to them.
    pub fn look(&mut self, instance: &Instance) -> Result<()> {
        let begun = Instant::now();
        if let Some(alarms) = &mut self.alarms {
            let waiting = &mut self.waiting;
            alarms.drain(|name| {
                if let Ok(name) = bytemuck::try_pod_read_unaligned(name) {
                    waiting.entry(name).or_insert(None);
                }
            })?;
        }
        if !self.waiting.is_empty() {
            self.look_at_those_who_wait(instance)?;
        }
        self.took = begun.elapsed();
        self.look_at_all(instance)
    }

    fn look_at_those_who_wait(&mut self, instance: &Instance) -> Result<()> {
        let mut ends: HashMap<Isns, FlowEnd> = HashMap::new();
        for name in self.waiting.keys() {
            ends.extend(instance.end(name)?.map(|end| (*name, end)));
        }
        // Whoever is gone or has been seen to by the programs waits no more.
        self.waiting.retain(|name, _| ends.get(name).is_some_and(|end| end.wake == Wake::Armed as u32));
        // Where a socket is held is found out while its reader is busy.
        if self.waiting.values().any(Option::is_none) && Instant::now() >= self.scan_at {
            let begun = Instant::now();
            let processes = Processes::now();
            for (name, holder) in &mut self.waiting {
                let found = ends.get(name).and_then(|end| processes.descriptor(end.inode));
                *holder = holder.or(found.map(|(pid, fd)| Holder { pid, fd }));
            }
            self.scan_at = Instant::now() + begun.elapsed() * 10;
        }
        for (name, end) in ends.iter().filter(|(_, end)| end.direct_unread == 0 && end.tcp_unread > 0) {
            if let Some(Some(holder)) = self.waiting.get(name) {
                holder.wake(end.own.cookie);
                self.waiting.remove(name);
            }
        }
        Ok(())
    }

    /// When a program has tried to wake a reader, where it cannot: wakes every reader that TCP bytes wait for, and no redirected ones. One
    /// that needs it is among them, and to the others it makes no difference.
    fn look_at_all(&mut self, instance: &Instance) -> Result<()> {
        let Some(before) = self.tried else { return Ok(()) };
        let tried = instance.counter(Reason::Woken)?;
        self.tried = Some(tried);
        if tried == before {
            return Ok(());
        }
        let ends = instance.ends()?;
        let processes = Processes::now();
        for end in ends.iter().filter(|end| end.direct_unread == 0 && end.tcp_unread > 0) {
            // A socket that nobody holds any more has no reader.
            let Some((pid, fd)) = processes.descriptor(end.inode) else { continue };
            Holder { pid, fd }.wake(end.own.cookie);
        }
        Ok(())
    }
}

impl Holder {
    /// Wakes whoever waits for this socket. What cannot be reached is left to the programs and their timer.
    fn wake(&self, cookie: u64) {
        if let Err(error) = self.try_to_wake(cookie) {
            tracing::debug!(self.pid, "a reader that bytes wait for could not be woken: {error:#}");
        }
    }

    fn try_to_wake(&self, cookie: u64) -> Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("this is no process")?;
        let process = pidfd_open(pid, PidfdFlags::empty()).context("cannot reach the process")?;
        let socket = pidfd_getfd(process, self.fd, PidfdGetfdFlags::empty())
            .context("cannot take a descriptor of the process (CAP_SYS_PTRACE, Linux 5.6)")?;
        if getsockopt(&socket.as_fd(), Cookie)? != cookie {
            bail!("the descriptor is another one by now");
        }
        let present = getsockopt(&socket.as_fd(), LowWater)?;
        Ok(setsockopt(&socket.as_fd(), LowWater, &present)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

    #[test]
    fn a_reader_that_has_been_told_of_its_bytes_is_told_once_more() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let mut sender = TcpStream::connect(listener.local_addr().expect("an address")).expect("connect");
        let (reader, _) = listener.accept().expect("accept");
        let epoll = Epoll::new(EpollCreateFlags::empty()).expect("make an epoll instance");
        epoll.add(&reader, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0)).expect("register");
        let edges = |patience: u16| epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::from(patience)).expect("wait");
        sender.write_all(b"bytes").expect("write");
        assert_eq!((edges(10_000), edges(100)), (1, 0));
        let holder = super::Holder { pid: std::process::id(), fd: reader.as_raw_fd() };
        let cookie = nix::sys::socket::getsockopt(&reader, super::Cookie).expect("ask for its cookie");
        assert!(holder.try_to_wake(cookie + 1).is_err(), "another socket's");
        assert_eq!(edges(100), 0);
        holder.try_to_wake(cookie).expect("wake the reader");
        assert_eq!(edges(10_000), 1);
    }
}
