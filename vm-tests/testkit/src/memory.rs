//! A limit for the memory of some sockets (Documentation/admin-guide/cgroup-v1/memory.rst, 2.7.2).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use syscalls::Btf;

/// A memory cgroup of version 1, with a limit for socket memory of its own.
pub struct SocketMemory(PathBuf);

const ROOT: &str = "/sys/fs/cgroup/memory";
const LIMIT: &str = "memory.kmem.tcp.limit_in_bytes";
const USAGE: &str = "memory.kmem.tcp.usage_in_bytes";
pub const PLENTY: u64 = 1 << 30;

impl SocketMemory {
    /// `None` where the kernel is built without version 1 (CONFIG_MEMCG_V1): version 2 has no limit
    /// for sockets alone.
    pub fn new() -> Option<Self> {
        if Btf::vmlinux().expect("read the kernel's types").member("mem_cgroup", "tcpmem").is_err()
        {
            return None;
        }
        assert!(
            Path::new(ROOT).join(LIMIT).exists(),
            "this kernel can limit the memory of sockets, yet there is no {ROOT}/{LIMIT}; mount it: \
             mount -t cgroup -o memory memory {ROOT}"
        );
        let group = Self(group(std::process::id()));
        fs::create_dir(&group.0).expect("make a memory cgroup");
        group.limit(PLENTY);
        Some(group)
    }

    pub fn limit(&self, bytes: u64) {
        fs::write(self.0.join(LIMIT), bytes.to_string()).expect("limit the socket memory");
    }

    /// How many bytes of socket memory its sockets hold, as the kernel charges them: in advance, by
    /// pages, and with some that it keeps for the next time.
    pub fn usage(&self) -> u64 {
        let text = fs::read_to_string(self.0.join(USAGE)).expect("ask for the socket memory");
        text.trim_end().parse().expect("a number")
    }

    /// Runs `work` on a thread inside: a socket is charged to where it is accepted.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let thread = nix::unistd::gettid().to_string();
                fs::write(self.0.join("tasks"), thread).expect("enter the memory cgroup");
                work()
            });
            inside.join().expect("work inside the memory cgroup")
        })
    }
}

impl Drop for SocketMemory {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(2);
        while let Err(error) = fs::remove_dir(&self.0) {
            if Instant::now() > deadline {
                return eprintln!("remove {}: {error}", self.0.display());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The directory of the one that the test process `process` makes.
pub fn group(process: u32) -> PathBuf {
    Path::new(ROOT).join(format!("shunt-test-{process}"))
}
