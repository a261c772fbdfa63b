//! Evidence of how a process can read: whether anything but `recvmsg(2)` and its relatives can take
//! bytes out of its TCP sockets.
//!
//! A socket in a sockmap with a verdict program serves its bytes to `recvmsg` only. A reader that
//! uses `splice(2)` or `TCP_ZEROCOPY_RECEIVE` sees TCP's receive queue, which stays empty, and
//! loses data without an error. Such a process must never be enrolled, and its name says nothing
//! about it. What it has mapped does: [`Examiner::examine`] reads every executable mapping of a
//! process.
//!
//! | file | |
//! |---|---|
//! | [`mapping`] | `/proc/PID/maps`: what is mapped, and opening it across mount namespaces |
//! | [`image`] | one ELF file: segments, sections, dynamic symbols, bounded reads |
//! | [`code`] | machine code: where the number of splice is loaded, and who is called then |
//! | [`rules`] | what one file says: the rules, in order |
//!
//! # What this does not see
//!
//! The finding is about the code that is mapped at this moment, and errs in these cases:
//!
//! * A library that is loaded later (`dlopen`: plug-ins, JNI libraries such as Netty's epoll
//!   transport). Examine again when the process has mapped more, and before a connection is
//!   enrolled rather than when the process starts.
//! * Code that is generated at run time (JIT compilers), and memory that holds no ELF file.
//!   Compilers for managed languages call the system through a library, which is seen.
//! * Foreign function interfaces that get the number or the name from a script's data: Perl's
//!   `syscall`, Python's `ctypes`, LuaJIT's `ffi`, Java's foreign functions and JNA. (A .NET
//!   assembly keeps the name in its metadata, which is seen.)
//! * io_uring: `IORING_OP_SPLICE` and `IORING_OP_RECV_ZC` are requests in memory. A program that
//!   uses io_uring for them cannot be told from one that uses it for `recv`.
//! * A number that is computed, loaded from a table, or passed through memory.
//! * A socket that is handed to another process, which is then examined for itself, or to the
//!   kernel (NBD, NFS, KCM), which is not.
//!
//! All of them need a second line of defence: a probe on `tcp_splice_read`, or the process's
//! history.

pub mod code;
pub mod image;
pub mod mapping;
pub mod rules;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mapping::Mapping;

pub use crate::datapath::Reads;

/// What was found about a process or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it can read.
    pub reads: Reads,
    /// Why, for the operator: "imports splice (/usr/sbin/haproxy)".
    pub because: String,
}

/// Why there is no finding. The process is then unknown, and stays with TCP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process has ended, is a kernel thread, or may not be examined.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A mapped file is not one whose code can be judged.
    #[error("{}: {source}", path.display())]
    Unsuitable {
        /// The file, as the process sees it.
        path: PathBuf,
        /// What is wrong with it.
        source: image::Error,
    },
    /// Another file lies at the path of a mapping, and the mapped one cannot be opened.
    #[error("{}: replaced since it was mapped", .0.display())]
    Replaced(PathBuf),
    /// The process called `execve` while it was examined.
    #[error("process {0} has replaced its program while it was examined")]
    Executed(u32),
}

/// What names one state of one file. The change time is there because a container can set the
/// modification time of its own files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// How many files an examiner remembers. A node's programs are some hundreds.
const REMEMBERED: usize = 4096;

/// Examines processes, and remembers what it has found in each file.
///
/// The files belong to containers: one on a FUSE file system can make a read wait for as long as
/// its owner likes, so this should have a thread of its own.
#[derive(Debug, Default)]
pub struct Examiner {
    files: HashMap<Identity, rules::Evidence>,
}

impl Examiner {
    /// An examiner that remembers nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads `/proc/PID/maps` and everything executable in it.
    ///
    /// Needs the right to follow `/proc/PID/exe` (ptrace access) and, for files that were replaced
    /// or deleted, `/proc/PID/map_files` (CAP_CHECKPOINT_RESTORE).
    pub fn examine(&mut self, pid: u32) -> Result<Finding, Error> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let (program, identity) = open(&process.join("exe"))?;
        let name = fs::read_link(process.join("exe")).unwrap_or_else(|_| "its program".into());

        let mut strongest = self.judge(&program, identity, &name, false)?;
        let mut seen = HashSet::new();
        for mapping in mapping::read(&process)? {
            if mapping.is_socket() {
                let because =
                    format!("maps {}, as TCP_ZEROCOPY_RECEIVE does", mapping.name.display());
                strongest = strongest.or(Finding { reads: Reads::Splices, because });
            }
            if !mapping.is_executable_file()
                || !seen.insert((mapping.device.clone(), mapping.inode))
            {
                continue;
            }
            let (file, of_file) = reopen(&process, &mapping)?;
            if of_file != identity {
                let found = self.judge(&file, of_file, &mapping.name, mapping.is_memory())?;
                strongest = strongest.or(found);
            }
        }
        match open(&process.join("exe")) {
            Ok((_, now)) if now == identity => Ok(strongest),
            Ok(_) => Err(Error::Executed(pid)),
            Err(error) => Err(error),
        }
    }

    /// What a file says, from memory if it has been read before.
    fn judge(
        &mut self,
        file: &File,
        identity: Identity,
        name: &Path,
        memory: bool,
    ) -> Result<Finding, Error> {
        let evidence = match self.files.get(&identity) {
            Some(evidence) => *evidence,
            None => {
                let evidence = match rules::judge(file) {
                    // As with anonymous memory: a JIT compiler's output.
                    Err(image::Error::NotElf) if memory => rules::Evidence::Nothing,
                    judged => judged
                        .map_err(|source| Error::Unsuitable { path: name.to_owned(), source })?,
                };
                if self.files.len() >= REMEMBERED {
                    self.files.clear();
                }
                self.files.insert(identity, evidence);
                evidence
            }
        };
        let because = match evidence {
            rules::Evidence::Nothing => "nothing that it has mapped can call splice".to_owned(),
            evidence => format!("{evidence} ({})", name.display()),
        };
        Ok(Finding { reads: evidence.reads(), because })
    }
}

impl Finding {
    /// The stronger of two, the first if they are equal.
    fn or(self, other: Self) -> Self {
        if other.reads > self.reads { other } else { self }
    }
}

/// Opens a regular file, without waiting for the other end of a FIFO that somebody has put there.
fn open(path: &Path) -> Result<(File, Identity), Error> {
    use std::os::unix::fs::OpenOptionsExt;
    let unreadable = |source| Error::Unreadable { path: path.to_owned(), source };
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Error::Unsuitable { path: path.to_owned(), source: image::Error::NotElf });
    }
    Ok((file, Identity::of(&metadata)))
}

/// Opens what is mapped: the very file if the kernel lets us, otherwise what lies at its path in
/// the process's mount namespace, if that is the same inode.
fn reopen(process: &Path, mapping: &Mapping) -> Result<(File, Identity), Error> {
    match open(&mapping.link(process)) {
        Err(Error::Unreadable { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied => {}
        opened => return opened,
    }
    let name = mapping.name.strip_prefix("/").unwrap_or(&mapping.name);
    let (file, identity) = open(&process.join("root").join(name))?;
    // Not the device: that of maps is the file system's, which need not be what stat says (btrfs,
    // overlayfs).
    if identity.inode == mapping.inode {
        Ok((file, identity))
    } else {
        Err(Error::Replaced(mapping.name.clone()))
    }
}
