//! Guests that virtme-ng boots: a kernel, and this machine's own files below it, read-only.
//!
//! `vng` packs an initramfs with the modules that a guest needs to reach its root file system,
//! serves this machine's `/` by virtiofsd, starts QEMU, and runs one command when the guest's first
//! process, virtme-ng-init, has set up the rest. The command's standard output is vng's, the
//! kernel's console goes to vng's standard error.

use std::io;
use std::path::Path;

use crate::machine::{Accelerator, Hardware, Machine};

/// The program that is run.
pub const VNG: &str = "vng";

/// Boots `kernel`, whose modules are where its package has them, and runs `command` in it.
/// Temporary files go to `folder`, which nothing else uses.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for a path that vng would take apart; else when vng cannot
/// be started. When it can and then refuses, there are no events.
pub fn boot(
    hardware: Hardware,
    kernel: &Path,
    command: &[&Path],
    folder: &Path,
) -> io::Result<Machine> {
    let words = command.iter().map(|word| plain(word)).collect::<io::Result<Vec<_>>>()?;
    let accelerator: &[&str] = match hardware.accelerator {
        Accelerator::Kvm => &[],
        Accelerator::Emulation => {
            &["--disable-kvm", "--qemu-opts=-accel", "--qemu-opts=tcg,thread=single"]
        }
    };
    let mut vng = crate::tools::command(VNG).map_err(io::Error::other)?;
    // It looks for its other half, virtme-run, and for virtiofsd and depmod.
    vng.env("PATH", crate::tools::path());
    // Files that it would leave behind when it is killed.
    vng.env("TMPDIR", folder);
    vng.args(["--run", plain(kernel)?, "--user", "root", "--cwd", "/"])
        .args([
            "--cpus",
            &hardware.processors.to_string(),
            "--memory",
            &format!("{}M", hardware.memory_mib),
        ])
        .args(accelerator)
        // The same machine with KVM as without.
        .arg("--disable-microvm")
        // The console to standard error, but quiet up to warnings: each character is expensive
        // under emulation.
        .args(["--verbose", "--append", "loglevel=5"])
        // Devices and processes that udev would spend seconds on.
        .args(["--qemu-opts=-nodefaults", "--append", "udev.children_max=1"])
        .args(["--exec", &format!("exec {}", words.join(" "))]);
    Machine::start(&mut vng, vec![])
}

/// A path as text, where vng does not take it apart: it builds lines for shells and does not quote
/// everything.
fn plain(path: &Path) -> io::Result<&str> {
    let text = path.to_str().unwrap_or_default();
    let harmless = |c: char| c.is_ascii_alphanumeric() || "/._+-~".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(harmless) {
        return Ok(text);
    }
    let what = "vng cannot be given this path, which has more in it than letters, digits and ./_+-~ \
                (--cache and CARGO_TARGET_DIR say where files are)";
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{}: {what}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_shell_would_take_apart_is_refused_before_anything_is_started() {
        for good in ["/root/.cache/shunt-vm/kernels/6.12.1+deb13~x/boot/vmlinuz", "guest"] {
            assert_eq!(plain(Path::new(good)).expect("plain"), good);
        }
        for bad in ["/a b/vmlinuz", "/a;b", "/a'b", "/$HOME", "-x", "", "/a\nb"] {
            assert!(plain(Path::new(bad)).is_err(), "{bad:?}");
        }
    }
}
