//! The builder: writes a program line by line, and collects what is wrong.
//!
//! While lines are written, the builder only keeps track of whether the next line can run. Which
//! register each value is in, and whether it is there wherever it is read, is decided at the end,
//! over all paths at once: see `flow` and `allocate`.

mod atomic;
mod blocks;
mod call;
mod data;
mod function;
mod memory;
mod packet;
mod raw;

pub use atomic::{Fetch, Modify};
pub use function::Function;
pub use raw::Raw;

use std::cell::{RefCell, RefMut};
use std::panic::Location as Caller;
use std::rc::Rc;

use crate::condition::{Condition, Question};
use crate::draft::{self, Draft, LabelId, Line, Link};
use crate::error::{BuildError, BuildErrors, ErrorKind, Location};
use crate::insn::{
    Alu, AluOp, ByteOrder, Endian, EndianBits, Extension, Insn, Jump, JumpIf, JumpLong, MayGoto,
    Minimum, Register, SignExtend, Source, Wide, WideSource, Width,
};
use crate::label::Label;
use crate::map::{MapDef, MapKind, MapRef};
use crate::program::{Program, ProgramType};
use crate::record::{Field, FieldType, Record};
use crate::stack::{Access, Touch};
use crate::value::{Held, Operand, Ptr, Reg, Value};
use crate::{allocate, flow, layout, optimise};

const JUMP_LONG: Insn = Insn::JumpLong(JumpLong { offset: 0 });

/// What an instruction names where a value stands in the place of the register.
pub(crate) const VALUE: Register = Register::R0;

/// Writes one program.
///
/// Values, slots and labels that it gives out belong to it; a slot keeps its bytes of the stack
/// until it is dropped. Nothing fails on the way: what is wrong is collected, and
/// [`Builder::finish`] tells all of it.
#[derive(Clone)]
pub struct Builder {
    pub(crate) core: Rc<RefCell<Core>>,
}

/// Everything written so far.
pub(crate) struct Core {
    draft: Draft,
    /// The functions being written, innermost last.
    open: Vec<usize>,
    errors: Vec<BuildError>,
}

impl Core {
    /// The program's name.
    pub(crate) fn name(&self) -> &String {
        &self.draft.name
    }
}

