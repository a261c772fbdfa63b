//! Parses `/proc/PID/maps`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Error;

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Address range.
    pub range: Range<u64>,
    /// Whether it is executable.
    pub executable: bool,
    /// Device of the file system, as printed.
    pub device: String,
    /// Inode number of the file.
    pub inode: u64,
    /// Path as the process sees it, with " (deleted)" if removed; or a name such as `[heap]` or
    /// `socket:[4711]`; or empty.
    pub name: PathBuf,
}

impl Mapping {
    /// The kernel's `show_map_vma`: `start-end perms offset major:minor inode    path`.
    fn parse(line: &[u8]) -> Option<Self> {
        let (mut rest, mut fields) = (line, [&line[..0]; 5]);
        for field in &mut fields {
            let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
            (*field, rest) = rest.split_at(end);
            rest = rest.strip_prefix(b" ").unwrap_or(rest);
        }
        let [range, permissions, _, device, inode] = fields.map(|field| str::from_utf8(field).ok());
        let (range, permissions) = (range?, permissions?);
        let (start, end) = range.split_once('-')?;
        let address = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self {
            range: address(start)?..address(end)?,
            executable: permissions.as_bytes().get(2)? == &b'x',
            device: device?.to_owned(),
            inode: inode?.parse().ok()?,
            name: Path::new(OsStr::from_bytes(rest.trim_ascii_start())).to_owned(),
        })
    }

    /// Whether it is executable and backed by a file, on disk or in memory.
    pub fn is_executable_file(&self) -> bool {
        self.executable && self.inode != 0 && self.name.as_os_str().as_bytes().starts_with(b"/")
    }

    /// Whether it is a socket. Only TCP sockets, for `TCP_ZEROCOPY_RECEIVE`, and packet sockets can
    /// be mapped; to be safe they are not distinguished.
    pub fn is_socket(&self) -> bool {
        self.name.as_os_str().as_bytes().starts_with(b"socket:[")
    }

    /// Whether the file is memory only: from `memfd_create`, System V shared memory, or shared
    /// anonymous memory.
    pub fn is_memory(&self) -> bool {
        let name = self.name.as_os_str().as_bytes();
        [&b"/memfd:"[..], b"/SYSV", b"/dev/zero", b"/anon_hugepage"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    }

    /// The map_files link of the mapping, which works even if the file was removed.
    pub fn link(&self, process: &Path) -> PathBuf {
        // Unlike in maps, without leading zeros.
        process.join("map_files").join(format!("{:x}-{:x}", self.range.start, self.range.end))
    }
}

/// The mappings of a process, given as `/proc/PID`.
pub fn read(process: &Path) -> Result<Vec<Mapping>, Error> {
    let path = process.join("maps");
    let unreadable = |source| Error::Unreadable { path: path.clone(), source };
    let mut lines = BufReader::new(File::open(&path).map_err(unreadable)?);
    let (mut mappings, mut line) = (Vec::new(), Vec::new());
    while lines.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
        let parsed = Mapping::parse(line.strip_suffix(b"\n").unwrap_or(&line));
        let malformed = || unreadable(std::io::Error::other("malformed line"));
        mappings.push(parsed.ok_or_else(malformed)?);
        line.clear();
    }
    // The maps of kernel threads and ended processes are empty.
    if mappings.is_empty() {
        return Err(unreadable(std::io::Error::other("no mappings")));
    }
    Ok(mappings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Mapping {
        Mapping::parse(line.as_bytes()).expect(line)
    }

    #[test]
    fn a_library_is_an_executable_file_and_a_link_in_map_files() {
        let library =
            parse("7f15a000-7f15c000 r-xp 00028000 fe:00 1052   /lib/with space (deleted)");
        assert_eq!(library.name, Path::new("/lib/with space (deleted)"));
        assert_eq!((library.device.as_str(), library.inode), ("fe:00", 1052));
        assert!(library.is_executable_file() && !library.is_memory() && !library.is_socket());
        let link = library.link(Path::new("/proc/7"));
        assert_eq!(link, Path::new("/proc/7/map_files/7f15a000-7f15c000"));
        let low =
            parse("0041f000-006d2000 r-xp 00000000 fe:00 7   /bin/python").link(Path::new("/"));
        assert_eq!(low, Path::new("/map_files/41f000-6d2000"));
    }

    #[test]
    fn data_anonymous_memory_and_the_vdso_are_not_executable_files() {
        for line in [
            "7f15a000-7f15c000 rw-p 00028000 fe:00 1052       /lib/libc.so.6",
            "7f15a000-7f15c000 rwxp 00000000 00:00 0 ",
            "7f15a000-7f15c000 r-xp 00000000 00:00 0          [vdso]",
            "7f15a000-7f15c000 r-xs 00000000 00:0e 1052       anon_inode:[perf_event]",
        ] {
            assert!(!parse(line).is_executable_file(), "{line}");
        }
    }

    #[test]
    fn a_mapped_socket_is_recognised_whatever_its_permissions() {
        assert!(parse("7f15a000-7f15c000 r--s 00000000 00:08 4711    socket:[4711]").is_socket());
        assert!(parse("7f15a000-7f15c000 ---s 00000000 00:08 4711    socket:[4711]").is_socket());
        assert!(!parse("7f15a000-7f15c000 r--p 00000000 00:08 4711   /socket:[4711]").is_socket());
    }

    #[test]
    fn malformed_lines_are_rejected() {
        for line in ["", " ", "7f15a000", "7f15a000-7f15c000 r-xp", "a-b r-xp 0 0:0 many /lib"] {
            assert_eq!(Mapping::parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_process_that_does_not_exist_has_no_mappings() {
        assert!(matches!(read(Path::new("/proc/0")), Err(Error::Unreadable { .. })));
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line: Vec<u8>) {
            let _ = Mapping::parse(&line);
        }
    }
}
