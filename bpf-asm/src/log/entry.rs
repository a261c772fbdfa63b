//! Parses lines of the log.

/// One line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// An instruction: `slot: (opcode) text`, and on newer kernels the registers that it changed.
    Instruction {
        /// The whole line.
        line: &'a str,
        /// The instruction's first slot.
        slot: usize,
        /// The text after the opcode.
        text: &'a str,
    },
    /// A line that leads up to an instruction: its source line after a semicolon, or the state at
    /// the start of a path.
    Leading(&'a str),
    /// Anything else.
    Remark(&'a str),
}

impl<'a> Entry<'a> {
    /// Parses a line.
    pub(super) fn of(line: &'a str) -> Self {
        if let Some((slot, text)) = instruction(line) {
            return Entry::Instruction { line, slot, text };
        }
        let goes_on = line.starts_with("from ")
            || line.split_once(": ").is_some_and(|(slot, _)| number(slot).is_some());
        if line.starts_with("; ") || goes_on { Entry::Leading(line) } else { Entry::Remark(line) }
    }

    /// The line as the kernel wrote it.
    pub(super) fn line(&self) -> &'a str {
        match self {
            Entry::Instruction { line, .. } | Entry::Leading(line) | Entry::Remark(line) => line,
        }
    }
}

/// `12: (b7) r1 = 0`: the slot and the text.
fn instruction(line: &str) -> Option<(usize, &str)> {
    let (slot, rest) = line.split_once(": (")?;
    let (opcode, text) = rest.split_once(") ")?;
    let is_opcode = opcode.len() == 2 && opcode.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_opcode.then_some((number(slot)?, text))
}

/// The slots that a line names as `insn N`.
pub(super) fn named(line: &str) -> Vec<usize> {
    let words: Vec<&str> = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    words.windows(2).filter(|pair| pair[0] == "insn").filter_map(|pair| number(pair[1])).collect()
}

fn number(digits: &str) -> Option<usize> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}
