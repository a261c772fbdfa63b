//! The consumer of a ring buffer, in shared memory (kernel/bpf/ringbuf.c).

use crate::error::{Errno, Error, Result};
use crate::{Map, MapKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// The record is being written.
const BUSY: u32 = 1 << 31;
/// The program has discarded the record.
const DISCARD: u32 = 1 << 30;
/// Length and flags in 4 bytes, then 4 bytes for the kernel; records are aligned to 8.
const HEADER: usize = 8;

/// The only consumer of a `BPF_MAP_TYPE_RINGBUF`. Since Linux 5.8.
#[derive(Debug)]
pub struct RingBuf {
    map: Map,
    ring: Ring,
}

/// The shared memory of a ring buffer.
#[derive(Debug)]
struct Ring {
    /// Size of the data in bytes, a power of two.
    size: usize,
    /// One page: the consumer position, which the kernel reads.
    consumer: Pages,
    /// One page with the producer position, then the data mapped twice, so that records are
    /// contiguous.
    producer: Pages,
}

impl RingBuf {
    /// Maps the memory of `map` as its consumer. With two consumers, each would miss the other's
    /// records.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `map` is not a ring buffer, otherwise [`Error::Command`] with `mmap`.
    pub fn new(map: Map) -> Result<Self> {
        if map.kind() != MapKind::RINGBUF {
            return Err(Error::invalid(
                format!("map `{}`", map.name()),
                format!("a {:?} cannot be read as a ring buffer", map.kind()),
            ));
        }
        // SAFETY: sysconf has no pointers.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = map.max_entries() as usize;
        let consumer = Pages::map(&map, page, 0, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = Pages::map(&map, page + 2 * size, page, libc::PROT_READ)?;
        let ring = Ring { size, consumer, producer };
        Ok(Self { map, ring })
    }

    /// The map itself.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Waits for a record; `false` after `timeout`. Waits forever if it is `None`.
    ///
    /// # Errors
    /// [`Error::Command`] with `poll`. A signal ends the wait with `false`.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool> {
        let milliseconds = match timeout {
            None => -1,
            // Rounded up, so that a short timeout does not busy-loop.
            Some(time) => i32::try_from(time.as_micros().div_ceil(1000)).unwrap_or(i32::MAX),
        };
        let mut poll =
            libc::pollfd { fd: self.map.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid structure.
        match unsafe { libc::poll(&raw mut poll, 1, milliseconds) } {
            -1 => match Errno::last() {
                errno if errno.raw() == libc::EINTR => Ok(false),
                errno => Err(self.failed("poll", errno)),
            },
            ready => Ok(ready > 0),
        }
    }

    /// Calls `take` for each complete record, oldest first, and frees its space; returns their
    /// number. Stops at the first record that is still being written, or at the end.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a header exceeds the buffer, which no kernel writes.
    pub fn drain(&mut self, take: impl FnMut(&[u8])) -> Result<usize> {
        self.ring.drain(take).map_err(|length| {
            Error::invalid(
                format!("map `{}`", self.map.name()),
                format!("a record of {length} bytes in a ring buffer of {}", self.ring.size),
            )
        })
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

impl Ring {
    fn consumer_position(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped as long as `self`, starts with this counter, and is
        // page-aligned.
        unsafe { self.consumer.at(0).cast::<AtomicU64>().as_ref() }
    }

    fn producer_position(&self) -> &AtomicU64 {
        // SAFETY: as above; it is never stored to, which the mapping would not permit.
        unsafe { self.producer.at(0).cast::<AtomicU64>().as_ref() }
    }

    /// See [`RingBuf::drain`]; fails with the length of an impossible record.
    fn drain(&mut self, mut take: impl FnMut(&[u8])) -> std::result::Result<usize, usize> {
        let mut taken = 0;
        // Only this consumer writes the position.
        let mut position = self.consumer_position().load(Ordering::Relaxed);
        loop {
            // Acquire: headers of records before this position are visible.
            let end = self.producer_position().load(Ordering::Acquire);
            if position >= end {
                return Ok(taken);
            }
            while position < end {
                // Always a multiple of 8, even if another process has written to the consumer's
                // page.
                let inside = position as usize & (self.size - 1) & !(HEADER - 1);
                let start = self.producer.len - 2 * self.size + inside;
                // SAFETY: `start` is a multiple of 8 inside the first copy of the data.
                let header = unsafe { self.producer.at(start).cast::<AtomicU32>().as_ref() };
                // Acquire: the record is visible once its busy bit is cleared (bpf_ringbuf_commit).
                let header = header.load(Ordering::Acquire);
                if header & BUSY != 0 {
                    return Ok(taken);
                }
                let length = (header & !(BUSY | DISCARD)) as usize;
                if length > self.size - HEADER {
                    return Err(length);
                }
                if header & DISCARD == 0 {
                    // SAFETY: header and record are at most `size` long and the data is mapped
                    // twice; the kernel does not write to them until the position below is after
                    // them.
                    let record = unsafe {
                        std::slice::from_raw_parts(
                            self.producer.at(start + HEADER).as_ptr(),
                            length,
                        )
                    };
                    take(record);
                    taken += 1;
                }
                position += (HEADER + length.next_multiple_of(8)) as u64;
                // Release: the record is read before its space is freed.
                self.consumer_position().store(position, Ordering::Release);
            }
        }
    }
}

/// Memory shared with the kernel.
#[derive(Debug)]
struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread; all shared words are accessed as
// atomics.
unsafe impl Send for Pages {}
// SAFETY: through shared references only atomics are accessed; records are read through `&mut
// RingBuf`.
unsafe impl Sync for Pages {}

impl Pages {
    fn map(map: &Map, len: usize, offset: usize, protection: i32) -> Result<Self> {
        // SAFETY: a new mapping at an address chosen by the kernel replaces nothing.
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

    /// The address at an offset in bytes.
    ///
    /// # Safety
    /// `offset` is within the mapping.
    unsafe fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: guaranteed by the caller.
        unsafe { self.start.add(offset) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{add, copy, load, map_fd};
    use crate::insn::{EXIT, call, insn, mov};
    use crate::{MapSpec, Prog, ProgKind};

    const SIZE: u32 = 4096;

    fn ring() -> RingBuf {
        RingBuf::new(Map::create(&MapSpec::new(MapKind::RINGBUF, "events", 0, 0, SIZE)).unwrap())
            .unwrap()
    }

    /// A socket filter that writes the packet's first 40 bytes to the ring buffer, twice if the
    /// first byte is 2, and after discarding a record if it is 1.
    fn writer(ring: &RingBuf) -> Prog {
        const SKB_LOAD_BYTES: u32 = 26;
        const RINGBUF_OUTPUT: u32 = 130;
        const RINGBUF_RESERVE: u32 = 131;
        const RINGBUF_DISCARD: u32 = 133;
        // r6 = ctx; copy 40 bytes to r10 - 40
        let mut insns = vec![copy(6, 1), mov(2, 0), copy(3, 10), add(3, -40), mov(4, 40)];
        insns.push(call(SKB_LOAD_BYTES));
        // r7 = first byte; if r7 != 1, skip the discarded record.
        insns.extend([insn(0x71, 7, 10, -40, 0), insn(0x55, 7, 0, 9, 1)]);
        insns.extend(map_fd(1, ring.map()));
        insns.extend([mov(2, 24), mov(3, 0), call(RINGBUF_RESERVE)]);
        insns.extend([insn(0x15, 0, 0, 3, 0), copy(1, 0), mov(2, 0), call(RINGBUF_DISCARD)]);
        for _ in 0..2 {
            insns.extend(map_fd(1, ring.map()));
            insns.extend([copy(2, 10), add(2, -40), mov(3, 40), mov(4, 0)]);
            insns.push(call(RINGBUF_OUTPUT));
            // if r7 != 2 goto the end of both
            insns.push(insn(0x55, 7, 0, 8, 2));
        }
        // The target of the jump in the second copy, which would otherwise be out of bounds.
        insns.pop();
        insns.extend([mov(0, 1), EXIT]);
        load(ProgKind::SOCKET_FILTER, &insns)
    }

    fn packet(first: u8, number: u64) -> [u8; 64] {
        // The test run removes the Ethernet header, so the filter's first byte is the 15th.
        let mut packet = [0x5a; 64];
        packet[14] = first;
        packet[15..23].copy_from_slice(&number.to_ne_bytes());
        packet
    }

    fn drain(ring: &mut RingBuf) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        let count = ring.drain(|record| records.push(record.to_vec())).unwrap();
        assert_eq!(count, records.len());
        records
    }

    #[test]
    fn records_are_complete_and_in_order_when_the_ring_wraps() {
        let mut ring = ring();
        let writer = writer(&ring);
        for number in 0..1_000 {
            let packet = packet(0, number);
            writer.test_run(&packet, 1).unwrap();
            assert_eq!(drain(&mut ring), [&packet[14..54]], "record {number}");
        }
        assert!(drain(&mut ring).is_empty());
    }

    #[test]
    fn discarded_records_are_skipped() {
        let mut ring = ring();
        let writer = writer(&ring);
        writer.test_run(&packet(1, 7), 1).unwrap();
        assert_eq!(ring.ring.producer_position().load(Ordering::Acquire), (8 + 24) + (8 + 40));
        assert_eq!(drain(&mut ring), [&packet(1, 7)[14..54]]);
    }

    #[test]
    fn a_full_ring_accepts_records_again_once_it_is_read() {
        let mut ring = ring();
        let writer = writer(&ring);
        writer.test_run(&packet(0, 1), 1_000).unwrap();
        let kept = drain(&mut ring).len();
        assert!(kept <= SIZE as usize / 48 && kept > SIZE as usize / 48 - 2, "{kept}");
        writer.test_run(&packet(2, 2), 1).unwrap();
        assert_eq!(drain(&mut ring).len(), 2);
    }

    #[test]
    fn waiting_ends_with_a_record_or_the_timeout() {
        let ring = ring();
        let short = Some(Duration::from_millis(20));
        assert!(!ring.wait(short).unwrap());
        writer(&ring).test_run(&packet(0, 1), 1).unwrap();
        assert!(ring.wait(short).unwrap());
    }

    #[test]
    fn another_kind_of_map_is_rejected() {
        let map = Map::create(&MapSpec::new(MapKind::ARRAY, "array", 4, 4, 1)).unwrap();
        let text = RingBuf::new(map).unwrap_err().to_string();
        assert!(text.contains("a ARRAY cannot be read as a ring buffer"), "{text}");
    }

    /// A ring buffer in this process's memory, as the kernel would leave it after writing these
    /// headers.
    fn ring_with(headers: &[(u32, usize)], end: u64) -> Ring {
        let pages = |len| {
            // SAFETY: a new mapping at an address chosen by the kernel replaces nothing.
            let start = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    len,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            assert_ne!(start, libc::MAP_FAILED);
            Pages { start: NonNull::new(start.cast()).unwrap(), len }
        };
        let size = SIZE as usize;
        let ring = Ring { size, consumer: pages(4096), producer: pages(4096 + 2 * size) };
        for &(header, at) in headers {
            // SAFETY: within the data, and aligned as headers are.
            unsafe { ring.producer.at(4096 + at).cast::<u32>().write(header) };
        }
        ring.producer_position().store(end, Ordering::Release);
        ring
    }

    #[test]
    fn a_record_that_is_being_written_stops_the_consumer_until_it_is_complete() {
        let mut ring = ring_with(&[(8, 0), (8 | BUSY, 16), (8, 32)], 48);
        assert_eq!(ring.drain(|_| ()), Ok(1));
        assert_eq!(ring.drain(|_| ()), Ok(0));
        // SAFETY: within the data, and aligned as headers are.
        unsafe { ring.producer.at(4096 + 16).cast::<u32>().write(8) };
        assert_eq!(ring.drain(|_| ()), Ok(2));
    }

    #[test]
    fn a_record_longer_than_the_ring_is_an_error() {
        let mut ring = ring_with(&[(SIZE, 0)], 4096);
        assert_eq!(ring.drain(|_| ()), Err(SIZE as usize));
    }
}
