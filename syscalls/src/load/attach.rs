//! Attaches programs to what their type is for.

use std::os::fd::BorrowedFd;
use std::path::Path;

use bpf_asm::{Program, ProgramType};

use super::LoadError;
use crate::{AttachType, Link, Map, Prog};

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Target<'a> {
    /// The network device with this index: XDP (since Linux 5.9).
    Device(u32),
    /// What arrives at the network device with this index: classifiers (since 6.6).
    Ingress(u32),
    /// What leaves it: classifiers (since 6.6).
    Egress(u32),
    /// A cgroup and its descendants, as an open folder of cgroup v2: all types of cgroup programs
    /// (since 5.7).
    Cgroup(BorrowedFd<'a>),
    /// What it was loaded for: a tracepoint, function or LSM hook by BTF (`tp_btf`, `fentry`,
    /// `fexit`, `fmod_ret`, LSM). A BPF LSM program runs only where `bpf` is among the active
    /// security modules, `/sys/kernel/security/lsm`.
    AsLoaded,
    /// A tracepoint by name: raw tracepoints (since 4.17).
    RawTracepoint(&'a str),
    /// A tracepoint by group and name, such as `syscalls` and `sys_enter_openat` (since 5.15).
    Tracepoint(&'a str, &'a str),
    /// The entry of a kernel function: kprobes (since 5.15).
    KernelFunction(&'a str),
    /// The return from a kernel function: kprobes (since 5.15).
    KernelReturn(&'a str),
    /// The instruction at this offset of a file, for all processes: kprobes (since 5.15).
    UserCode(&'a Path, u64),
    /// The passes that [`Iter::of_link`](crate::Iter::of_link) starts: iterators, over a map if
    /// they require one (since 5.8).
    Iterator(Option<&'a Map>),
    /// The sockets of a sockmap or sockhash: sk_msg and verdicts (since 6.10; before, with
    /// [`Attachment`](crate::Attachment)).
    Sockets(&'a Map),
    /// A network namespace, as an open file: lookups of sockets, flow dissectors (since 5.9).
    NetworkNamespace(BorrowedFd<'a>),
}

impl Target<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Device(_) => "a network device",
            Self::Ingress(_) => "the ingress of a network device",
            Self::Egress(_) => "the egress of a network device",
            Self::Cgroup(_) => "a cgroup",
            Self::AsLoaded => "what it was loaded for",
            Self::RawTracepoint(_) => "a raw tracepoint",
            Self::Tracepoint(..) => "a tracepoint",
            Self::KernelFunction(_) | Self::KernelReturn(_) => "a kernel function by name",
            Self::UserCode(..) => "code of processes",
            Self::Iterator(_) => "passes of an iterator",
            Self::Sockets(_) => "a map of sockets",
            Self::NetworkNamespace(_) => "a network namespace",
        }
    }
}

/// Attaches a loaded program. It is detached when the link is dropped, unless the link is pinned.
///
/// # Errors
/// [`LoadError::WrongTarget`] if programs of its type do not attach there; [`LoadError::System`] as
/// the functions of [`Link`].
pub fn attach(program: &Program, loaded: &Prog, target: Target<'_>) -> Result<Link, LoadError> {
    use ProgramType as Type;
    let kind = program.kind();
    let attach_type = AttachType::from_raw(kind.attach_type());
    let link = match (target, kind) {
        (Target::Device(index), Type::Xdp) => Link::to_interface(loaded, index),
        (Target::Ingress(index), Type::Classifier) => Link::to_ingress(loaded, index),
        (Target::Egress(index), Type::Classifier) => Link::to_egress(loaded, index),
        (Target::Cgroup(cgroup), kind) if is_for_cgroups(kind) => {
            Link::to_cgroup(loaded, cgroup, attach_type)
        }
        (
            Target::AsLoaded,
            Type::Tracepoint | Type::Entry | Type::Exit | Type::ModifyReturn | Type::Lsm,
        ) => Link::to_traced(loaded),
        (Target::RawTracepoint(name), Type::RawTracepoint) => Link::to_raw_tracepoint(loaded, name),
        (Target::Tracepoint(group, name), Type::PlainTracepoint) => {
            Link::to_tracepoint(loaded, group, name)
        }
        (Target::KernelFunction(name), Type::Kprobe) => Link::to_kernel_function(loaded, name),
        (Target::KernelReturn(name), Type::Kprobe) => Link::to_kernel_return(loaded, name),
        (Target::UserCode(file, offset), Type::Kprobe) => Link::to_user_code(loaded, file, offset),
        (Target::Iterator(map), Type::Iterator) => Link::to_iter(loaded, map),
        (Target::Sockets(map), Type::SkMsg) => Link::to_sk_msg(loaded, map),
        (Target::Sockets(map), Type::SkSkbVerdict) => Link::to_sk_skb_verdict(loaded, map),
        (Target::NetworkNamespace(file), Type::SkLookup | Type::FlowDissector) => {
            Link::to_network_namespace(loaded, file, attach_type)
        }
        // Whoever gives a type by its number knows where it attaches.
        (target, kind) => {
            return Err(LoadError::WrongTarget {
                program: program.name().to_owned(),
                kind: format!("{kind:?}"),
                target: target.name(),
            });
        }
    };
    Ok(link?)
}

fn is_for_cgroups(kind: ProgramType) -> bool {
    use ProgramType as Type;
    matches!(
        kind,
        Type::CgroupIngress
            | Type::CgroupEgress
            | Type::SockCreate
            | Type::PostBind4
            | Type::PostBind6
            | Type::SockOps
            | Type::CgroupDevice
            | Type::Bind4
            | Type::Bind6
            | Type::Connect4
            | Type::Connect6
            | Type::SendMsg4
            | Type::SendMsg6
            | Type::RecvMsg4
            | Type::RecvMsg6
            | Type::GetPeerName4
            | Type::GetPeerName6
            | Type::GetSockName4
            | Type::GetSockName6
            | Type::Sysctl
            | Type::GetSockOpt
            | Type::SetSockOpt
            | Type::LsmCgroup
            | Type::Other { .. }
    )
}
