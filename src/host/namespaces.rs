//! All network namespaces of this node: of processes, held open by descriptors, or mounted like
//! those of `ip netns` (include/uapi/linux/nsfs.h).

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Namespace, entries};

/// All namespaces by inode number. Those that this process may not access are skipped.
pub fn network_namespaces() -> HashMap<u64, Namespace> {
    let mut found = HashMap::new();
    let mut add = |path: &Path, inode: Option<u64>| {
        if inode.is_some_and(|inode| found.contains_key(&inode)) {
            return;
        }
        let Ok(file) = File::open(path) else { return };
        if let Ok(about) = file.metadata() {
            found.entry(about.ino()).or_insert(file.into());
        }
    };
    for mounted in
        fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().filter_map(mounted)
    {
        add(Path::new(mounted), None);
    }
    // Entries that are not processes have neither.
    for process in entries("/proc") {
        for path in std::iter::once(process.join("ns/net")).chain(entries(process.join("fd"))) {
            let target = fs::read_link(&path).ok();
            if let Some(inode) = target.as_deref().and_then(Path::to_str).and_then(inode) {
                add(&path, Some(inode));
            }
        }
    }
    found
}

/// The mount point in a mountinfo line of a network namespace.
fn mounted(line: &str) -> Option<&str> {
    let mut fields = line.split(' ').skip(3);
    let (root, place) = (fields.next()?, fields.next()?);
    inode(root).map(|_| place)
}

/// `net:[4026531840]`
fn inode(target: &str) -> Option<u64> {
    target.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_without_threads_is_found_by_an_open_descriptor() {
        let own =
            || fs::metadata("/proc/thread-self/ns/net").expect("this thread's namespace").ino();
        let held = Namespace::new().expect("make a namespace (as root)");
        let there = held.run(own).expect("run inside");
        let all = network_namespaces();
        assert!(all.contains_key(&own()) && all.contains_key(&there));
        let entered = std::thread::spawn(move || {
            all[&there].enter().expect("enter (as root)");
            own()
        });
        assert_eq!(entered.join().expect("the thread"), there);
    }

    #[test]
    fn a_mounted_namespace_is_a_line_of_mountinfo() {
        let line = "79 30 0:4 net:[4026532345] /run/netns/blue rw shared:44 - nsfs nsfs rw";
        assert_eq!(mounted(line), Some("/run/netns/blue"));
        for other in [
            "79 30 0:4 / /proc rw - proc proc rw",
            "79 30 0:4 mnt:[4026532345] /x rw - nsfs nsfs rw",
            "79",
            "",
        ] {
            assert_eq!(mounted(other), None);
        }
    }
}
