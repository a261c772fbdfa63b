//! The reading end of a ring buffer, in shared memory (kernel/bpf/ringbuf.c).

use crate::error::{Errno, Error, Result};
use crate::{Map, MapKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The record is still being written.
const BUSY: u32 = 1 << 31;
/// The program gave the record up.
const DISCARD: u32 = 1 << 30;
/// Length and flags in 4 bytes, then 4 bytes of the kernel's own; every record starts at a multiple of 8.
const HEADER: usize = 8;

/// The one reader of a `BPF_MAP_TYPE_RINGBUF`. Since Linux 5.8.
#[derive(Debug)]
pub struct RingBuf {
    map: Map,
    /// One page: the reader's position, which the kernel reads.
    consumer: Pages,
    /// One page with the kernel's position, then the data twice over, so that no record is torn.
    producer: Pages,
}

impl RingBuf {
    /// Maps the memory of `map` and takes the reader's part. Two readers of one map would lose records to each other.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `map` is no ring buffer, [`Error::Command`] with `mmap` otherwise.
    pub fn new(map: Map) -> Result<Self> {
        if map.kind() != MapKind::RINGBUF {
            return Err(Error::invalid(
                format!("map `{}`", map.name()),
                format!("a {:?} cannot be read as a ring buffer", map.kind()),
            ));
        }
        // SAFETY: sysconf takes and gives numbers.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = map.max_entries() as usize;
        let consumer = Pages::map(&map, page, 0, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Pages::map(&map, page + 2 * size, page, libc::PROT_READ)?;
        Ok(Self { map, consumer, producer })
    }

    /// The map itself.
    pub fn map(&self) -> &Map {
        &self.map
    }

    fn consumer_position(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped as long as `self`, starts with this counter, and is aligned to a page.
        unsafe { self.consumer.at(0).cast::<AtomicU64>().as_ref() }
    }

    fn producer_position(&self) -> &AtomicU64 {
        // SAFETY: as above; nothing is ever stored through it, which the mapping would not allow.
        unsafe { self.producer.at(0).cast::<AtomicU64>().as_ref() }
    }

    /// Waits until there is something to read, `false` after `timeout`. Waits without end if there is none.
    ///
    /// # Errors
    /// [`Error::Command`] with `poll`. A signal ends the wait with `false`.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        let milliseconds = match timeout {
            None => -1,
            // Rounded up, so that a short wait does not become a busy loop.
            Some(time) => i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX),
        };
        let mut poll = libc::pollfd { fd: self.map.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid structure.
        match unsafe { libc::poll(&mut poll, 1, milliseconds) } {
            -1 => match Errno::last() {
                errno if errno.raw() == libc::EINTR => Ok(false),
                errno => Err(self.failed("poll", errno)),
            },
            ready => Ok(ready > 0),
        }
    }

    /// Gives each record that is complete to `take`, oldest first, and frees its room; how many there were. Ends at
    /// the first record that a program is still writing, or when it has caught up.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a header says more than the buffer holds, which no kernel writes.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> Result<usize> {
        let size = self.map.max_entries() as usize;
        let mut taken = 0;
        // The position is this reader's own: nobody else writes it.
        let mut position = self.consumer_position().load(Ordering::Relaxed);
        loop {
            // Acquire: headers of the records below this position are visible.
            let end = self.producer_position().load(Ordering::Acquire);
            if position >= end {
                return Ok(taken);
            }
            while position < end {
                let start = self.producer.len - 2 * size + (position as usize & (size - 1));
                // SAFETY: `start` is a multiple of 8 inside the first copy of the data.
                let header = unsafe { self.producer.at(start).cast::<AtomicU32>().as_ref() };
                // Acquire: the record is visible once its busy bit is gone (bpf_ringbuf_commit).
                let header = header.load(Ordering::Acquire);
                if header & BUSY != 0 {
                    return Ok(taken);
                }
                let length = (header & !(BUSY | DISCARD)) as usize;
                if length > size - HEADER {
                    return Err(Error::invalid(
                        format!("map `{}`", self.map.name()),
                        format!("a record of {length} bytes in a ring buffer of {size}"),
                    ));
                }
                if header & DISCARD == 0 {
                    // SAFETY: header and record are at most `size` long and the data is mapped twice over; the kernel
                    // does not touch them until the position below has passed them.
                    let record =
                        unsafe { std::slice::from_raw_parts(self.producer.at(start + HEADER).as_ptr(), length) };
                    take(record);
                    taken += 1;
                }
                position += (HEADER + length.next_multiple_of(8)) as u64;
                // Release: the record is read before its room is given back.
                self.consumer_position().store(position, Ordering::Release);
            }
        }
    }

    fn failed(&self, call: &'static str, errno: Errno) -> Error {
        Error::command(call, format!("map `{}`", self.map.name()), errno)
    }
}

impl AsFd for RingBuf {
    /// Readable when there are records: for `epoll`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Memory shared with the kernel.
#[derive(Debug)]
struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; all shared words are accessed as atomics.
unsafe impl Send for Pages {}
// SAFETY: through a shared reference only atomics are accessed; records are read through `&mut RingBuf`.
unsafe impl Sync for Pages {}

impl Pages {
    fn map(map: &Map, len: usize, offset: usize, protection: i32) -> Result<Self> {
        // SAFETY: a new mapping at a place of the kernel's choosing replaces nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                protection,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                offset as libc::off_t,
            )
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(first) if start != libc::MAP_FAILED => Ok(Self { start: first, len }),
            _ => Err(Error::command("mmap", format!("map `{}`", map.name()), Errno::last())),
        }
    }

    /// The address `offset` bytes in.
    ///
    /// # Safety
    /// `offset` is inside.
    unsafe fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: the caller's promise.
        unsafe { self.start.add(offset) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own and nothing refers to it any longer.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
