//! Random choices, from which random programs are made.

/// A sequence of choices; 0 after its end.
pub struct Choices(std::vec::IntoIter<u32>);

impl Choices {
    pub fn new(choices: Vec<u32>) -> Choices {
        Choices(choices.into_iter())
    }

    /// A choice out of `count`.
    pub fn of(&mut self, count: usize) -> usize {
        self.0.next().unwrap_or(0) as usize % count
    }

    /// Mostly a small number, sometimes any.
    pub fn number(&mut self) -> i64 {
        match self.of(4) {
            0 => i64::from(self.0.next().unwrap_or(0) as i32) << self.of(33),
            _ => self.of(50) as i64 - 5,
        }
    }
}
