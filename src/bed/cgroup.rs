//! cgroup v2: where it is mounted, and a cgroup of one's own
//! (Documentation/admin-guide/cgroup-v2.rst).

use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::Error;
use super::mount_table::{self, Mount};

/// The directory of the topmost cgroup this process can reach: the mount point of the v2 hierarchy,
/// which hybrid layouts have beside the v1 ones.
///
/// In a container with a cgroup namespace of its own this is the host's hierarchy, if that is
/// mounted beside the container's.
pub fn root() -> Result<PathBuf, Error> {
    Ok(hierarchy(&mount_table::read()?)?.mount_point.clone())
}

/// Whether a cgroup is the root of the hierarchy, of which a cgroup namespace may show a part only.
/// All others have this file (Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files").
pub fn is_whole_node(cgroup: &Path) -> bool {
    !cgroup.join("cgroup.type").exists()
}

/// The directory of the cgroup that this process (its main thread) is in.
pub fn own() -> Result<PathBuf, Error> {
    let path = Path::new("/proc/self/cgroup");
    let membership = fs::read_to_string(path).map_err(|cause| failed("read", path, cause))?;
    directory(&mount_table::read()?, &membership)
}

/// The mount that shows the most. Roots are told from the cgroup namespace of this process
/// (cgroup_namespaces(7)): `/` is that of the namespace, `/../..` is above it, and `/pods` a part.
fn hierarchy(mounts: &[Mount]) -> Result<&Mount, Error> {
    let extent = |mount: &&Mount| {
        let climbs = mount.root.components().filter(|part| *part == Component::ParentDir).count();
        let descends =
            mount.root.components().filter(|part| matches!(part, Component::Normal(_))).count();
        (descends, Reverse(climbs))
    };
    mount_table::visible(mounts, "cgroup2").into_iter().min_by_key(extent).ok_or(Error::NoCgroup2)
}

/// `membership` is `/proc/self/cgroup`, where v2 has the line `0::/path`; v1 hierarchies have other
/// numbers.
fn directory(mounts: &[Mount], membership: &str) -> Result<PathBuf, Error> {
    let top = hierarchy(mounts)?;
    let cgroup =
        membership.lines().find_map(|line| line.strip_prefix("0::")).ok_or(Error::NoCgroup2)?;
    let inside = |mount: &Mount| {
        let below = Path::new(cgroup).strip_prefix(&mount.root).ok()?;
        // A process outside its cgroup namespace has a path that climbs: "/../other".
        let climbs = below.components().any(|part| part == Component::ParentDir);
        (!climbs).then(|| mount.mount_point.join(below))
    };
    std::iter::once(top).chain(mount_table::visible(mounts, "cgroup2")).find_map(inside).ok_or_else(
        || Error::CgroupOutsideMount {
            cgroup: cgroup.into(),
            mount_point: top.mount_point.clone(),
        },
    )
}

/// A cgroup below that of this process, removed when dropped.
///
/// It is a *threaded* cgroup: single threads can be inside it, so that one process can use several
/// at once and keep the rest of itself outside. A socket belongs to the cgroup of the thread that
/// creates it.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    /// Where this process was when it made the cgroup, and where whoever is left inside goes when
    /// it is removed.
    home: PathBuf,
}

