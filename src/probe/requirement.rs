//! What has to be there before anything is started, and what to do when it is not.

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};
use syscalls::cap::{Capabilities, Capability};

/// Refuses, naming everything that is missing at once, when this process or this kernel cannot run the datapath.
pub fn require() -> Result<()> {
    let mut missing = Vec::new();
    missing.extend(capabilities()?);
    missing.extend(lockdown());
    if missing.is_empty() { Ok(()) } else { bail!("shunt cannot run here:\n  - {}", missing.join("\n  - ")) }
}

/// The capabilities that loading and attaching the programs takes.
const NEEDED: [Capability; 3] = [Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];

fn capabilities() -> Result<Option<String>> {
    let own = Capabilities::effective()?;
    // Before Linux 5.8 CAP_SYS_ADMIN stood for CAP_BPF and CAP_PERFMON; it still does.
    let missing: Vec<String> = own.missing(&NEEDED).iter().map(ToString::to_string).collect();
    Ok((!missing.is_empty()).then(|| {
        format!(
            "this process lacks {}: run it as root (sudo shunt …), or give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON \
             (systemd: AmbientCapabilities=, Kubernetes: securityContext.capabilities.add)",
            missing.join(", ")
        )
    }))
}

fn lockdown() -> Option<String> {
    let state = fs::read_to_string(Path::new("/sys/kernel/security/lockdown")).ok()?;
    confidential(&state).then(|| {
        "this kernel is locked down for confidentiality, which forbids programs to read kernel memory: boot with \
         lockdown=integrity or without lockdown"
            .to_owned()
    })
}

/// The active state stands in brackets: `none integrity [confidentiality]`.
fn confidential(state: &str) -> bool {
    state.contains("[confidentiality]")
}
