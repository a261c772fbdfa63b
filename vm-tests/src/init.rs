//! The first process of a guest that has no other programs, `vm-tests init JOB`: mounts what a
//! kernel does not mount by itself, does the job as [`crate::guest`] does, and switches off.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::{dup2_stdout, sync};

use crate::guest::{MEMORY, bind};

/// The port by which the guest reports is the only one.
const PORTS: &str = "/sys/class/virtio-ports";

/// How long the kernel may take to find it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is mounted: a type of file system, and where.
const MOUNTS: &[(&str, &str)] = &[
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("debugfs", "/sys/kernel/debug"),
    ("tmpfs", MEMORY),
];

/// Where programs make temporary files.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// Does what `job` says, tells the host how it goes, and switches the guest off.
///
/// # Errors
/// When the guest cannot be made ready, the host cannot be told, or it stays on. The kernel panics
/// then, since its first process ends.
pub fn run(job: &Path) -> Result<Infallible> {
    for (kind, at) in MOUNTS {
        match mount(Some(*kind), *at, Some(*kind), MsFlags::empty(), None::<&str>) {
            // The kernel has mounted /dev.
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(errno) => return Err(errno).with_context(|| format!("mount {kind} at {at}")),
        }
    }
    let program = std::env::current_exe().context("find this program")?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for at in TEMPORARY {
        make_writable(Path::new(at), &[job, &program, repository])?;
    }
    dup2_stdout(port()?).context("make the port the standard output")?;
    crate::guest::run(job)?;
    sync();
    reboot(RebootMode::RB_POWER_OFF).context("switch off")
}

/// Mounts a file system in memory at `at`. The folders of it that `needed` are in stay where they
/// are: the repository may have been cloned into one for temporary files.
fn make_writable(at: &Path, needed: &[&Path]) -> Result<()> {
    let kept = kept(at, needed);
    let aside = |number: usize| Path::new(MEMORY).join(format!("kept-{number}"));
    let bound = |what: &Path, at: &Path| {
        fs::create_dir_all(at).with_context(|| format!("make {}", at.display()))?;
        bind(what, at)
    };
    for (number, folder) in kept.iter().enumerate() {
        bound(folder, &aside(number))?;
    }
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("mount tmpfs at {}", at.display()))?;
    for (number, folder) in kept.iter().enumerate() {
        bound(&aside(number), folder)?;
    }
    Ok(())
}

/// The folders directly in `at` that have one of `needed` in them.
fn kept(at: &Path, needed: &[&Path]) -> BTreeSet<PathBuf> {
    let folder = |path: &&Path| {
        let first = path.strip_prefix(at).ok()?.components().next()?;
        Some(at.join(first))
    };
    needed.iter().filter_map(folder).collect()
}

fn port() -> Result<File> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut ports = fs::read_dir(PORTS).with_context(|| format!("look at {PORTS}"))?;
        if let Some(port) = ports.next() {
            let device = Path::new("/dev").join(port.context("look at a port")?.file_name());
            let opened = File::options().write(true).open(&device);
            return opened.with_context(|| format!("open {}", device.display()));
        }
        ensure!(Instant::now() < deadline, "there is no port in {PORTS}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_among_temporary_files_stays_where_it_is() {
        let needed = ["/tmp/clone/vm-tests", "/tmp/clone/target/vm-tests", "/root/.cache/job"];
        let needed = needed.map(Path::new);
        assert_eq!(kept(Path::new("/tmp"), &needed), [PathBuf::from("/tmp/clone")].into());
        assert!(kept(Path::new("/var/tmp"), &needed).is_empty());
    }
}
