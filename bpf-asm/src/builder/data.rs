//! Read-only data: bytes and strings that a program brings along.

use std::panic::Location as Caller;

use super::{Builder, Core, Link};
use crate::error::{ErrorKind, Location};
use crate::insn::{Insn, Wide, WideSource};
use crate::map::{MapDef, MapKind, RDONLY_PROG};
use crate::program::READ_ONLY;
use crate::value::{Held, Ptr};

/// The most bytes that an array's value may have (kernel `KMALLOC_MAX_SIZE`).
const MOST: usize = 4 << 20;
/// What the data of one call begins at.
const ALIGNMENT: usize = 8;

impl Builder {
    /// A pointer to read-only bytes, aligned to 8. Equal byte strings share one copy.
    ///
    /// They are in the map [`READ_ONLY`], which the program's loader fills and freezes
    /// ([`Program::read_only`](crate::Program::read_only)); the verifier then knows them. Linux
    /// 5.2.
    #[track_caller]
    pub fn bytes(&self, bytes: &[u8]) -> Ptr<u8> {
        self.data(bytes, Caller::caller())
    }

    /// A pointer to a string and the 0 behind it, as helpers that take formats or names want it.
    ///
    /// ```
    /// use bpf_asm::{Builder, ProgramType, helper};
    ///
    /// let b = Builder::new("print");
    /// let format = b.string("length %d");
    /// b.call(helper::trace_printk(&format, "length %d".len() + 1, 7, 0, 0));
    /// b.ret(0);
    /// let program = b.finish(ProgramType::SocketFilter)?;
    /// assert_eq!(program.read_only(), Some(&b"length %d\0"[..]));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn string(&self, text: &str) -> Ptr<u8> {
        self.data(&[text.as_bytes(), &[0]].concat(), Caller::caller())
    }

    fn data(&self, bytes: &[u8], at: Location) -> Ptr<u8> {
        let value = self.temporary(at);
        let offset = self.core().place_data(bytes);
        if offset + bytes.len() > MOST {
            self.report(ErrorKind::ReadOnlyData { given: offset + bytes.len(), most: MOST }, at);
        }
        let index = self.map(EMPTY, at);
        let source = WideSource::MapValue { fd: 0, offset: offset as u32 };
        let insn = Insn::Wide(Wide { dst: value.register, source });
        self.write_linked(insn, &[], Some(&value), Link::Map(index), at);
        Ptr::from_value(value)
    }
}

/// The map while its size is not known.
const EMPTY: MapDef = MapDef {
    name: READ_ONLY,
    kind: MapKind::Array,
    key: None,
    value: None,
    key_size: 4,
    value_size: 0,
    max_entries: 1,
    flags: RDONLY_PROG,
    numa_node: None,
    extra: 0,
    inner: None,
};

impl Core {
    /// Where these bytes are in the data, to which they are added if need be.
    fn place_data(&mut self, bytes: &[u8]) -> usize {
        let starts = (0..self.data.len()).step_by(ALIGNMENT);
        let known = starts.into_iter().find(|start| self.data[*start..].starts_with(bytes));
        known.unwrap_or_else(|| {
            let start = self.data.len().next_multiple_of(ALIGNMENT);
            self.data.resize(start, 0);
            self.data.extend(bytes);
            if self.data.is_empty() {
                // No map has a value without bytes.
                self.data.push(0);
            }
            start
        })
    }

    /// A map as it is to be made.
    pub(super) fn finished_map(&self, index: usize) -> MapDef {
        let map = self.maps[index];
        if map == EMPTY { MapDef { value_size: self.data.len() as u32, ..map } } else { map }
    }
}
