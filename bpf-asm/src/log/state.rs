//! What the log lets one know of registers at a point of the path that it follows.

use super::entry::Entry;

const REGISTERS: usize = 11;

/// What is known of the registers of the function that is being followed.
#[derive(Debug, Default)]
pub(super) struct Registers<'a> {
    /// How many calls deep the function is.
    frame: u32,
    content: [Option<&'a str>; REGISTERS],
    /// Whether a line that tells registers and nothing else would tell them as they are now. Behind
    /// other remarks it may tell them as they were long before, when the verifier traces back what
    /// it has to be precise about.
    current: bool,
}

impl<'a> Registers<'a> {
    /// Takes a line into account. Newer kernels say after each instruction what it changed; older
    /// ones do not, and then nothing is known any more of what it may have changed.
    pub(super) fn follow(&mut self, entry: &Entry<'a>) {
        let told = match entry {
            Entry::Instruction { text, .. } => {
                self.forget(text);
                true
            }
            Entry::Leading(_) => true,
            Entry::Remark(_) => self.current && is_told_by(entry),
        };
        self.current = match entry {
            // `callee:`, and its registers in the next line.
            Entry::Remark(line) => told || line.ends_with(':'),
            _ => true,
        };
        if told {
            self.learn(entry.line());
        }
    }

    /// Takes over what a line tells.
    pub(super) fn learn(&mut self, line: &'a str) {
        let said = State::in_line(line);
        if said.registers.is_empty() {
            return;
        }
        // A path that is taken up again, and the frame of another function, are told in full.
        if line.starts_with("from ") || said.frame != self.frame {
            self.content = [None; REGISTERS];
            self.frame = said.frame;
        }
        for (register, content) in said.registers {
            if let Some(known) = self.content.get_mut(register) {
                *known = Some(content);
            }
        }
    }

    /// What is known, by register.
    pub(super) fn known(&self) -> Vec<(u8, &'a str)> {
        (0..)
            .zip(&self.content)
            .filter_map(|(number, content)| content.map(|content| (number, content)))
            .collect()
    }

    /// Forgets what an instruction may change.
    fn forget(&mut self, text: &str) {
        let first = text.split_whitespace().next().unwrap_or_default();
        // A call takes its arguments with it, and so does a load from a packet in the old way.
        if first == "call" || text.contains("skb[") {
            self.content[..6].fill(None);
        } else if first == "if" {
            // A comparison tells something of what it compares, and of all that is known to be the
            // same.
            let compared: Vec<usize> =
                (0..REGISTERS).filter(|number| names(text, *number)).collect();
            let identities: Vec<&str> = compared
                .iter()
                .filter_map(|number| self.content[*number].and_then(identity))
                .collect();
            for (number, content) in self.content.iter_mut().enumerate() {
                let same = content.and_then(identity).is_some_and(|id| identities.contains(&id));
                if same || compared.contains(&number) {
                    *content = None;
                }
            }
        } else if let Some(known) = register(first).and_then(|number| self.content.get_mut(number))
        {
            *known = None;
        }
    }
}

/// The number of a register in an instruction: `r3`, or `w3` for its lower half.
fn register(word: &str) -> Option<usize> {
    word.strip_prefix(['r', 'w'])?.parse().ok()
}

/// Whether an instruction's text names a register.
fn names(text: &str, number: usize) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|word| register(word) == Some(number))
}

/// Whether an instruction reads a register, by its text: a call its arguments, a return its result,
/// any other what it names, except for what it assigns to.
pub(super) fn reads(text: &str, number: u8) -> bool {
    match text.split_whitespace().next() {
        Some("call") => (1..=5).contains(&number),
        Some("exit") => number == 0,
        _ => {
            let assigned = text.split_once(" = ").filter(|(left, _)| register(left).is_some());
            names(assigned.map_or(text, |(_, right)| right), usize::from(number))
        }
    }
}

/// By which number the verifier knows that two registers hold the same; none for 0.
fn identity(content: &str) -> Option<&str> {
    let (_, rest) = content.split_once("(id=")?;
    let id = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    (!id.is_empty() && id != "0").then_some(id)
}

/// Whether a line tells registers and nothing else: those after the instruction before it, or of a
/// function.
pub(super) fn is_told_by(entry: &Entry<'_>) -> bool {
    matches!(entry, Entry::Remark(line) if line.starts_with(' ') && !State::in_line(line).registers.is_empty())
}

/// The registers that a line tells about.
struct State<'a> {
    frame: u32,
    registers: Vec<(usize, &'a str)>,
}

impl<'a> State<'a> {
    /// `R1_w=ctx() R10=fp0 fp-8=mmmmmmmm`, after whatever else the line has; `frame1:` before it in
    /// a function.
    fn in_line(line: &'a str) -> Self {
        let mut state = State { frame: 0, registers: Vec::new() };
        for word in words(line) {
            if let Some(frame) =
                word.strip_prefix("frame").and_then(|rest| rest.strip_suffix(':')?.parse().ok())
            {
                state.frame = frame;
            } else if let Some((name, content)) = word.split_once('=') {
                let digits =
                    name.strip_prefix('R').map(|name| name.split('_').next().unwrap_or_default());
                if let Some(number) = digits.and_then(|digits| digits.parse().ok()) {
                    state.registers.push((number, content));
                }
            }
        }
        state
    }
}

/// Words of a line; what is in brackets is one, whatever spaces are in it.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0u32;
    line.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ' ' && depth == 0
    })
    .filter(|word| !word.is_empty())
}
