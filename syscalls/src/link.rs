//! Attaches programs: `BPF_LINK_CREATE`, and `BPF_PROG_ATTACH` on kernels without the link.

use crate::error::{Errno, Error, Result};
use crate::object::{self, LinkInfo};
use crate::{AttachType, Map, Prog};
use crate::{perf, uapi};
use bytemuck::Zeroable;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// An attached program. It is detached when the last descriptor and pin of the link are gone: at
/// once if a descriptor is closed, and shortly after if a pin is removed (`bpf_link_put` defers it
/// to a work queue). [`Link::detach`] always detaches at once.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

impl Link {
    /// `bpf(BPF_LINK_CREATE)`: `prog` on a cgroup and its descendants, in addition to others (as
    /// with `BPF_F_ALLOW_MULTI`). `cgroup` is an open folder of cgroup v2. Since Linux 5.7.
    ///
    /// # Errors
    /// `EBADF` if `cgroup` is not one; `EPERM` if an ancestor has a program that does not allow
    /// others; `EINVAL` if the kernel does not support such links or `prog` is of another type.
    pub fn to_cgroup(prog: &Prog, cgroup: BorrowedFd<'_>, attach_type: AttachType) -> Result<Self> {
        Self::create(prog, Some(cgroup), attach_type)
    }

    /// `bpf(BPF_LINK_CREATE)`: an XDP program on the network device with this index, in its
    /// driver's default mode. Since Linux 5.9.
    ///
    /// # Errors
    /// `EBUSY` if the device already has one, `EINVAL` if there is no such device, the kernel does
    /// not support such links or `prog` is of another type.
    pub fn to_interface(prog: &Prog, index: u32) -> Result<Self> {
        Self::create_on(prog, index, AttachType::XDP)
    }

    /// `bpf(BPF_LINK_CREATE)`: a classifier on what arrives at the network device with this index,
    /// after those that are there already (tcx). A return value of -1 (`TCX_NEXT`) passes the
    /// packet on to the next, 2 drops it. Since Linux 6.6.
    ///
    /// # Errors
    /// `ENODEV` if there is no such device; `EINVAL` if the kernel does not support such links or
    /// `prog` is of another type.
    pub fn to_ingress(prog: &Prog, index: u32) -> Result<Self> {
        Self::create_on(prog, index, AttachType::TCX_INGRESS)
    }

    /// The same for what leaves the device.
    ///
    /// # Errors
    /// As [`Link::to_ingress`].
    pub fn to_egress(prog: &Prog, index: u32) -> Result<Self> {
        Self::create_on(prog, index, AttachType::TCX_EGRESS)
    }

    /// `bpf(BPF_LINK_CREATE)`: a program on a network namespace (an open `/proc/PID/ns/net`): a
    /// lookup of sockets or a flow dissector. Since Linux 5.9 and 5.8.
    ///
    /// # Errors
    /// `EINVAL` if `namespace` is not one or `prog` is of another type.
    pub fn to_network_namespace(
        prog: &Prog,
        namespace: BorrowedFd<'_>,
        attach_type: AttachType,
    ) -> Result<Self> {
        Self::create(prog, Some(namespace), attach_type)
    }

    /// `perf_event_open` and `bpf(BPF_LINK_CREATE)`: a program of type tracepoint at the tracepoint
    /// with this group and name, as the folders of `/sys/kernel/tracing/events` have them. Since
    /// Linux 5.15.
    ///
    /// # Errors
    /// [`Error::KernelFile`] if there is no such tracepoint or tracefs is
    /// not mounted; `EINVAL` if `prog` is of another type.
    pub fn to_tracepoint(prog: &Prog, group: &str, name: &str) -> Result<Self> {
        Self::to_perf_event(prog, &perf::tracepoint(group, name)?)
    }

