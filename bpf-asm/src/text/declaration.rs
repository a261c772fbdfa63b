//! What the kernel defines, declared as in C: `.extern int bpf_dynptr_size(struct bpf_dynptr *p)`.

use std::fmt;
use std::iter::Peekable;
use std::ops::Range;

use super::error::{Fault, TextErrors};
use super::name::Name;
use super::token::{Kind, Token, tokens};

/// A function, a variable or a configuration value of the kernel, to which libbpf resolves a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extern {
    /// Its name.
    pub name: String,
    /// Its types.
    pub ty: ExternType,
    /// Whether a program is loaded, too, where there is nothing of this name.
    pub weak: bool,
}

/// The types of an [`Extern`]. libbpf compares those of functions with the kernel's.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExternType {
    /// A kfunc.
    Function {
        /// What it returns.
        result: CType,
        /// What it takes.
        parameters: Vec<CType>,
    },
    /// A variable, whose address programs load.
    Variable(CType),
    /// A value of the kernel's configuration, whose address programs load: `CONFIG_…`,
    /// `LINUX_KERNEL_VERSION`.
    Config(CType),
}

/// A type of C. Of structures only the name counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CType {
    /// `void`
    Void,
    /// A number.
    Int {
        /// Its name.
        name: &'static str,
        /// Its size in bytes.
        size: u32,
        /// `BTF_INT_*`
        encoding: u32,
    },
    /// `struct NAME`
    Struct(String),
    /// `union NAME`
    Union(String),
    /// `enum NAME`, of 4 bytes
    Enum(String),
    /// A pointer.
    Pointer(Box<CType>),
    /// `const`
    Const(Box<CType>),
    /// An array, with its length.
    Array(Box<CType>, u32),
}

const SIGNED: u32 = 1;
const BOOL: u32 = 4;

/// The numbers: their names, the first of which is written, sizes and encodings.
const NUMBERS: [(&str, u32, u32); 25] = [
    ("int", 4, SIGNED),
    ("unsigned int", 4, 0),
    ("long", 8, SIGNED),
    ("unsigned long", 8, 0),
    ("long long", 8, SIGNED),
    ("unsigned long long", 8, 0),
    ("short", 2, SIGNED),
    ("unsigned short", 2, 0),
    ("char", 1, SIGNED),
    ("signed char", 1, SIGNED),
    ("unsigned char", 1, 0),
    ("_Bool", 1, BOOL),
    ("size_t", 8, 0),
    ("u8", 1, 0),
    ("u16", 2, 0),
    ("u32", 4, 0),
    ("u64", 8, 0),
    ("s8", 1, SIGNED),
    ("s16", 2, SIGNED),
    ("s32", 4, SIGNED),
    ("s64", 8, SIGNED),
    ("__u8", 1, 0),
    ("__u16", 2, 0),
    ("__u32", 4, 0),
    ("__u64", 8, 0),
];

impl CType {
    /// The number of this name.
    pub(crate) fn number(name: &str) -> Option<Self> {
        let name = if name == "bool" { "_Bool" } else { name };
        let found = NUMBERS.iter().find(|(known, ..)| *known == name);
        found.map(|(name, size, encoding)| CType::Int { name, size: *size, encoding: *encoding })
    }

    /// Its size in bytes; 0 for a structure.
    #[cfg(feature = "elf")]
    pub(crate) fn size(&self) -> u32 {
        match self {
            CType::Void | CType::Struct(_) | CType::Union(_) => 0,
            CType::Int { size, .. } => *size,
            CType::Enum(_) => 4,
            CType::Pointer(_) => 8,
            CType::Const(of) => of.size(),
            CType::Array(of, length) => of.size().saturating_mul(*length),
        }
    }

