//! The mount table of the calling thread: `/proc/thread-self/mountinfo`, proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Error;

/// One mount, with the columns needed to find a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub id: u32,
    /// The parent mount.
    pub parent: u32,
    /// The mounted directory of the file system; `/` for all of it.
    pub root: PathBuf,
    pub mount_point: PathBuf,
    pub fs_type: String,
}

/// Reads the table, in order of mounting.
pub(super) fn read() -> Result<Vec<Mount>, Error> {
    let path = Path::new("/proc/thread-self/mountinfo");
    let table =
        std::fs::read(path).map_err(|cause| Error::MountTable { path: path.into(), cause })?;
    Ok(parse(&table))
}

/// The mounts of a type that are reachable: no other mount covers them or a parent directory.
///
/// The order does not tell: a moved mount, like `/` at boot, stays at its place in the list.
pub(super) fn visible<'a>(mounts: &'a [Mount], fs_type: &str) -> Vec<&'a Mount> {
    mounts.iter().filter(|mount| mount.fs_type == fs_type && !is_covered(mounts, mount)).collect()
}

fn is_covered(mounts: &[Mount], mount: &Mount) -> bool {
    let on = |parent: u32| {
        mounts.iter().filter(move |other| other.parent == parent && other.id != parent)
    };
    if on(mount.id).any(|other| other.mount_point == mount.mount_point) {
        return true;
    }
    let mut below = mount;
    // Bounded by the number of mounts, in case the table changes while it is read.
    for _ in mounts {
        if on(below.parent)
            .any(|other| other.id != below.id && below.mount_point.starts_with(&other.mount_point))
        {
            return true;
        }
        match mounts.iter().find(|above| above.id == below.parent && above.id != below.id) {
            Some(above) => below = above,
            None => break,
        }
    }
    false
}

/// Malformed lines are skipped: one must not hide the others.
pub(super) fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw`: with any number of
/// optional fields before the dash.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse().ok();
    let (id, parent) = (number()?, number()?);
    let root = fields.nth(1)?;
    let mount_point = fields.next()?;
    let fs_type = fields.skip_while(|&field| field != b"-").nth(1)?;
    Some(Mount {
        id,
        parent,
        root: unescape(root),
        mount_point: unescape(mount_point),
        fs_type: String::from_utf8(fs_type.to_vec()).ok()?,
    })
}

/// The kernel escapes space, tab, newline and backslash as three octal digits after a backslash.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => bytes.push(*first),
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_root_mount_point_and_type_whatever_optional_fields_it_has() {
        let mount = |ids: [u32; 2], root: &str, mount_point: &str, fs_type: &str| Mount {
            id: ids[0],
            parent: ids[1],
            root: root.into(),
            mount_point: mount_point.into(),
            fs_type: fs_type.into(),
        };
        let cases = [
            (
                "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
                mount([30, 24], "/", "/sys/fs/cgroup", "cgroup2"),
            ),
            (
                "1 2 0:3 / /m rw shared:4 master:1 propagate_from:2 - bpf none rw,mode=700",
                mount([1, 2], "/", "/m", "bpf"),
            ),
            (
                "1 2 0:3 /a\\040b /with\\011tab\\134 rw - tmpfs none rw",
                mount([1, 2], "/a b", "/with\ttab\\", "tmpfs"),
            ),
            (
                "1 2 0:3 / /not\\09octal\\ rw - tmpfs none rw",
                mount([1, 2], "/", "/not\\09octal\\", "tmpfs"),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line.as_bytes()), [expected], "{line}");
        }
    }

    #[test]
    fn a_covered_mount_is_ignored_whatever_the_order_of_mounting() {
        let hybrid = "20 1 0:1 / / rw - ext4 disk rw\n\
                      24 20 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      25 24 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        // Mounted before its parent, as by an initial RAM disk.
        let early =
            "30 40 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n40 1 0:1 / / rw - ext4 disk rw\n";
        let cases = [
            (hybrid.to_owned(), vec!["/sys/fs/cgroup/unified"]),
            (early.to_owned(), vec!["/sys/fs/cgroup"]),
            (
                format!("{hybrid}31 24 0:23 /n /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
                vec!["/sys/fs/cgroup"],
            ),
            (format!("{hybrid}31 25 0:23 /n /sys/fs/cgroup/unified rw - tmpfs tmpfs rw\n"), vec![]),
            (format!("{hybrid}31 20 0:9 / /sys rw - sysfs sysfs rw\n"), vec![]),
            (
                format!("{hybrid}31 24 0:23 / /sys/fs/cgroup/uni rw - cgroup2 cgroup2 rw\n"),
                vec!["/sys/fs/cgroup/unified", "/sys/fs/cgroup/uni"],
            ),
        ];
        for (table, expected) in cases {
            let mounts = parse(table.as_bytes());
            let seen: Vec<_> = visible(&mounts, "cgroup2")
                .into_iter()
                .map(|mount| mount.mount_point.clone())
                .collect();
            assert_eq!(seen, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{table}");
        }
    }

    #[test]
    fn a_malformed_line_is_skipped_and_hides_no_other() {
        for odd in ["", " ", "1 2 3", "1 2 0:3 / /m rw", "1 2 0:3 / /m rw -", "- - - - -"] {
            let table = format!("{odd}\n1 2 0:3 / /m rw - bpf none rw\n");
            let types: Vec<_> =
                parse(table.as_bytes()).into_iter().map(|mount| mount.fs_type).collect();
            assert_eq!(types, ["bpf"], "{odd:?}");
        }
    }
}