    /// `perf_event_open` and `bpf(BPF_LINK_CREATE)`: a kprobe at the entry of a kernel function.
    /// Since Linux 5.15.
    ///
    /// # Errors
    /// [`Error::KernelFile`] if the kernel has no kprobes; `ENOENT` or
    /// `EADDRNOTAVAIL` if it has no such function, `EINVAL` if that must not be probed or `prog` is
    /// of another type.
    pub fn to_kernel_function(prog: &Prog, name: &str) -> Result<Self> {
        Self::to_perf_event(prog, &perf::kernel_function(name, false)?)
    }

    /// The same at the return from the function.
    ///
    /// # Errors
    /// As [`Link::to_kernel_function`].
    pub fn to_kernel_return(prog: &Prog, name: &str) -> Result<Self> {
        Self::to_perf_event(prog, &perf::kernel_function(name, true)?)
    }

    /// `perf_event_open` and `bpf(BPF_LINK_CREATE)`: a program of type kprobe at the instruction at
    /// this offset of an executable or library, in all processes. Since Linux 5.15.
    ///
    /// # Errors
    /// [`Error::KernelFile`] if the kernel has no uprobes; `EINVAL` if
    /// there is no such instruction or `prog` is of another type.
    pub fn to_user_code(prog: &Prog, file: &Path, offset: u64) -> Result<Self> {
        Self::to_perf_event(prog, &perf::user_code(file, offset)?)
    }

    /// The link keeps the event.
    fn to_perf_event(prog: &Prog, event: &OwnedFd) -> Result<Self> {
        Self::create(prog, Some(event.as_fd()), AttachType::PERF_EVENT)
    }

    /// `bpf(BPF_RAW_TRACEPOINT_OPEN)`: a program of type raw tracepoint at the tracepoint of this
    /// name. Since Linux 4.17.
    ///
    /// # Errors
    /// `ENOENT` if there is no such tracepoint, `EINVAL` if `prog` is of another type.
    pub fn to_raw_tracepoint(prog: &Prog, name: &str) -> Result<Self> {
        let object = format!("tracepoint `{name}`");
        let name = CString::new(name)
            .map_err(|_| Error::invalid(object.clone(), "a name cannot contain a NUL byte"))?;
        let mut attr = uapi::RawTracepoint::zeroed();
        attr.name = name.as_ptr() as u64;
        attr.prog_fd = uapi::fd(prog.as_fd());
        // SAFETY: the name is a C string that outlives the call, which returns a new descriptor.
        let fd = unsafe { uapi::RAW_TRACEPOINT_OPEN.call_fd(&mut attr) }
            .map_err(uapi::RAW_TRACEPOINT_OPEN.failed(object))?;
        Ok(Self { fd })
    }

    /// `bpf(BPF_LINK_CREATE)`: an sk_msg program on a sockmap or sockhash. Since Linux 6.10; see
    /// [`Attachment::of_sk_msg`] for all kernels.
    ///
    /// # Errors
    /// `EBUSY` if the map already has one, `EINVAL` if the kernel does not support such links.
    pub fn to_sk_msg(prog: &Prog, map: &Map) -> Result<Self> {
        Self::create(prog, Some(map.as_fd()), AttachType::SK_MSG_VERDICT)
    }

    /// `bpf(BPF_LINK_CREATE)`: a verdict program on a sockmap or sockhash. Since Linux 6.10; see
    /// [`Attachment::of_sk_skb_verdict`] for all kernels.
    ///
    /// # Errors
    /// `EBUSY` if the map already has one, `EINVAL` if the kernel does not support such links.
    pub fn to_sk_skb_verdict(prog: &Prog, map: &Map) -> Result<Self> {
        Self::create(prog, Some(map.as_fd()), AttachType::SK_SKB_VERDICT)
    }