impl Cgroup {
    /// Creates `shunt-bed-<pid>-<n>`.
    ///
    /// Fails without cgroup v2, without permission, and where the process's cgroup can have no
    /// threaded child.
    pub fn new() -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let home = own()?;
        let path = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = home.join(format!("shunt-bed-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                // A process in another PID namespace can have the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(cause) => return Err(failed("create the cgroup", &path, cause)),
            }
        };
        let cgroup = Self { path, home };
        cgroup.write("cgroup.type", "threaded")?;
        Ok(cgroup)
    }

    /// The cgroup's directory, to open for attaching programs.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling thread inside; threads and processes that it starts begin there.
    pub fn enter(&self) -> Result<(), Error> {
        self.write("cgroup.threads", "0")
    }

    /// Moves the calling thread back to the cgroup that the process came from.
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

    /// Moves everybody out and removes the directory.
    fn remove(&self) -> io::Result<()> {
        // A thread that has been joined can still be on its way out in the kernel, and one that is
        // being moved can start another.
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            for thread in fs::read_to_string(self.path.join("cgroup.threads"))?.lines() {
                // It may have ended since: then there is nothing to move.
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
            tracing::warn!(path = %self.path.display(), %error, "the cgroup stays behind: rmdir it");
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

    const HYBRID: &str = "\
        24 1 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
        25 24 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        26 24 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const PURE: &str =
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_ONLY: &str = "26 24 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const PART: &str = "30 24 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    /// As podman mounts it for a container with a cgroup namespace of its own, with the host's as a
    /// volume.
    const PRIVATE: &str = "\
        30 24 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
        31 24 0:26 /../.. /host/cgroup ro - cgroup2 cgroup rw\n";

    #[test]
    fn the_v2_hierarchy_is_found_in_hybrid_and_pure_layouts_and_its_absence_is_an_error() {
        let cases = [
            (HYBRID.to_owned(), Some("/sys/fs/cgroup/unified")),
            (PURE.to_owned(), Some("/sys/fs/cgroup")),
            (V1_ONLY.to_owned(), None),
            (String::new(), None),
            (PART.to_owned(), Some("/sys/fs/cgroup")),
            (
                format!("{PART}31 24 0:26 / /host/cgroup rw - cgroup2 cgroup rw\n"),
                Some("/host/cgroup"),
            ),
            (PRIVATE.to_owned(), Some("/host/cgroup")),
            (
                format!("{PRIVATE}32 24 0:26 /.. /other rw - cgroup2 cgroup rw\n"),
                Some("/host/cgroup"),
            ),
            (PRIVATE.replace("/../..", "/../other"), Some("/sys/fs/cgroup")),
        ];
        for (table, expected) in cases {
            let mounts = mount_table::parse(table.as_bytes());
            match (hierarchy(&mounts), expected) {
                (Ok(mount), Some(expected)) => {
                    assert_eq!(mount.mount_point, Path::new(expected), "{table}")
                }
                (Err(Error::NoCgroup2), None) => {}
                (found, _) => panic!("{table}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_own_cgroup_is_a_directory_below_the_mount_or_an_error_that_says_it_is_outside() {
        let cases = [
            (HYBRID, "4:memory:/x\n0::/\n", Some("/sys/fs/cgroup/unified")),
            (
                PURE,
                "0::/user.slice/session.scope\n",
                Some("/sys/fs/cgroup/user.slice/session.scope"),
            ),
            (PART, "0::/docker/abc/inner\n", Some("/sys/fs/cgroup/inner")),
            (PART, "0::/docker/other\n", None),
            (PURE, "0::/../other\n", None),
            (PRIVATE, "0::/inner\n", Some("/sys/fs/cgroup/inner")),
            (PRIVATE, "0::/../../other\n", Some("/host/cgroup/other")),
        ];
        for (table, membership, expected) in cases {
            match (directory(&mount_table::parse(table.as_bytes()), membership), expected) {
                (Ok(found), Some(expected)) => {
                    assert_eq!(found, Path::new(expected), "{membership}")
                }
                (Err(Error::CgroupOutsideMount { .. }), None) => {}
                (found, _) => panic!("{membership}: {found:?}"),
            }
        }
    }

    fn own_line() -> String {
        let membership =
            fs::read_to_string("/proc/thread-self/cgroup").expect("read this thread's cgroup");
        membership.lines().find_map(|line| line.strip_prefix("0::")).expect("a v2 line").to_owned()
    }

    #[test]
    fn a_thread_enters_and_leaves_while_the_rest_of_the_process_stays_outside() {
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
    fn dropping_removes_the_cgroup_and_moves_out_whoever_is_still_inside() {
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
        let (tell, told) = std::sync::mpsc::channel();
        let outcome = std::thread::spawn(move || {
            let cgroup = Cgroup::new().expect("make a cgroup (as root, with cgroup v2 mounted)");
            cgroup.enter().expect("enter");
            tell.send(cgroup.path().to_owned()).expect("tell the path");
            panic!("as a failing test does");
        })
        .join();
        outcome.expect_err("the thread panicked");
        let path = told.recv().expect("the cgroup's path");
        assert!(!path.exists());
    }
}
