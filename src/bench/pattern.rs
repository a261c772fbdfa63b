//! Reproducible contents and sizes.

/// Bytes determined by their offset in the stream, which reveal lost, repeated and swapped ones.
/// The period is a prime, so that no buffer size hides an error.
pub(super) struct Pattern(Vec<u8>);

impl Pattern {
    const PERIOD: usize = 65_521;

    /// For slices of up to `longest` bytes.
    pub fn new(longest: usize) -> Self {
        let mut random = Random::new();
        let period: Vec<_> = (0..Self::PERIOD).map(|_| random.next() as u8).collect();
        Self(period.into_iter().cycle().take(Self::PERIOD + longest).collect())
    }

    /// The bytes at an offset.
    pub fn at(&self, place: u64, length: usize) -> &[u8] {
        &self.0[(place % Self::PERIOD as u64) as usize..][..length]
    }
}

/// Reproducible pseudo-random numbers (xorshift), so that all transports do the same work.
pub(super) struct Random(u64);

impl Random {
    pub fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_offset_has_the_same_bytes_wherever_a_slice_begins() {
        let pattern = Pattern::new(1000);
        let last = Pattern::PERIOD as u64 - 1;
        let across = pattern.at(last, 1000);
        assert_eq!(across[1..], *pattern.at(last + 1, 999));
        assert_eq!(across[1..], *pattern.at(0, 999));
        assert_ne!(pattern.at(0, 100), pattern.at(1, 100));
    }
}