    /// `bpf(BPF_RAW_TRACEPOINT_OPEN)`: a tracing or LSM program at the tracepoint (`TRACE_RAW_TP`),
    /// function (`TRACE_FENTRY`, `TRACE_FEXIT`) or hook (`LSM_MAC`) that it was loaded for. Works
    /// on every kernel with such programs.
    ///
    /// # Errors
    /// `EINVAL` if `prog` is not such a program, `ENOTSUPP` (524) if the function cannot be
    /// traced.
    pub fn to_traced(prog: &Prog) -> Result<Self> {
        let mut attr = uapi::RawTracepoint::zeroed();
        attr.prog_fd = uapi::fd(prog.as_fd());
        // SAFETY: no address in the attribute (the name is for raw tracepoints); the command
        // returns a new descriptor.
        let fd = unsafe { uapi::RAW_TRACEPOINT_OPEN.call_fd(&mut attr) }
            .map_err(uapi::RAW_TRACEPOINT_OPEN.failed(format!("program `{}`", prog.name())))?;
        Ok(Self { fd })
    }

    /// `bpf(BPF_LINK_CREATE)`: an iterator program, over a map if it requires one
    /// (`bpf_sk_storage_map`, `sockmap`).
    ///
    /// # Errors
    /// `EINVAL` if `prog` is not an iterator, or if it requires a map and has none or one of
    /// another type.
    pub fn to_iter(prog: &Prog, map: Option<&Map>) -> Result<Self> {
        let target = map.map(|map| uapi::IterLinkInfo { map_fd: uapi::fd(map.as_fd()) });
        Self::to_iter_over(prog, target.as_ref().map_or(&[], bytemuck::bytes_of))
    }

    /// `bpf(BPF_LINK_CREATE)`: an iterator program over the objects of one process (`task`,
    /// `task_file`, `task_vma`), by its id in the caller's PID namespace. Since 6.1.
    ///
    /// # Errors
    /// `EINVAL` if `prog` is not such an iterator; `ESRCH` or `ENOENT` if there is no such process.
    pub fn to_iter_of_process(prog: &Prog, process: u32) -> Result<Self> {
        let target = uapi::IterTaskInfo { pid: process, ..uapi::IterTaskInfo::zeroed() };
        Self::to_iter_over(prog, bytemuck::bytes_of(&target))
    }

    /// `target` is a `union bpf_iter_link_info`, or empty.
    fn to_iter_over(prog: &Prog, target: &[u8]) -> Result<Self> {
        let mut attr = uapi::LinkCreate::zeroed();
        attr.prog_fd = uapi::fd(prog.as_fd());
        attr.attach_type = AttachType::TRACE_ITER.raw();
        if !target.is_empty() {
            attr.iter_info = uapi::addr(target);
            attr.iter_info_len = target.len() as u32;
        }
        // SAFETY: the iterator's argument is valid for its length; the command returns a new
        // descriptor.
        let fd = unsafe { uapi::LINK_CREATE.call_fd(&mut attr) }
            .map_err(uapi::LINK_CREATE.failed(format!("program `{}`", prog.name())))?;
        Ok(Self { fd })
    }

    fn create(
        prog: &Prog,
        target: Option<BorrowedFd<'_>>,
        attach_type: AttachType,
    ) -> Result<Self> {
        Self::create_on(prog, target.map_or(0, uapi::fd), attach_type)
    }

    /// `target` is a descriptor, or the index of a network device.
    fn create_on(prog: &Prog, target: u32, attach_type: AttachType) -> Result<Self> {
        let mut attr = uapi::LinkCreate::zeroed();
        attr.prog_fd = uapi::fd(prog.as_fd());
        attr.target_fd = target;
        attr.attach_type = attach_type.raw();
        // SAFETY: no address in the attribute; the command returns a new descriptor.
        let fd = unsafe { uapi::LINK_CREATE.call_fd(&mut attr) }
            .map_err(uapi::LINK_CREATE.failed(format!("program `{}`", prog.name())))?;
        Ok(Self { fd })
    }

    /// `bpf(BPF_OBJ_GET)`: the link that is pinned at `path`.
    ///
    /// # Errors
    /// As [`object::pin`]; [`Error::WrongObject`] if something else is
    /// pinned there.
    pub fn open_pinned(path: &Path) -> Result<Self> {
        let fd = object::open_pinned(path, object::Kind::Link)?;
        Ok(Self { fd })
    }

