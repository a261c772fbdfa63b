//! Parses one instruction.
//!
//! | file | what |
//! |---|---|
//! | `cursor.rs` | tokens: numbers, names, registers |
//! | `assignment.rs` | what a register is set to |
//! | `memory.rs` | loads, stores, atomic operations |
//! | `address.rs` | loads of addresses |
//! | `jump.rs` | jumps and calls |

mod address;
mod assignment;
mod cursor;
mod jump;
mod memory;

use std::ops::Range;

use self::cursor::{RANGE, like_register, not_register};
use self::jump::short;
use super::error::Fault;
use super::token::{Token, register};
use crate::insn::{
    Alu, AluOp, Call, Insn, Jump, JumpLong, JumpRegister, MayGoto, Size, Source, Store, Width,
    helper_id, helper_names,
};

/// An instruction and its reference.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub insn: Insn,
    /// Its unresolved reference.
    pub names: Option<Named>,
    /// A warning about it.
    pub warning: Option<Fault>,
}

#[derive(Debug, Clone)]
pub(super) struct Named {
    pub name: String,
    pub span: Range<usize>,
    pub what: NameKind,
    /// Offset from its address in bytes.
    pub added: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NameKind {
    /// A jump target.
    Label,
    /// A numeric label: the nearest before or after.
    Numbered,
    /// A function of the program or a kfunc, to be called.
    Callee,
    /// A function whose address is loaded.
    Function,
    /// A map.
    Map,
    /// A variable or a configuration value of the kernel.
    Extern,
    /// A map, a function, or what the kernel defines.
    Address,
}

/// The encoding that was printed before the instruction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Printed {
    pub opcode: u8,
    /// The source register field, if bytes were printed.
    pub src: Option<u8>,
}

/// Parses the tokens of a line.
pub(super) struct Pieces<'a> {
    tokens: std::iter::Peekable<std::slice::Iter<'a, Token>>,
    /// The span of the whole instruction.
    whole: Range<usize>,
    /// The line.
    line: &'a str,
    printed: Option<Printed>,
    /// Whether LLVM wrote it, which moves a subregister as `r1 = w2`.
    llvm: bool,
}

type Parsed<T> = Result<T, Fault>;

impl Statement {
    fn naming(insn: Insn, named: Named) -> Self {
        Statement { insn, names: Some(named), warning: None }
    }
}

impl From<Insn> for Statement {
    fn from(insn: Insn) -> Self {
        Statement { insn, names: None, warning: None }
    }
}

impl<'a> Pieces<'a> {
    pub fn new(tokens: &'a [Token], line: &'a str, printed: Option<Printed>) -> Self {
        let start = tokens.first().map_or(0, |token| token.span.start);
        let end = tokens.last().map_or(0, |token| token.span.end);
        Pieces { tokens: tokens.iter().peekable(), whole: start..end, line, printed, llvm: false }
    }

    /// The same for LLVM's output.
    #[cfg(feature = "elf")]
    pub fn of_llvm(self) -> Self {
        Pieces { llvm: true, ..self }
    }

    /// Parses all tokens as one instruction.
    pub fn statement(mut self) -> Parsed<Statement> {
        let mut statement = self.any()?;
        self.end()?;
        if let Some(printed) = self.printed {
            let mut bytes = Vec::new();
            statement.insn.encode(&mut bytes);
            if bytes.first() != Some(&printed.opcode) {
                let opcode = bytes.first().copied().unwrap_or_default();
                let message = format!(
                    "the opcode before this is {:02x}, but this has {opcode:02x}",
                    printed.opcode
                );
                return Err(Fault::new(self.whole, message)
                    .hint("leave the opcode out to assemble the text alone"));
            }
        }
        statement.warning = self.warning(&statement.insn);
        Ok(statement)
    }

