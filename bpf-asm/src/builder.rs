//! The builder: writes a program line by line, gives registers to values, and collects what is
//! wrong.
//!
//! While lines are written, the builder only keeps track of which registers are free and whether
//! the next line can run. Whether every value that is read is still there is decided at the end,
//! over all paths at once: see `flow`.

mod atomic;
mod call;
mod data;
mod far;
mod function;
mod lines;
mod memory;
mod packet;
mod raw;

pub use atomic::{Fetch, Modify};
pub use function::Function;
pub(crate) use lines::Resolved;
#[cfg(feature = "elf")]
pub(crate) use lines::is_name;

use std::cell::{RefCell, RefMut};
use std::panic::Location as Caller;
use std::rc::{Rc, Weak};

use crate::condition::{Condition, Question};
use crate::error::{BuildError, BuildErrors, ErrorKind, Location};
use crate::insn::{
    Alu, AluOp, ByteOrder, Endian, EndianBits, Extension, Insn, Jump, JumpIf, JumpLong, MayGoto,
    Minimum, Register, SignExtend, Source, Wide, WideSource, Width,
};
use crate::label::{Label, LabelId, LabelState};
use crate::map::{MapDef, MapKind, MapRef};
use crate::program::{Program, ProgramType};
use crate::record::{Field, FieldType, Record, Type};
use crate::stack::{Access, Frame, Touch};
use crate::value::{Held, Operand, Ptr, Reg, Value, ValueId};
use crate::{flow, optimise};

const JUMP_LONG: Insn = Insn::JumpLong(JumpLong { offset: 0 });

/// Writes one program.
///
/// Values, slots and labels that it gives out belong to it and keep their register or their stack
/// bytes until they are dropped. Nothing fails on the way: what is wrong is collected, and
/// [`Builder::finish`] tells all of it.
#[derive(Clone)]
pub struct Builder {
    pub(crate) core: Rc<RefCell<Core>>,
}

/// Everything written so far.
pub(crate) struct Core {
    pub(crate) name: String,
    /// The context's type, once it is taken.
    pub(crate) context: Option<Type>,
    /// The program itself first, then its functions.
    pub(crate) functions: Vec<FunctionState>,
    /// The functions being written, innermost last.
    open: Vec<usize>,
    /// The functions that have been written, in the order in which they ended.
    pub(crate) finished: Vec<usize>,
    pub(crate) values: Vec<ValueState>,
    pub(crate) labels: Vec<LabelState>,
    pub(crate) maps: Vec<MapDef>,
    /// The functions of the kernel that are called by name.
    pub(crate) kernel_functions: Vec<String>,
    /// The read-only data.
    pub(crate) data: Vec<u8>,
    /// What the program has to run on.
    minimum: Minimum,
    errors: Vec<BuildError>,
}

/// One function's lines, and where its writing stands.
pub(crate) struct FunctionState {
    pub(crate) name: String,
    pub(crate) at: Location,
    pub(crate) lines: Vec<Line>,
    /// The values that its caller hands it.
    pub(crate) arguments: Vec<ValueId>,
    /// Whether some call leads here.
    pub(crate) called: bool,
    /// The value in each register at the next line; `None` if the next line cannot run.
    holds: Option<[Option<ValueId>; 11]>,
    /// Whether the present stretch of lines that cannot run has been reported.
    dead_reported: bool,
    /// The line that the latest label stands before, and who placed it.
    latest_label: Option<(usize, Location)>,
    pub(crate) frame: Frame,
}

/// What is known of a value.
pub(crate) struct ValueState {
    pub(crate) origin: Location,
    pub(crate) register: Register,
    pub(crate) function: usize,
    alive: Weak<()>,
}

/// One instruction and what it means for values.
pub(crate) struct Line {
    pub(crate) insn: Insn,
    pub(crate) at: Location,
    /// The values that must be there.
    pub(crate) reads: Reads,
    /// The value whose register gets a new content.
    pub(crate) writes: Option<ValueId>,
    pub(crate) link: Link,
    /// What it does to slots.
    pub(crate) touches: Vec<Touch>,
}

