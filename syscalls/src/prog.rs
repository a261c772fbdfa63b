//! Programs: `BPF_PROG_LOAD`, and queries of loaded programs.

use crate::error::{Errno, Error, Result};
use crate::object::{self, FuncInfo, LineInfo, ProgInfo};
use crate::uapi::{self, open_enum};
use crate::{memlock, name};
use bytemuck::Zeroable;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

open_enum! {
    /// `enum bpf_prog_type`
    pub struct ProgKind {
        /// Filters packets of a socket; supports `BPF_PROG_TEST_RUN`.
        SOCKET_FILTER = 1,
        /// Runs at a kprobe or uprobe.
        KPROBE = 2,
        /// Classifies packets of a network device (tc).
        SCHED_CLS = 3,
        /// Runs at a tracepoint, with the fields of its format.
        TRACEPOINT = 5,
        /// Runs on packets that a network device has just received.
        XDP = 6,
        /// Runs on events of TCP connections.
        SOCK_OPS = 13,
        /// Runs on packets of sockets in a sockmap.
        SK_SKB = 14,
        /// Runs on each `sendmsg` of a socket in a sockmap or sockhash.
        SK_MSG = 16,
        /// Runs at a tracepoint with its raw arguments.
        RAW_TRACEPOINT = 17,
        /// Runs on `setsockopt` and `getsockopt` of processes in a cgroup.
        CGROUP_SOCKOPT = 25,
        /// fentry, fexit and iterators, typed by BTF.
        TRACING = 26,
        /// Runs at security hooks.
        LSM = 29,
        /// Run by user space only.
        SYSCALL = 31,
    }
}

open_enum! {
    /// `enum bpf_attach_type`. Zero means `BPF_CGROUP_INET_INGRESS` as well as none, as in the
    /// kernel.
    pub struct AttachType {
        /// No expected attach type.
        NONE = 0,
        /// sock_ops on a cgroup.
        CGROUP_SOCK_OPS = 3,
        /// `setsockopt` by processes in a cgroup.
        CGROUP_SETSOCKOPT = 22,
        /// sk_msg on a sockmap or sockhash.
        SK_MSG_VERDICT = 7,
        /// Tracing: a raw tracepoint typed by BTF.
        TRACE_RAW_TP = 23,
        /// Tracing: at the entry of a kernel function.
        TRACE_FENTRY = 24,
        /// Tracing: at the exit of a kernel function.
        TRACE_FEXIT = 25,
        /// Tracing: an iterator.
        TRACE_ITER = 28,
        /// LSM: at a security hook.
        LSM_MAC = 27,
        /// XDP on a network device.
        XDP = 37,
        /// sk_skb on a sockmap or sockhash, on whole segments, without a parser.
        SK_SKB_VERDICT = 38,
        /// A tracepoint, kprobe or uprobe by its perf event.
        PERF_EVENT = 41,
        /// A classifier on what arrives at a network device.
        TCX_INGRESS = 46,
        /// A classifier on what leaves a network device.
        TCX_EGRESS = 47,
    }
}

open_enum! {
    /// Verbosity of the verifier's log: `BPF_LOG_*` of include/linux/bpf_verifier.h.
    pub struct LogLevel {
        /// The path that ends in an error.
        BASIC = 1,
        /// Every instruction on every path.
        DETAILED = 2,
        /// Only statistics: instructions processed, states, stack depth, time.
        STATS = 4,
    }
}

/// BTF for a program: its function info and line info.
#[derive(Clone, Copy, Debug)]
pub struct ProgBtf<'a> {
    /// The loaded BTF object.
    pub fd: BorrowedFd<'a>,
    /// Records of `struct bpf_func_info`, the first for instruction 0.
    pub func_info: &'a [u8],
    /// Size of a record: currently 8.
    pub func_info_rec_size: u32,
    /// Records of `struct bpf_line_info`, by ascending instruction.
    pub line_info: &'a [u8],
    /// Size of a record: currently 16.
    pub line_info_rec_size: u32,
}