impl Builder {
    /// A new program under this name, which the kernel shows (15 bytes of it).
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let draft = Draft::new(name, Caller::caller());
        let core = Core { draft, open: vec![0], errors: Vec::new() };
        Builder { core: Rc::new(RefCell::new(core)) }
    }

    /// States the least that the program has to run on, a [`Kernel`](crate::insn::Kernel) or a
    /// version of the [instruction set](crate::insn::Isa) or both; an instruction that needs more
    /// is an error.
    ///
    /// Without one, a jump that 16 bits cannot reach becomes `gotol`, which is of Linux 6.6 (v4):
    /// [`Program::requires`] tells what the program then requires.
    pub fn minimum(&self, minimum: impl Into<Minimum>) {
        self.core().draft.minimum = minimum.into();
    }

    /// The program's context. Only as the program's first step.
    #[track_caller]
    pub fn context<C: Record>(&self) -> Ptr<C> {
        let at = Caller::caller();
        let untouched = {
            let mut core = self.core();
            core.draft.context.replace(C::TYPE).is_none()
                && core.open == [0]
                && core.function().lines.is_empty()
        };
        let value = self.new_value(at);
        if untouched {
            self.write(alu_mov(VALUE, Source::Reg(Register::R1)), Some(&value), None, at);
        } else {
            self.report(ErrorKind::ContextGone, at);
            self.set(&value, &Operand::Imm(0), at);
        }
        Ptr::from_value(value)
    }

    /// A new value with this content; a register's content is copied.
    #[track_caller]
    pub fn value(&self, content: impl Into<Operand>) -> Reg {
        let at = Caller::caller();
        let content = content.into();
        let value = self.new_value(at);
        self.set(&value, &content, at);
        Reg(value)
    }

    /// A new label, to be placed once with [`Builder::place`].
    #[track_caller]
    pub fn label(&self) -> Label {
        self.new_label(Caller::caller())
    }

    /// Puts a label before the next line. What is written next can run if the line before it goes
    /// on, or if a jump to the label is written already; jumps back to it may follow.
    #[track_caller]
    pub fn place(&self, label: &Label) {
        self.place_label(label, Caller::caller());
    }

    /// Goes on at the label.
    #[track_caller]
    pub fn jump(&self, label: &Label) {
        self.jump_to(label, Caller::caller());
    }

    /// Goes on at the label if the condition holds.
    #[track_caller]
    pub fn jump_if(&self, condition: Condition, label: &Label) {
        self.branch(&condition.0, true, label, Caller::caller());
    }

    /// Goes on at the label, out of a loop, once the kernel has had enough of it: after 8 Mi
    /// rounds, and from Linux 6.15 on after a quarter of a second (`BPF_MAX_LOOPS`,
    /// `BPF_MAX_TIMED_LOOPS`, include/linux/bpf_verifier.h).
    ///
    /// The verifier does not follow each round of a loop that has one: what changes in it counts as
    /// unknown, and two rounds tell it all. Linux 6.9.
    ///
    /// ```
    /// use bpf_asm::{Builder, ProgramType};
    ///
    /// let b = Builder::new("count");
    /// let left = b.value(1_000);
    /// b.repeat(|enough| {
    ///     b.may_goto(enough);
    ///     left.sub(1);
    ///     b.jump_if(left.eq(0), enough);
    /// });
    /// b.ret(0);
    /// let program = b.finish(ProgramType::SocketFilter)?;
    /// assert!(program.to_string().contains("may_goto"));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn may_goto(&self, label: &Label) {
        self.write_jump(Insn::MayGoto(MayGoto { offset: 0 }), [None; 2], label, Caller::caller());
    }

    /// Does `then` if the condition holds.
    #[track_caller]
    pub fn when(&self, condition: Condition, then: impl FnOnce()) {
        let at = Caller::caller();
        let end = self.new_label(at);
        self.branch(&condition.0, false, &end, at);
        then();
        self.place_label(&end, at);
    }

    /// Does `then` if the condition holds, and `otherwise` if not.
    #[track_caller]
    pub fn when_else(&self, condition: Condition, then: impl FnOnce(), otherwise: impl FnOnce()) {
        let at = Caller::caller();
        let (other, end) = (self.new_label(at), self.new_label(at));
        self.branch(&condition.0, false, &other, at);
        then();
        if self.reachable() {
            self.jump_to(&end, at);
        }
        self.place_label(&other, at);
        otherwise();
        self.place_label(&end, at);
    }

    /// Returns from the program, or from the function being written. There is always a result: a
    /// program that leaves r0 as it is cannot be written down.
    ///
    /// ```compile_fail
    /// let b = bpf_asm::Builder::new("nothing");
    /// b.ret();
    /// ```
    #[track_caller]
    pub fn ret(&self, result: impl Into<Operand>) {
        let at = Caller::caller();
        let result = result.into();
        self.set_register(Register::R0, &result, at);
        self.write(Insn::Exit, None, None, at);
        self.core().function().goes_on = false;
    }

    /// A pointer to the first value of an array map, which is always there. Linux 5.2.
    ///
    /// ```
    /// use bpf_asm::{Builder, MapKind, MapRef, ProgramType, record};
    ///
    /// record! {
    ///     pub struct Limits { bytes: u64, packets: u64 }
    /// }
    /// const LIMITS: MapRef<u32, Limits> = MapRef::new("limits", MapKind::Array, 1);
    ///
    /// let b = Builder::new("limits");
    /// let limits = b.map_value(&LIMITS);
    /// b.ret(b.load(limits.at(Limits::packets)));
    /// assert!(b.finish(ProgramType::SocketFilter)?.to_string().contains("r1 = map[name:limits][0]+0"));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn map_value<K, V: FieldType>(&self, map: &MapRef<K, V>) -> Ptr<V> {
        self.value_of(map.def(), 0, Caller::caller())
    }

    /// A pointer to a field of the first value of an array map.
    #[track_caller]
    pub fn map_value_at<K, V: FieldType, T>(
        &self,
        map: &MapRef<K, V>,
        field: Field<V, T>,
    ) -> Ptr<T> {
        self.value_of(map.def(), field.offset as u32, Caller::caller())
    }

    fn value_of<T>(&self, map: &MapDef, offset: u32, at: Location) -> Ptr<T> {
        if map.kind != MapKind::Array {
            self.report(ErrorKind::MapValue { map: map.name, kind: map.kind }, at);
        }
        let value = self.new_value(at);
        let index = self.map(*map, at);
        let source = WideSource::MapValue { fd: 0, offset };
        let insn = Insn::Wide(Wide { dst: VALUE, source });
        self.write_linked(insn, [Some(&value), None], Link::Map(index), at);
        Ptr::from_value(value)
    }

    /// The finished program, or everything that is wrong with it.
    ///
    /// The optimiser removes dead code: unused results, jumps to jumps, branches on constants.
    /// Every remaining instruction keeps its Rust line.
    ///
    /// # Errors
    /// All of them, each with the Rust line that made it.
    pub fn finish(self, kind: ProgramType) -> Result<Program, BuildErrors> {
        self.end(kind, true)
    }

    /// The same with every instruction as it was written.
    ///
    /// # Errors
    /// As [`Builder::finish`].
    pub fn finish_as_written(self, kind: ProgramType) -> Result<Program, BuildErrors> {
        self.end(kind, false)
    }

    fn end(self, kind: ProgramType, optimised: bool) -> Result<Program, BuildErrors> {
        let core = &*self.core();
        let draft = &core.draft;
        // The errors stay: clones share them, and finishing one of those reports the same.
        let mut errors = core.errors.clone();
        let mut functions = layout::bind(draft, &mut errors);
        errors.extend(flow::check(draft, &functions));
        let mut depths = Vec::with_capacity(functions.len());
        for (function, steps) in draft.functions.iter().zip(&mut functions) {
            let depth = allocate::function(function, steps);
            depths.push(depth.unwrap_or_else(|error| {
                errors.push(error);
                function.frame.depth
            }));
        }
        errors.extend(flow::check_allocated(draft, &functions, &depths));
        if errors.is_empty() {
            errors.extend(flow::check_registers(draft, &functions));
        }
        if errors.is_empty() && optimised {
            functions.iter_mut().for_each(|steps| optimise::function(steps, draft.minimum));
        }
        if JUMP_LONG.since().within(draft.minimum) {
            functions.iter_mut().for_each(layout::lengthen);
        }
        let lines = layout::lay_out(draft, &functions, &mut errors);
        if !errors.is_empty() {
            errors.sort_by_key(|error| (error.at.file(), error.at.line(), error.at.column()));
            errors.dedup();
            return Err(BuildErrors::new(draft.name.clone(), errors));
        }
        Ok(Program::new(draft, kind, lines))
    }
}