/// The values that an instruction reads: no more than a call has arguments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reads([Option<ValueId>; Register::ARGUMENTS.len()]);

impl Reads {
    fn of(values: &[&Value]) -> Reads {
        let mut reads = Reads::default();
        reads.0.iter_mut().zip(values).for_each(|(read, value)| *read = Some(value.id));
        reads
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ValueId> {
        self.0.into_iter().flatten()
    }
}

/// What an instruction names that has its number only at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    None,
    /// A jump's target.
    Label(LabelId),
    /// A call of a helper.
    Helper {
        arguments: usize,
    },
    /// A call of a function of this program.
    Function(usize),
    /// Nothing, of an instruction by itself: which registers it reads is known by them alone.
    Raw,
    /// A load of the address of a function of this program.
    Address(usize),
    /// A call of a function of the kernel by its name.
    Kernel {
        name: usize,
        arguments: usize,
    },
    /// The map that a wide load is about.
    Map(usize),
}

impl Builder {
    /// A new program under this name, which the kernel shows (15 bytes of it).
    #[track_caller]
    pub fn new(name: &str) -> Self {
        let at = Caller::caller();
        let mut main = FunctionState::new(name, at);
        main.called = true;
        Builder {
            core: Rc::new(RefCell::new(Core {
                name: name.to_owned(),
                context: None,
                functions: vec![main],
                open: vec![0],
                finished: Vec::new(),
                values: Vec::new(),
                labels: Vec::new(),
                maps: Vec::new(),
                kernel_functions: Vec::new(),
                data: Vec::new(),
                minimum: Minimum::default(),
                errors: Vec::new(),
            })),
        }
    }

    /// States the least that the program has to run on, a [`Kernel`](crate::insn::Kernel) or a
    /// version of the [instruction set](crate::insn::Isa) or both; an instruction that needs more
    /// is an error.
    pub fn minimum(&self, minimum: impl Into<Minimum>) {
        self.core().minimum = minimum.into();
    }

    /// The program's context, moved from r1 into a kept register. Only as the program's first step.
    #[track_caller]
    pub fn context<C: Record>(&self) -> Ptr<C> {
        let at = Caller::caller();
        let untouched = {
            let mut core = self.core();
            core.context.replace(C::TYPE).is_none()
                && core.open == [0]
                && core.function().lines.is_empty()
        };
        if !untouched {
            self.report(ErrorKind::ContextGone, at);
        }
        let value = self.kept(at);
        self.mov(&value, Source::Reg(Register::R1), &[], at);
        Ptr::from_value(value)
    }

    /// A new value with this content; a register's content is copied.
    #[track_caller]
    pub fn value(&self, content: impl Into<Operand>) -> Reg {
        let at = Caller::caller();
        let content = content.into();
        let value = self.temporary(at);
        self.set(&value, &content, at);
        Reg(value)
    }

