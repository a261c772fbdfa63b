//! Blocks: lines with a way out.

use std::panic::Location as Caller;

use super::Builder;
use crate::label::Label;

impl Builder {
    /// Writes a block, which a jump to `exit` leaves.
    ///
    /// ```
    /// use bpf_asm::{__sk_buff, Builder, ProgramType};
    ///
    /// let b = Builder::new("short");
    /// let packet = b.context::<__sk_buff>();
    /// b.block(|exit| {
    ///     b.jump_if(b.load(packet.at(__sk_buff::len)).lt(64), exit);
    ///     b.jump_if(b.load(packet.at(__sk_buff::mark)).ne(0), exit);
    ///     b.ret(0);
    /// });
    /// b.ret(1);
    /// b.finish(ProgramType::SocketFilter)?;
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn block<T>(&self, body: impl FnOnce(&Label) -> T) -> T {
        let at = Caller::caller();
        let exit = self.new_label(at);
        let result = body(&exit);
        self.place_label(&exit, at);
        result
    }

    /// Writes a block, and what is done only if a jump to `failed` leaves it.
    ///
    /// ```
    /// use bpf_asm::{__sk_buff, Builder, ProgramType};
    ///
    /// let b = Builder::new("marked");
    /// let packet = b.context::<__sk_buff>();
    /// b.attempt(
    ///     |failed| {
    ///         b.jump_if(b.load(packet.at(__sk_buff::mark)).ne(1), failed);
    ///         b.jump_if(b.load(packet.at(__sk_buff::priority)).eq(0), failed);
    ///     },
    ///     || b.ret(0),
    /// );
    /// b.ret(1);
    /// b.finish(ProgramType::SocketFilter)?;
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn attempt<T>(&self, body: impl FnOnce(&Label) -> T, otherwise: impl FnOnce()) -> T {
        let at = Caller::caller();
        let (failed, end) = (self.new_label(at), self.new_label(at));
        let result = body(&failed);
        if self.reachable() {
            self.jump_to(&end, at);
        }
        self.place_label(&failed, at);
        otherwise();
        self.place_label(&end, at);
        result
    }

    /// Writes a block that is run again and again until a jump to `exit` leaves it.
    ///
    /// ```
    /// use bpf_asm::{Builder, ProgramType};
    ///
    /// let b = Builder::new("count");
    /// let left = b.value(1_000);
    /// b.repeat(|exit| {
    ///     b.may_goto(exit);
    ///     left.sub(1);
    ///     b.jump_if(left.eq(0), exit);
    /// });
    /// b.ret(0);
    /// let program = b.finish(ProgramType::SocketFilter)?;
    /// assert!(program.to_string().contains("if r1 != 0x0 goto pc-3"), "{program}");
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn repeat<T>(&self, body: impl FnOnce(&Label) -> T) -> T {
        let at = Caller::caller();
        let (again, exit) = (self.new_label(at), self.new_label(at));
        self.place_label(&again, at);
        let result = body(&exit);
        if self.reachable() {
            self.jump_to(&again, at);
        }
        self.place_label(&exit, at);
        result
    }
}
