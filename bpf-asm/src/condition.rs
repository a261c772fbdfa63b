//! Branch conditions, made of comparisons of values.

use std::collections::VecDeque;

use crate::insn::{Compare, Width};
use crate::value::{Operand, Value};

/// A condition, evaluated at the branch that takes it. `and` and `or` short-circuit.
#[must_use = "a condition asks nothing until a branch takes it"]
#[derive(Debug, Clone)]
pub struct Condition(pub(crate) Question);

/// Chains are lists, not trees: they may be longer than a call stack is deep.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Compare { width: Width, compare: Compare, left: Value, right: Operand },
    Both(VecDeque<Question>),
    Either(VecDeque<Question>),
}

impl Condition {
    pub(crate) fn compare(width: Width, compare: Compare, left: Value, right: Operand) -> Self {
        Condition(Question::Compare { width, compare, left, right })
    }

    /// Holds if both hold; `other` is evaluated only if this one holds.
    pub fn and(self, other: Condition) -> Condition {
        Condition(Question::Both(match (self.0, other.0) {
            (Question::Both(first), Question::Both(second)) => joined(first, second),
            (Question::Both(first), second) => joined(first, [second]),
            (first, Question::Both(second)) => behind(first, second),
            (first, second) => [first, second].into(),
        }))
    }

    /// Holds if one of them holds; `other` is evaluated only if this one does not.
    pub fn or(self, other: Condition) -> Condition {
        Condition(Question::Either(match (self.0, other.0) {
            (Question::Either(first), Question::Either(second)) => joined(first, second),
            (Question::Either(first), second) => joined(first, [second]),
            (first, Question::Either(second)) => behind(first, second),
            (first, second) => [first, second].into(),
        }))
    }
}

fn joined(
    mut first: VecDeque<Question>,
    second: impl IntoIterator<Item = Question>,
) -> VecDeque<Question> {
    first.extend(second);
    first
}

fn behind(first: Question, mut second: VecDeque<Question>) -> VecDeque<Question> {
    second.push_front(first);
    second
}
