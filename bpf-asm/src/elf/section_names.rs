//! The section names from which libbpf takes the program type (libbpf `section_defs`,
//! tools/lib/bpf/libbpf.c, Linux 7.0).

/// Complete names.
const WHOLE: &[&str] = &[
    "socket",
    "sk_reuseport/migrate",
    "sk_reuseport",
    "tc",
    "classifier",
    "action",
    "netkit/primary",
    "netkit/peer",
    "xdp",
    "xdp/devmap",
    "xdp/cpumap",
    "xdp.frags",
    "xdp.frags/devmap",
    "xdp.frags/cpumap",
    "perf_event",
    "lwt_in",
    "lwt_out",
    "lwt_xmit",
    "lwt_seg6local",
    "sockops",
    "sk_skb",
    "sk_skb/stream_parser",
    "sk_skb/stream_verdict",
    "sk_skb/verdict",
    "sk_msg",
    "lirc_mode2",
    "flow_dissector",
    "cgroup_skb/ingress",
    "cgroup_skb/egress",
    "cgroup/skb",
    "cgroup/sock_create",
    "cgroup/sock_release",
    "cgroup/sock",
    "cgroup/post_bind4",
    "cgroup/post_bind6",
    "cgroup/bind4",
    "cgroup/bind6",
    "cgroup/connect4",
    "cgroup/connect6",
    "cgroup/connect_unix",
    "cgroup/sendmsg4",
    "cgroup/sendmsg6",
    "cgroup/sendmsg_unix",
    "cgroup/recvmsg4",
    "cgroup/recvmsg6",
    "cgroup/recvmsg_unix",
    "cgroup/getpeername4",
    "cgroup/getpeername6",
    "cgroup/getpeername_unix",
    "cgroup/getsockname4",
    "cgroup/getsockname6",
    "cgroup/getsockname_unix",
    "cgroup/sysctl",
    "cgroup/getsockopt",
    "cgroup/setsockopt",
    "cgroup/dev",
    "sk_lookup",
    "netfilter",
    "syscall",
    "struct_ops",
    "struct_ops.s",
    "tcx/ingress",
    "tcx/egress",
    "tc/ingress",
    "tc/egress",
];

/// Prefixes before a slash; those with a plus may also be the whole name.
const WITH_TARGET: &[&str] = &[
    "kprobe",
    "uprobe",
    "uprobe.s",
    "kretprobe",
    "uretprobe",
    "uretprobe.s",
    "kprobe.multi",
    "kretprobe.multi",
    "kprobe.session",
    "uprobe.multi",
    "uretprobe.multi",
    "uprobe.session",
    "uprobe.multi.s",
    "uretprobe.multi.s",
    "uprobe.session.s",
    "ksyscall",
    "kretsyscall",
    "usdt",
    "usdt.s",
    "tracepoint",
    "tp",
    "raw_tracepoint",
    "raw_tp",
    "raw_tracepoint.w",
    "raw_tp.w",
    "tp_btf",
    "fentry",
    "fmod_ret",
    "fexit",
    "fentry.s",
    "fmod_ret.s",
    "fexit.s",
    "fsession",
    "fsession.s",
    "freplace",
    "lsm",
    "lsm.s",
    "lsm_cgroup",
    "iter",
    "iter.s",
    "struct_ops",
    "struct_ops.s",
];

/// A warning about an unknown section name, with a hint.
pub(super) fn warning(name: &str) -> Option<(String, String)> {
    // A question mark disables autoload.
    let known = name.strip_prefix('?').unwrap_or(name);
    let (kind, target) =
        known.split_once('/').map_or((known, None), |(kind, target)| (kind, Some(target)));
    if name == super::TEXT
        || WHOLE.contains(&known)
        || WITH_TARGET.contains(&kind) && target != Some("")
    {
        return None;
    }
    let message =
        format!("unknown section `{name}`, from whose name libbpf takes the program's type");
    let names = WHOLE.iter().chain(WITH_TARGET.iter());
    let hint = match crate::text::similar(known, names) {
        Some(similar) => format!("did you mean `{similar}`?"),
        None => {
            "for example `xdp`, `tc`, `socket`, `cgroup/connect4` or `kprobe/FUNCTION`".to_owned()
        }
    };
    Some((message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_section_names_are_warned_about_with_a_hint() {
        for name in [
            "xdp",
            "?tc",
            "kprobe/do_exit",
            "kprobe",
            "iter/tcp",
            "cgroup/connect4",
            ".text",
            "fentry.s/f",
        ] {
            assert_eq!(warning(name), None, "{name}");
        }
        for (name, hint) in [
            ("xpd", "did you mean `xdp`?"),
            ("cgroup/conect4", "did you mean `cgroup/connect4`?"),
            ("xdp/what", "for example"),
            ("kprob/f", "did you mean `kprobe`?"),
        ] {
            let (message, found) = warning(name).expect(name);
            assert!(message.contains(name) && found.contains(hint), "{name}: {found}");
        }
    }
}