    /// Writes a declaration of this type around what is declared.
    fn declare(&self, inside: String) -> String {
        let spaced = |word: &str, inside: String| {
            let gap = if inside.is_empty() || inside.starts_with('[') { "" } else { " " };
            format!("{word}{gap}{inside}")
        };
        match self {
            CType::Void => spaced("void", inside),
            CType::Int { name, .. } => spaced(name, inside),
            CType::Struct(name) => spaced(&format!("struct {}", Name(name)), inside),
            CType::Union(name) => spaced(&format!("union {}", Name(name)), inside),
            CType::Enum(name) => spaced(&format!("enum {}", Name(name)), inside),
            CType::Pointer(of) => of.declare(format!("*{inside}")),
            CType::Const(of) => match &**of {
                CType::Pointer(of) => of.declare(spaced("*const", inside)),
                of => format!("const {}", of.declare(inside)),
            },
            CType::Array(of, length) => of.declare(format!("{inside}[{length}]")),
        }
    }
}

impl fmt::Display for CType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.declare(String::new()))
    }
}

/// As in C, after `extern`.
impl fmt::Display for Extern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Name(&self.name);
        match &self.ty {
            ExternType::Function { result, parameters } => {
                let parameters: Vec<String> = parameters.iter().map(CType::to_string).collect();
                let listed =
                    if parameters.is_empty() { "void".to_owned() } else { parameters.join(", ") };
                f.write_str(&result.declare(format!("{name}({listed})")))?;
            }
            ExternType::Variable(ty) => f.write_str(&ty.declare(name.to_string()))?,
            ExternType::Config(ty) => {
                write!(f, "{} __kconfig", ty.declare(name.to_string()))?;
            }
        }
        if self.weak { f.write_str(" __weak") } else { Ok(()) }
    }
}

/// Parses a declaration of C, as `.extern` takes it.
///
/// # Errors
/// The mistake in it; also a name without types.
pub fn declare(text: &str) -> Result<Extern, TextErrors> {
    let wrong = |fault: Fault| TextErrors::new("declaration", vec![fault.at(1, text)]);
    match tokens(text, 0).and_then(|tokens| declaration(&tokens, text.len())).map_err(wrong)? {
        Declaration::Extern(of) => Ok(of),
        Declaration::Name(_) => Err(wrong(Fault::new(0..text.len(), "expected a type and a name"))),
    }
}

/// What follows `.extern`: a name alone, or a declaration.
pub(super) enum Declaration {
    Name(String),
    Extern(Extern),
}

/// Parses what follows `.extern`; `end` is the end of the line.
pub(super) fn declaration(tokens: &[Token], end: usize) -> Result<Declaration, Fault> {
    if let [Token { kind: Kind::Word(name) | Kind::Quoted(name), .. }] = tokens {
        return Ok(Declaration::Name(name.clone()));
    }
    let mut parser = Parser { tokens: tokens.iter().peekable(), end };
    parser.word("extern");
    let ty = parser.base()?;
    let ty = parser.pointers(ty)?;
    let span = parser.span();
    let name =
        parser.name().ok_or_else(|| Fault::new(span, "expected the name that is declared"))?;
    let mut ty = match parser.eat("(") {
        true => ExternType::Function { result: ty, parameters: parser.parameters()? },
        false => ExternType::Variable(parser.array(ty)?),
    };
    let mut weak = false;
    for token in parser.tokens.by_ref() {
        match (&token.kind, ty) {
            (Kind::Word(word), of) if word == "__weak" => {
                weak = true;
                ty = of;
            }
            (Kind::Word(word), of) if word == "__ksym" => ty = of,
            (Kind::Word(word), ExternType::Variable(of)) if word == "__kconfig" => {
                ty = ExternType::Config(of);
            }
            _ => {
                return Err(Fault::new(
                    token.span.start..end,
                    "unexpected text after the declaration",
                )
                .hint("it may be followed by `__ksym`, `__kconfig` and `__weak`"));
            }
        }
    }
    Ok(Declaration::Extern(Extern { name, ty, weak }))
}