/// What the rest of the crate writes with.
impl Builder {
    pub(crate) fn core(&self) -> RefMut<'_, Core> {
        self.core.borrow_mut()
    }

    pub(crate) fn same(&self, other: &Builder) -> bool {
        Rc::ptr_eq(&self.core, &other.core)
    }

    pub(crate) fn report(&self, kind: ErrorKind, at: Location) {
        self.core().report(kind, at);
    }

    /// Whether the next line can run.
    fn reachable(&self) -> bool {
        self.core().function().goes_on
    }

    /// A new value.
    pub(crate) fn new_value(&self, at: Location) -> Value {
        let mut core = self.core();
        let id = core.function().value(at);
        Value { builder: self.clone(), function: core.current(), id }
    }

    /// A new value with what a call, or an instruction by itself, has left in a register.
    fn value_from(&self, register: Register, at: Location) -> Value {
        let value = self.new_value(at);
        if self.reachable() {
            self.write(alu_mov(VALUE, Source::Reg(register)), Some(&value), None, at);
        }
        value
    }

    /// Writes an instruction with the values that stand in the place of its registers.
    fn write(&self, insn: Insn, dst: Option<&Value>, src: Option<&Value>, at: Location) {
        self.write_linked(insn, [dst, src], Link::None, at);
    }

    fn write_linked(&self, insn: Insn, values: [Option<&Value>; 2], link: Link, at: Location) {
        let operands = values.map(|value| {
            let value = value?;
            if !self.same(&value.builder) {
                self.report(ErrorKind::OtherBuilder, at);
                return None;
            }
            let mut core = self.core();
            if value.function != core.current() {
                let value = core.draft.functions[value.function].values[value.id];
                core.report(ErrorKind::OtherFunction { value }, at);
                return None;
            }
            Some(value.id)
        });
        self.core().push(Line { insn, at, operands, link, touches: Vec::new() });
    }

    /// Gives a value a new content.
    fn set(&self, value: &Value, content: &Operand, at: Location) {
        self.make(VALUE, Some(value), content, at);
    }

    /// Gives a register a content: r0 before a return, or an argument before a call.
    fn set_register(&self, register: Register, content: &Operand, at: Location) {
        self.make(register, None, content, at);
    }

    fn make(&self, dst: Register, value: Option<&Value>, content: &Operand, at: Location) {
        let insn = match content {
            Operand::Value(from) => {
                return self.write(alu_mov(dst, Source::Reg(VALUE)), value, Some(from), at);
            }
            Operand::Imm(imm) => match i32::try_from(*imm) {
                Ok(imm) => alu_mov(dst, Source::Imm(imm)),
                Err(_) => Insn::Wide(Wide { dst, source: WideSource::Imm(*imm as u64) }),
            },
        };
        self.write(insn, value, None, at);
    }

    /// An operand as an instruction of this width takes it, and the value that stands behind it.
    fn source(&self, operand: &Operand, width: Width, at: Location) -> (Source, Option<Value>) {
        match operand {
            Operand::Value(value) => (Source::Reg(VALUE), Some(value.clone())),
            Operand::Imm(imm) => match (i32::try_from(*imm), width) {
                (Ok(imm), _) => (Source::Imm(imm), None),
                (Err(_), Width::W32) => {
                    let (min, max) = (i64::from(i32::MIN), i64::from(u32::MAX));
                    (
                        Source::Imm(self.number("a 32-bit operation", *imm, min, max, at) as i32),
                        None,
                    )
                }
                (Err(_), Width::W64) => {
                    let value = self.new_value(at);
                    self.set(&value, operand, at);
                    (Source::Reg(VALUE), Some(value))
                }
            },
        }
    }

    /// The number if it is in range; else an error, and a number that is.
    pub(crate) fn number(
        &self,
        what: &'static str,
        given: i64,
        min: i64,
        max: i64,
        at: Location,
    ) -> i64 {
        if (min..=max).contains(&given) {
            return given;
        }
        self.report(ErrorKind::ImmediateRange { what, given, min, max }, at);
        min
    }

    pub(crate) fn alu(&self, value: &Value, width: Width, op: AluOp, right: Operand, at: Location) {
        let right = match (op, right) {
            (AluOp::Mov, right) if width == Width::W64 => return self.set(value, &right, at),
            (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(imm)) => {
                let bits = if width == Width::W64 { 64 } else { 32 };
                Operand::Imm(self.number("a shift", imm, 0, bits - 1, at))
            }
            (AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod, Operand::Imm(0)) => {
                Operand::Imm(self.number("a division", 0, 1, i64::MAX, at))
            }
            (_, right) => right,
        };
        let (src, behind) = self.source(&right, width, at);
        let insn = Insn::Alu(Alu { width, op, dst: VALUE, src });
        self.write(insn, Some(value), behind.as_ref(), at);
    }

    pub(crate) fn extend(&self, value: &Value, extension: Extension, at: Location) {
        let insn = SignExtend { extension, dst: VALUE, src: VALUE };
        self.write(Insn::SignExtend(insn), Some(value), Some(value), at);
    }

    pub(crate) fn endian(&self, value: &Value, order: ByteOrder, bits: EndianBits, at: Location) {
        self.write(Insn::Endian(Endian { order, bits, dst: VALUE }), Some(value), None, at);
    }

    fn new_label(&self, at: Location) -> Label {
        let mut core = self.core();
        let (id, function) = (core.draft.labels.len(), core.current());
        core.draft.labels.push(draft::Label { at, function, placed: None, reached: false });
        Label { builder: self.clone(), id }
    }

    fn place_label(&self, label: &Label, at: Location) {
        if !self.same(&label.builder) {
            return self.report(ErrorKind::OtherBuilder, at);
        }
        self.core().place(label.id, at);
    }

    fn jump_to(&self, label: &Label, at: Location) {
        self.write_jump(Insn::Jump(Jump { offset: 0 }), [None; 2], label, at);
        self.core().function().goes_on = false;
    }

    fn write_jump(&self, insn: Insn, values: [Option<&Value>; 2], label: &Label, at: Location) {
        if !self.same(&label.builder) {
            return self.report(ErrorKind::OtherBuilder, at);
        }
        self.write_linked(insn, values, Link::Label(label.id), at);
        self.core().reach(label.id, at);
    }

    /// Jumps to the label if the question's answer is `answer`, and goes on behind it if not.
    fn branch(&self, question: &Question, answer: bool, label: &Label, at: Location) {
        match question {
            Question::Compare { width, compare, left, right } => {
                let (src, behind) = self.source(right, *width, at);
                let values = [Some(left), behind.as_ref()];
                let jump = |compare| {
                    Insn::JumpIf(JumpIf { width: *width, compare, dst: VALUE, src, offset: 0 })
                };
                match (answer, compare.negated()) {
                    (true, _) => self.write_jump(jump(*compare), values, label, at),
                    (false, Some(negated)) => self.write_jump(jump(negated), values, label, at),
                    (false, None) => {
                        let past = self.new_label(at);
                        self.write_jump(jump(*compare), values, &past, at);
                        self.jump_to(label, at);
                        self.place_label(&past, at);
                    }
                }
            }
            // "Not all" and "any" leave at the first such answer; the other two must hear every
            // question out.
            Question::Both(all) if !answer => {
                all.iter().for_each(|question| self.branch(question, false, label, at));
            }
            Question::Either(any) if answer => {
                any.iter().for_each(|question| self.branch(question, true, label, at));
            }
            Question::Both(questions) | Question::Either(questions) => {
                let past = self.new_label(at);
                let last = questions.len().saturating_sub(1);
                for question in questions.iter().take(last) {
                    self.branch(question, !answer, &past, at);
                }
                for question in questions.iter().skip(last) {
                    self.branch(question, answer, label, at);
                }
                self.place_label(&past, at);
            }
        }
    }

    /// The index of a map in this program.
    fn map(&self, def: MapDef, at: Location) -> usize {
        let mut core = self.core();
        let maps = &mut core.draft.maps;
        if let Some(index) = maps.iter().position(|known| known.name == def.name) {
            if maps[index] != def {
                core.report(ErrorKind::MapConflict { map: def.name }, at);
            }
            return index;
        }
        maps.push(def);
        maps.len() - 1
    }
}

