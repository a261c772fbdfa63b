//! Read-only data: bytes and strings that a program brings along.

use std::panic::Location as Caller;

use super::{Builder, VALUE};
use crate::draft::{DATA, Link};
use crate::error::{ErrorKind, Location};
use crate::insn::{Insn, Wide, WideSource};
use crate::value::{Held, Ptr};

/// The most bytes that an array's value may have (kernel `KMALLOC_MAX_SIZE`).
const MOST: usize = 4 << 20;

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
        let value = self.new_value(at);
        let offset = self.core().draft.place_data(bytes);
        if offset + bytes.len() > MOST {
            self.report(ErrorKind::ReadOnlyData { given: offset + bytes.len(), most: MOST }, at);
        }
        let index = self.map(DATA, at);
        let source = WideSource::MapValue { fd: 0, offset: offset as u32 };
        let insn = Insn::Wide(Wide { dst: VALUE, source });
        self.write_linked(insn, [Some(&value), None], Link::Map(index), at);
        Ptr::from_value(value)
    }
}