struct Parser<'a> {
    tokens: Peekable<std::slice::Iter<'a, Token>>,
    end: usize,
}

impl Parser<'_> {
    fn span(&mut self) -> Range<usize> {
        self.tokens.peek().map_or(self.end..self.end, |token| token.span.clone())
    }

    fn eat(&mut self, sign: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(token.kind, Kind::Sign(found) if found == sign))
            .is_some()
    }

    fn word(&mut self, word: &str) -> bool {
        self.tokens
            .next_if(|token| matches!(&token.kind, Kind::Word(found) if found == word))
            .is_some()
    }

    fn name(&mut self) -> Option<String> {
        let token =
            self.tokens.next_if(|token| matches!(token.kind, Kind::Word(_) | Kind::Quoted(_)))?;
        match &token.kind {
            Kind::Word(name) | Kind::Quoted(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// `const struct sock`, without pointers.
    fn base(&mut self) -> Result<CType, Fault> {
        let mut constant = self.word("const");
        let span = self.span();
        let tag = ["struct", "union", "enum"].into_iter().find(|tag| self.word(tag));
        let ty = match tag {
            Some(tag) => {
                let at = self.span();
                let name = self
                    .name()
                    .ok_or_else(|| Fault::new(at, format!("expected the name of the {tag}")))?;
                match tag {
                    "struct" => CType::Struct(name),
                    "union" => CType::Union(name),
                    _ => CType::Enum(name),
                }
            }
            None if self.word("void") => CType::Void,
            None => self.number(span)?,
        };
        constant |= self.word("const");
        Ok(if constant { CType::Const(Box::new(ty)) } else { ty })
    }

    /// `unsigned long`: as many words as there are.
    fn number(&mut self, span: Range<usize>) -> Result<CType, Fault> {
        let Some(mut name) = self.name() else {
            return Err(Fault::new(span, "expected a type")
                .hint("declare it as in C: `.extern int bpf_dynptr_size(struct bpf_dynptr *p)`"));
        };
        if name == "unsigned" && !self.tokens.peek().is_some_and(|next| is_number(next)) {
            name.push_str(" int");
        }
        while let Some(next) = self.tokens.peek() {
            let Kind::Word(word) = &next.kind else { break };
            // `long int` and `unsigned long int` are `long` and `unsigned long`.
            if word == "int" && name.ends_with(['g', 't']) && name != "int" {
                self.tokens.next();
                continue;
            }
            let longer = format!("{name} {word}");
            if !NUMBERS.iter().any(|(known, ..)| *known == longer) {
                break;
            }
            name = longer;
            self.tokens.next();
        }
        CType::number(&name).ok_or_else(|| {
            let known: Vec<&str> = NUMBERS.iter().map(|(known, ..)| *known).collect();
            Fault::new(span, format!("unknown type `{name}`"))
                .hint("write a number such as `u32`, or `struct`, `union` or `enum` and its name")
                .similar(&name, known.iter())
        })
    }

    fn pointers(&mut self, mut ty: CType) -> Result<CType, Fault> {
        let mut depth = 0;
        loop {
            let span = self.span();
            if self.eat("*") {
                depth += 1;
                ty = CType::Pointer(Box::new(ty));
            } else if matches!(ty, CType::Pointer(_)) && self.word("const") {
                ty = CType::Const(Box::new(ty));
            } else {
                return Ok(ty);
            }
            // Types are read recursively.
            if depth > 8 {
                return Err(Fault::new(span, "too many pointers to pointers"));
            }
        }
    }

    /// `[16]`, if it follows.
    fn array(&mut self, ty: CType) -> Result<CType, Fault> {
        if !self.eat("[") {
            return Ok(ty);
        }
        let span = self.span();
        let length = match self.tokens.next().map(|token| &token.kind) {
            Some(Kind::Number(number)) => u32::try_from(*number).ok(),
            _ => None,
        };
        let length = length.ok_or_else(|| Fault::new(span, "expected the length of the array"))?;
        self.expect("]")?;
        Ok(CType::Array(Box::new(ty), length))
    }

    fn expect(&mut self, sign: &str) -> Result<(), Fault> {
        let span = self.span();
        if self.eat(sign) { Ok(()) } else { Err(Fault::new(span, format!("expected `{sign}`"))) }
    }

    /// After the parenthesis.
    fn parameters(&mut self) -> Result<Vec<CType>, Fault> {
        let mut parameters = Vec::new();
        if self.eat(")") {
            return Ok(parameters);
        }
        loop {
            let ty = self.base()?;
            let ty = self.pointers(ty)?;
            // Its name, which does not count.
            self.name();
            parameters.push(ty);
            if !self.eat(",") {
                break;
            }
        }
        self.expect(")")?;
        if matches!(parameters[..], [CType::Void]) {
            parameters.clear();
        }
        Ok(parameters)
    }
}

/// Whether a token can follow `unsigned`.
fn is_number(token: &Token) -> bool {
    const NUMBERS: [&str; 4] = ["char", "short", "int", "long"];
    matches!(&token.kind, Kind::Word(word) if NUMBERS.contains(&word.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str) -> Result<Declaration, Fault> {
        declaration(&tokens(text, 0)?, text.len())
    }

    #[test]
    fn declarations_of_c_are_written_as_they_were_read() {
        for (text, written) in [
            ("struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym", None),
            (
                "extern void bpf_rcu_read_lock(void) __ksym __weak",
                Some("void bpf_rcu_read_lock(void) __weak"),
            ),
            ("void f()", Some("void f(void)")),
            (
                "unsigned long long int f(unsigned n, const char *const *p)",
                Some("unsigned long long f(unsigned int, const char *const *)"),
            ),
            ("const void bpf_link_fops", Some("const void bpf_link_fops")),
            ("bool CONFIG_BPF __kconfig", Some("_Bool CONFIG_BPF __kconfig")),
            (
                "char CONFIG_NAME[16] __kconfig __weak",
                Some("char CONFIG_NAME[16] __kconfig __weak"),
            ),
            (
                "enum libbpf_tristate CONFIG_X __kconfig",
                Some("enum libbpf_tristate CONFIG_X __kconfig"),
            ),
            (
                "union bpf_attr *f(void *const p, u64 flags)",
                Some("union bpf_attr *f(void *const, u64)"),
            ),
        ] {
            let Ok(Declaration::Extern(found)) = declared(text) else { panic!("{text}") };
            let expected =
                written.unwrap_or("struct task_struct *bpf_task_acquire(struct task_struct *)");
            assert_eq!(found.to_string(), expected);
            let Ok(Declaration::Extern(again)) = declared(expected) else { panic!("{expected}") };
            assert_eq!(again, found);
        }
        assert!(declare("f").is_err_and(|errors| errors.to_string().contains("a type and a name")));
        assert!(matches!(declared("f"), Ok(Declaration::Name(name)) if name == "f"));
    }

    #[test]
    fn mistakes_in_declarations_have_their_position() {
        for (text, message, span) in [
            ("struct *f(void)", "expected the name of the struct", 7..8),
            ("gfp_t f(void)", "unknown type `gfp_t`", 0..5),
            ("int f(int a", "expected `)`", 11..11),
            ("int f(void) __kconfig", "unexpected text after the declaration", 12..21),
            ("int f[]", "expected the length of the array", 6..7),
            ("int *", "expected the name that is declared", 5..5),
            ("", "expected a type", 0..0),
        ] {
            let Err(fault) = declared(text) else { panic!("{text}") };
            assert_eq!((fault.message.as_str(), fault.span), (message, span), "{text}");
        }
        assert!(declared(&format!("int {}p", "*".repeat(10_000))).is_err());
    }
}
