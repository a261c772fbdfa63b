//! Requirements that are checked before anything is started, with remedies.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use syscalls::cap::{Capabilities, Capability};
use syscalls::{Errno, Map, MapKind, MapSpec};

use super::Answers;
use crate::datapath::{Datapath, Settings};
use crate::host::{bpffs, cgroup, is_in_initial_namespace};
use crate::kernel::{self, load};

/// A precondition of shunt.
#[derive(Debug)]
pub struct Requirement {
    /// Its name.
    pub name: &'static str,
    /// Whether it is met.
    pub state: State,
    /// What was found, or what is wrong with the remedy.
    pub detail: String,
}

/// Whether a precondition is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Met,
    /// shunt runs, and leaves connections to TCP that it could accelerate otherwise.
    Limited,
    /// shunt cannot run.
    Missing,
}

impl Requirement {
    fn of(name: &'static str, met: Result<String, String>) -> Requirement {
        match met {
            Ok(detail) => Requirement { name, state: State::Met, detail },
            Err(detail) => Requirement { name, state: State::Missing, detail },
        }
    }
}

/// Checks every requirement on this machine. Changes nothing.
pub fn requirements(answers: &Answers) -> Vec<Requirement> {
    let mut all = vec![
        Requirement::of("capabilities", capabilities()),
        processes(is_in_initial_namespace(), sees_other_users()),
        Requirement::of("bpf(2)", system_call()),
        Requirement::of("lockdown", lockdown()),
        Requirement::of("kernel BTF", as_text(btf())),
        Requirement::of(
            "cgroup v2",
            as_text(cgroup::root().map(|root| root.display().to_string())),
        ),
        Requirement::of("BPF file system", bpf_file_system()),
    ];
    // Loading the programs needs all of the above.
    if all.iter().all(|requirement| requirement.state != State::Missing) {
        let loaded = loads(answers).map(|()| "the verifier accepts them".to_owned());
        all.push(Requirement::of("kernel programs", as_text(loaded)));
    }
    all
}

/// Fails with all missing requirements if this process or this kernel cannot run the datapath.
pub fn require() -> Result<()> {
    let missing: Vec<String> =
        [capabilities(), system_call(), lockdown()].into_iter().filter_map(Result::err).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        bail!("shunt cannot run here:\n  - {}", missing.join("\n  - "))
    }
}

fn as_text<E: Into<anyhow::Error>>(outcome: Result<String, E>) -> Result<String, String> {
    outcome.map_err(|error| format!("{:#}", error.into()))
}

/// Capabilities needed to load and attach the programs.
const NEEDED: [Capability; 3] = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];

fn capabilities() -> Result<String, String> {
    let own = Capabilities::effective().map_err(|error| error.to_string())?;
    // Before Linux 5.8 CAP_SYS_ADMIN covered CAP_BPF and CAP_PERFMON; it still does.
    let missing = own.missing(&NEEDED);
    let list =
        |all: &[Capability]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if missing.is_empty() {
        return Ok(list(&NEEDED));
    }
    Err(format!(
        "this process lacks {}: run it as root (sudo shunt …), or give it CAP_BPF, CAP_NET_ADMIN \
         and CAP_PERFMON (systemd: AmbientCapabilities=, Kubernetes: \
         securityContext.capabilities.add)",
        list(&missing)
    ))
}

/// Whether the processes whose connections are accelerated can be examined: PIDs have to be those of
/// the kernel, and processes of other users take CAP_SYS_PTRACE.
fn processes(initial_namespace: bool, other_users: bool) -> Requirement {
    let (state, detail) = match (initial_namespace, other_users) {
        (true, true) => (State::Met, "can be examined"),
        (true, false) => (
            State::Limited,
            "this process lacks CAP_SYS_PTRACE: connections of other users' processes stay with TCP",
        ),
        (false, _) => (
            State::Limited,
            "not in the initial PID namespace: nothing will be accelerated (Kubernetes: hostPID: \
             true; podman: --pid=host)",
        ),
    };
    Requirement { name: "processes", state, detail: detail.to_owned() }
}

