//! Evidence of how a process can read: whether anything other than `recvmsg(2)` and its variants
//! can take bytes out of its TCP sockets.
//!
//! A socket in a sockmap with a verdict program serves its bytes to `recvmsg` only. A reader that
//! uses `splice(2)` or `TCP_ZEROCOPY_RECEIVE` sees TCP's receive queue, which stays empty, and
//! loses data without an error. Such a process must never be enrolled. Its name does not tell, but
//! its mappings do: [`Examiner::examine`] reads every executable mapping.
//!
//! | file | |
//! |---|---|
//! | [`mapping`] | `/proc/PID/maps`: parsing, and opening mapped files across mount namespaces |
//! | [`image`] | one ELF file: segments, sections, dynamic symbols, bounded reads |
//! | [`code`] | machine code: loads of splice's number, and calls |
//! | [`budget`] | the limit of what one examination reads |
//! | [`rules`] | the rules that judge one file, in order |
//!
//! # What this does not see
//!
//! The finding covers the code mapped at this moment, and misses:
//!
//! * Libraries loaded later (`dlopen`: plug-ins, JNI libraries such as Netty's epoll transport).
//!   Examine again when the process has mapped more, and before a connection is enrolled rather
//!   than when the process starts.
//! * Code generated at run time (JIT compilers), and executable memory without an ELF header.
//!   Compilers for managed languages make system calls through a library, which is seen.
//! * Foreign function interfaces that get the number or the name from script data: Perl's
//!   `syscall`, Python's `ctypes`, LuaJIT's `ffi`, Java's foreign functions and JNA. (The metadata
//!   of a .NET assembly is seen.)
//! * io_uring: `IORING_OP_SPLICE` and `IORING_OP_RECV_ZC` are requests in memory, which look like
//!   those for `recv`.
//! * A system call number that is computed, loaded from a table, or passed through memory.
//! * A socket passed to another process, which is examined itself, or to the kernel (NBD, NFS,
//!   KCM), which is not.
//!
//! These need a second line of defence: a probe on `tcp_splice_read`, or the process's history.

pub mod budget;
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
use std::sync::Arc;

use budget::Budget;
use mapping::Mapping;

pub use crate::datapath::Reads;

/// The finding about a process or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it can read.
    pub reads: Reads,
    /// The reason shown to the operator: "imports splice (/usr/sbin/haproxy)".
    pub because: String,
}

/// Why there is no finding. The process then stays with TCP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process has ended, is a kernel thread, or may not be examined.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file that could not be read.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// A mapped file cannot be judged.
    #[error("{}: {source}", path.display())]
    Unsuitable {
        /// The file as the process sees it.
        path: PathBuf,
        /// The cause.
        source: Arc<image::Error>,
    },
    /// The process maps more than one examination reads. What has been read is remembered, and the
    /// next examination continues.
    #[error("process {0} maps more than is read at once")]
    TooMuch(u32),
    /// Another file is at the path of a mapping, and the mapped file itself cannot be opened.
    #[error("{}: replaced since it was mapped", .0.display())]
    Replaced(PathBuf),
    /// The process called `execve` meanwhile.
    #[error("process {0} called execve while it was examined")]
    Executed(u32),
}

/// Identifies one version of a file. Includes the change time, because a container can set the
/// modification time of its files.
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

/// Limit of remembered files. A node has some hundreds of programs.
const CACHE_SIZE: usize = 4096;

/// Examines processes and caches findings per file.
///
/// Files belong to containers: on a FUSE file system a read can block as long as its owner likes,
/// so run this in a separate thread.
#[derive(Debug, Default)]
pub struct Examiner {
    /// Also errors, except those of reading: a file that is not worth its time costs it once.
    files: HashMap<Identity, Result<rules::Evidence, Arc<image::Error>>>,
}

