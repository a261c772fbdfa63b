//! Wakes readers, on kernels whose programs cannot.
//!
//! What `datapath::wake` does by setting `SO_RCVLOWAT` from a program wakes nobody on kernels where that only stores the value. A
//! process can do the same to any socket that it has a descriptor of, and the agent may take one of another process's descriptors. So on
//! such kernels readers are woken as long as an agent lives.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{getsockopt, setsockopt};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::Instance;
use crate::datapath::Reason;
use crate::observe::Processes;
use crate::probe;

sockopt_impl!(
    /// Setting it, even to its present value, makes TCP look whether its bytes should wake somebody.
    LowWater, Both, nix::libc::SOL_SOCKET, nix::libc::SO_RCVLOWAT, i32
);

/// Looks for readers to wake.
#[derive(Debug, Default)]
pub struct Waker {
    /// How often programs have tried.
    tried: u64,
}

impl Waker {
    /// How often to look.
    pub const PERIOD: Duration = Duration::from_millis(200);

    /// One for this machine, if its kernel needs it or it cannot be told whether it does.
    pub fn if_needed() -> Option<Waker> {
        match probe::wakes() {
            Ok(true) => None,
            Ok(false) => Some(Waker::default()),
            Err(error) => {
                tracing::warn!("cannot find out whether programs can wake readers here, so the agent will: {error:#}");
                Some(Waker::default())
            }
        }
    }

    /// When a program has tried to wake a reader: wakes every reader that TCP bytes wait for, and no redirected ones. One that
    /// needs it is among them, and to the others it makes no difference.
    pub fn look(&mut self, instance: &Instance) -> Result<()> {
        let tried = instance.counter(Reason::Woken)?;
        if tried == self.tried {
            return Ok(());
        }
        self.tried = tried;
        let ends = instance.ends()?;
        let processes = Processes::now();
        for end in ends.iter().filter(|end| end.direct_unread == 0 && end.tcp_unread > 0) {
            // A socket that nobody holds any more has no reader.
            let Some((pid, fd)) = processes.descriptor(end.inode) else { continue };
            if let Err(error) = wake(pid, fd) {
                tracing::warn!(pid, "a reader that bytes wait for could not be woken: {error:#}");
            }
        }
        Ok(())
    }
}

/// Wakes whoever waits for the socket behind a descriptor of another process.
fn wake(pid: u32, fd: i32) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("this is no process")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).context("cannot reach the process")?;
    let socket = pidfd_getfd(process, fd, PidfdGetfdFlags::empty())
        .context("cannot take a descriptor of the process (CAP_SYS_PTRACE, Linux 5.6)")?;
    let present = getsockopt(&socket.as_fd(), LowWater)?;
    Ok(setsockopt(&socket.as_fd(), LowWater, &present)?)
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
        super::wake(std::process::id(), reader.as_raw_fd()).expect("wake the reader");
        assert_eq!(edges(10_000), 1);
    }
}
