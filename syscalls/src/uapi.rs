//! The variants of `union bpf_attr`, the `bpf_*_info` structures of `include/uapi/linux/bpf.h`, and
//! the only place that makes the system call.
//!
//! Each structure is `Pod`, without implicit padding, and starts zeroed. Its size is passed as the
//! attribute's size: an older kernel accepts a longer one whose unknown tail is zero, a newer one
//! treats the missing tail as zero (`bpf_check_uarg_tail_zero`, `__sys_bpf`).

use crate::error::{Errno, Error};
use bytemuck::{Pod, Zeroable};
use std::ffi::c_int;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A command of `bpf(2)` and the layout of its attribute.
pub(crate) struct Command<A> {
    number: c_int,
    /// Its name in the UAPI header.
    pub name: &'static str,
    attr: PhantomData<fn(A)>,
}

impl<A> std::fmt::Debug for Command<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl<A: Pod> Command<A> {
    const fn new(number: c_int, name: &'static str) -> Self {
        Self { number, name, attr: PhantomData }
    }

    /// `bpf(command, attr, sizeof(attr))`
    ///
    /// # Safety
    /// Every address in `attr` is valid for the command's reads and writes.
    pub unsafe fn call(&self, attr: &mut A) -> Result<i32, Errno> {
        // SAFETY: the attribute is valid for its size; the caller guarantees what it points to.
        let answer = unsafe {
            libc::syscall(libc::SYS_bpf, self.number, std::ptr::from_mut(attr), size_of::<A>())
        };
        if answer < 0 {
            return Err(Errno::last());
        }
        Ok(answer as i32)
    }

