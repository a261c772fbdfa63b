//! The privileges of a running agent. Those that only the start needs are given up for good, so
//! that a compromised agent controls no more than the datapath.

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

/// Maps, programs and links; reading kernel memory from programs.
const NEEDED: CapabilitySet =
    CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN).union(CapabilitySet::PERFMON);

/// `/proc/PID` of other users' processes, to examine how they read, to name them, and to find who
/// listens. Optional.
const USED: CapabilitySet = CapabilitySet::SYS_PTRACE;

/// `setns`, and the maps of an instance; `/proc/PID/fd` of other users' processes.
const LOOKING: CapabilitySet =
    CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_PTRACE).union(CapabilitySet::DAC_READ_SEARCH);

/// Keeps of the calling thread's capabilities those that a running agent uses, and gives up the
/// others with every way to get them back: the bounding set is emptied where that is allowed, and
/// `no_new_privs` is set. Threads that are started from here on have no more.
///
/// Returns the names of those that are kept.
pub fn give_up() -> Result<Vec<String>> {
    let held = capabilities(None).context("cannot read the capabilities of this process")?;
    keep(held, kept(held.permitted))
}

/// The same for the process that adopts open connections: it enters other network namespaces, and
/// finds the processes that hold their sockets.
pub fn give_up_all_but_looking() -> Result<Vec<String>> {
    let held = capabilities(None).context("cannot read the capabilities of this process")?;
    keep(held, held.permitted & LOOKING)
}

fn keep(held: CapabilitySets, keep: CapabilitySet) -> Result<Vec<String>> {
    if held.effective.contains(CapabilitySet::SETPCAP) {
        empty_bounding_set().context("cannot empty the bounding set of capabilities")?;
    }
    clear_ambient_capability_set().context("cannot clear the ambient capabilities")?;
    set_no_new_privs(true).context("cannot set no_new_privs")?;
    let sets =
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets).context("cannot give up capabilities")?;
    Ok(keep.iter_names().map(|(name, _)| format!("CAP_{name}")).collect())
}

/// `CAP_SYS_ADMIN` stays only where it has to stand for one that is missing, as under a container
/// runtime that is older than `CAP_BPF`.
fn kept(held: CapabilitySet) -> CapabilitySet {
    let stand_in =
        if held.contains(NEEDED) { CapabilitySet::empty() } else { CapabilitySet::SYS_ADMIN };
    held & (NEEDED | USED | stand_in)
}

fn empty_bounding_set() -> Result<(), Errno> {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // One past the last that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_needed_or_used_and_was_held() {
        let admin = CapabilitySet::SYS_ADMIN;
        let cases = [
            (CapabilitySet::all(), NEEDED | USED),
            (NEEDED, NEEDED),
            (NEEDED | admin, NEEDED),
            (admin, admin),
            (
                admin | CapabilitySet::NET_ADMIN | CapabilitySet::CHOWN,
                admin | CapabilitySet::NET_ADMIN,
            ),
            (CapabilitySet::CHOWN, CapabilitySet::empty()),
        ];
        for (held, expected) in cases {
            assert_eq!(kept(held), expected, "{held:?}");
        }
    }

    #[test]
    fn a_thread_that_has_given_up_its_privileges_cannot_get_them_back() {
        // Capabilities belong to threads: the other tests keep theirs.
        let outcome = std::thread::spawn(|| {
            let kept = give_up().expect("give up (as root)");
            let now = capabilities(None).expect("ask");
            let again =
                CapabilitySets { permitted: now.permitted | CapabilitySet::SYS_ADMIN, ..now };
            let regained = set_capabilities(None, again).is_ok();
            // Run by root, a program gets what the bounding set and no_new_privs leave.
            let status = std::process::Command::new("cat")
                .arg("/proc/self/status")
                .output()
                .expect("start cat");
            (kept, regained, String::from_utf8(status.stdout).expect("text"))
        });
        let (kept, regained, status) = outcome.join().expect("the thread");
        assert_eq!(kept, ["CAP_NET_ADMIN", "CAP_SYS_PTRACE", "CAP_PERFMON", "CAP_BPF"]);
        assert!(!regained);
        for line in ["CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line:?} is not in\n{status}");
        }
    }
}
