//! Feature probes of the running kernel.
//!
//! Versions are unreliable: distributions backport features, and security modules disable them. So
//! each feature is used once in the smallest way, and everything created for that is removed again.
//! *No* means that the kernel lacks the feature; any other failure, such as a missing capability,
//! means *unknown*.

mod ask;

use crate::error::Error;
use crate::map::MapKind;
use crate::prog::ProgKind;

/// The answer to a probe.
#[derive(Debug)]
pub enum Answer {
    /// The kernel has it.
    Yes,
    /// The kernel does not have it.
    No,
    /// The probe failed for another reason.
    Unknown(Error),
}

impl Answer {
    /// Whether it is [`Answer::Yes`].
    pub fn is_yes(&self) -> bool {
        matches!(self, Self::Yes)
    }
}

/// A feature: its name, its probe, and the first release that has it.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// Its name for display.
    pub name: &'static str,
    /// What the probe does.
    pub test: &'static str,
    /// The first Linux release that has it.
    pub since: &'static str,
    probe: Probe,
}

#[derive(Clone, Copy, Debug)]
enum Probe {
    Prog(ProgKind),
    Map(MapKind),
    Helper(ProgKind, u32),
    Iter(&'static str),
    Plain(fn() -> Answer),
}

impl Feature {
    /// Probes the kernel. Takes some tens of microseconds, or some milliseconds for features that
    /// need vmlinux BTF.
    pub fn probe(&self) -> Answer {
        match self.probe {
            Probe::Prog(kind) => ask::prog(kind),
            Probe::Map(kind) => ask::map(kind),
            Probe::Helper(kind, helper) => ask::helper(kind, helper),
            Probe::Iter(target) => ask::iter(target),
            Probe::Plain(ask) => ask(),
        }
    }
}

/// Whether programs of this type can be loaded. Only for types that load without an attach point;
/// others are unknown.
pub fn prog(kind: ProgKind) -> Answer {
    ask::prog(kind)
}

/// Whether maps of this type can be created.
pub fn map(kind: MapKind) -> Answer {
    ask::map(kind)
}

/// Whether programs of this type may call the helper with this number (`__BPF_FUNC_MAPPER`,
/// include/uapi/linux/bpf.h).
pub fn helper(kind: ProgKind, helper: u32) -> Answer {
    ask::helper(kind, helper)
}

/// All known features, in the order for a report.
pub const ALL: &[Feature] = &[
    prog_feature("sock_ops programs", ProgKind::SOCK_OPS, "4.13"),
    prog_feature("sk_msg programs", ProgKind::SK_MSG, "4.17"),
    map_feature("percpu_array maps", MapKind::PERCPU_ARRAY, "4.6"),
    map_feature("lru_hash maps", MapKind::LRU_HASH, "4.10"),
    map_feature("sockhash maps", MapKind::SOCKHASH, "4.18"),
    map_feature("sk_storage maps", MapKind::SK_STORAGE, "5.2"),
    map_feature("ringbuf maps", MapKind::RINGBUF, "5.8"),
    helper_feature("sock_ops: bpf_get_socket_cookie", ProgKind::SOCK_OPS, 46, "4.12"),
    helper_feature("sock_ops: bpf_setsockopt", ProgKind::SOCK_OPS, 49, "4.13"),
    helper_feature("sock_ops: bpf_sock_hash_update", ProgKind::SOCK_OPS, 70, "4.18"),
    helper_feature("sock_ops: bpf_sk_storage_get", ProgKind::SOCK_OPS, 107, "5.2"),
    helper_feature("sock_ops: bpf_probe_read_kernel", ProgKind::SOCK_OPS, 113, "5.8"),
    helper_feature("sock_ops: bpf_jiffies64", ProgKind::SOCK_OPS, 118, "5.6"),
    helper_feature("sock_ops: bpf_get_netns_cookie", ProgKind::SOCK_OPS, 122, "5.15"),
    helper_feature("sock_ops: bpf_skc_to_tcp_sock", ProgKind::SOCK_OPS, 137, "5.9"),
    helper_feature("sk_msg: bpf_msg_redirect_hash", ProgKind::SK_MSG, 71, "4.18"),
    helper_feature("sk_msg: bpf_sk_storage_get", ProgKind::SK_MSG, 107, "5.8"),
    helper_feature("sk_msg: bpf_probe_read_kernel", ProgKind::SK_MSG, 113, "5.8"),
    helper_feature("sk_msg: bpf_jiffies64", ProgKind::SK_MSG, 118, "5.6"),
    helper_feature("sk_msg: bpf_get_netns_cookie", ProgKind::SK_MSG, 122, "5.15"),
    helper_feature("sk_msg: bpf_skc_to_tcp_sock", ProgKind::SK_MSG, 137, "5.9"),
    Feature {
        name: "instruction set v3",
        test: "loads a program with 32-bit moves and jumps",
        since: "5.1",
        probe: Probe::Plain(ask::isa_v3),
    },
    Feature {
        name: "fetching atomics",
        test: "loads a program with an atomic fetch-and-add",
        since: "5.12",
        probe: Probe::Plain(ask::atomic_fetch),
    },
    Feature {
        name: "cgroup links",
        test: "links a sock_ops program to a descriptor that is not a cgroup, and expects EBADF",
        since: "5.7",
        probe: Probe::Plain(ask::cgroup_link),
    },
    Feature {
        name: "sk_msg links",
        test: "links an sk_msg program to a sockhash of its own",
        since: "6.10",
        probe: Probe::Plain(ask::sk_msg_link),
    },
    Feature {
        name: "line information",
        test: "loads BTF and a program with function and line records",
        since: "5.0",
        probe: Probe::Plain(ask::line_info),
    },
    Feature {
        name: "kernel BTF",
        test: "reads /sys/kernel/btf/vmlinux",
        since: "5.4 with CONFIG_DEBUG_INFO_BTF",
        probe: Probe::Plain(ask::kernel_btf),
    },
    iter_feature("iterator over tcp", "tcp", "5.9"),
    iter_feature("iterator over sk_storage maps", "bpf_sk_storage_map", "5.9"),
    iter_feature("iterator over sockmap and sockhash", "sockmap", "5.10"),
];

const fn prog_feature(name: &'static str, kind: ProgKind, since: &'static str) -> Feature {
    Feature { name, test: "loads a program that only returns", since, probe: Probe::Prog(kind) }
}

const fn map_feature(name: &'static str, kind: MapKind, since: &'static str) -> Feature {
    Feature { name, test: "creates the smallest map", since, probe: Probe::Map(kind) }
}

const fn helper_feature(
    name: &'static str,
    kind: ProgKind,
    helper: u32,
    since: &'static str,
) -> Feature {
    Feature {
        name,
        test: "loads a program that calls it, and reads the verifier's error about the call",
        since,
        probe: Probe::Helper(kind, helper),
    }
}

const fn iter_feature(name: &'static str, target: &'static str, since: &'static str) -> Feature {
    Feature {
        name,
        test: "looks for the iterator in the kernel's BTF and loads a program for it",
        since,
        probe: Probe::Iter(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;
    use crate::fixture::without_capabilities;

    /// Hardened hosts reject programs that iterate over map elements with EPERM even for root,
    /// which does not mean *no*.
    fn is_rejected_iterator(feature: &Feature, answer: &Answer) -> bool {
        feature.name.contains("map")
            && matches!(feature.probe, Probe::Iter(_))
            && matches!(answer, Answer::Unknown(e) if e.errno() == Some(Errno::PERM))
    }

    #[test]
    fn a_kernel_of_2025_has_every_feature() {
        for feature in ALL {
            let answer = feature.probe();
            let expected = answer.is_yes() || is_rejected_iterator(feature, &answer);
            assert!(expected, "{}: {answer:?}", feature.name);
        }
    }

    #[test]
    fn a_feature_that_no_kernel_has_is_no() {
        let far = 60_000;
        assert!(matches!(prog(ProgKind::from_raw(far)), Answer::No));
        assert!(matches!(map(MapKind::from_raw(far)), Answer::No));
        assert!(matches!(helper(ProgKind::SK_MSG, far), Answer::No));
        assert!(matches!(helper(ProgKind::from_raw(far), 1), Answer::No));
        assert!(matches!(ask::iter("no_such_target"), Answer::No));
    }

    #[test]
    fn a_helper_of_other_program_types_is_no() {
        const BPF_XDP_ADJUST_HEAD: u32 = 44;
        const BPF_SOCK_HASH_UPDATE: u32 = 70;
        for (kind, number) in [
            (ProgKind::SK_MSG, BPF_XDP_ADJUST_HEAD),
            (ProgKind::SK_MSG, BPF_SOCK_HASH_UPDATE),
            (ProgKind::SOCK_OPS, BPF_XDP_ADJUST_HEAD),
        ] {
            let answer = helper(kind, number);
            assert!(matches!(answer, Answer::No), "{kind:?} {number}: {answer:?}");
        }
    }

    #[test]
    fn without_capabilities_no_answer_is_no() {
        without_capabilities(|| {
            for feature in ALL {
                let answer = feature.probe();
                assert!(!matches!(answer, Answer::No), "{}", feature.name);
            }
            let refused = prog(ProgKind::SK_MSG);
            assert!(
                matches!(&refused, Answer::Unknown(e) if e.errno() == Some(Errno::PERM)),
                "{refused:?}"
            );
        });
    }
}