/// A program to load.
#[derive(Clone, Debug)]
pub struct ProgSpec<'a> {
    /// The program's type.
    pub kind: ProgKind,
    /// Its name; truncated to 15 bytes, and bytes outside `[A-Za-z0-9_.]` become `_`.
    pub name: &'a str,
    /// Its instructions, 8 bytes each (RFC 9669 section 3), map references as file descriptors.
    pub insns: &'a [u8],
    /// Its licence; some helpers require one that is compatible with the GPL
    /// (`license_is_gpl_compatible`).
    pub license: &'a CStr,
    /// The hook that it is verified for, if its type has several.
    pub expected_attach_type: AttachType,
    /// Tracing: the BTF id of the function or iterator; 0 for none.
    pub attach_btf_id: u32,
    /// Tracing: the BTF object of that id; vmlinux if none.
    pub attach_btf_obj: Option<BorrowedFd<'a>>,
    /// `BPF_F_*` flags of `BPF_PROG_LOAD`.
    pub flags: u32,
    /// Function and line info.
    pub btf: Option<ProgBtf<'a>>,
    /// The maps and modules' BTF that instructions refer to by index (`fd_array`, since Linux
    /// 5.14).
    pub fd_array: &'a [BorrowedFd<'a>],
}

impl<'a> ProgSpec<'a> {
    /// A program with default attributes.
    pub fn new(kind: ProgKind, name: &'a str, license: &'a CStr, insns: &'a [u8]) -> Self {
        Self {
            kind,
            name,
            insns,
            license,
            expected_attach_type: AttachType::NONE,
            attach_btf_id: 0,
            attach_btf_obj: None,
            flags: 0,
            btf: None,
            fd_array: &[],
        }
    }

    fn object(&self) -> String {
        format!("program `{}`", self.name)
    }

    fn attr(&self) -> Result<uapi::ProgLoad> {
        let mut attr = uapi::ProgLoad::zeroed();
        attr.prog_type = self.kind.raw();
        attr.insn_cnt = self.count("instructions", self.insns, 8)?;
        attr.insns = uapi::addr(self.insns);
        attr.license = self.license.as_ptr() as u64;
        attr.prog_flags = self.flags;
        attr.prog_name = name::object_name(self.name);
        attr.expected_attach_type = self.expected_attach_type.raw();
        attr.attach_btf_id = self.attach_btf_id;
        attr.attach_btf_obj_fd = self.attach_btf_obj.map_or(0, uapi::fd);
        if !self.fd_array.is_empty() {
            attr.fd_array = self.fd_array.as_ptr() as u64;
        }
        if let Some(btf) = &self.btf {
            attr.prog_btf_fd = uapi::fd(btf.fd);
            attr.func_info_rec_size = btf.func_info_rec_size;
            attr.func_info = uapi::addr(btf.func_info);
            attr.func_info_cnt =
                self.count("function records", btf.func_info, btf.func_info_rec_size)?;
            attr.line_info_rec_size = btf.line_info_rec_size;
            attr.line_info = uapi::addr(btf.line_info);
            attr.line_info_cnt =
                self.count("line records", btf.line_info, btf.line_info_rec_size)?;
        }
        Ok(attr)
    }

    /// The number of records of `size` bytes in `bytes`. The kernel reads that many, so there must
    /// be no remainder.
    fn count(&self, what: &str, bytes: &[u8], size: u32) -> Result<u32> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let whole = size != 0 && bytes.len().is_multiple_of(size as usize);
        let count = u32::try_from(bytes.len() / (size.max(1) as usize));
        match count {
            Ok(count) if whole => Ok(count),
            _ => Err(Error::invalid(
                self.object(),
                format!(
                    "{} bytes of {what} are not a multiple of the record size {size}",
                    bytes.len()
                ),
            )),
        }
    }
}

/// The initial size of the log buffer.
const LOG_START: usize = 64 << 10;
/// The longest log that every kernel supports: `UINT_MAX >> 8` (`bpf_verifier_log_attr_valid`
/// before Linux 5.17).
const LOG_LIMIT: usize = (u32::MAX >> 8) as usize;

/// A log, and whether it is truncated because it exceeds the maximum.
pub(crate) struct Log {
    pub text: String,
    pub truncated: bool,
}