impl Core {
    fn current(&self) -> usize {
        self.open.last().copied().unwrap_or(0)
    }

    fn function(&mut self) -> &mut draft::Function {
        let current = self.current();
        &mut self.draft.functions[current]
    }

    pub(crate) fn report(&mut self, kind: ErrorKind, at: Location) {
        self.errors.push(BuildError { at, kind });
    }

    /// Appends a line, if it can run.
    fn push(&mut self, line: Line) {
        let function = self.function();
        if function.goes_on {
            function.lines.push(line);
        } else if !std::mem::replace(&mut function.dead_reported, true) {
            self.report(ErrorKind::Unreachable, line.at);
        }
    }

    fn place(&mut self, label: LabelId, at: Location) {
        let current = self.current();
        let draft::Label { function, placed, reached, .. } = self.draft.labels[label];
        if let Some((_, first)) = placed {
            return self.report(ErrorKind::LabelPlacedTwice { first }, at);
        }
        if function != current {
            return self.report(ErrorKind::LabelOfOtherFunction, at);
        }
        let function = self.function();
        let line = function.lines.len();
        function.latest_label = Some((line, at));
        function.goes_on |= reached;
        if function.goes_on {
            function.dead_reported = false;
        }
        self.draft.labels[label].placed = Some((line, at));
    }

    /// Notes that the line just written jumps to a label.
    fn reach(&mut self, label: LabelId, at: Location) {
        if self.draft.labels[label].function != self.current() {
            return self.report(ErrorKind::LabelOfOtherFunction, at);
        }
        if self.function().goes_on {
            self.draft.labels[label].reached = true;
        }
    }

    /// Notes what the line just written does to slots.
    pub(crate) fn touching(&mut self, touches: Vec<Touch>) {
        let function = self.function();
        if function.goes_on
            && let Some(line) = function.lines.last_mut()
        {
            let escaping = touches.iter().filter(|touch| touch.access == Access::Escapes);
            escaping.for_each(|touch| function.frame.escape(&touch.slot));
            line.touches = touches;
        }
    }
}

fn alu_mov(dst: Register, src: Source) -> Insn {
    Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, dst, src })
}
