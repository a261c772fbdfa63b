//! cgroup v2: its mount point, and temporary cgroups (Documentation/admin-guide/cgroup-v2.rst).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::host::{self, Error};

/// A cgroup below that of this process, removed on drop.
///
/// It is a *threaded* cgroup: single threads can be inside, so that one process can use several at
/// once and stay outside otherwise. A socket belongs to the cgroup of the thread that creates it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// The cgroup of this process at creation, to which remaining members move on removal.
    home: PathBuf,
}

impl Cgroup {
    /// Creates `shunt-bed-<pid>-<n>`.
    ///
    /// Fails without cgroup v2, without permission, or where the process's cgroup can have no
    /// threaded child.
    pub fn new() -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let home = host::cgroup::own()?;
        let path = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = home.join(format!("shunt-bed-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                // A process in another PID namespace can have the same PID.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(cause) => return Err(failed("create the cgroup", &path, cause)),
            }
        };
        let cgroup = Self { path, home };
        cgroup.write("cgroup.type", "threaded")?;
        Ok(cgroup)
    }

    /// The directory, for attaching programs.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling thread inside; its child threads and processes start there.
    pub fn enter(&self) -> Result<(), Error> {
        self.write("cgroup.threads", "0")
    }

    /// Moves the calling thread back to the process's original cgroup.
    pub fn leave(&self) -> Result<(), Error> {
        write(&self.home.join("cgroup.threads"), "0")
    }

    /// Moves a process inside, with all its threads.
    pub fn admit(&self, process: Pid) -> Result<(), Error> {
        self.write("cgroup.procs", &process.to_string())
    }

    fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        write(&self.path.join(file), value)
    }

    /// Moves all members out and removes the directory.
    fn remove(&self) -> io::Result<()> {
        // A joined thread can still be exiting in the kernel, and a thread being moved can start
        // another one.
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            for thread in fs::read_to_string(self.path.join("cgroup.threads"))?.lines() {
                // It may have ended meanwhile.
                let _ = fs::write(self.home.join("cgroup.threads"), thread);
            }
            match fs::remove_dir(&self.path) {
                Err(error)
                    if error.raw_os_error() == Some(Errno::EBUSY as i32)
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                outcome => return outcome,
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(path = %self.path.display(), %error, "leftover cgroup: rmdir it");
        }
    }
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    fs::write(path, value).map_err(|cause| failed("write", path, cause))
}

fn failed(action: &'static str, path: &Path, cause: io::Error) -> Error {
    Error::Cgroup { action, path: path.into(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own_line() -> String {
        let membership =
            fs::read_to_string("/proc/thread-self/cgroup").expect("read this thread's cgroup");
        membership.lines().find_map(|line| line.strip_prefix("0::")).expect("a v2 line").to_owned()
    }

    #[test]
    fn a_thread_enters_and_leaves_while_the_other_threads_stay_outside() {
        let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2 mounted)");
        let name =
            cgroup.path().file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let before = own_line();
        std::thread::scope(|scope| {
            let seen = scope.spawn(|| {
                cgroup.enter().expect("enter");
                let inherited =
                    std::thread::spawn(own_line).join().expect("a thread started inside");
                let inside = own_line();
                cgroup.leave().expect("leave");
                (inside, inherited, own_line())
            });
            let (inside, inherited, after) = seen.join().expect("the thread inside");
            assert!(inside.ends_with(&name), "{inside}");
            assert_eq!(inherited, inside);
            assert_eq!(after, before);
        });
        assert_eq!(own_line(), before);
    }

    #[test]
    fn dropping_removes_the_cgroup_and_moves_remaining_members_out() {
        let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2 mounted)");
        let path = cgroup.path().to_owned();
        let mut process =
            std::process::Command::new("sleep").arg("60").spawn().expect("start sleep");
        cgroup.admit(Pid::from_raw(process.id().cast_signed())).expect("admit the process");
        let membership = format!("/proc/{}/cgroup", process.id());
        let inside = fs::read_to_string(&membership).expect("read its cgroup");

        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (ready, entered) = std::sync::mpsc::channel();
        let straggler = std::thread::spawn(move || {
            cgroup.enter().expect("enter");
            ready.send(cgroup).expect("hand the cgroup back");
            stopped.recv().expect_err("the other side hangs up");
            own_line()
        });
        let cgroup = entered.recv().expect("the straggler is inside");
        assert!(path.is_dir());
        drop(cgroup);
        let outside = fs::read_to_string(&membership).expect("read its cgroup");
        process.kill().and_then(|()| process.wait()).expect("end sleep");

        assert!(!path.exists());
        assert!(inside.contains("shunt-bed-"), "{inside}");
        assert!(!outside.contains("shunt-bed-"), "{outside}");
        drop(stop);
        assert_eq!(straggler.join().expect("the straggler"), own_line());
    }

    #[test]
    fn a_panic_leaves_no_cgroup_behind() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let outcome = std::thread::spawn(move || {
            let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2 mounted)");
            cgroup.enter().expect("enter");
            sender.send(cgroup.path().to_owned()).expect("tell the path");
            panic!("as a failing test does");
        })
        .join();
        outcome.expect_err("the thread panicked");
        let path = receiver.recv().expect("the cgroup's path");
        assert!(!path.exists());
    }
}
