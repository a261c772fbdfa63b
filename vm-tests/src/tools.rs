//! The programs of the machine that this package needs. Nothing installs them but `.ci/install`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::architecture::Architecture;
use crate::foreign::{self, FILE_SERVER};
use crate::vng::VNG;

/// Debian's public keys, by which apt tells its archive from any other.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A file that must exist, and where it comes from.
struct Need {
    file: &'static str,
    from: &'static str,
}

const VIRTIOFSD: Need =
    Need { file: FILE_SERVER, from: "virtiofsd of crates.io, or of Debian from 13 on" };

/// What running guests of arm64 takes on a machine of another architecture, besides a compiler.
const RUNNING_ARM64: &[Need] = &[
    VIRTIOFSD,
    Need { file: foreign::EMULATOR, from: "Debian's qemu-system-arm" },
    Need { file: "qemu-aarch64", from: "Debian's qemu-user" },
    Need { file: "aarch64-linux-gnu-gcc", from: "Debian's gcc-aarch64-linux-gnu" },
];

/// What running guests takes.
const RUNNING: &[Need] = &[
    Need { file: VNG, from: "virtme-ng of PyPI" },
    VIRTIOFSD,
    #[cfg(target_arch = "x86_64")]
    Need { file: "qemu-system-x86_64", from: "Debian's qemu-system-x86" },
    #[cfg(target_arch = "aarch64")]
    Need { file: foreign::EMULATOR, from: "Debian's qemu-system-arm" },
    Need { file: "busybox", from: "Debian's busybox-static" },
    Need { file: "file", from: "Debian's file" },
    // Without it a guest has no names for the ports by which its command reaches the host.
    Need { file: "/lib/systemd/systemd-udevd", from: "Debian's udev" },
];

/// What fetching or unpacking kernels takes besides apt and dpkg.
const FETCHING: &[Need] = &[
    Need { file: "depmod", from: "Debian's kmod" },
    Need { file: "xz", from: "Debian's xz-utils" },
    Need { file: "gpgv", from: "Debian's gpgv" },
    Need { file: KEYRING, from: "Debian's debian-archive-keyring" },
];

/// Where programs for administrators are, which the PATH of others leaves out, and where Debian has
/// virtiofsd.
const ADMINISTRATION: &[&str] = &["/usr/sbin", "/sbin", "/usr/libexec"];

/// Whether everything is there that fetching needs.
///
/// # Errors
/// When it is not; the message says what to do.
pub fn check_for_fetching() -> Result<()> {
    check(FETCHING)
}

/// Whether everything is there that running guests of this architecture needs.
///
/// # Errors
/// When it is not; the message says what to do.
pub fn check_for_running(architecture: Architecture) -> Result<()> {
    check(match (architecture.is_native(), architecture) {
        (true, _) => RUNNING,
        (false, Architecture::Arm64) => RUNNING_ARM64,
        (false, Architecture::Amd64) => bail!("guests of amd64 need a machine that is one"),
    })
}

fn check(needs: &[Need]) -> Result<()> {
    let missing: Vec<String> = needs
        .iter()
        .filter(|need| find(need.file).is_none())
        .map(|need| format!("{} ({})", need.file, need.from))
        .collect();
    ensure!(
        missing.is_empty(),
        "missing on this machine: {}. Run .ci/install as root",
        missing.join(", ")
    );
    Ok(())
}

/// Where programs are looked for, as PATH has it.
pub fn path() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(ADMINISTRATION.iter().map(PathBuf::from));
    // A folder that cannot be in PATH came out of none.
    std::env::join_paths(folders).unwrap_or(path)
}

/// The path of a program or file.
pub fn find(file: &str) -> Option<PathBuf> {
    if file.starts_with('/') {
        return Some(PathBuf::from(file)).filter(|path| path.is_file());
    }
    std::env::split_paths(&path()).map(|folder| folder.join(file)).find(|path| path.is_file())
}

/// A command that runs `program`, wherever it is.
///
/// # Errors
/// When it is nowhere.
pub fn command(program: &str) -> Result<Command> {
    find(program)
        .map(Command::new)
        .with_context(|| format!("there is no program {program} on this machine"))
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// When it cannot be run or fails; the message has what it complained about.
pub fn run(command: &mut Command) -> Result<String> {
    let name = || Path::new(command.get_program()).display().to_string();
    let name = name();
    let output = command.output().with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        let arguments: Vec<_> =
            command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{name} {}: {}\n{}", arguments.join(" "), output.status, complaint.trim_end());
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{name} printed something that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_says_what_it_complained_about() {
        let error = run(Command::new("sh").args(["-c", "echo because >&2; exit 3"]))
            .expect_err("exit 3")
            .to_string();
        assert!(error.contains("because") && error.contains('3'), "{error}");
        assert_eq!(run(Command::new("echo").arg("fine")).expect("run"), "fine\n");
    }

    #[test]
    fn programs_are_found_by_name_and_files_by_path() {
        assert!(find("sh").is_some());
        assert!(find("/etc/passwd").is_some());
        assert!(find("no-such-program").is_none() && find("/no/such/file").is_none());
        assert!(command("no-such-program").is_err());
    }

    #[test]
    fn what_is_missing_is_named_with_where_it_comes_from_and_nothing_installs_it() {
        let need = |file| Need { file, from: "Debian's something" };
        check(&[need("sh"), need("/etc/passwd")]).expect("both are there");
        let error = check(&[need("sh"), need("no-such-program")]).expect_err("missing").to_string();
        assert!(
            error.contains("no-such-program (Debian's something)") && error.contains(".ci/install"),
            "{error}"
        );
    }
}
