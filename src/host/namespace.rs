//! A network namespace, held open.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::{Error, link};

/// An unnamed network namespace: it exists as long as this value, its sockets or its threads.
#[derive(Debug)]
pub struct Namespace {
    file: File,
}

impl From<File> for Namespace {
    /// What a file of a process's `ns/` or of `/run/netns` stands for.
    fn from(file: File) -> Namespace {
        Namespace { file }
    }
}

impl Namespace {
    /// Creates a namespace with its loopback interface up. Needs CAP_SYS_ADMIN.
    pub fn new() -> Result<Self, Error> {
        // In a new thread: the caller's never leaves its namespace, not even on an error.
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|errno| failed("create a network namespace", errno.into()))?;
            link::set_up("lo")?;
            Self::current()
        })?
    }

    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, Error> {
        let file = File::open("/proc/thread-self/ns/net").map_err(|cause| {
            failed("open /proc/thread-self/ns/net (proc must be mounted)", cause)
        })?;
        Ok(file.into())
    }

    /// Runs `work` on a thread inside the namespace and returns its value. Threads that it starts
    /// are inside too. A panic propagates to the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        in_thread(|| {
            self.enter()?;
            Ok(work())
        })?
    }

    /// The calling thread is in this namespace from here on. It takes CAP_SYS_ADMIN, in this
    /// namespace's user namespace too, unless the thread is in there already.
    pub fn enter(&self) -> Result<(), Error> {
        match setns(&self.file, CloneFlags::CLONE_NEWNET) {
            Err(_) if Self::current().is_ok_and(|current| current.is(self)) => Ok(()),
            entered => entered.map_err(|errno| failed("enter the network namespace", errno.into())),
        }
    }

    fn is(&self, other: &Namespace) -> bool {
        let identity = |namespace: &Namespace| {
            namespace.file.metadata().map(|about| (about.dev(), about.ino())).ok()
        };
        identity(self).is_some() && identity(self) == identity(other)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("shunt-netns".into())
            .spawn_scoped(scope, work)
            .map_err(|cause| failed("start a thread", cause))?;
        thread.join().or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn failed(action: &'static str, cause: io::Error) -> Error {
    Error::Namespace { action, cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    fn identity() -> std::path::PathBuf {
        std::fs::read_link("/proc/thread-self/ns/net")
            .expect("read the link to this thread's namespace")
    }

    #[test]
    fn work_runs_inside_and_the_caller_stays_outside() {
        let before = identity();
        let namespace = Namespace::new().expect("make a namespace (as root)");
        let (inside, of_a_thread) = namespace
            .run(|| (identity(), thread::spawn(identity).join().expect("a thread started inside")))
            .expect("run inside");
        assert_ne!(inside, before);
        assert_eq!(of_a_thread, inside);
        assert_eq!(identity(), before);
    }

    #[test]
    fn loopback_works_and_a_socket_stays_in_its_namespace_on_any_thread() {
        let namespace = Namespace::new().expect("make a namespace (as root)");
        let other = Namespace::new().expect("make a namespace (as root)");
        let listener = namespace
            .run(|| TcpListener::bind("127.0.0.1:0"))
            .expect("run inside")
            .expect("listen");
        let address = listener.local_addr().expect("an address");
        let client =
            namespace.run(|| TcpStream::connect(address)).expect("run inside").expect("connect");
        let (_, peer) = listener.accept().expect("accept outside");
        assert_eq!(peer, client.local_addr().expect("an address"));
        let refused = other.run(|| TcpStream::connect(address)).expect("run inside");
        assert_eq!(
            refused.expect_err("nobody listens there").kind(),
            io::ErrorKind::ConnectionRefused
        );
    }

    #[test]
    fn a_panic_inside_propagates_to_the_caller() {
        let namespace = Namespace::new().expect("make a namespace (as root)");
        let run = std::panic::AssertUnwindSafe(|| namespace.run(|| panic!("inside")));
        let panic = std::panic::catch_unwind(run).expect_err("a panic");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"inside"));
    }
}