    /// The same for a command that returns a new file descriptor (with `O_CLOEXEC`, as always in
    /// BPF).
    ///
    /// # Safety
    /// As for [`Command::call`]; and the command returns a new file descriptor.
    pub unsafe fn call_fd(&self, attr: &mut A) -> Result<OwnedFd, Errno> {
        // SAFETY: passed on to the caller.
        let fd = unsafe { self.call(attr) }?;
        // SAFETY: the kernel has just created this descriptor, and nothing else refers to it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The error of this command on `object`.
    pub fn failed(&self, object: impl Into<String>) -> impl FnOnce(Errno) -> Error {
        let name = self.name;
        let object = object.into();
        move |errno| Error::command(name, object, errno)
    }
}

/// A descriptor in the type of attribute structures.
pub(crate) fn fd(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd() as u32
}

/// The address of bytes that the kernel reads; null if there are none, as it requires for an empty
/// key.
pub(crate) fn addr(bytes: &[u8]) -> u64 {
    if bytes.is_empty() {
        return 0;
    }
    bytes.as_ptr() as u64
}

/// The address of bytes that the kernel writes; null if there are none.
pub(crate) fn addr_mut(bytes: &mut [u8]) -> u64 {
    if bytes.is_empty() {
        return 0;
    }
    bytes.as_mut_ptr() as u64
}

/// A UAPI number with names for known values; others are preserved, since a newer kernel may return
/// them.
macro_rules! open_enum {
    ($(#[$doc:meta])* pub struct $Name:ident { $($(#[$value_doc:meta])* $ID:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $Name(u32);

        impl $Name {
            $($(#[$value_doc])* pub const $ID: Self = Self($value);)*

            /// The value with this UAPI number, known or not.
            pub const fn from_raw(number: u32) -> Self {
                Self(number)
            }

            /// Its UAPI number.
            pub const fn raw(self) -> u32 {
                self.0
            }
        }

        impl std::fmt::Debug for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.0 {
                    $($value => f.write_str(stringify!($ID)),)*
                    other => write!(f, "{other}"),
                }
            }
        }
    };
}
pub(crate) use open_enum;

macro_rules! layouts {
    ($($(#[$doc:meta])* struct $Name:ident: $size:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty = $offset:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Pod, Zeroable)]
            pub(crate) struct $Name { $($(#[$field_doc])* pub $field: $type,)* }

            const _: () = assert!(size_of::<$Name>() == $size);
            $(const _: () = assert!(std::mem::offset_of!($Name, $field) == $offset);)*
        )*

        /// Structure, field, offset and size of all of the above.
        #[cfg(test)]
        const FIELDS: &[(&str, &str, u32, usize)] =
            &[$($((stringify!($Name), stringify!($field), $offset, size_of::<$type>()),)*)*];
    };
}

layouts! {
    /// `BPF_MAP_CREATE`
    struct MapCreate: 72 {
        map_type: u32 = 0,
        key_size: u32 = 4,
        value_size: u32 = 8,
        max_entries: u32 = 12,
        map_flags: u32 = 16,
        inner_map_fd: u32 = 20,
        numa_node: u32 = 24,
        map_name: [u8; 16] = 28,
        map_ifindex: u32 = 44,
        btf_fd: u32 = 48,
        btf_key_type_id: u32 = 52,
        btf_value_type_id: u32 = 56,
        btf_vmlinux_value_type_id: u32 = 60,
        map_extra: u64 = 64,
    }

    /// `BPF_MAP_*_ELEM`, `BPF_MAP_GET_NEXT_KEY` and `BPF_MAP_FREEZE`
    struct Element: 32 {
        map_fd: u32 = 0,
        pad: u32 = 4,
        key: u64 = 8,
        /// `value` or `next_key`
        value: u64 = 16,
        flags: u64 = 24,
    }

    /// `BPF_MAP_*_BATCH`
    struct Batch: 56 {
        in_batch: u64 = 0,
        out_batch: u64 = 8,
        keys: u64 = 16,
        values: u64 = 24,
        count: u32 = 32,
        map_fd: u32 = 36,
        elem_flags: u64 = 40,
        flags: u64 = 48,
    }

    /// `BPF_PROG_LOAD`, up to the last field used here
    struct ProgLoad: 128 {
        prog_type: u32 = 0,
        insn_cnt: u32 = 4,
        insns: u64 = 8,
        license: u64 = 16,
        log_level: u32 = 24,
        log_size: u32 = 28,
        log_buf: u64 = 32,
        kern_version: u32 = 40,
        prog_flags: u32 = 44,
        prog_name: [u8; 16] = 48,
        prog_ifindex: u32 = 64,
        expected_attach_type: u32 = 68,
        prog_btf_fd: u32 = 72,
        func_info_rec_size: u32 = 76,
        func_info: u64 = 80,
        func_info_cnt: u32 = 88,
        line_info_rec_size: u32 = 92,
        line_info: u64 = 96,
        line_info_cnt: u32 = 104,
        attach_btf_id: u32 = 108,
        attach_btf_obj_fd: u32 = 112,
        core_relo_cnt: u32 = 116,
        fd_array: u64 = 120,
    }

    /// `BPF_OBJ_PIN` and `BPF_OBJ_GET`
    struct Pin: 16 {
        pathname: u64 = 0,
        bpf_fd: u32 = 8,
        file_flags: u32 = 12,
    }

    /// `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`
    struct ProgAttach: 20 {
        target_fd: u32 = 0,
        attach_bpf_fd: u32 = 4,
        attach_type: u32 = 8,
        attach_flags: u32 = 12,
        replace_bpf_fd: u32 = 16,
    }

    /// `BPF_PROG_TEST_RUN`
    struct TestRun: 80 {
        prog_fd: u32 = 0,
        retval: u32 = 4,
        data_size_in: u32 = 8,
        data_size_out: u32 = 12,
        data_in: u64 = 16,
        data_out: u64 = 24,
        repeat: u32 = 32,
        duration: u32 = 36,
        ctx_size_in: u32 = 40,
        ctx_size_out: u32 = 44,
        ctx_in: u64 = 48,
        ctx_out: u64 = 56,
        flags: u32 = 64,
        cpu: u32 = 68,
        batch_size: u32 = 72,
        pad: u32 = 76,
    }

    /// `BPF_*_GET_FD_BY_ID` and `BPF_*_GET_NEXT_ID`
    struct Id: 12 {
        /// `start_id`, `prog_id`, `map_id`, `btf_id` or `link_id`
        id: u32 = 0,
        next_id: u32 = 4,
        open_flags: u32 = 8,
    }

    /// `BPF_OBJ_GET_INFO_BY_FD`
    struct InfoByFd: 16 {
        bpf_fd: u32 = 0,
        info_len: u32 = 4,
        info: u64 = 8,
    }

    /// `BPF_RAW_TRACEPOINT_OPEN`
    struct RawTracepoint: 16 {
        name: u64 = 0,
        prog_fd: u32 = 8,
        pad: u32 = 12,
    }

    /// `BPF_BTF_LOAD`
    struct BtfLoad: 32 {
        btf: u64 = 0,
        btf_log_buf: u64 = 8,
        btf_size: u32 = 16,
        btf_log_size: u32 = 20,
        btf_log_level: u32 = 24,
        /// Written by kernels since 6.4.
        btf_log_true_size: u32 = 28,
    }

    /// `BPF_LINK_CREATE`, with the arguments of an iterator
    struct LinkCreate: 32 {
        prog_fd: u32 = 0,
        target_fd: u32 = 4,
        attach_type: u32 = 8,
        flags: u32 = 12,
        iter_info: u64 = 16,
        iter_info_len: u32 = 24,
        pad: u32 = 28,
    }

    /// `BPF_LINK_UPDATE`
    struct LinkUpdate: 16 {
        link_fd: u32 = 0,
        new_prog_fd: u32 = 4,
        flags: u32 = 8,
        old_prog_fd: u32 = 12,
    }

    /// `BPF_LINK_DETACH`
    struct LinkDetach: 4 {
        link_fd: u32 = 0,
    }

    /// `BPF_ENABLE_STATS`
    struct EnableStats: 4 {
        kind: u32 = 0,
    }

    /// `BPF_ITER_CREATE`
    struct IterCreate: 8 {
        link_fd: u32 = 0,
        flags: u32 = 4,
    }

    /// `union bpf_iter_link_info`, the variant of a map
    struct IterLinkInfo: 4 {
        map_fd: u32 = 0,
    }

    /// `union bpf_iter_link_info`, the variant for threads: one, all of a process, or all of a
    /// pidfd's.
    struct IterTaskInfo: 12 {
        tid: u32 = 0,
        pid: u32 = 4,
        pid_fd: u32 = 8,
    }

    /// `struct perf_event_attr`, as long as Linux 2.6.33 made it (`PERF_ATTR_SIZE_VER1`)
    struct PerfEventAttr: 72 {
        kind: u32 = 0,
        size: u32 = 4,
        config: u64 = 8,
        sample_period: u64 = 16,
        sample_type: u64 = 24,
        read_format: u64 = 32,
        flags: u64 = 40,
        wakeup_events: u32 = 48,
        bp_type: u32 = 52,
        /// `kprobe_func` or `uprobe_path`
        config1: u64 = 56,
        /// `probe_offset`
        config2: u64 = 64,
    }

    /// `struct bpf_prog_info`
    struct ProgInfo: 232 {
        kind: u32 = 0,
        id: u32 = 4,
        tag: [u8; 8] = 8,
        jited_prog_len: u32 = 16,
        xlated_prog_len: u32 = 20,
        jited_prog_insns: u64 = 24,
        xlated_prog_insns: u64 = 32,
        load_time: u64 = 40,
        created_by_uid: u32 = 48,
        nr_map_ids: u32 = 52,
        map_ids: u64 = 56,
        name: [u8; 16] = 64,
        ifindex: u32 = 80,
        gpl_compatible: u32 = 84,
        netns_dev: u64 = 88,
        netns_ino: u64 = 96,
        nr_jited_ksyms: u32 = 104,
        nr_jited_func_lens: u32 = 108,
        jited_ksyms: u64 = 112,
        jited_func_lens: u64 = 120,
        btf_id: u32 = 128,
        func_info_rec_size: u32 = 132,
        func_info: u64 = 136,
        nr_func_info: u32 = 144,
        nr_line_info: u32 = 148,
        line_info: u64 = 152,
        jited_line_info: u64 = 160,
        nr_jited_line_info: u32 = 168,
        line_info_rec_size: u32 = 172,
        jited_line_info_rec_size: u32 = 176,
        nr_prog_tags: u32 = 180,
        prog_tags: u64 = 184,
        run_time_ns: u64 = 192,
        run_cnt: u64 = 200,
        recursion_misses: u64 = 208,
        verified_insns: u32 = 216,
        attach_btf_obj_id: u32 = 220,
        attach_btf_id: u32 = 224,
        pad: u32 = 228,
    }

    /// `struct bpf_line_info`
    struct LineInfo: 16 {
        insn_off: u32 = 0,
        file_name_off: u32 = 4,
        line_off: u32 = 8,
        line_col: u32 = 12,
    }

    /// `struct bpf_map_info`
    struct MapInfo: 88 {
        kind: u32 = 0,
        id: u32 = 4,
        key_size: u32 = 8,
        value_size: u32 = 12,
        max_entries: u32 = 16,
        map_flags: u32 = 20,
        name: [u8; 16] = 24,
        ifindex: u32 = 40,
        btf_vmlinux_value_type_id: u32 = 44,
        netns_dev: u64 = 48,
        netns_ino: u64 = 56,
        btf_id: u32 = 64,
        btf_key_type_id: u32 = 68,
        btf_value_type_id: u32 = 72,
        btf_vmlinux_id: u32 = 76,
        map_extra: u64 = 80,
    }

    /// `struct bpf_btf_info`
    struct BtfInfo: 32 {
        btf: u64 = 0,
        btf_size: u32 = 8,
        id: u32 = 12,
        name: u64 = 16,
        name_len: u32 = 24,
        kernel_btf: u32 = 28,
    }

    /// `struct bpf_link_info`; the meaning of `target` depends on `kind`
    struct LinkInfo: 48 {
        kind: u32 = 0,
        id: u32 = 4,
        prog_id: u32 = 8,
        pad: u32 = 12,
        target: [u32; 8] = 16,
    }
}

macro_rules! commands {
    ($($ID:ident: $Attr:ty = $number:literal;)*) => {
        $(pub(crate) const $ID: Command<$Attr> = Command::new($number, concat!("BPF_", stringify!($ID)));)*
    };
}

commands! {
    MAP_CREATE: MapCreate = 0;
    MAP_LOOKUP_ELEM: Element = 1;
    MAP_UPDATE_ELEM: Element = 2;
    MAP_DELETE_ELEM: Element = 3;
    MAP_GET_NEXT_KEY: Element = 4;
    PROG_LOAD: ProgLoad = 5;
    OBJ_PIN: Pin = 6;
    OBJ_GET: Pin = 7;
    PROG_ATTACH: ProgAttach = 8;
    PROG_DETACH: ProgAttach = 9;
    PROG_TEST_RUN: TestRun = 10;
    PROG_GET_NEXT_ID: Id = 11;
    MAP_GET_NEXT_ID: Id = 12;
    PROG_GET_FD_BY_ID: Id = 13;
    MAP_GET_FD_BY_ID: Id = 14;
    OBJ_GET_INFO_BY_FD: InfoByFd = 15;
    RAW_TRACEPOINT_OPEN: RawTracepoint = 17;
    BTF_LOAD: BtfLoad = 18;
    BTF_GET_FD_BY_ID: Id = 19;
    MAP_LOOKUP_AND_DELETE_ELEM: Element = 21;
    MAP_FREEZE: Element = 22;
    BTF_GET_NEXT_ID: Id = 23;
    MAP_LOOKUP_BATCH: Batch = 24;
    MAP_LOOKUP_AND_DELETE_BATCH: Batch = 25;
    MAP_UPDATE_BATCH: Batch = 26;
    MAP_DELETE_BATCH: Batch = 27;
    LINK_CREATE: LinkCreate = 28;
    LINK_UPDATE: LinkUpdate = 29;
    LINK_GET_FD_BY_ID: Id = 30;
    LINK_GET_NEXT_ID: Id = 31;
    ENABLE_STATS: EnableStats = 32;
    ITER_CREATE: IterCreate = 33;
    LINK_DETACH: LinkDetach = 34;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Btf;

    /// The kernel's name of a field: its structure and path.
    fn in_kernel(structure: &str, field: &str) -> Option<(&'static str, String)> {
        // Anonymous variants of the union need no prefix.
        let (root, prefix) = match structure {
            "Batch" => ("bpf_attr", "batch."),
            "TestRun" => ("bpf_attr", "test."),
            "InfoByFd" => ("bpf_attr", "info."),
            "RawTracepoint" => ("bpf_attr", "raw_tracepoint."),
            "LinkCreate" => ("bpf_attr", "link_create."),
            "LinkUpdate" => ("bpf_attr", "link_update."),
            "LinkDetach" => ("bpf_attr", "link_detach."),
            "EnableStats" => ("bpf_attr", "enable_stats."),
            "IterCreate" => ("bpf_attr", "iter_create."),
            "IterLinkInfo" => ("bpf_iter_link_info", "map."),
            "IterTaskInfo" => ("bpf_iter_link_info", "task."),
            "PerfEventAttr" => ("perf_event_attr", ""),
            "ProgInfo" => ("bpf_prog_info", ""),
            "LineInfo" => ("bpf_line_info", ""),
            "MapInfo" => ("bpf_map_info", ""),
            "BtfInfo" => ("bpf_btf_info", ""),
            "LinkInfo" => ("bpf_link_info", ""),
            _ => ("bpf_attr", ""),
        };
        let field = match (structure, field) {
            (_, "pad") => return None,
            ("LinkInfo", "target") => return None,
            // 64 bits with a name each.
            ("PerfEventAttr", "flags") => return None,
            // A bit of this word.
            ("ProgInfo", "gpl_compatible") => return None,
            ("Id", "id") => "start_id",
            (_, "kind") => "type",
            (_, field) => field,
        };
        Some((root, format!("{prefix}{field}")))
    }

    #[test]
    fn the_running_kernel_has_every_field_where_it_is_here() {
        let btf = Btf::vmlinux().unwrap();
        for &(structure, field, offset, size) in FIELDS {
            let Some((root, path)) = in_kernel(structure, field) else {
                continue;
            };
            let member = btf.member(root, &path).unwrap();
            let found = (member.offset, member.size as usize);
            assert_eq!(found, (offset, size), "{structure}.{field}");
        }
    }

    #[test]
    fn the_targets_of_links_lie_where_they_are_decoded() {
        let btf = Btf::vmlinux().unwrap();
        for (path, word) in [
            ("cgroup.cgroup_id", 0),
            ("cgroup.attach_type", 2),
            ("tracing.attach_type", 0),
            ("tracing.target_btf_id", 2),
            ("sockmap.map_id", 0),
            ("sockmap.attach_type", 1),
            ("iter.map.map_id", 3),
        ] {
            let target = std::mem::offset_of!(LinkInfo, target) as u32;
            let member = btf.member("bpf_link_info", path).unwrap();
            assert_eq!(member.offset, target + 4 * word, "{path}");
        }
    }
}
