//! The first process of a guest that has no other programs, `vm-tests init JOB`: mounts what a
//! kernel does not mount by itself, does the job as [`crate::guest`] does, and switches off.

use std::convert::Infallible;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::unistd::{dup2_stdout, sync};

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
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("tmpfs", "/var/tmp"),
];

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
    dup2_stdout(port()?).context("make the port the standard output")?;
    crate::guest::run(job)?;
    sync();
    reboot(RebootMode::RB_POWER_OFF).context("switch off")
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