    /// Moves a value into a register that survives calls (r6 to r9).
    #[track_caller]
    pub fn keep<H: Held>(&self, value: H) -> H {
        let at = Caller::caller();
        let value = value.into_value();
        if Register::KEPT.contains(&value.register) {
            return H::from_value(value);
        }
        let kept = self.kept(at);
        let made_in_place =
            Rc::strong_count(&value.alive) == 1 && self.core().retarget(&value, &kept);
        if !made_in_place {
            self.mov(&kept, Source::Reg(value.register), &[&value], at);
        }
        H::from_value(kept)
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
    /// let (again, enough) = (b.label(), b.label());
    /// let left = b.value(1_000);
    /// b.place(&again);
    /// b.may_goto(&enough);
    /// left.sub(1);
    /// b.jump_if(left.ne(0), &again);
    /// b.place(&enough);
    /// b.ret(0);
    /// let program = b.finish(ProgramType::SocketFilter)?;
    /// assert!(program.to_string().contains("may_goto"));
    /// # Ok::<(), bpf_asm::BuildErrors>(())
    /// ```
    #[track_caller]
    pub fn may_goto(&self, label: &Label) {
        self.write_jump(Insn::MayGoto(MayGoto { offset: 0 }), &[], label, Caller::caller());
    }

    /// Does `then` if the condition holds.
    #[track_caller]
    pub fn when(&self, condition: Condition, then: impl FnOnce()) {
        let at = Caller::caller();
        let end = self.new_label(at);
        self.branch(&condition.0, false, &end, at);
        // What the condition compared is asked for no longer: its registers are free inside.
        drop(condition);
        then();
        self.place_label(&end, at);
    }

    /// Does `then` if the condition holds, and `otherwise` if not.
    #[track_caller]
    pub fn when_else(&self, condition: Condition, then: impl FnOnce(), otherwise: impl FnOnce()) {
        let at = Caller::caller();
        let (other, end) = (self.new_label(at), self.new_label(at));
        self.branch(&condition.0, false, &other, at);
        drop(condition);
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
        let returned = match &result {
            Operand::Imm(imm) => {
                self.load_number(Register::R0, *imm, at);
                None
            }
            Operand::Value(value) if value.register == Register::R0 => Some(value),
            Operand::Value(value) => {
                self.write(alu_mov(Register::R0, Source::Reg(value.register)), &[value], None, at);
                None
            }
        };
        self.write(Insn::Exit, returned.as_slice(), None, at);
        self.core().function().holds = None;
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
        let value = self.temporary(at);
        let index = self.map(*map, at);
        let insn = Insn::Wide(Wide {
            dst: value.register,
            source: WideSource::MapValue { fd: 0, offset },
        });
        self.write_linked(insn, &[], Some(&value), Link::Map(index), at);
        Ptr::from_value(value)
    }

    /// The finished program, or everything that is wrong with it.
    ///
    /// What makes no difference to what it computes is left out: results that nobody reads, jumps
    /// to jumps, branches whose condition is known. Instructions that stay keep their Rust line.
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
        // The errors stay: clones share them, and finishing one of those reports the same.
        let mut errors = core.errors.clone();
        errors.extend(lines::ends(core));
        // Without a register of its own a value shares one, and every complaint about that would be
        // noise.
        let enough_registers =
            !errors.iter().any(|error| matches!(error.kind, ErrorKind::OutOfRegisters { .. }));
        if enough_registers {
            errors.extend(flow::check(core));
        }
        errors.extend(lines::above(core, core.minimum));
        let mut functions = lines::bind(core, &mut errors);
        if errors.is_empty() && optimised {
            functions.iter_mut().for_each(optimise::function);
        }
        if JUMP_LONG.since().within(core.minimum) {
            functions.iter_mut().for_each(far::lengthen);
        }
        let lines = lines::lay_out(core, &functions, &mut errors);
        if !errors.is_empty() {
            errors.sort_by_key(|error| (error.at.file(), error.at.line(), error.at.column()));
            errors.dedup();
            return Err(BuildErrors::new(core.name.clone(), errors));
        }
        Ok(Program::new(core, kind, lines))
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
        self.core().function().holds.is_some()
    }

    /// A new value in a register that calls destroy.
    pub(crate) fn temporary(&self, at: Location) -> Value {
        self.claim("temporary", &[1, 2, 3, 4, 5, 0].map(|n: usize| Register::TEMPORARY[n]), at)
    }

    /// A new value in a register that calls keep.
    fn kept(&self, at: Location) -> Value {
        self.claim("kept", &Register::KEPT, at)
    }

    fn claim(&self, class: &'static str, registers: &[Register], at: Location) -> Value {
        let register = self.core().free_register(class, registers, at);
        self.value_in(register, at)
    }

    /// A new value in this register.
    fn value_in(&self, register: Register, origin: Location) -> Value {
        let alive = Rc::new(());
        let mut core = self.core();
        let (id, function) = (core.values.len(), core.current());
        core.values.push(ValueState { origin, register, function, alive: Rc::downgrade(&alive) });
        if let Some(holds) = &mut core.function().holds {
            holds[usize::from(register.number())] = Some(id);
        }
        Value { builder: self.clone(), id, register, alive }
    }

