//! Verifier logs in readable form: the whole log of a rejected program, grouped by the source lines
//! of its instructions.
//!
//! A log lists the instructions that the verifier followed, with what it found in between; the last
//! instruction is the one that it rejected. Messages differ from kernel to kernel, so nothing here
//! depends on their wording. Only two formats are relied on, and where they are missing the log is
//! shown as it is:
//!
//! * an instruction is a line `slot: (opcode) text` (kernel `kernel/bpf/disasm.c`);
//! * the state of a register is a word `R1=…` (`print_verifier_state`, kernel `kernel/bpf/log.c`).
//!
//! The source line of an instruction comes from the [`Program`], since kernels before 6.4 do not
//! log it.
//!
//! ```
//! use bpf_asm::{Builder, ProgramType, log::VerifierLog};
//!
//! let b = Builder::new("reader");
//! let number = b.value(64).cast::<u64>();
//! b.ret(b.load(number.at_all()));
//! let program = b.finish(ProgramType::SocketFilter)?;
//!
//! let log = "0: R1=ctx() R10=fp0\n\
//!            0: (b7) r1 = 64                       ; R1_w=64\n\
//!            1: (79) r1 = *(u64 *)(r1 +0)\n\
//!            R1 invalid mem access 'scalar'\n\
//!            processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n";
//! let log = VerifierLog::new(&program, log);
//! let stop = log.stop().expect("instructions were followed");
//! assert_eq!((stop.slot, stop.complaint.as_slice()), (1, &["R1 invalid mem access 'scalar'"][..]));
//! assert_eq!(stop.registers, [(1, "64"), (10, "fp0")]);
//! println!("{log}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod entry;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::program::Program;
use entry::Entry;
use state::Registers;

/// The log of a rejected program. `Display` shows every line of the log in its order, grouped by
/// source line, and then a summary.
#[derive(Debug, Clone)]
pub struct VerifierLog<'a> {
    program: &'a str,
    origins: Vec<Origin<'a>>,
    log: &'a str,
}

/// Where the verifier stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop<'a> {
    /// The slot of the instruction, counted from the program's start.
    pub slot: usize,
    /// The source line of the instruction; `None` if the program has no such slot, so that the log
    /// belongs to another program.
    pub at: Option<Origin<'a>>,
    /// The verifier's message: the first paragraph after the instruction, without the statistics at
    /// its end.
    pub complaint: Vec<&'a str>,
    /// The state of the registers before the instruction, by number, as last logged and not changed
    /// since. Older kernels log it rarely, so that little is left of it.
    pub registers: Vec<(u8, &'a str)>,
}

/// An instruction and the source line that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The slot of the instruction.
    pub slot: usize,
    /// The source file.
    pub file: &'a str,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// The instruction in the kernel's notation, with maps by name.
    pub text: String,
}

impl<'a> VerifierLog<'a> {
    /// The log that `BPF_PROG_LOAD` wrote for this program.
    pub fn new(program: &'a Program, log: &'a str) -> Self {
        let origins = program.lines.iter().map(|line| Origin {
            slot: line.slot,
            file: line.at.file(),
            line: line.at.line(),
            column: line.at.column(),
            text: program.text(line),
        });
        VerifierLog { program: program.name(), origins: origins.collect(), log }
    }

