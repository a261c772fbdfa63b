//! Changes of inputs, at random but each time in the same way.

/// A source of changes.
#[derive(Debug, Clone)]
pub struct Mutation {
    state: u64,
}

/// Numbers at which parsers count, allocate or wrap.
const EDGES: [u64; 8] = [
    0,
    1,
    i8::MAX as u64,
    u8::MAX as u64,
    i16::MAX as u64,
    u16::MAX as u64,
    i32::MAX as u64,
    u32::MAX as u64,
];

/// The most changes that an input gets at once.
const CHANGES: u64 = 4;

/// The longest piece that is removed, copied or put in, in bytes.
const PIECE: u64 = 32;

impl Mutation {
    /// One that goes through the same changes as every other of the same seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number of SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    fn below(&mut self, end: u64) -> usize {
        // Fits: every `end` is a length or a constant.
        self.next().checked_rem(end).unwrap_or_default() as usize
    }

    /// The place of a piece of `bytes`.
    fn piece(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() as u64 + 1);
        let length = self.below(PIECE) + 1;
        start..(start + length).min(bytes.len())
    }

    /// Bytes without a meaning.
    pub fn noise(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Another number in the place of the first one that is written in decimal digits from `at` on.
    fn write_decimal(&mut self, input: &mut Vec<u8>, at: usize) {
        let is_digit = |byte: &u8| byte.is_ascii_digit();
        let Some(start) = input[at..].iter().position(is_digit) else { return };
        let start = at + start;
        let digits = input[start..].iter().take_while(|byte| is_digit(byte)).count();
        let number = EDGES[self.below(EDGES.len() as u64)].to_string();
        input.splice(start..start + digits, number.into_bytes());
    }

    /// Changes an input a few times: flips a bit, writes a number in binary or in decimal, removes
    /// a piece, repeats one, or puts in one of another input.
    pub fn change(&mut self, input: &mut Vec<u8>, others: &[Vec<u8>]) {
        for _ in 0..=self.below(CHANGES) {
            let at = self.below(input.len() as u64);
            match self.below(7) {
                0 => {
                    let bit = self.below(8);
                    if let Some(byte) = input.get_mut(at) {
                        *byte ^= 1 << bit;
                    }
                }
                1 => {
                    let byte = self.noise(1);
                    input.splice(at..(at + 1).min(input.len()), byte);
                }
                2 => {
                    let number = EDGES[self.below(EDGES.len() as u64)].to_le_bytes();
                    let width = 1 << self.below(3);
                    for (byte, new) in input[at..].iter_mut().zip(&number[..width]) {
                        *byte = *new;
                    }
                }
                3 => {
                    let piece = self.piece(input);
                    input.drain(piece);
                }
                4 => self.write_decimal(input, at),
                5 => {
                    let piece = input[self.piece(input)].to_vec();
                    input.splice(at..at, piece);
                }
                _ => {
                    let other = self.below(others.len() as u64);
                    if let Some(other) = others.get(other) {
                        let piece = other[self.piece(other)].to_vec();
                        input.splice(at..at, piece);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_changes_and_another_gives_others() {
        let changed = |seed| {
            let mut mutation = Mutation::new(seed);
            let mut inputs = vec![b"one input".to_vec(); 50];
            inputs.iter_mut().for_each(|input| mutation.change(input, &[b"another".to_vec()]));
            inputs
        };
        assert_eq!(changed(1), changed(1));
        assert_ne!(changed(1), changed(2));
        assert!(changed(1).iter().all(|input| input.len() < 9 + 4 * PIECE as usize));
    }

    #[test]
    fn a_decimal_number_becomes_another_one() {
        let mut mutation = Mutation::new(5);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut input = b"x = 12, y".to_vec();
            mutation.write_decimal(&mut input, 1);
            seen.insert(String::from_utf8(input).expect("text"));
        }
        let expected = EDGES.map(|number| format!("x = {number}, y"));
        assert_eq!(seen, expected.into_iter().collect());
    }

    #[test]
    fn an_empty_input_is_changed_too() {
        let mut mutation = Mutation::new(3);
        for _ in 0..1000 {
            mutation.change(&mut Vec::new(), &[]);
        }
    }
}