    /// `bpf(BPF_LINK_GET_FD_BY_ID)`: the link with this id.
    ///
    /// # Errors
    /// `ENOENT` if there is none; `EPERM` without `CAP_SYS_ADMIN`.
    pub fn open_id(id: u32) -> Result<Self> {
        let fd = object::open_id(uapi::LINK_GET_FD_BY_ID, id)?;
        Ok(Self { fd })
    }

    /// `bpf(BPF_OBJ_PIN)`: see [`object::pin`]. The program stays attached when the process ends.
    ///
    /// # Errors
    /// See there.
    pub fn pin(&self, path: &Path) -> Result<()> {
        object::pin(self, path)
    }

    /// `bpf(BPF_LINK_UPDATE)`: atomically replaces the program by `new`.
    ///
    /// # Errors
    /// `EINVAL` if `new` is of another type or the link does not support it, `ENOLINK` if it is
    /// detached.
    pub fn update(&self, new: &Prog) -> Result<()> {
        let mut attr = uapi::LinkUpdate::zeroed();
        attr.link_fd = uapi::fd(self.as_fd());
        attr.new_prog_fd = uapi::fd(new.as_fd());
        // SAFETY: no address in the attribute.
        unsafe { uapi::LINK_UPDATE.call(&mut attr) }
            .map(|_| ())
            .map_err(uapi::LINK_UPDATE.failed(format!("program `{}`", new.name())))
    }

