//! What a line of the log is.

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// An instruction that is followed: `slot: (opcode) text`, and on newer kernels what it
    /// changed.
    Instruction {
        /// The whole line.
        line: &'a str,
        /// The instruction's first slot.
        slot: usize,
        /// What stands behind the opcode.
        text: &'a str,
    },
    /// What comes before an instruction: its source line after a semicolon, or the state in which a
    /// path goes on.
    Leading(&'a str),
    /// Anything else.
    Remark(&'a str),
}

impl<'a> Entry<'a> {
    /// Reads a line.
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