impl Examiner {
    /// An examiner with an empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Examines all executable mappings in `/proc/PID/maps`.
    ///
    /// Needs ptrace access for `/proc/PID/exe` and, for replaced or deleted files,
    /// CAP_CHECKPOINT_RESTORE for `/proc/PID/map_files`.
    pub fn examine(&mut self, pid: u32) -> Result<Finding, Error> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let (program, identity) = open(&process.join("exe"))?;
        let name = fs::read_link(process.join("exe")).unwrap_or_else(|_| "its program".into());

        let budget = Budget::default();
        let judge = |examiner: &mut Self, file: &File, identity, name: &Path, memory| {
            examiner
                .judge(file, identity, memory, &budget)
                .ok_or(Error::TooMuch(pid))?
                .map(|evidence| Finding::of(evidence, name))
                .map_err(|source| Error::Unsuitable { path: name.to_owned(), source })
        };
        let mut strongest = judge(self, &program, identity, &name, false)?;
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
                let found = judge(self, &file, of_file, &mapping.name, mapping.is_memory())?;
                strongest = strongest.or(found);
            }
        }
        match open(&process.join("exe")) {
            Ok((_, now)) if now == identity => Ok(strongest),
            Ok(_) => Err(Error::Executed(pid)),
            Err(error) => Err(error),
        }
    }

    /// Judges a file, using the cache. Returns `None` if the rest of the budget does not suffice,
    /// and a whole one may.
    fn judge(
        &mut self,
        file: &File,
        identity: Identity,
        memory: bool,
        budget: &Budget,
    ) -> Option<Result<rules::Evidence, Arc<image::Error>>> {
        let judged = match self.files.get(&identity) {
            Some(judged) => judged.clone(),
            None => {
                let is_whole = budget.is_whole();
                let judged = rules::judge(&budget.of(file));
                let judged = match budget.is_spent() {
                    false => judged,
                    true if is_whole => Err(image::Error::TooLarge),
                    true => return None,
                };
                let is_read_again = matches!(judged, Err(image::Error::Io(_)));
                let judged = judged.map_err(Arc::new);
                if !is_read_again {
                    if self.files.len() >= CACHE_SIZE {
                        self.files.clear();
                    }
                    self.files.insert(identity, judged.clone());
                }
                judged
            }
        };
        Some(match judged {
            // Memory without an ELF header is a JIT compiler's output.
            Err(error) if memory && matches!(*error, image::Error::NotElf) => {
                Ok(rules::Evidence::Nothing)
            }
            judged => judged,
        })
    }
}

impl Finding {
    /// What is found in the file of this name.
    fn of(evidence: rules::Evidence, name: &Path) -> Self {
        let because = match evidence {
            rules::Evidence::Nothing => "nothing that it has mapped can call splice".to_owned(),
            evidence => format!("{evidence} ({})", name.display()),
        };
        Self { reads: evidence.reads(), because }
    }

    /// The stronger of two findings, the first if equal.
    fn or(self, other: Self) -> Self {
        if other.reads > self.reads { other } else { self }
    }
}

/// Opens a regular file, without blocking on a FIFO.
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
        let source = Arc::new(image::Error::NotElf);
        return Err(Error::Unsuitable { path: path.to_owned(), source });
    }
    Ok((file, Identity::of(&metadata)))
}

/// Opens a mapped file: through map_files if allowed, otherwise its path in the process's mount
/// namespace, if that has the same inode.
fn reopen(process: &Path, mapping: &Mapping) -> Result<(File, Identity), Error> {
    match open(&mapping.link(process)) {
        Err(Error::Unreadable { source, .. })
            if source.kind() == io::ErrorKind::PermissionDenied => {}
        opened => return opened,
    }
    let name = mapping.name.strip_prefix("/").unwrap_or(&mapping.name);
    let (file, identity) = open(&process.join("root").join(name))?;
    // Not the device: maps shows that of the file system, which may differ from stat's (btrfs,
    // overlayfs).
    if identity.inode == mapping.inode {
        Ok((file, identity))
    } else {
        Err(Error::Replaced(mapping.name.clone()))
    }
}
