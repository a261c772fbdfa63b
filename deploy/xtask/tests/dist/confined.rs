//! A thread that may do as little as a container or a hardened service: what it starts may do no
//! more.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::thread;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities,
};
use seccompiler::{SeccompAction, SeccompFilter, TargetArch, apply_filter};
use syscalls::Sysno;

/// Runs `work` with these capabilities, and with these system calls; others are answered EPERM.
pub fn confined<T: Send>(
    prepare: impl FnOnce() + Send,
    allowed: CapabilitySet,
    calls: &[String],
    work: impl FnOnce() -> T + Send,
) -> T {
    let inside = || {
        prepare();
        let held = capabilities(None).expect("ask for capabilities").permitted;
        for one in held.iter().filter(|one| !allowed.contains(*one)) {
            remove_capability_from_bounding_set(one)
                .expect("make the bounding set smaller (as root)");
        }
        let sets = CapabilitySets {
            effective: allowed,
            permitted: allowed,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets).expect("give up capabilities");
        apply_filter(&filter(calls)).expect("install the filter of system calls");
        work()
    };
    thread::scope(|scope| scope.spawn(inside).join().expect("the confined thread"))
}

fn filter(calls: &[String]) -> seccompiler::BpfProgram {
    // Lists are for several architectures; names that this one does not have are passed over.
    let numbers = calls.iter().filter_map(|name| Sysno::from_str(name).ok());
    let rules: BTreeMap<i64, _> = numbers.map(|call| (i64::from(call.id()), Vec::new())).collect();
    assert!(rules.len() > 50, "a list of {} system calls is none", rules.len());
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .expect("an architecture that seccompiler knows");
    let refuse = SeccompAction::Errno(nix::errno::Errno::EPERM as u32);
    let filter =
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, arch).expect("make a filter");
    filter.try_into().expect("compile the filter")
}

/// A capability by the name that Kubernetes has for it.
pub fn capability(name: &str) -> CapabilitySet {
    let found = CapabilitySet::from_name(name);
    found.unwrap_or_else(|| panic!("there is no capability {name}"))
}
