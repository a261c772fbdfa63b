//! Fixtures of tests on the real kernel: programs, cgroups, mounts, connections.

use crate::insn::{EXIT, call, insn, mov};
use crate::{Map, MapKind, MapSpec, Prog, ProgKind, ProgSpec, TypedMap};
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const GPL: &std::ffi::CStr = c"GPL";

/// `dst = map`, two slots.
pub(crate) fn map_fd(dst: u8, map: &Map) -> [[u8; 8]; 2] {
    const PSEUDO_MAP_FD: u8 = 1;
    [insn(0x18, dst, PSEUDO_MAP_FD, 0, map.as_fd().as_raw_fd()), [0; 8]]
}

/// `dst = src`
pub(crate) fn copy(dst: u8, src: u8) -> [u8; 8] {
    insn(0xbf, dst, src, 0, 0)
}

/// `dst += imm`
pub(crate) fn add(dst: u8, imm: i32) -> [u8; 8] {
    insn(0x07, dst, 0, 0, imm)
}

pub(crate) fn load(kind: ProgKind, insns: &[[u8; 8]]) -> Prog {
    Prog::load(&ProgSpec::new(kind, "test", GPL, insns.as_flattened())).unwrap()
}

/// An array of 64-bit counters.
pub(crate) struct Counters(TypedMap<u32, u64>);

impl Counters {
    pub fn new() -> Self {
        let map = Map::create(&MapSpec::new(MapKind::ARRAY, "counters", 4, 8, 4)).unwrap();
        Self(TypedMap::new(map).unwrap())
    }

    pub fn get(&self, index: u32) -> u64 {
        self.0.lookup(&index).unwrap().unwrap()
    }

    /// Instructions that increment the counter at `index` and return `retval`.
    pub fn counting(&self, index: i32, retval: i32) -> Vec<[u8; 8]> {
        const MAP_LOOKUP_ELEM: u32 = 1;
        let mut insns = vec![insn(0x62, 10, 0, -4, index), copy(2, 10), add(2, -4)];
        insns.extend(map_fd(1, self.0.map()));
        insns.extend([
            call(MAP_LOOKUP_ELEM),
            // if r0 == 0 goto +2; r1 = 1; lock *(u64 *)(r0 + 0) += r1
            insn(0x15, 0, 0, 2, 0),
            mov(1, 1),
            insn(0xdb, 0, 1, 0, 0),
            mov(0, retval),
            EXIT,
        ]);
        insns
    }

    pub fn program(&self, kind: ProgKind, index: i32) -> Prog {
        load(kind, &self.counting(index, 1))
    }
}

fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("bpf-syscalls-{}-{number}", process::id())
}

/// A private cgroup, removed when dropped.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub fn new() -> Self {
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields.get(2) == Some(&"cgroup2"))
            .expect("these tests need cgroup v2: mount -t cgroup2 none /sys/fs/cgroup")[1];
        let path = Path::new(root).join(unique());
        fs::create_dir(&path).expect("these tests make a cgroup: run them as root");
        Self { path }
    }

    pub fn open(&self) -> File {
        File::open(&self.path).unwrap()
    }

    /// Connects to `port` on this host from a process in the cgroup.
    pub fn connect(&self, port: u16) {
        let script = format!(
            "echo $$ > '{}/cgroup.procs' && exec 3<>/dev/tcp/127.0.0.1/{port}",
            self.path.display()
        );
        let status = Command::new("bash")
            .args(["-c", &script])
            .status()
            .expect("these tests connect by bash: apt-get install bash");
        assert!(status.success());
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The process may not have exited yet.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("not removed: {}", self.path.display());
    }
}

/// Runs `test` on a thread with a private bpffs, which ends with the thread.
pub(crate) fn in_own_bpffs(test: impl FnOnce(&Path) + Send) {
    on_own_thread(|| {
        let dir = tempfile::tempdir().unwrap();
        let target = std::ffi::CString::new(dir.path().to_str().unwrap()).unwrap();
        // SAFETY: all strings are C strings that outlive the calls; only this thread is in the new
        // mount namespace.
        let mounted = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && libc::mount(
                    c"none".as_ptr(),
                    c"/".as_ptr(),
                    std::ptr::null(),
                    libc::MS_REC | libc::MS_PRIVATE,
                    std::ptr::null(),
                ) == 0
                && libc::mount(
                    c"bpf".as_ptr(),
                    target.as_ptr(),
                    c"bpf".as_ptr(),
                    0,
                    std::ptr::null(),
                ) == 0
        };
        assert!(mounted, "these tests mount a bpffs, as root: {}", std::io::Error::last_os_error());
        test(dir.path());
        // SAFETY: a C string that outlives the call.
        assert_eq!(unsafe { libc::umount(target.as_ptr()) }, 0);
    });
}

/// Runs `test` on a thread in a network namespace of its own, whose loopback device is up.
#[cfg(feature = "load")]
pub(crate) fn in_own_network(test: impl FnOnce() + Send) {
    on_own_thread(|| {
        // SAFETY: no address; only this thread is in the new namespace.
        let alone = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(alone, 0, "run this as root: {}", std::io::Error::last_os_error());
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        // SAFETY: zeros are valid in all of its variants.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
            *to = *from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        // SAFETY: the request is valid for the call, and its name a C string.
        let up = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) };
        assert_eq!(up, 0, "{}", std::io::Error::last_os_error());
        test();
    });
}

/// Runs `test` on a thread without capabilities.
pub(crate) fn without_capabilities(test: impl FnOnce() + Send) {
    on_own_thread(|| {
        // Version 3 for this thread, and three empty sets of 64 bits.
        let header = [0x2008_0522_u32, 0];
        let data = [0u32; 6];
        // SAFETY: header and data have the layout of version 3 and outlive the call.
        let answer = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
        test();
    });
}

fn on_own_thread(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(test).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Both ends of a connection over loopback.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

/// A socket's descriptor as a value for maps of sockets.
pub(crate) fn socket_value(socket: &TcpStream) -> [u8; 4] {
    socket.as_raw_fd().to_ne_bytes()
}