fn sees_other_users() -> bool {
    Capabilities::effective().is_ok_and(|own| own.allow(Capability::SysPtrace))
}

/// Whether bpf(2) is permitted: creates a map and drops it.
///
/// The default seccomp profiles of some container runtimes permit it with CAP_SYS_ADMIN only.
fn system_call() -> Result<String, String> {
    let spec = MapSpec::new(MapKind::ARRAY, "try", 4, 4, 1);
    match Map::create(&spec) {
        Err(error) if error.errno() == Some(Errno::PERM) && capabilities().is_ok() => {
            Err(refused_by(&status()))
        }
        // Other errors are explained better by loading the programs.
        _ => Ok("permitted".to_owned()),
    }
}

fn status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// Explains why bpf(2) is refused in spite of the capabilities, from `/proc/PID/status`.
fn refused_by(status: &str) -> String {
    if status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"])) {
        return "bpf(2) is refused by a seccomp profile, though the capabilities are there: the \
                default profile of this container runtime permits it with CAP_SYS_ADMIN only. Use \
                the bundle's profile, kubernetes/components/localhost-seccomp/shunt.json: podman \
                and docker take it by --security-opt seccomp=FILE, in Kubernetes the component \
                localhost-seccomp sets it"
            .to_owned();
    }
    "bpf(2) is refused though the capabilities are there: by a security module (dmesg | \
     grep -i denied), or because this process is in a user namespace, whose capabilities do \
     not apply to the node"
        .to_owned()
}

fn lockdown() -> Result<String, String> {
    // Without the file the kernel has no lockdown.
    let state = fs::read_to_string(Path::new("/sys/kernel/security/lockdown")).unwrap_or_default();
    if confidential(&state) {
        return Err(
            "this kernel is locked down for confidentiality, which prevents programs from \
             reading kernel memory: boot with lockdown=integrity or without lockdown"
                .to_owned(),
        );
    }
    Ok("programs may read kernel memory".to_owned())
}

/// The active state is in brackets: `none integrity [confidentiality]`.
fn confidential(state: &str) -> bool {
    state.contains("[confidentiality]")
}

fn btf() -> Result<String> {
    kernel::layout()?;
    Ok("describes the structures that programs read".to_owned())
}

fn bpf_file_system() -> Result<String, String> {
    match bpffs::find() {
        Ok(Some(dir)) => Ok(dir.display().to_string()),
        Ok(None) => Ok(format!("none yet: `shunt run` mounts one at {}", bpffs::STANDARD)),
        Err(error) => Err(error.to_string()),
    }
}

/// Loads what an agent would load; dropping it unloads it.
fn loads(answers: &Answers) -> Result<()> {
    let settings = Settings { flows: 1, hz: kernel::hz()?, passes: answers.passes() };
    let datapath = Datapath::new(kernel::layout()?, settings);
    load::programs(&datapath, &load::maps(&datapath.maps.all())?).map(drop)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_meets_every_requirement() {
        let requirements = super::requirements(&super::Answers::default());
        for requirement in &requirements {
            assert_eq!(requirement.state, super::State::Met, "{requirement:?}");
        }
        assert!(requirements.iter().any(|requirement| requirement.name == "kernel programs"));
    }

    #[test]
    fn processes_that_cannot_be_examined_are_a_limit() {
        use super::{State, processes};
        assert_eq!(processes(true, true).state, State::Met);
        for (initial_namespace, other_users, limit) in [
            (true, false, "connections of other users' processes stay with TCP"),
            (false, true, "nothing will be accelerated"),
            (false, false, "nothing will be accelerated"),
        ] {
            let found = processes(initial_namespace, other_users);
            assert_eq!(found.state, State::Limited, "{found:?}");
            assert!(found.detail.contains(limit), "{found:?}");
        }
    }

    #[test]
    fn a_seccomp_filter_is_distinguished_from_other_refusals() {
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