/// Repeats a command with a growing log buffer while the kernel returns `ENOSPC`.
pub(crate) fn with_growing_log<T>(
    mut request: impl FnMut(&mut [u8]) -> std::result::Result<T, Errno>,
) -> (std::result::Result<T, Errno>, Log) {
    let mut size = LOG_START;
    loop {
        let mut buffer = vec![0; size];
        let answer = request(&mut buffer);
        let full = matches!(answer, Err(Errno::NOSPC));
        if full && size < LOG_LIMIT {
            size = (size * 4).min(LOG_LIMIT);
            continue;
        }
        let end = buffer.iter().position(|&b| b == 0).unwrap_or(size);
        let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
        return (answer, Log { text, truncated: full });
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct Prog {
    fd: OwnedFd,
    name: String,
}

impl Prog {
    /// `bpf(BPF_PROG_LOAD)`, without a log, which is fast; if the kernel rejects it, repeated with
    /// a log.
    ///
    /// # Errors
    /// [`Error::LoadRejected`] with the whole log; [`Error::Invalid`] if instructions or records
    /// are incomplete.
    pub fn load(spec: &ProgSpec<'_>) -> Result<Self> {
        let mut attr = spec.attr()?;
        match Self::try_load(&mut attr) {
            Ok(fd) => Ok(Self::new(fd, spec)),
            Err(errno) => {
                let (again, log) = Self::load_logging(&attr, LogLevel::BASIC);
                // A signal or temporary shortage can make only the first attempt fail.
                again.map(|fd| Self::new(fd, spec)).map_err(|_| rejected(spec.object(), errno, log))
            }
        }
    }

    /// `bpf(BPF_PROG_LOAD)` with a log, which is also returned for accepted programs.
    ///
    /// # Errors
    /// As [`Prog::load`].
    pub fn load_with_log(spec: &ProgSpec<'_>, level: LogLevel) -> Result<(Self, String)> {
        match Self::load_logging(&spec.attr()?, level) {
            (Ok(fd), log) => Ok((Self::new(fd, spec), log.text)),
            (Err(errno), log) => Err(rejected(spec.object(), errno, log)),
        }
    }

    fn new(fd: OwnedFd, spec: &ProgSpec<'_>) -> Self {
        Self { fd, name: spec.name.to_owned() }
    }

    fn load_logging(
        attr: &uapi::ProgLoad,
        level: LogLevel,
    ) -> (std::result::Result<OwnedFd, Errno>, Log) {
        with_growing_log(|buffer| {
            let mut attr = *attr;
            attr.log_level = level.raw();
            attr.log_size = buffer.len() as u32;
            attr.log_buf = uapi::addr_mut(buffer);
            Self::try_load(&mut attr)
        })
    }

    /// The verifier fails with `EAGAIN` when a signal is pending, so the load is repeated.
    fn try_load(attr: &mut uapi::ProgLoad) -> std::result::Result<OwnedFd, Errno> {
        const ATTEMPTS: u32 = 5;
        let mut answer = Err(Errno::AGAIN);
        for _ in 0..ATTEMPTS {
            // SAFETY: addresses are those of slices that `ProgSpec::attr` has counted in whole
            // records, of a C string and of a log buffer of `log_size` bytes, all of which outlive
            // the call.
            answer = memlock::lifted(|| unsafe { uapi::PROG_LOAD.call_fd(attr) });
            if !matches!(answer, Err(Errno::AGAIN)) {
                break;
            }
        }
        answer
    }

    /// `bpf(BPF_OBJ_GET)`: the program pinned at `path`.
    ///
    /// # Errors
    /// As [`object::pin`]; [`Error::WrongObject`] if it is another kind of object.
    pub fn open_pinned(path: &Path) -> Result<Self> {
        Self::named(object::open_pinned(path, object::Kind::Prog)?)
    }

    /// `bpf(BPF_PROG_GET_FD_BY_ID)`: the program with this id.
    ///
    /// # Errors
    /// `ENOENT` if there is none; `EPERM` without `CAP_SYS_ADMIN`.
    pub fn open_id(id: u32) -> Result<Self> {
        Self::named(object::open_id(uapi::PROG_GET_FD_BY_ID, id)?)
    }

    fn named(fd: OwnedFd) -> Result<Self> {
        let name = object::prog_info(fd.as_fd(), "program")?.name;
        Ok(Self { fd, name })
    }

    /// `bpf(BPF_OBJ_PIN)`: see [`object::pin`].
    ///
    /// # Errors
    /// See there.
    pub fn pin(&self, path: &Path) -> Result<()> {
        object::pin(self, path)
    }

    /// Its name, not truncated.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn object(&self) -> String {
        format!("program `{}`", self.name)
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: its info.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn info(&self) -> Result<ProgInfo> {
        object::prog_info(self.as_fd(), &self.object())
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: its instructions as rewritten by the verifier, 8 bytes each.
    /// None without `CAP_BPF`, or if constants are blinded and kernel addresses are hidden.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn xlated(&self) -> Result<Vec<u8>> {
        object::xlated(self.as_fd(), &self.object())
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: the function info of its rewritten instructions. Empty
    /// without BTF.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn func_info(&self) -> Result<Vec<FuncInfo>> {
        object::func_info(self.as_fd(), &self.object())
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: the line info of its rewritten instructions. Empty without
    /// BTF.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn line_info(&self) -> Result<Vec<LineInfo>> {
        object::line_info(self.as_fd(), &self.object())
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: the address of the machine code for each line record; zeros
    /// if `kernel.kptr_restrict` hides addresses, empty without JIT.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn jited_line_info(&self) -> Result<Vec<u64>> {
        object::jited_line_info(self.as_fd(), &self.object())
    }

    /// `bpf(BPF_PROG_TEST_RUN)`: runs it `repeat` times on a packet, of at least 14 bytes for
    /// network types.
    ///
    /// # Errors
    /// `ENOTSUPP` (524) for types without test runs, such as sock_ops and sk_msg.
    pub fn test_run(&self, packet: &[u8], repeat: u32) -> Result<TestRun> {
        self.run_on(packet, &mut [], repeat)
    }

    /// `setsockopt(SO_ATTACH_BPF)`: makes a socket filter the filter of a socket, replacing an
    /// existing one. The socket holds a reference. Since Linux 3.19.
    ///
    /// # Errors
    /// `EINVAL` if this is not a socket filter, `ENOTSOCK` (88) if that is not a socket, `EPERM` if
    /// the filter is locked.
    pub fn attach_to_socket(&self, socket: impl AsFd) -> Result<()> {
        let prog = uapi::fd(self.as_fd());
        let (address, size) = ((&raw const prog).cast(), size_of_val(&prog) as libc::socklen_t);
        // SAFETY: the option's value is valid for its size.
        let answer = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_BPF,
                address,
                size,
            )
        };
        if answer < 0 {
            return Err(Error::command("SO_ATTACH_BPF", self.object(), Errno::last()));
        }
        Ok(())
    }

    /// `bpf(BPF_PROG_TEST_RUN)`: runs it once on a packet, which it may modify.
    ///
    /// # Errors
    /// As [`Prog::test_run`]; `ENOSPC` if the program extended the packet.
    pub fn transform(&self, packet: &mut [u8]) -> Result<TestRun> {
        let before = packet.to_vec();
        self.run_on(&before, packet, 1)
    }

    fn run_on(&self, packet: &[u8], out: &mut [u8], repeat: u32) -> Result<TestRun> {
        let mut attr = uapi::TestRun::zeroed();
        attr.prog_fd = uapi::fd(self.as_fd());
        attr.data_in = uapi::addr(packet);
        attr.data_size_in = u32::try_from(packet.len()).map_err(|_| {
            Error::invalid(
                self.object(),
                format!("a packet of {} bytes; the maximum is 4 GiB", packet.len()),
            )
        })?;
        attr.repeat = repeat;
        if !out.is_empty() {
            attr.data_out = uapi::addr_mut(out);
            attr.data_size_out =
                attr.data_size_in.min(u32::try_from(out.len()).unwrap_or(u32::MAX));
        }
        // SAFETY: both packets are valid for their lengths; without `data_out` nothing is written.
        unsafe { uapi::PROG_TEST_RUN.call(&mut attr) }
            .map_err(uapi::PROG_TEST_RUN.failed(self.object()))?;
        Ok(TestRun { retval: attr.retval, mean_ns: attr.duration })
    }
}