    fn write(&self, insn: Insn, reads: &[&Value], writes: Option<&Value>, at: Location) {
        self.write_linked(insn, reads, writes, Link::None, at);
    }

    fn write_linked(
        &self,
        insn: Insn,
        reads: &[&Value],
        writes: Option<&Value>,
        link: Link,
        at: Location,
    ) {
        if !reads.iter().chain(&writes).all(|value| self.same(&value.builder)) {
            return self.report(ErrorKind::OtherBuilder, at);
        }
        let reads = Reads::of(reads);
        let writes = writes.map(|value| value.id);
        self.core().push(Line { insn, at, reads, writes, link, touches: Vec::new() });
    }

    fn mov(&self, to: &Value, from: Source, reads: &[&Value], at: Location) {
        self.write(alu_mov(to.register, from), reads, Some(to), at);
    }

    /// Gives a value a new content.
    fn set(&self, value: &Value, content: &Operand, at: Location) {
        match content {
            Operand::Value(from) => self.mov(value, Source::Reg(from.register), &[from], at),
            Operand::Imm(imm) => match i32::try_from(*imm) {
                Ok(imm) => self.mov(value, Source::Imm(imm), &[], at),
                Err(_) => {
                    let source = WideSource::Imm(*imm as u64);
                    self.write(
                        Insn::Wide(Wide { dst: value.register, source }),
                        &[],
                        Some(value),
                        at,
                    );
                }
            },
        }
    }

    /// Puts a number into a register that no value has: r0 before a return, or an argument before a
    /// call.
    fn load_number(&self, dst: Register, imm: i64, at: Location) {
        let insn = match i32::try_from(imm) {
            Ok(imm) => alu_mov(dst, Source::Imm(imm)),
            Err(_) => Insn::Wide(Wide { dst, source: WideSource::Imm(imm as u64) }),
        };
        self.write(insn, &[], None, at);
    }