    /// The instruction that the verifier rejected. `None` if it followed none: then the log is
    /// about the whole program, and [`VerifierLog::named`] may list the instructions concerned.
    ///
    /// The log has to be of level 1, as every kernel writes for a rejected program. At level 2 it
    /// also has the accepted paths, and ends with one of them if the error comes after all paths.
    pub fn stop(&self) -> Option<Stop<'a>> {
        let entries: Vec<Entry<'a>> = self.log.lines().map(Entry::of).collect();
        let last = entries.iter().rposition(|entry| matches!(entry, Entry::Instruction { .. }))?;
        let (before, rest) = entries.split_at(last);
        let Some((Entry::Instruction { slot, .. }, mut after)) = rest.split_first() else {
            return None;
        };
        let mut registers = Registers::default();
        before.iter().for_each(|entry| registers.follow(entry));
        // Older kernels log the state before the instruction here.
        if let Some((states, rest)) =
            after.split_first().filter(|(states, _)| state::has_only_states(states))
        {
            registers.update(states.line());
            after = rest;
        }
        // Only the statistics are recognised by their wording; if it changed, they would be shown
        // twice.
        let is_message = |line: &&str| !line.trim().is_empty() && !line.starts_with("processed ");
        Some(Stop {
            slot: *slot,
            at: self.origin(*slot).cloned(),
            complaint: after.iter().map(Entry::line).take_while(is_message).collect(),
            registers: registers.known(),
        })
    }

    /// Other instructions that the message names as `insn N`, each once.
    pub fn named(&self) -> Vec<&Origin<'a>> {
        let stop = self.stop();
        let complaint =
            stop.as_ref().map_or_else(|| self.log.lines().collect(), |stop| stop.complaint.clone());
        let mut found: Vec<&Origin<'a>> = Vec::new();
        for slot in complaint.into_iter().flat_map(entry::named) {
            let known = |origin: &&Origin<'a>| {
                !found.contains(origin) && stop.as_ref().is_none_or(|stop| stop.slot != slot)
            };
            found.extend(self.origin(slot).filter(known));
        }
        found
    }

    /// The origin of the instruction in this slot, which may be its second.
    fn origin(&self, slot: usize) -> Option<&Origin<'a>> {
        let after = self.origins.partition_point(|origin| origin.slot <= slot);
        let inside = self.origins.last().is_some_and(|last| slot <= last.slot);
        self.origins.get(after.checked_sub(1)?).filter(|_| inside)
    }

    /// The log itself, each line after a margin that marks the instruction at which the verifier
    /// stopped.
    fn fold(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries: Vec<Entry<'_>> = self.log.lines().map(Entry::of).collect();
        let last = entries.iter().rposition(|entry| matches!(entry, Entry::Instruction { .. }));
        let mut heading = None;
        // Lines that lead up to an instruction are shown under its source line.
        let mut leading = 0;
        for (number, entry) in entries.iter().enumerate() {
            match entry {
                Entry::Leading(_) if last.is_some_and(|last| number < last) => {
                    leading += 1;
                    continue;
                }
                Entry::Instruction { slot, .. } => {
                    let place = self.origin(*slot).map(|origin| (origin.file, origin.line));
                    if let Some((file, line)) = place.filter(|place| heading != Some(*place)) {
                        writeln!(f, "{file}:{line}")?;
                        heading = place;
                    }
                }
                _ => {}
            }
            for line in entries.iter().skip(number - leading).take(leading) {
                writeln!(f, "  {}", line.line())?;
            }
            leading = 0;
            writeln!(f, "{} {}", if Some(number) == last { '>' } else { ' ' }, entry.line())?;
        }
        Ok(())
    }
}

impl fmt::Display for VerifierLog<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.log.trim().is_empty() {
            return write!(
                f,
                "The log is empty: the kernel rejected `{}` before verifying its instructions.",
                self.program
            );
        }
        self.fold(f)?;
        let stop = self.stop();
        match stop.as_ref().map(|stop| (stop.slot, &stop.at)) {
            Some((_, Some(origin))) => {
                write!(f, "\nThe verifier rejected `{}` at instruction {origin}", self.program)?
            }
            Some((slot, None)) => {
                write!(
                    f,
                    "\nThe verifier stopped at instruction {slot}, but `{}` has no such slot: is \
                    this its log?",
                    self.program
                )?;
            }
            None => write!(
                f,
                "\nThe verifier rejected `{}` without following any instruction.",
                self.program
            )?,
        }
        for line in stop.iter().flat_map(|stop| &stop.complaint) {
            write!(f, "\n  {line}")?;
        }
        for origin in self.named() {
            write!(f, "\n  insn {origin}")?;
        }
        let Some(stop) = stop.filter(|stop| !stop.registers.is_empty()) else { return Ok(()) };
        f.write_str("\nRegisters before it; < marks those it reads")?;
        let text = stop.at.as_ref().map_or("", |origin| &origin.text);
        for (number, content) in &stop.registers {
            let read = if state::reads(text, *number) { '<' } else { ' ' };
            write!(f, "\n  {read} R{number:<2} {content}")?;
        }
        Ok(())
    }
}

/// `slot, file:line:column: instruction`
impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}:{}:{}: {}", self.slot, self.file, self.line, self.column, self.text)
    }
}
