//! The mount table as the calling thread sees it: `/proc/thread-self/mountinfo`, proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::Error;

/// One mount: the columns that finding a file system takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The directory of the file system that is mounted; `/` for all of it.
    pub root: PathBuf,
    pub mount_point: PathBuf,
    pub fs_type: String,
}

/// Reads the table in mount order: of two mounts on one directory the later is the one that is seen.
pub(super) fn read() -> Result<Vec<Mount>, Error> {
    let path = Path::new("/proc/thread-self/mountinfo");
    let table = std::fs::read(path).map_err(|cause| Error::MountTable { path: path.into(), cause })?;
    Ok(parse(&table))
}

/// Lines that do not have the documented form are passed over: one odd mount must not hide the others.
pub(super) fn parse(table: &[u8]) -> Vec<Mount> {
    table.split(|&byte| byte == b'\n').filter_map(parse_line).collect()
}

/// `36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/root rw`: any number of optional fields before the
/// dash.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&byte| byte == b' ');
    let root = fields.nth(3)?;
    let mount_point = fields.next()?;
    let fs_type = fields.skip_while(|&field| field != b"-").nth(1)?;
    Some(Mount {
        root: unescape(root),
        mount_point: unescape(mount_point),
        fs_type: String::from_utf8(fs_type.to_vec()).ok()?,
    })
}

/// The kernel writes space, tab, newline and backslash as a backslash and three octal digits.
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
        let mount = |root: &str, mount_point: &str, fs_type: &str| Mount {
            root: root.into(),
            mount_point: mount_point.into(),
            fs_type: fs_type.into(),
        };
        let cases = [
            ("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", mount("/", "/sys/fs/cgroup", "cgroup2")),
            ("1 2 0:3 / /m rw shared:4 master:1 propagate_from:2 - bpf none rw,mode=700", mount("/", "/m", "bpf")),
            ("1 2 0:3 /a\\040b /with\\011tab\\134 rw - tmpfs none rw", mount("/a b", "/with\ttab\\", "tmpfs")),
            ("1 2 0:3 / /not\\09octal\\ rw - tmpfs none rw", mount("/", "/not\\09octal\\", "tmpfs")),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line.as_bytes()), [expected], "{line}");
        }
    }

    #[test]
    fn a_malformed_line_is_passed_over_and_hides_no_other() {
        for odd in ["", " ", "1 2 3", "1 2 0:3 / /m rw", "1 2 0:3 / /m rw -", "- - - - -"] {
            let table = format!("{odd}\n1 2 0:3 / /m rw - bpf none rw\n");
            let types: Vec<_> = parse(table.as_bytes()).into_iter().map(|mount| mount.fs_type).collect();
            assert_eq!(types, ["bpf"], "{odd:?}");
        }
    }
}