    /// An operand as an instruction of this width takes it, and the value that stands behind it.
    fn source(&self, operand: &Operand, width: Width, at: Location) -> (Source, Option<Value>) {
        match operand {
            Operand::Value(value) => (Source::Reg(value.register), Some(value.clone())),
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
                    let value = self.temporary(at);
                    self.set(&value, operand, at);
                    (Source::Reg(value.register), Some(value))
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
        let mut reads: Vec<&Value> = behind.iter().collect();
        if op != AluOp::Mov {
            reads.push(value);
        }
        self.write(Insn::Alu(Alu { width, op, dst: value.register, src }), &reads, Some(value), at);
    }

    pub(crate) fn extend(&self, value: &Value, extension: Extension, at: Location) {
        let insn = SignExtend { extension, dst: value.register, src: value.register };
        self.write(Insn::SignExtend(insn), &[value], Some(value), at);
    }

    pub(crate) fn endian(&self, value: &Value, order: ByteOrder, bits: EndianBits, at: Location) {
        self.write(
            Insn::Endian(Endian { order, bits, dst: value.register }),
            &[value],
            Some(value),
            at,
        );
    }

    fn new_label(&self, at: Location) -> Label {
        let mut core = self.core();
        let (id, function) = (core.labels.len(), core.current());
        core.labels.push(LabelState { at, function, placed: None, holds: None });
        Label { builder: self.clone(), id }
    }

    fn place_label(&self, label: &Label, at: Location) {
        if !self.same(&label.builder) {
            return self.report(ErrorKind::OtherBuilder, at);
        }
        self.core().place(label.id, at);
    }

    fn jump_to(&self, label: &Label, at: Location) {
        self.write_jump(Insn::Jump(Jump { offset: 0 }), &[], label, at);
        self.core().function().holds = None;
    }

    fn write_jump(&self, insn: Insn, reads: &[&Value], label: &Label, at: Location) {
        if !self.same(&label.builder) {
            return self.report(ErrorKind::OtherBuilder, at);
        }
        self.write_linked(insn, reads, None, Link::Label(label.id), at);
        self.core().bring(label.id, at);
    }

    /// Jumps to the label if the question's answer is `answer`, and goes on behind it if not.
    fn branch(&self, question: &Question, answer: bool, label: &Label, at: Location) {
        match question {
            Question::Compare { width, compare, left, right } => {
                let (src, behind) = self.source(right, *width, at);
                let mut reads: Vec<&Value> = behind.iter().collect();
                reads.push(left);
                let jump = |compare| {
                    Insn::JumpIf(JumpIf {
                        width: *width,
                        compare,
                        dst: left.register,
                        src,
                        offset: 0,
                    })
                };
                match (answer, compare.negated()) {
                    (true, _) => self.write_jump(jump(*compare), &reads, label, at),
                    (false, Some(negated)) => self.write_jump(jump(negated), &reads, label, at),
                    (false, None) => {
                        let past = self.new_label(at);
                        self.write_jump(jump(*compare), &reads, &past, at);
                        self.jump_to(label, at);
                        self.place_label(&past, at);
                    }
                }
            }
            // "Not both" and "either" leave at the first such answer; the other two must hear both
            // questions out.
            Question::Both(pair) if !answer => {
                self.branch(&pair.0, false, label, at);
                self.branch(&pair.1, false, label, at);
            }
            Question::Either(pair) if answer => {
                self.branch(&pair.0, true, label, at);
                self.branch(&pair.1, true, label, at);
            }
            Question::Both(pair) | Question::Either(pair) => {
                let past = self.new_label(at);
                self.branch(&pair.0, !answer, &past, at);
                self.branch(&pair.1, answer, label, at);
                self.place_label(&past, at);
            }
        }
    }

    /// The index of a map in this program.
    fn map(&self, def: MapDef, at: Location) -> usize {
        let mut core = self.core();
        if let Some(index) = core.maps.iter().position(|known| known.name == def.name) {
            if core.maps[index] != def {
                core.report(ErrorKind::MapConflict { map: def.name }, at);
            }
            return index;
        }
        core.maps.push(def);
        core.maps.len() - 1
    }
}

impl Core {
    /// The number of a function of the kernel by its name.
    fn kernel_function(&mut self, name: String) -> usize {
        self.kernel_functions.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.kernel_functions.push(name);
            self.kernel_functions.len() - 1
        })
    }

    fn current(&self) -> usize {
        self.open.last().copied().unwrap_or(0)
    }

    fn function(&mut self) -> &mut FunctionState {
        let current = self.current();
        &mut self.functions[current]
    }

    pub(crate) fn report(&mut self, kind: ErrorKind, at: Location) {
        self.errors.push(BuildError { at, kind });
    }

    fn is_alive(&self, value: ValueId) -> bool {
        self.values[value].alive.strong_count() > 0
    }

    fn free_register(
        &mut self,
        class: &'static str,
        registers: &[Register],
        at: Location,
    ) -> Register {
        let Some(holds) = self.function().holds else {
            return registers[0];
        };
        let holder = |register: &Register| {
            holds[usize::from(register.number())].filter(|value| self.is_alive(*value))
        };
        if let Some(free) = registers.iter().find(|register| holder(register).is_none()) {
            return *free;
        }
        let holders =
            registers.iter().filter_map(holder).map(|value| self.values[value].origin).collect();
        self.report(ErrorKind::OutOfRegisters { class, holders }, at);
        registers[0]
    }

    /// Appends a line, if it can run.
    fn push(&mut self, line: Line) {
        let written =
            line.writes.map(|value| (usize::from(self.values[value].register.number()), value));
        let at = line.at;
        let function = self.function();
        let Some(holds) = &mut function.holds else {
            if !std::mem::replace(&mut function.dead_reported, true) {
                self.report(ErrorKind::Unreachable, at);
            }
            return;
        };
        if let Some((register, value)) = written {
            holds[register] = Some(value);
        }
        function.lines.push(line);
    }

    /// Makes the latest line put its result into another value's register, if the result is all
    /// that the line does.
    fn retarget(&mut self, from: &Value, to: &Value) -> bool {
        let function = self.function();
        if function.holds.is_none() || function.ends_in_label().is_some() {
            return false;
        }
        let Some(line) = function.lines.last_mut() else { return false };
        if line.writes != Some(from.id) || line.reads.iter().any(|read| read == from.id) {
            return false;
        }
        match &mut line.insn {
            Insn::Load(load) => load.dst = to.register,
            Insn::Wide(wide) => wide.dst = to.register,
            Insn::Alu(Alu { op: AluOp::Mov, dst, .. }) => *dst = to.register,
            _ => return false,
        }
        line.writes = Some(to.id);
        true
    }

    fn place(&mut self, label: LabelId, at: Location) {
        let current = self.current();
        let LabelState { function, placed, holds: brought, .. } = self.labels[label];
        if let Some((_, first)) = placed {
            return self.report(ErrorKind::LabelPlacedTwice { first }, at);
        }
        if function != current {
            return self.report(ErrorKind::LabelOfOtherFunction, at);
        }
        let function = self.function();
        let line = function.lines.len();
        function.latest_label = Some((line, at));
        function.holds = match (function.holds, brought) {
            (Some(here), Some(there)) => Some(common(here, there)),
            (here, there) => here.or(there),
        };
        if function.holds.is_some() {
            function.dead_reported = false;
        }
        self.labels[label].placed = Some((line, at));
    }

    /// Notes that the present line jumps to a label with what the registers hold.
    fn bring(&mut self, label: LabelId, at: Location) {
        if self.labels[label].function != self.current() {
            return self.report(ErrorKind::LabelOfOtherFunction, at);
        }
        let Some(here) = self.function().holds else { return };
        let state = &mut self.labels[label];
        state.holds = Some(state.holds.map_or(here, |there| common(here, there)));
    }

    /// Notes what the line just written does to slots.
    pub(crate) fn touching(&mut self, touches: Vec<Touch>) {
        let function = self.function();
        if function.holds.is_some()
            && let Some(line) = function.lines.last_mut()
        {
            let escaping = touches.iter().filter(|touch| touch.access == Access::Escapes);
            escaping.for_each(|touch| function.frame.escape(&touch.slot));
            line.touches = touches;
        }
    }

    fn lose_temporaries(&mut self) {
        if let Some(holds) = &mut self.function().holds {
            holds[..Register::TEMPORARY.len()].fill(None);
        }
    }

    /// Notes the value that the call just written gives.
    fn result(&mut self, value: &Value) {
        let function = self.function();
        if function.holds.is_some()
            && let Some(line) = function.lines.last_mut()
        {
            line.writes = Some(value.id);
        }
    }
}

impl FunctionState {
    fn new(name: &str, at: Location) -> Self {
        FunctionState {
            name: name.to_owned(),
            at,
            lines: Vec::new(),
            arguments: Vec::new(),
            called: false,
            holds: Some([None; 11]),
            dead_reported: false,
            latest_label: None,
            frame: Frame::default(),
        }
    }

    /// Who placed the label behind the last line, if one is there.
    fn ends_in_label(&self) -> Option<Location> {
        self.latest_label.filter(|(line, _)| *line == self.lines.len()).map(|(_, at)| at)
    }

    /// Where the function runs past its last line, if it can.
    fn falls_off(&self) -> Option<Location> {
        let last = || self.lines.last().map(|line| line.at);
        self.holds.map(|_| self.ends_in_label().or_else(last).unwrap_or(self.at))
    }
}

fn alu_mov(dst: Register, src: Source) -> Insn {
    Insn::Alu(Alu { width: Width::W64, op: AluOp::Mov, dst, src })
}

/// What two paths have in common.
fn common(a: [Option<ValueId>; 11], b: [Option<ValueId>; 11]) -> [Option<ValueId>; 11] {
    std::array::from_fn(|register| a[register].filter(|_| a[register] == b[register]))
}
