//! Guests of arm64 on a machine of another architecture: a kernel with this machine's files as its
//! root, read-only, of which the guest can run nothing but what was built for it.
//!
//! virtme-ng's own scripts want a root file system of the guest's architecture, with a shell, udev
//! and busybox. Debian's kernels for arm64 come up without any of it, since what it takes is built
//! in: virtiofs, the console, and a port by which the guest reports. So QEMU is given the kernel
//! alone, and the guest's first process is this package's own binary ([`crate::init`]).

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use crate::group::Group;
use crate::machine::{Hardware, Machine};
use crate::tools;

/// What runs kernels of arm64.
pub const EMULATOR: &str = "qemu-system-aarch64";

/// Serves this machine's files to the guest.
pub const FILE_SERVER: &str = "virtiofsd";

/// Boots `kernel` with `init JOB` as its first process, both files of this machine. Temporary
/// files go to `folder`, which nothing else uses.
///
/// # Errors
/// When QEMU or virtiofsd cannot be started. When they can and then refuse, there are no events.
pub fn boot(
    hardware: Hardware,
    kernel: &Path,
    init: &Path,
    job: &Path,
    folder: &Path,
) -> io::Result<Machine> {
    let socket = folder.join("files");
    let server = serve_files(&socket)?;
    let memory = hardware.memory_mib;
    let mut qemu = tools::command(EMULATOR).map_err(io::Error::other)?;
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        // A processor with the atomic instructions of ARMv8.1, as servers have them.
        .args(["-machine", "virt,memory-backend=memory", "-cpu", "neoverse-n1"])
        .args(["-accel", "tcg,thread=single"])
        .args(["-smp", &hardware.processors.to_string(), "-m", &format!("{memory}M")])
        // virtiofsd reads and writes the guest's memory.
        .args(["-object", &format!("memory-backend-memfd,id=memory,size={memory}M,share=on")])
        .args(["-chardev", &format!("socket,id=files,path={}", socket.display())])
        .args(["-device", "vhost-user-fs-pci,chardev=files,tag=files"])
        // Files, not QEMU's own standard streams: a port whose input has ended takes no output.
        .args(["-chardev", "file,id=console,path=/dev/stderr", "-serial", "chardev:console"])
        .args(["-chardev", "file,id=events,path=/dev/stdout", "-device", "virtio-serial-pci"])
        .args(["-device", "virtserialport,chardev=events"])
        .arg("-kernel")
        .arg(kernel)
        // Quiet up to warnings: each character is expensive under emulation.
        .args([
            "-append",
            &format!(
                "console=ttyAMA0 loglevel=5 panic=-1 \
             rootfstype=virtiofs root=files ro init={} -- init {}",
                init.display(),
                job.display()
            ),
        ]);
    Machine::start(&mut qemu, vec![server])
}

/// Serves this machine's files to the client that connects to `socket`.
fn serve_files(socket: &Path) -> io::Result<Group> {
    let listener = UnixListener::bind(socket)?;
    let mut server = tools::command(FILE_SERVER).map_err(io::Error::other)?;
    server
        .args(["--shared-dir", "/", "--readonly", "--cache", "always"])
        .args(["--sandbox", "none", "--no-announce-submounts", "--log-level", "error"])
        // The socket is there before the server is, for QEMU to find.
        .args(["--fd", "0"])
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null());
    Group::start(&mut server)
}
