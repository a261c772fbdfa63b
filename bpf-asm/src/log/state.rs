//! Register states along the path that the log follows.

use super::entry::Entry;

const REGISTERS: usize = 11;

/// The known states of the registers of the current function.
#[derive(Debug, Default)]
pub(super) struct Registers<'a> {
    /// The call depth of the function.
    frame: u32,
    content: [Option<&'a str>; REGISTERS],
    /// Whether a line with only register states is about the present. After other messages it may
    /// be about the past, when the verifier backtracks for precision.
    current: bool,
}

impl<'a> Registers<'a> {
    /// Updates the states by a line. Newer kernels log what an instruction changed; older ones do
    /// not, so what it may have changed is then unknown.
    pub(super) fn follow(&mut self, entry: &Entry<'a>) {
        let has_states = match entry {
            Entry::Instruction { text, .. } => {
                self.forget(text);
                true
            }
            Entry::Leading(_) => true,
            Entry::Remark(_) => self.current && has_only_states(entry),
        };
        self.current = match entry {
            // `callee:`, followed by its registers on the next line.
            Entry::Remark(line) => has_states || line.ends_with(':'),
            _ => true,
        };
        if has_states {
            self.update(entry.line());
        }
    }

    /// Adds the states in a line.
    pub(super) fn update(&mut self, line: &'a str) {
        let state = State::in_line(line);
        if state.registers.is_empty() {
            return;
        }
        // The log has all states at the start of a path and of another frame.
        if line.starts_with("from ") || state.frame != self.frame {
            self.content = [None; REGISTERS];
            self.frame = state.frame;
        }
        for (register, content) in state.registers {
            if let Some(known) = self.content.get_mut(register) {
                *known = Some(content);
            }
        }
    }

    /// The known states by register.
    pub(super) fn known(&self) -> Vec<(u8, &'a str)> {
        (0..)
            .zip(&self.content)
            .filter_map(|(number, content)| content.map(|content| (number, content)))
            .collect()
    }

    /// Drops what an instruction may change.
    fn forget(&mut self, text: &str) {
        let first = text.split_whitespace().next().unwrap_or_default();
        // Calls clobber their arguments, and so do legacy loads from the packet.
        if first == "call" || text.contains("skb[") {
            self.content[..6].fill(None);
        } else if first == "if" {
            // A comparison also changes what is known of all registers that hold the same value.
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

/// The number of a register: `r3`, or `w3` for its lower half.
fn register(word: &str) -> Option<usize> {
    word.strip_prefix(['r', 'w'])?.parse().ok()
}

/// Whether the text of an instruction names a register.
fn names(text: &str, number: usize) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .any(|word| register(word) == Some(number))
}

/// Whether an instruction reads a register, by its text: a call reads its arguments, a return its
/// result, any other the registers that it names, except the one it assigns.
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

/// The id of a register's value, by which the verifier knows that registers are equal; none for 0.
fn identity(content: &str) -> Option<&str> {
    let (_, rest) = content.split_once("(id=")?;
    let id = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    (!id.is_empty() && id != "0").then_some(id)
}

/// Whether a line has only register states: those after the previous instruction, or of a frame.
pub(super) fn has_only_states(entry: &Entry<'_>) -> bool {
    matches!(entry, Entry::Remark(line) if line.starts_with(' ') && !State::in_line(line).registers.is_empty())
}

/// The register states in a line.
struct State<'a> {
    frame: u32,
    registers: Vec<(usize, &'a str)>,
}

impl<'a> State<'a> {
    /// `R1_w=ctx() R10=fp0 fp-8=mmmmmmmm`, possibly after other text; in a callee after `frame1:`.
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

/// The words of a line; text in parentheses belongs to one word.
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