    /// A warning about what no verifier accepts, and about probable mistakes.
    fn warning(&self, insn: &Insn) -> Option<Fault> {
        let fault = |message: String| Fault::new(self.whole.clone(), message);
        match *insn {
            Insn::Alu(Alu {
                op: AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod,
                src: Source::Imm(0),
                ..
            }) => Some(fault("the verifier rejects a division by 0".to_owned())),
            Insn::Alu(Alu {
                width,
                op: AluOp::Lsh | AluOp::Rsh | AluOp::Arsh,
                src: Source::Imm(by),
                ..
            }) => {
                let bits = if width == Width::W64 { 64 } else { 32 };
                (!(0..bits).contains(&by)).then(|| {
                    fault(format!("the verifier rejects a shift by {by}"))
                        .hint(format!("allowed is 0 to {}", bits - 1))
                })
            }
            Insn::Store(Store {
                size: size @ (Size::B | Size::H), src: Source::Imm(imm), ..
            }) => {
                let bits = size.bytes() as u32 * 8;
                let kept = imm & ((1 << bits) - 1);
                let fits = i64::from(imm) >= -(1 << (bits - 1)) && i64::from(imm) < 1 << bits;
                (!fits).then(|| {
                    let text = format!("{imm} does not fit a u{bits}: this stores {kept}");
                    fault(text).hint(format!("write {kept} if that is intended"))
                })
            }
            _ => None,
        }
    }

    fn any(&mut self) -> Parsed<Statement> {
        let first = self.span();
        if self.eat("*") {
            return self.store();
        }
        let word = self.word("an instruction")?;
        if register(&word).is_some() {
            return self.assignment(&word, first);
        }
        match word.as_str() {
            "exit" => Ok(Insn::Exit.into()),
            "goto" => self.jump(
                |offset| Ok(Insn::Jump(Jump { offset: short(offset)? })),
                Insn::Jump(Jump { offset: 0 }),
            ),
            "gotol" => self.jump(
                |offset| {
                    let offset = i32::try_from(offset)
                        .map_err(|_| format!("a long jump goes {RANGE} slots far"))?;
                    Ok(Insn::JumpLong(JumpLong { offset }))
                },
                Insn::JumpLong(JumpLong { offset: 0 }),
            ),
            "may_goto" => self.jump(
                |offset| Ok(Insn::MayGoto(MayGoto { offset: short(offset)? })),
                Insn::MayGoto(MayGoto { offset: 0 }),
            ),
            "gotox" => Ok(Insn::JumpRegister(JumpRegister { target: self.register()? }).into()),
            "if" => self.jump_if(),
            "call" => self.call(),
            "callx" => Ok(Insn::Call(Call::Register(self.register()?)).into()),
            "lock" => self.lock(),
            "store_release" => self.store_release(),
            "ld_pseudo" => self.pseudo(),
            _ => {
                let line = self.line.get(first.start..self.whole.end).unwrap_or_default();
                Err(match super::mnemonic::translated(line) {
                    Some(ours) if word != "ret" && word != "return" => {
                        let message = format!(
                            "`{word}` is a mnemonic; instructions are written as the kernel prints \
                            them"
                        );
                        Fault::new(self.whole.clone(), message).hint(format!("write `{ours}`"))
                    }
                    _ => unknown(&word, first),
                })
            }
        }
    }
}

fn unknown(word: &str, span: Range<usize>) -> Fault {
    let known = [
        "exit",
        "goto",
        "gotol",
        "gotox",
        "may_goto",
        "if",
        "call",
        "callx",
        "lock",
        "store_release",
        "return",
        "ret",
    ];
    let fault = Fault::new(span.clone(), format!("unknown instruction `{word}`"));
    match word {
        "return" | "ret" => fault.hint("put the result into r0, then `exit`"),
        _ if helper_id(word).is_some() => fault.hint(format!("write `call {word}`")),
        _ if like_register(word) => not_register(word, span),
        _ => fault.similar(word, known.into_iter().chain(helper_names())),
    }
}
