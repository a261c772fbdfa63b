//! Branch conditions, made of comparisons of values.

use crate::insn::{Compare, Width};
use crate::value::{Operand, Value};

/// A condition, evaluated at the branch that takes it. `and` and `or` short-circuit.
#[must_use = "a condition asks nothing until a branch takes it"]
#[derive(Debug, Clone)]
pub struct Condition(pub(crate) Question);

#[derive(Debug, Clone)]
pub(crate) enum Question {
    Compare { width: Width, compare: Compare, left: Value, right: Operand },
    Both(Box<(Question, Question)>),
    Either(Box<(Question, Question)>),
}

impl Condition {
    pub(crate) fn compare(width: Width, compare: Compare, left: Value, right: Operand) -> Self {
        Condition(Question::Compare { width, compare, left, right })
    }

    /// Holds if both hold; `other` is evaluated only if this one holds.
    pub fn and(self, other: Condition) -> Condition {
        Condition(Question::Both(Box::new((self.0, other.0))))
    }

    /// Holds if one of them holds; `other` is evaluated only if this one does not.
    pub fn or(self, other: Condition) -> Condition {
        Condition(Question::Either(Box::new((self.0, other.0))))
    }
}