    /// `bpf(BPF_LINK_DETACH)`: detaches at once, even if others hold the link. For cgroup links
    /// since Linux 5.9.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for links without the operation, such as tracing.
    pub fn detach(&self) -> Result<()> {
        let mut attr = uapi::LinkDetach::zeroed();
        attr.link_fd = uapi::fd(self.as_fd());
        // SAFETY: no address in the attribute.
        unsafe { uapi::LINK_DETACH.call(&mut attr) }
            .map(|_| ())
            .map_err(uapi::LINK_DETACH.failed("link"))
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: its info.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn info(&self) -> Result<LinkInfo> {
        object::link_info(self.as_fd())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An sk_msg or verdict program on a sockmap or sockhash, by the kernel's method.
#[derive(Debug)]
pub enum Attachment {
    /// By link: ends with the link.
    Link(Link),
    /// By `BPF_PROG_ATTACH`: ends with [`Attachment::detach`] or with the map; dropping has no
    /// effect.
    Legacy(Legacy),
}

/// What `BPF_PROG_DETACH` needs.
#[derive(Debug)]
pub struct Legacy {
    prog: OwnedFd,
    map: OwnedFd,
    attach_type: AttachType,
}

impl Attachment {
    /// [`Link::to_sk_msg`] if the kernel supports it, else [`Attachment::of_sk_msg_without_link`].
    ///
    /// # Errors
    /// `EBUSY` if the map has a linked program; otherwise as the latter.
    pub fn of_sk_msg(prog: &Prog, map: &Map) -> Result<Self> {
        Self::linked_or(Link::to_sk_msg(prog, map), || Self::of_sk_msg_without_link(prog, map))
    }

    /// `bpf(BPF_PROG_ATTACH)`: an sk_msg program on a sockmap or sockhash, replacing an existing
    /// one.
    ///
    /// # Errors
    /// `EINVAL` if `prog` is not sk_msg, `EOPNOTSUPP` if `map` is not a map of sockets, `EBUSY` if
    /// the map has a linked program.
    pub fn of_sk_msg_without_link(prog: &Prog, map: &Map) -> Result<Self> {
        Self::without_link(prog, map, AttachType::SK_MSG_VERDICT)
    }

    /// The same for a verdict program (`BPF_SK_SKB_VERDICT`): it runs for each segment that arrives
    /// at a socket added to the map while it was attached. Since Linux 5.13.
    ///
    /// # Errors
    /// As [`Attachment::of_sk_msg`]; `EBUSY` also if a parser is attached.
    pub fn of_sk_skb_verdict(prog: &Prog, map: &Map) -> Result<Self> {
        let without = || Self::without_link(prog, map, AttachType::SK_SKB_VERDICT);
        Self::linked_or(Link::to_sk_skb_verdict(prog, map), without)
    }

    fn linked_or(link: Result<Link>, without: impl FnOnce() -> Result<Self>) -> Result<Self> {
        match link {
            Ok(link) => Ok(Self::Link(link)),
            Err(error) if error.errno().is_some_and(Errno::says_unsupported) => without(),
            Err(error) => Err(error),
        }
    }

    fn without_link(prog: &Prog, map: &Map, attach_type: AttachType) -> Result<Self> {
        let failed = || uapi::PROG_ATTACH.failed(format!("map `{}`", map.name()));
        attach_to_map(prog.as_fd(), map.as_fd(), attach_type).map_err(failed())?;
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map_err(|e| failed()(errno_of(&e)));
        Ok(Self::Legacy(Legacy { prog: own(prog.as_fd())?, map: own(map.as_fd())?, attach_type }))
    }

    /// Atomically replaces the program by `new` for sockets that are added to the map from now on.
    /// Sockets in the map keep their program, and cannot be added again (`EBUSY`) before they are
    /// deleted (`sock_map_link`, net/core/sock_map.c).
    ///
    /// # Errors
    /// As [`Link::update`] or [`Attachment::of_sk_msg_without_link`].
    pub fn update(&mut self, new: &Prog) -> Result<()> {
        match self {
            Self::Link(link) => link.update(new),
            Self::Legacy(legacy) => {
                let failed = || uapi::PROG_ATTACH.failed(format!("program `{}`", new.name()));
                let prog = new.as_fd().try_clone_to_owned().map_err(|e| failed()(errno_of(&e)))?;
                attach_to_map(new.as_fd(), legacy.map.as_fd(), legacy.attach_type)
                    .map_err(failed())?;
                legacy.prog = prog;
                Ok(())
            }
        }
    }

    /// Detaches: `bpf(BPF_LINK_DETACH)` or `bpf(BPF_PROG_DETACH)`. Sockets in the map keep their
    /// program until they leave it.
    ///
    /// # Errors
    /// `ENOENT` if another program has replaced this one.
    pub fn detach(self) -> Result<()> {
        match self {
            Self::Link(link) => link.detach(),
            Self::Legacy(legacy) => {
                let mut attr =
                    attachment(legacy.prog.as_fd(), legacy.map.as_fd(), legacy.attach_type);
                // SAFETY: no address in the attribute.
                unsafe { uapi::PROG_DETACH.call(&mut attr) }
                    .map(|_| ())
                    .map_err(uapi::PROG_DETACH.failed("program of a sockmap"))
            }
        }
    }
}

fn attachment(
    prog: BorrowedFd<'_>,
    map: BorrowedFd<'_>,
    attach_type: AttachType,
) -> uapi::ProgAttach {
    let mut attr = uapi::ProgAttach::zeroed();
    attr.target_fd = uapi::fd(map);
    attr.attach_bpf_fd = uapi::fd(prog);
    attr.attach_type = attach_type.raw();
    attr
}

fn attach_to_map(
    prog: BorrowedFd<'_>,
    map: BorrowedFd<'_>,
    attach_type: AttachType,
) -> std::result::Result<i32, Errno> {
    // SAFETY: no address in the attribute.
    unsafe { uapi::PROG_ATTACH.call(&mut attachment(prog, map, attach_type)) }
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::Kind;
    use crate::fixture::{Cgroup, Counters, in_own_bpffs, load, socket_value, tcp_pair};
    use crate::insn::{EXIT, mov};
    use crate::object::{LinkKind, LinkTarget};
    use crate::{Btf, MapKind, MapSpec, ProgKind, ProgSpec, Update};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::linux::fs::MetadataExt;
    use std::time::{Duration, Instant};

    /// Connects from inside the cgroup; whether the counters at 0 and 1 were incremented.
    fn counted(counters: &Counters, cgroup: &Cgroup) -> (bool, bool) {
        let before = (counters.get(0), counters.get(1));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        cgroup.connect(listener.local_addr().unwrap().port());
        (counters.get(0) > before.0, counters.get(1) > before.1)
    }

    #[test]
    fn a_device_that_does_not_exist_has_no_program() {
        let xdp = load(ProgKind::from_raw(6), &[mov(0, 2), EXIT]);
        assert_eq!(Link::to_interface(&xdp, u32::MAX).unwrap_err().errno(), Some(Errno::INVAL));
    }

    #[test]
    fn a_sock_ops_program_runs_for_its_cgroup_until_it_is_replaced_or_detached() {
        let (counters, cgroup, other) = (Counters::new(), Cgroup::new(), Cgroup::new());
        let programs = [0, 1].map(|n| counters.program(ProgKind::SOCK_OPS, n));
        let folder = cgroup.open();
        let link =
            Link::to_cgroup(&programs[0], folder.as_fd(), AttachType::CGROUP_SOCK_OPS).unwrap();
        assert_eq!(counted(&counters, &cgroup), (true, false));
        assert_eq!(counted(&counters, &other), (false, false));

        let info = link.info().unwrap();
        let target = LinkTarget::Cgroup {
            id: folder.metadata().unwrap().st_ino(),
            attach_type: AttachType::CGROUP_SOCK_OPS,
        };
        assert_eq!((info.target, info.prog_id), (target, programs[0].info().unwrap().id));

        link.update(&programs[1]).unwrap();
        assert_eq!(counted(&counters, &cgroup), (false, true));
        link.detach().unwrap();
        assert_eq!(counted(&counters, &cgroup), (false, false));
        assert_eq!(link.update(&programs[0]).unwrap_err().errno(), Some(Errno::NOLINK));
    }

    #[test]
    fn a_pinned_link_outlives_its_descriptor() {
        in_own_bpffs(|dir| {
            let (counters, cgroup) = (Counters::new(), Cgroup::new());
            let program = counters.program(ProgKind::SOCK_OPS, 0);
            let link =
                Link::to_cgroup(&program, cgroup.open().as_fd(), AttachType::CGROUP_SOCK_OPS)
                    .unwrap();
            let id = link.info().unwrap().id;
            let path = dir.join("link");
            link.pin(&path).unwrap();
            drop(link);
            assert_eq!(counted(&counters, &cgroup), (true, false));
            assert_eq!(Link::open_pinned(&path).unwrap().info().unwrap().id, id);
            assert_eq!(Link::open_id(id).unwrap().info().unwrap().id, id);
            assert!(object::link_ids().any(|found| found.unwrap() == id));
            std::fs::remove_file(&path).unwrap();
            // The kernel releases it on a work queue.
            let deadline = Instant::now() + Duration::from_secs(10);
            while counted(&counters, &cgroup) != (false, false) {
                assert!(Instant::now() < deadline, "the link outlives its pin");
            }
        });
    }

    #[test]
    fn a_descriptor_that_is_not_a_cgroup_is_rejected() {
        let program = Counters::new().program(ProgKind::SOCK_OPS, 0);
        let refused = Link::to_cgroup(&program, program.as_fd(), AttachType::CGROUP_SOCK_OPS);
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::BADF));
    }

    /// An empty sockhash and both ends of a connection.
    fn sockhash() -> (Map, TcpStream, TcpStream) {
        let map = Map::create(&MapSpec::new(MapKind::SOCKHASH, "sockets", 4, 4, 4)).unwrap();
        let (client, server) = tcp_pair();
        (map, client, server)
    }

    /// Sends a byte and receives it; whether the counters at 0 and 1 were incremented.
    fn sent(
        counters: &Counters,
        (client, server): (&mut TcpStream, &mut TcpStream),
    ) -> (bool, bool) {
        let before = (counters.get(0), counters.get(1));
        client.write_all(b"x").unwrap();
        let mut byte = [0];
        server.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
        (counters.get(0) > before.0, counters.get(1) > before.1)
    }

    #[test]
    fn an_sk_msg_program_sees_messages_of_sockets_added_to_the_map_while_it_was_attached() {
        type Attach = fn(&Prog, &Map) -> Result<Attachment>;
        let ways: [(Attach, bool); 2] =
            [(Attachment::of_sk_msg, true), (Attachment::of_sk_msg_without_link, false)];
        for (attach, by_link) in ways {
            let counters = Counters::new();
            let programs = [0, 1].map(|n| counters.program(ProgKind::SK_MSG, n));
            let (map, mut client, mut server) = sockhash();
            let mut attachment = attach(&programs[0], &map).unwrap();
            assert_eq!(matches!(attachment, Attachment::Link(_)), by_link);
            map.update(&[0; 4], &socket_value(&client), Update::ANY).unwrap();
            assert_eq!(sent(&counters, (&mut client, &mut server)), (true, false));

            attachment.update(&programs[1]).unwrap();
            assert_eq!(sent(&counters, (&mut client, &mut server)), (true, false));
            map.delete(&[0; 4]).unwrap();
            map.update(&[0; 4], &socket_value(&client), Update::ANY).unwrap();
            assert_eq!(sent(&counters, (&mut client, &mut server)), (false, true));

            attachment.detach().unwrap();
            assert_eq!(sent(&counters, (&mut client, &mut server)), (false, true));
            let again = attach(&programs[0], &map).unwrap();
            again.detach().unwrap();
        }
    }

    #[test]
    fn an_sk_msg_link_names_its_map() {
        let (map, _client, _server) = sockhash();
        let program = Counters::new().program(ProgKind::SK_MSG, 0);
        let link = Link::to_sk_msg(&program, &map).unwrap();
        let target = LinkTarget::SockMap {
            map_id: map.info().unwrap().id,
            attach_type: AttachType::SK_MSG_VERDICT,
        };
        assert_eq!(link.info().unwrap().target, target);
        let second = Attachment::of_sk_msg(&program, &map).unwrap_err();
        assert_eq!(second.errno(), Some(Errno::BUSY));
    }

    #[test]
    fn an_sk_msg_program_cannot_be_attached_to_a_map_without_sockets() {
        let map = Map::create(&MapSpec::new(MapKind::HASH, "hash", 4, 4, 1)).unwrap();
        let program = load(ProgKind::SK_MSG, &[mov(0, 1), EXIT]);
        assert!(Attachment::of_sk_msg(&program, &map).is_err());
    }

    #[test]
    fn a_tracing_program_runs_as_long_as_its_link() {
        let counters = Counters::new();
        let insns = counters.counting(0, 0);
        let mut spec = ProgSpec::new(ProgKind::TRACING, "trace", c"GPL", insns.as_flattened());
        spec.expected_attach_type = AttachType::TRACE_RAW_TP;
        let btf = Btf::vmlinux().unwrap();
        spec.attach_btf_id = btf.find(Kind::Typedef, "btf_trace_inet_sock_set_state").unwrap();
        let link = Link::to_traced(&Prog::load(&spec).unwrap()).unwrap();
        let _pair = tcp_pair();
        // Two sockets have at least three state changes.
        let counted = counters.get(0);
        assert!(counted >= 3, "{counted}");
        assert_eq!(link.info().unwrap().kind, LinkKind::RAW_TRACEPOINT);
        drop(link);
        let counted = counters.get(0);
        let _pair = tcp_pair();
        assert_eq!(counters.get(0), counted);
    }

    #[test]
    fn only_tracing_programs_attach_to_tracepoints() {
        let refused = Link::to_traced(&load(ProgKind::SK_MSG, &[mov(0, 1), EXIT]));
        assert_eq!(refused.unwrap_err().errno(), Some(Errno::INVAL));
    }
}
