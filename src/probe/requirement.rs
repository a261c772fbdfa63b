//! What has to be there before anything is started, and what to do when it is not.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use syscalls::cap::{Capabilities, Capability};
use syscalls::{Errno, Map, MapKind, MapSpec};

use crate::datapath::{Datapath, Settings};
use crate::host::{bpffs, cgroup};
use crate::kernel::{self, load};

/// Something that shunt cannot do without.
#[derive(Debug)]
pub struct Requirement {
    /// What it is.
    pub name: &'static str,
    /// What was found, or what is wrong and what to do about it.
    pub met: Result<String, String>,
}

/// Every requirement, looked at on this machine. Changes nothing.
pub fn requirements() -> Vec<Requirement> {
    let mut all = vec![
        Requirement { name: "capabilities", met: capabilities() },
        Requirement { name: "bpf(2)", met: system_call() },
        Requirement { name: "lockdown", met: lockdown() },
        Requirement { name: "kernel BTF", met: told(btf()) },
        Requirement {
            name: "cgroup v2",
            met: told(cgroup::root().map(|root| root.display().to_string())),
        },
        Requirement { name: "BPF file system", met: bpf_file_system() },
    ];
    // Without these there is no need to try.
    if all.iter().all(|requirement| requirement.met.is_ok()) {
        all.push(Requirement {
            name: "kernel programs",
            met: told(rehearsed().map(|()| "the verifier accepts them".to_owned())),
        });
    }
    all
}

/// Refuses, naming everything that is missing at once, when this process or this kernel cannot run
/// the datapath.
pub fn require() -> Result<()> {
    let missing: Vec<String> =
        [capabilities(), system_call(), lockdown()].into_iter().filter_map(Result::err).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        bail!("shunt cannot run here:\n  - {}", missing.join("\n  - "))
    }
}

fn told<E: Into<anyhow::Error>>(outcome: Result<String, E>) -> Result<String, String> {
    outcome.map_err(|error| format!("{:#}", error.into()))
}

/// The capabilities that loading and attaching the programs takes.
const NEEDED: [Capability; 3] = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];

fn capabilities() -> Result<String, String> {
    let own = Capabilities::effective().map_err(|error| error.to_string())?;
    // Before Linux 5.8 CAP_SYS_ADMIN stood for CAP_BPF and CAP_PERFMON; it still does.
    let missing = own.missing(&NEEDED);
    let list =
        |all: &[Capability]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if missing.is_empty() {
        return Ok(list(&NEEDED));
    }
    Err(format!(
        "this process lacks {}: run it as root (sudo shunt …), or give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON \
         (systemd: AmbientCapabilities=, Kubernetes: securityContext.capabilities.add)",
        list(&missing)
    ))
}

/// Whether the system call gets through to the kernel: a map is made, and gone at once.
///
/// The default seccomp profiles of some container runtimes know it with CAP_SYS_ADMIN alone.
fn system_call() -> Result<String, String> {
    let spec = MapSpec::new(MapKind::ARRAY, "try", 4, 4, 1);
    match Map::create(&spec) {
        Err(error) if error.errno() == Some(Errno::PERM) && capabilities().is_ok() => {
            Err(refused_by(&status()))
        }
        // Of everything else the rehearsal says more.
        _ => Ok("this process may call it".to_owned()),
    }
}

fn status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// Who refuses bpf(2) to a process that has the capabilities, by its `/proc/PID/status`.
fn refused_by(status: &str) -> String {
    if status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])) {
        return "bpf(2) is refused by a seccomp profile, though the capabilities are there: the default of this container runtime \
                lets it through with CAP_SYS_ADMIN alone. Use the profile of the bundle, kubernetes/components/localhost-seccomp/\
                shunt.json: podman and docker take it by --security-opt seccomp=FILE, in Kubernetes the component \
                localhost-seccomp sets it"
            .to_owned();
    }
    "bpf(2) is refused though the capabilities are there: by a security module (dmesg | grep -i denied), or since this process is \
     in a user namespace, where capabilities are not the node's"
        .to_owned()
}

fn lockdown() -> Result<String, String> {
    // Without the file, the kernel knows no lockdown.
    let state = fs::read_to_string(Path::new("/sys/kernel/security/lockdown")).unwrap_or_default();
    if confidential(&state) {
        return Err(
            "this kernel is locked down for confidentiality, which forbids programs to read kernel memory: boot with \
             lockdown=integrity or without lockdown"
                .to_owned(),
        );
    }
    Ok("programs may read kernel memory".to_owned())
}

/// The active state stands in brackets: `none integrity [confidentiality]`.
fn confidential(state: &str) -> bool {
    state.contains("[confidentiality]")
}

fn btf() -> Result<String> {
    kernel::layout(&kernel::btf()?)?;
    Ok("says where the kernel keeps what programs read".to_owned())
}

fn bpf_file_system() -> Result<String, String> {
    match bpffs::find() {
        Ok(Some(dir)) => Ok(dir.display().to_string()),
        Ok(None) => Ok(format!("none yet: `shunt run` mounts one at {}", bpffs::STANDARD)),
        Err(error) => Err(error.to_string()),
    }
}

fn rehearsed() -> Result<()> {
    let settings = Settings { flows: 1, hz: kernel::hz()?, passes: super::passes() };
    rehearse(&Datapath::new(kernel::layout(&kernel::btf()?)?, settings))
}

/// Makes the maps of a datapath and loads its programs: nothing is pinned or attached, so they are
/// gone at once.
pub fn rehearse(datapath: &Datapath) -> Result<()> {
    let maps = load::maps(&datapath.maps.all())?;
    for (name, program) in datapath.programs()? {
        let loaded = load::program(&program, &maps);
        if name.without().is_none() {
            loaded?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_meets_every_requirement() {
        for requirement in super::requirements() {
            assert!(requirement.met.is_ok(), "{requirement:?}");
        }
        assert!(
            super::requirements().iter().any(|requirement| requirement.name == "kernel programs")
        );
    }

    #[test]
    fn a_seccomp_filter_is_told_from_what_else_refuses_the_system_call() {
        assert!(
            super::refused_by("Name:\tshunt\nSeccomp:\t2\nSeccomp_filters:\t1\n")
                .contains("localhost-seccomp")
        );
        assert!(
            super::refused_by("Name:\tshunt\nSeccomp:\t0\nSeccomp_filters:\t2\n")
                .contains("security module")
        );
    }

    #[test]
    fn lockdown_is_read_from_the_brackets() {
        assert!(super::confidential("none integrity [confidentiality]\n"));
        for other in
            ["", "[none] integrity confidentiality\n", "none [integrity] confidentiality\n"]
        {
            assert!(!super::confidential(other), "{other}");
        }
    }
}