impl AsFd for Prog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The result of [`Prog::test_run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The return value of the last run.
    pub retval: u32,
    /// Mean run time in ns.
    pub mean_ns: u32,
}

pub(crate) fn rejected(object: String, errno: Errno, log: Log) -> Error {
    Error::LoadRejected { object, errno, log: log.text, truncated: log.truncated }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::blob::Blob;
    use crate::fixture::{GPL, in_own_bpffs, load};
    use crate::insn::{EXIT, insn, mov};
    use crate::stats::RunTimeStats;
    use crate::{Btf, BtfObject};

    fn spec(insns: &[[u8; 8]]) -> ProgSpec<'_> {
        ProgSpec::new(ProgKind::SOCKET_FILTER, "test", GPL, insns.as_flattened())
    }

    #[test]
    fn a_rejected_program_shows_errno_and_log() {
        // r0 is uninitialised.
        let error = Prog::load(&spec(&[EXIT])).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ACCES));
        let text = error.to_string();
        assert!(text.contains("program `test`") && text.contains("R0 !read_ok"), "{text}");
    }

    #[test]
    fn a_log_of_more_than_64_kib_is_complete() {
        // Many instructions before one that reads an uninitialised register.
        let mut insns = vec![mov(0, 0)];
        insns.resize(20_000, insn(0x07, 0, 0, 0, 1));
        insns.extend([insn(0xbf, 0, 5, 0, 0), EXIT]);
        let error = Prog::load(&spec(&insns)).unwrap_err();
        let log = error.log().unwrap();
        assert!(log.len() > LOG_START * 4, "{} bytes", log.len());
        let (first, middle) = ("0: (b7) r0 = 0", "12345: (07) r0 += 1");
        assert!(log.contains(first) && log.contains(middle) && log.contains("R5 !read_ok"));
        assert!(matches!(error, Error::LoadRejected { truncated: false, .. }));
    }

    #[test]
    fn a_log_that_never_fits_is_truncated_and_says_so() {
        let mut asked = Vec::new();
        let (answer, log) = with_growing_log(|buffer| {
            asked.push(buffer.len());
            buffer.fill(b'x');
            Err::<(), _>(Errno::NOSPC)
        });
        assert_eq!(answer, Err(Errno::NOSPC));
        assert!(log.truncated);
        assert_eq!(asked.last(), Some(&LOG_LIMIT));
        assert_eq!(log.text.len(), LOG_LIMIT);
    }

    #[test]
    fn an_accepted_program_has_a_log_at_every_level() {
        let insns = [mov(0, 0), EXIT];
        for (level, says) in [
            (LogLevel::BASIC, "processed 2 insns"),
            (LogLevel::DETAILED, "0: (b7) r0 = 0"),
            (LogLevel::STATS, "verification time"),
        ] {
            let (_prog, log) = Prog::load_with_log(&spec(&insns), level).unwrap();
            assert!(log.contains(says), "{level:?}: {log}");
        }
    }

    #[test]
    fn a_rejected_program_can_be_explained_in_detail() {
        let error = Prog::load_with_log(&spec(&[mov(1, 0), EXIT]), LogLevel::DETAILED).unwrap_err();
        assert!(error.log().unwrap().contains("R0 !read_ok"));
    }

    #[test]
    fn incomplete_instructions_and_records_never_reach_the_kernel() {
        let insns = [mov(0, 0), EXIT];
        let incomplete =
            ProgSpec::new(ProgKind::SOCKET_FILTER, "test", GPL, &insns.as_flattened()[..15]);
        assert!(matches!(Prog::load(&incomplete), Err(Error::Invalid { .. })));
        let mut blob = Blob::new();
        blob.int("int", 4);
        let btf = BtfObject::load(&blob.bytes()).unwrap();
        for (records, size) in [(&[0u8; 12][..], 8), (&[0; 8], 0)] {
            let mut spec = spec(&insns);
            spec.btf = Some(ProgBtf {
                fd: btf.as_fd(),
                func_info: records,
                func_info_rec_size: size,
                line_info: &[],
                line_info_rec_size: 16,
            });
            assert!(matches!(Prog::load(&spec), Err(Error::Invalid { .. })));
        }
    }

    #[test]
    fn an_empty_program_is_an_error() {
        let error = Prog::load(&spec(&[])).unwrap_err();
        assert!(error.errno().is_some_and(|e| e == Errno::TOO_BIG || e == Errno::INVAL), "{error}");
        assert!(error.to_string().contains("rejected before verification"), "{error}");
    }

    #[test]
    fn source_lines_are_read_back_and_shown_in_the_log() {
        let mut blob = Blob::new();
        let int = blob.int("int", 4);
        let function = blob.function("entry", int);
        let (file, first, second) =
            (blob.string("send.rs"), blob.string("let zero = 0"), blob.string("return"));
        let btf = BtfObject::load(&blob.bytes()).unwrap();
        let func_info = [0, function];
        let line_info = [0, file, first, 41 << 10 | 900, 1, file, second, 42 << 10 | 3];
        let insns = [mov(0, 0), EXIT];
        let mut spec = spec(&insns);
        spec.btf = Some(ProgBtf {
            fd: btf.as_fd(),
            func_info: bytemuck::cast_slice(&func_info),
            func_info_rec_size: 8,
            line_info: bytemuck::cast_slice(&line_info),
            line_info_rec_size: 16,
        });
        let (prog, log) = Prog::load_with_log(&spec, LogLevel::DETAILED).unwrap();
        assert!(log.contains("let zero = 0 @ send.rs:41"), "{log}");

        let lines = prog.line_info().unwrap();
        let places: Vec<_> = lines.iter().map(|l| (l.insn, l.line, l.column)).collect();
        assert_eq!(places, [(0, 41, 900), (1, 42, 3)]);
        assert_eq!(prog.jited_line_info().unwrap().len(), 2);
        assert_eq!(prog.func_info().unwrap(), [FuncInfo { insn: 0, type_id: function }]);
        let loaded = BtfObject::open_id(prog.info().unwrap().btf_id).unwrap();
        let strings = Btf::parse(loaded.data().unwrap()).unwrap();
        assert_eq!(strings.string(lines[1].text), Ok("return"));
        assert_eq!(strings.string(lines[0].file_name), Ok("send.rs"));
    }

    #[test]
    fn info_has_name_size_and_runs() {
        let prog = load(ProgKind::SOCKET_FILTER, &[mov(0, 1), EXIT]);
        let before = prog.info().unwrap();
        assert_eq!((before.kind, before.name.as_str()), (ProgKind::SOCKET_FILTER, "test"));
        assert_eq!((before.verified_insns, before.xlated_prog_len), (2, 16));
        assert_eq!(prog.xlated().unwrap(), [mov(0, 1), EXIT].as_flattened());
        assert!(before.jited_prog_len > 0 && before.map_ids.is_empty());

        let stats = RunTimeStats::enable().unwrap();
        prog.test_run(&[0; 64], 50).unwrap();
        assert_eq!(prog.info().unwrap().run_cnt, before.run_cnt + 50);
        drop(stats);
    }

    #[test]
    fn a_test_run_returns_what_the_program_does() {
        let prog = load(ProgKind::SOCKET_FILTER, &[mov(0, 77), EXIT]);
        assert_eq!(prog.test_run(&[0; 64], 1).unwrap().retval, 77);
        let sk_msg = load(ProgKind::SK_MSG, &[mov(0, 1), EXIT]);
        let refused = sk_msg.test_run(&[0; 64], 1).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::NOTSUPP));
    }

    #[test]
    fn a_socket_receives_what_its_filter_passes() {
        let sockets = || std::os::unix::net::UnixDatagram::pair().unwrap();
        let ((kept, to_kept), (dropped, to_dropped)) = (sockets(), sockets());
        load(ProgKind::SOCKET_FILTER, &[mov(0, 2), EXIT]).attach_to_socket(&kept).unwrap();
        load(ProgKind::SOCKET_FILTER, &[mov(0, 0), EXIT]).attach_to_socket(&dropped).unwrap();
        to_kept.send(b"abc").unwrap();
        assert_eq!(kept.recv(&mut [0; 8]).unwrap(), 2);
        let _ = to_dropped.send(b"abc");
        dropped.set_nonblocking(true).unwrap();
        assert_eq!(dropped.recv(&mut [0; 8]).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        let refused =
            load(ProgKind::SK_MSG, &[mov(0, 1), EXIT]).attach_to_socket(&kept).unwrap_err();
        assert_eq!(refused.errno(), Some(Errno::INVAL));
    }

    #[test]
    fn a_program_is_found_by_pin_and_by_id() {
        in_own_bpffs(|dir| {
            let prog = load(ProgKind::SK_MSG, &[mov(0, 1), EXIT]);
            let id = prog.info().unwrap().id;
            prog.pin(&dir.join("prog")).unwrap();
            drop(prog);
            let pinned = Prog::open_pinned(&dir.join("prog")).unwrap();
            assert_eq!((pinned.info().unwrap().id, pinned.name()), (id, "test"));
            assert_eq!(Prog::open_id(id).unwrap().info().unwrap().id, id);
            assert!(object::prog_ids().any(|found| found.unwrap() == id));
        });
    }
}
