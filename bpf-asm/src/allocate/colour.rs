//! A register for each value.

use super::conflicts::Conflicts;
use crate::draft::ValueId;
use crate::insn::Register;
use crate::step::Name;

/// The registers for values, in the order in which they are taken.
const REGISTERS: [Register; 10] = [
    Register::R1,
    Register::R2,
    Register::R3,
    Register::R4,
    Register::R5,
    Register::R0,
    Register::R6,
    Register::R7,
    Register::R8,
    Register::R9,
];

/// How giving out registers has ended.
pub(super) enum Colouring {
    /// A register for each value.
    Done(Vec<Register>),
    /// These values have to leave registers to others.
    Spill(Vec<ValueId>),
    /// A value that has to be in a register finds none.
    Stuck { value: ValueId, holders: Vec<ValueId> },
}

struct Given<'a> {
    conflicts: &'a Conflicts,
    registers: Vec<Option<Register>>,
}

/// Gives registers. Values from number `written` on are parts of spilled ones, and have to be in
/// one.
pub(super) fn give(conflicts: &Conflicts, written: usize) -> Colouring {
    let cost = |value: ValueId| if value < written { conflicts.uses[value] } else { u64::MAX };
    let mut given = Given { conflicts, registers: vec![None; conflicts.values.len()] };
    let mut spilled = Vec::new();
    for &value in &conflicts.order {
        if let Some(register) = given.choose(value) {
            given.registers[value] = Some(register);
            continue;
        }
        let (register, losers) = REGISTERS
            .into_iter()
            .filter(|register| !has(conflicts.registers[value], *register))
            .map(|register| (Some(register), given.holders(value, register)))
            .chain([(None, vec![value])])
            .min_by_key(|(_, losers)| {
                losers.iter().fold(0u64, |sum, loser| sum.saturating_add(cost(*loser)))
            })
            .unwrap_or((None, vec![value]));
        if losers.iter().any(|loser| *loser >= written) {
            let registers = REGISTERS.into_iter();
            let holders = registers.flat_map(|register| given.holders(value, register)).collect();
            return Colouring::Stuck { value, holders };
        }
        losers.iter().for_each(|loser| given.registers[*loser] = None);
        spilled.extend(losers);
        given.registers[value] = register;
    }
    if !spilled.is_empty() {
        return Colouring::Spill(spilled);
    }
    let registers = given.registers.into_iter();
    Colouring::Done(registers.map(|register| register.unwrap_or(Register::R0)).collect())
}

impl Given<'_> {
    /// The conflicting values that have a register.
    fn holders(&self, value: ValueId, register: Register) -> Vec<ValueId> {
        let conflicting = self.conflicts.values[value].iter().copied();
        conflicting.filter(|other| self.registers[*other] == Some(register)).collect()
    }

    /// A free register: best one that saves a move, else one that saves none of a conflicting
    /// value.
    fn choose(&self, value: ValueId) -> Option<Register> {
        let conflicts = self.conflicts;
        let taken = conflicts.values[value]
            .iter()
            .filter_map(|other| self.registers[*other])
            .fold(conflicts.registers[value], |taken, register| taken | Name::from(register).bit());
        let (mut near, mut far) = (0, 0);
        for copy in &conflicts.copies[value] {
            match copy.value() {
                Some(copy) => match self.registers[copy] {
                    Some(register) => near |= Name::from(register).bit(),
                    None => far |= self.wanted(copy),
                },
                None => near |= copy.bit(),
            }
        }
        let others = conflicts.values[value].iter();
        let wanted = others
            .filter(|other| self.registers[**other].is_none())
            .fold(0, |wanted, other| wanted | self.wanted(*other));
        [near, far, !wanted, !0]
            .into_iter()
            .find_map(|among| REGISTERS.into_iter().find(|register| has(among & !taken, *register)))
    }

    /// The registers that would save a value's moves.
    fn wanted(&self, value: ValueId) -> u16 {
        let copies = self.conflicts.copies[value].iter();
        copies.fold(0, |wanted, copy| wanted | copy.bit()) & !self.conflicts.registers[value]
    }
}

fn has(registers: u16, register: Register) -> bool {
    registers & Name::from(register).bit() != 0
}
