//! Bytes that say where they belong.
//!
//! The byte at each offset of a pattern follows from its seed, so a reader checks everything it
//! reads against what was sent without either being kept, and a wrong byte is reported with its
//! place: sharper than comparing hashes at the end.

use std::sync::OnceLock;

/// An endless sequence of bytes that differs with its seed.
#[derive(Debug, Clone, Copy)]
pub struct Pattern {
    pub seed: u64,
}

impl Pattern {
    /// Writes what belongs at `offset` and after it.
    pub fn fill(self, offset: u64, buffer: &mut [u8]) {
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let word = self.word(at / 8).to_le_bytes();
            let part = &word[(at % 8) as usize..];
            let length = part.len().min(rest.len());
            rest[..length].copy_from_slice(&part[..length]);
            at += length as u64;
            rest = &mut rest[length..];
        }
    }

    pub fn bytes(self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(offset, &mut bytes);
        bytes
    }

    /// Fails at the first byte that does not belong at its place.
    pub fn check(self, offset: u64, bytes: &[u8]) {
        let expected = self.bytes(offset, bytes.len());
        if expected != bytes {
            let differs = |(expected, byte): (&u8, &u8)| expected != byte;
            let place = expected.iter().zip(bytes).position(differs).unwrap_or_default();
            panic!(
                "byte {} of pattern {:#x} is wrong: expected {:02x?}, read {:02x?} (chunk of {} bytes from {offset})",
                offset + place as u64,
                self.seed,
                &expected[place..expected.len().min(place + 16)],
                &bytes[place..bytes.len().min(place + 16)],
                bytes.len(),
            );
        }
    }

    fn word(self, index: u64) -> u64 {
        mix(self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }
}

/// A pattern that is compared as fast as memory is: for tests whose readers must not be slow.
///
/// It repeats after a prime number of bytes, so that a chunk that is lost or doubled is found out
/// unless it is a multiple of that.
#[derive(Debug, Clone, Copy)]
pub struct Tape {
    pub seed: u64,
}

impl Tape {
    const LOOP: usize = 1_000_003;
    /// The longest part that can be asked for.
    pub const LONGEST: usize = 1 << 20;

    pub fn bytes(self, offset: u64, length: usize) -> &'static [u8] {
        static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = BYTES.get_or_init(|| {
            let mut bytes = Pattern { seed: 0x7a9e }.bytes(0, Self::LOOP);
            bytes.extend_from_within(..);
            bytes.extend_from_within(..Self::LONGEST - Self::LOOP);
            bytes
        });
        let whole = u128::from(offset) + u128::from(mix(self.seed));
        let start = (whole % Self::LOOP as u128) as usize;
        &bytes[start..start + length]
    }

    /// Fails at the first byte that does not belong at its place.
    #[track_caller]
    pub fn check(self, offset: u64, bytes: &[u8]) {
        for (part, at) in bytes.chunks(Self::LONGEST).zip((offset..).step_by(Self::LONGEST)) {
            let expected = self.bytes(at, part.len());
            if expected != part {
                let mut both = expected.iter().zip(part);
                let place = both.position(|(expected, byte)| expected != byte).expect("a byte");
                let mut eights = self.bytes(0, Self::LONGEST).windows(8);
                let whence = eights.position(|eight| part[place..].starts_with(eight));
                panic!(
                    "byte {} of tape {} is wrong: expected {:02x?}, read {:02x?}, which belongs at \
                     {whence:?} and every {} bytes (chunk of {} bytes from {at})",
                    at + place as u64,
                    self.seed,
                    &expected[place..expected.len().min(place + 16)],
                    &part[place..part.len().min(place + 16)],
                    Self::LOOP,
                    part.len(),
                );
            }
        }
    }
}

/// Random choices that are the same in every run.
#[derive(Debug, Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from 0 to `end`, without `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    /// A length from 1 to `longest`, short ones and long ones equally likely.
    pub fn length(&mut self, longest: usize) -> usize {
        let magnitude = 1 + self.below(longest.ilog2() as usize + 1);
        1 + self.below(longest.min(1 << magnitude))
    }
}

/// The output function of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn a_pattern_is_the_same_however_it_is_cut_and_a_moved_byte_is_found() {
    let pattern = Pattern { seed: 7 };
    let whole = pattern.bytes(0, 100);
    for cut in 0..100 {
        assert_eq!([pattern.bytes(0, cut), pattern.bytes(cut as u64, 100 - cut)].concat(), whole);
    }
    pattern.check(3, &whole[3..]);
    let moved = std::panic::catch_unwind(|| pattern.check(3, &whole[4..]));
    assert!(moved.is_err());
}

#[test]
fn a_tape_is_the_same_however_it_is_cut_and_a_moved_byte_is_found() {
    let tape = Tape { seed: 7 };
    let around_the_end = Tape::LOOP as u64 - 50;
    for start in [0, 1, around_the_end] {
        for cut in 0..100 {
            let rest = tape.bytes(start + cut as u64, 100 - cut);
            assert_eq!([tape.bytes(start, cut), rest].concat(), tape.bytes(start, 100));
        }
    }
    let long = tape.bytes(3, Tape::LONGEST).to_vec();
    tape.check(3, &long);
    assert!(std::panic::catch_unwind(|| tape.check(4, &long)).is_err());
    assert_ne!(tape.bytes(0, 16), Tape { seed: 8 }.bytes(0, 16));
}
