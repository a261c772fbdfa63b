//! The memory of the simulation: everything that a program or a helper may reach lies in one arena,
//! so that every address is checked.

use std::cell::UnsafeCell;
use std::ops::Range;

use bpf_asm::KernelField;

use super::interpreter::{Addresses, FRAME_AND_ASIDE};
use super::kernel::STRUCTURE;

/// Bytes; a test makes a few dozen objects.
const SIZE: usize = 640 * 1024;

/// Bytes for the marks of a run: two for each instruction.
pub const MARKS: usize = 8 * 1024;

/// Bytes of a context: the largest, and the kernel's own part behind it.
pub const CONTEXT: usize = size_of::<bpf_asm::bpf_sock_ops>() + 64;

/// What memory holds before anybody writes to it: a read of a wrong offset or size shows.
const UNWRITTEN: u8 = 0xa5;

/// Objects at addresses that stay, in the order in which they were made; nothing is given back
/// before the test ends.
pub struct Memory {
    /// In words, for alignment; in cells, because the interpreter writes to it by address.
    arena: Box<[UnsafeCell<u64>]>,
    used: usize,
    /// What every run uses again.
    pub addresses: Addresses,
    /// What a structure's members are loaded from where no memory is.
    pub zeroes: u64,
    /// What can be read by address.
    objects: Vec<Range<u64>>,
}

/// What memory held at one moment.
pub struct Snapshot {
    bytes: Vec<u8>,
    objects: Vec<Range<u64>>,
}

impl Memory {
    pub fn new() -> Memory {
        let word = u64::from_ne_bytes([UNWRITTEN; 8]);
        let mut memory = Memory {
            arena: (0..SIZE / 8).map(|_| UnsafeCell::new(word)).collect(),
            // The first bytes stay free: an address just below an object belongs to none.
            used: 64,
            addresses: Addresses { context: 0, frame: 0, marks: 0 },
            zeroes: 0,
            objects: Vec::new(),
        };
        memory.addresses = Addresses {
            context: memory.object(CONTEXT),
            frame: memory.place(FRAME_AND_ASIDE),
            marks: memory.place(MARKS),
        };
        memory.zeroes = memory.place(STRUCTURE);
        memory.write(memory.zeroes, &[0; STRUCTURE]);
        memory
    }

    /// Makes the stack frame one that nobody has written to, and takes the marks away.
    pub fn prepare_run(&self) {
        self.write(self.addresses.frame, &[UNWRITTEN; FRAME_AND_ASIDE]);
        self.write(self.addresses.marks, &[0; MARKS]);
    }

    /// The marks of the run before.
    pub fn marks(&self) -> Vec<u8> {
        self.read(self.addresses.marks, MARKS)
    }

    /// Addresses that programs may load from and store to.
    pub fn range(&self) -> Range<u64> {
        let start = self.arena.as_ptr() as u64;
        start..start + SIZE as u64
    }

    /// Memory for `size` bytes, aligned to 8.
    pub fn place(&mut self, size: usize) -> u64 {
        let address = self.range().start + self.used as u64;
        self.used += size.next_multiple_of(8) + 64;
        assert!(self.used <= SIZE, "the arena is full");
        address
    }

    /// A kernel object: memory that can also be read by address.
    pub fn object(&mut self, size: usize) -> u64 {
        let address = self.place(size);
        self.objects.push(address..address + size as u64);
        address
    }

    /// From now on the object at this address cannot be read.
    pub fn unmap(&mut self, address: u64) {
        self.objects.retain(|object| object.start != address);
    }

    /// Whether all of these bytes belong to one kernel object.
    pub fn is_mapped(&self, address: u64, size: usize) -> bool {
        self.objects.iter().any(|object| {
            object.start <= address
                && address.checked_add(size as u64).is_some_and(|end| end <= object.end)
        })
    }

    fn pointer(&self, address: u64, size: usize) -> *mut u8 {
        let range = self.range();
        let inside = range.contains(&address) && address + size as u64 <= range.end;
        assert!(inside, "{size} bytes at {address:#x} are outside of the simulation's memory");
        UnsafeCell::raw_get(self.arena.as_ptr())
            .cast::<u8>()
            .wrapping_add((address - range.start) as usize)
    }

    pub fn read(&self, address: u64, size: usize) -> Vec<u8> {
        let from = self.pointer(address, size);
        let mut bytes = vec![0; size];
        // SAFETY: `pointer` has checked that the bytes lie in the arena, whose cells may be written
        // by others; nobody does meanwhile, since the simulation has one thread.
        unsafe { std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), size) };
        bytes
    }

    pub fn write(&self, address: u64, bytes: &[u8]) {
        let to = self.pointer(address, bytes.len());
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
    }

    /// All there is, to be put back with [`Memory::restore`].
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { bytes: self.read(self.range().start, self.used), objects: self.objects.clone() }
    }

    pub fn restore(&mut self, snapshot: Snapshot) {
        self.write(self.range().start, &snapshot.bytes);
        self.used = snapshot.bytes.len();
        self.objects = snapshot.objects;
    }

    /// An unsigned number of `size` bytes.
    pub fn number(&self, address: u64, size: usize) -> u64 {
        let mut word = [0; 8];
        word[..size].copy_from_slice(&self.read(address, size));
        u64::from_le_bytes(word)
    }

    pub fn set_number(&self, address: u64, size: usize, number: u64) {
        self.write(address, &number.to_le_bytes()[..size]);
    }

    /// A member of the object at this address.
    pub fn member(&self, object: u64, field: KernelField) -> u64 {
        let storage = self.number(object + u64::from(field.offset), usize::from(field.size));
        match field.bitfield {
            Some((shift, width)) => storage >> shift & ((1 << width) - 1),
            None => storage,
        }
    }

    pub fn set_member(&self, object: u64, field: KernelField, number: u64) {
        let (address, size) = (object + u64::from(field.offset), usize::from(field.size));
        let number = match field.bitfield {
            Some((shift, width)) => {
                let mask = ((1u64 << width) - 1) << shift;
                self.number(address, size) & !mask | number << shift & mask
            }
            None => number,
        };
        self.set_number(address, size, number);
    }
}
