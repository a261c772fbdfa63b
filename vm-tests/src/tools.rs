//! The programs of the machine that this package needs, and how they come there.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

use crate::qemu::QEMU;

/// Debian's public keys, by which apt tells its archive from any other.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A file that must exist, and the package of Debian and Ubuntu that has it.
struct Need {
    file: &'static str,
    package: &'static str,
}

/// What running guests takes.
const RUNNING: &[Need] = &[Need { file: QEMU, package: "qemu-system-x86" }];

/// What fetching or unpacking kernels takes besides apt and dpkg.
const FETCHING: &[Need] = &[
    Need { file: "depmod", package: "kmod" },
    Need { file: "gpgv", package: "gpgv" },
    Need { file: KEYRING, package: "debian-archive-keyring" },
];

/// Where programs for administrators are, which the PATH of others leaves out.
const ADMINISTRATION: &[&str] = &["/usr/sbin", "/sbin"];

/// Installs what fetching needs and is not there, or says what to install.
///
/// # Errors
/// When it is not there and cannot be installed; the message says what to do.
pub fn provide_for_fetching() -> Result<()> {
    provide(FETCHING)
}

/// Installs what running needs and is not there, or says what to install.
///
/// # Errors
/// When it is not there and cannot be installed; the message says what to do.
pub fn provide_for_running() -> Result<()> {
    provide(RUNNING)
}

fn provide(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> = needs.iter().filter(|need| find(need.file).is_none()).map(|need| need.package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    let Some(apt) = find("apt-get") else {
        bail!("missing on this machine: what Debian packages as {packages}; install it and run this again");
    };
    if !Uid::effective().is_root() {
        bail!("missing on this machine: {packages}; install with: sudo apt-get install {packages}");
    }
    eprintln!("installing {packages}");
    let installs = || -> Result<bool> {
        let status = Command::new(&apt)
            .args(["install", "--yes", "--no-install-recommends", "--quiet"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(std::io::stderr())
            .status()
            .context("run apt-get install")?;
        Ok(status.success())
    };
    // On a fresh machine apt has no lists yet, or old ones.
    if !installs()? {
        run(Command::new(&apt).args(["update", "--quiet"]))?;
        ensure!(installs()?, "apt-get install {packages} failed, see above; install that by hand and run this again");
    }
    match needs.iter().find(|need| find(need.file).is_none()) {
        None => Ok(()),
        Some(need) => bail!("{} is installed, yet there is no {}", need.package, need.file),
    }
}

/// The path of a program or file.
pub fn find(file: &str) -> Option<PathBuf> {
    if file.starts_with('/') {
        return Some(PathBuf::from(file)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(ADMINISTRATION.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(file)).find(|path| path.is_file())
}

/// A command that runs `program`, wherever it is.
///
/// # Errors
/// When it is nowhere.
pub fn command(program: &str) -> Result<Command> {
    find(program).map(Command::new).with_context(|| format!("there is no program {program} on this machine"))
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
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{name} {}: {}\n{}", arguments.join(" "), output.status, complaint.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed something that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_says_what_it_complained_about() {
        let error = run(Command::new("sh").args(["-c", "echo because >&2; exit 3"])).expect_err("exit 3").to_string();
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
}
