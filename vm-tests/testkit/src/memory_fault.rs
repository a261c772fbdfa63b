//! A page whose first touch waits (userfaultfd(2)): who touches it in a system call holds whatever
//! lock that call holds, for as long as a test wants.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::PATIENCE;

const PAGE: usize = 4096;

/// `UFFDIO_API`, `UFFDIO_REGISTER` and `UFFDIO_COPY` (include/uapi/linux/userfaultfd.h).
const API: libc::Ioctl = 0xc018_aa3f_u32 as libc::Ioctl;
const REGISTER: libc::Ioctl = 0xc020_aa00_u32 as libc::Ioctl;
const COPY: libc::Ioctl = 0xc028_aa03_u32 as libc::Ioctl;

/// A page that is not there until [`Hole::fill`].
pub struct Hole {
    faults: OwnedFd,
    at: *mut libc::c_void,
}

// SAFETY: the page is only touched by system calls that are given its address, from any thread.
unsafe impl Send for Hole {}
// SAFETY: as above.
unsafe impl Sync for Hole {}

impl Hole {
    /// A new page. The kernel has to have userfaultfd (CONFIG_USERFAULTFD), and let root use it.
    pub fn open() -> Self {
        // SAFETY: no pointer is passed.
        let fd =
            unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
        assert!(
            fd >= 0,
            "userfaultfd (as root, on a kernel with CONFIG_USERFAULTFD): {}",
            io::Error::last_os_error()
        );
        // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
        let faults = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let (kinds, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, where the kernel likes.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, kinds, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED, "mmap: {}", io::Error::last_os_error());
        let hole = Self { faults, at };
        // struct uffdio_api: the version asked for (0xAA), no features.
        hole.control(API, &mut [0xaa, 0, 0]);
        // struct uffdio_register: start, length, UFFDIO_REGISTER_MODE_MISSING.
        hole.control(REGISTER, &mut [at as u64, PAGE as u64, 1, 0]);
        hole
    }

    /// Where it is. Whoever reads or writes there waits.
    pub fn pointer(&self) -> *mut libc::c_void {
        self.at
    }

    /// Puts a page of zeros there, and wakes the threads that wait for it. Once is enough.
    pub fn fill(&self) {
        #[repr(align(4096))]
        struct Zeros([u8; PAGE]);
        static ZEROS: Zeros = Zeros([0; PAGE]);
        // struct uffdio_copy: destination, source, length.
        self.control(COPY, &mut [self.at as u64, ZEROS.0.as_ptr() as u64, PAGE as u64, 0, 0]);
    }

    /// Waits until a thread has touched it. Fails when none does.
    pub fn wait_until_touched(&self) {
        let limit = PollTimeout::try_from(PATIENCE).expect("a poll timeout");
        let touched =
            poll(&mut [PollFd::new(self.faults.as_fd(), PollFlags::POLLIN)], limit).expect("poll");
        assert_eq!(touched, 1, "nobody touched the page");
    }

    fn control<const N: usize>(&self, request: libc::Ioctl, argument: &mut [u64; N]) {
        // SAFETY: the argument is as large as the request's number says, and what it points to is
        // mapped.
        let outcome =
            unsafe { libc::ioctl(self.faults.as_raw_fd(), request, argument.as_mut_ptr()) };
        let error = io::Error::last_os_error();
        let filled_before = request == COPY && error.raw_os_error() == Some(libc::EEXIST);
        assert!(outcome == 0 || filled_before, "userfaultfd request {request:#x}: {error}");
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        // Whoever still waits goes on: a test that fails must not hang on its threads.
        self.fill();
        // SAFETY: this mapping is this value's own, and nobody keeps a reference into it.
        unsafe { libc::munmap(self.at, PAGE) };
    }
}

/// Fills a hole when dropped, whatever happens before.
pub struct Filler<'a>(pub &'a Hole);

impl Drop for Filler<'_> {
    fn drop(&mut self) {
        self.0.fill();
    }
}
