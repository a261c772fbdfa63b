//! The stack frame of a function: 512 bytes below r10, given out to slots, and what lines do to the bytes of slots.

use std::ops::Range;
use std::rc::{Rc, Weak};

use crate::error::{ErrorKind, Location};

/// Bytes that a frame, or all frames of a chain of calls together, can have (kernel `MAX_BPF_STACK`).
pub(crate) const FRAME: usize = 512;
const ALIGNMENT: usize = 8;

/// What of a frame is taken.
#[derive(Default)]
pub(crate) struct Frame {
    claims: Vec<Claim>,
    /// All slots that were ever given out.
    slots: Vec<SlotBytes>,
    /// Their bytes, as if none were given out twice.
    bytes: usize,
    /// The most that was taken at once.
    pub(crate) depth: usize,
}

struct Claim {
    /// Bytes below the frame's end at which it starts.
    depth: usize,
    size: usize,
    at: Location,
    alive: Weak<()>,
}

/// A slot's place in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotBytes {
    /// Where the slot was made.
    pub(crate) at: Location,
    /// From r10.
    pub(crate) offset: i64,
    /// Bytes.
    pub(crate) size: usize,
    /// The number of its first byte, among those of all slots of the function.
    pub(crate) start: usize,
}

impl Frame {
    /// The highest free bytes of this size. They stay taken while `alive` does.
    pub(crate) fn claim(&mut self, size: usize, alive: &Rc<()>, at: Location) -> Result<SlotBytes, ErrorKind> {
        self.claims.retain(|claim| claim.alive.strong_count() > 0);
        self.claims.sort_by_key(|claim| claim.depth);
        let needed = size.next_multiple_of(ALIGNMENT);
        let mut top = 0;
        for claim in &self.claims {
            if claim.depth - claim.size >= top + needed {
                break;
            }
            top = claim.depth;
        }
        let depth = top.saturating_add(needed);
        if depth > FRAME {
            return Err(ErrorKind::OutOfStack { size, holders: self.claims.iter().map(|claim| claim.at).collect() });
        }
        self.claims.push(Claim { depth, size: needed, at, alive: Rc::downgrade(alive) });
        self.depth = self.depth.max(depth);
        let slot = SlotBytes { at, offset: -(depth as i64), size, start: self.bytes };
        self.bytes += size;
        self.slots.push(slot);
        Ok(slot)
    }

    /// The bytes of other slots that lie where these bytes of a slot do.
    pub(crate) fn shared(&self, slot: SlotBytes, bytes: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let offset = |byte: usize| slot.offset + (byte - slot.start) as i64;
        let (first, end) = (offset(bytes.start), offset(bytes.end));
        self.slots.iter().filter(move |other| other.start != slot.start).filter_map(move |other| {
            let byte = |offset: i64| (offset - other.offset).clamp(0, other.size as i64) as usize + other.start;
            let shared = byte(first)..byte(end);
            (!shared.is_empty()).then_some(shared)
        })
    }
}

/// What a line does to bytes of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) slot: SlotBytes,
    /// Numbers of bytes.
    pub(crate) bytes: Range<usize>,
    pub(crate) access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// They are read.
    Reads,
    /// Some of them are read or written, nobody knows how many.
    May,
    /// All of them get a new content.
    Writes,
    /// Their address goes somewhere: from here on whoever has it reads and writes them.
    Escapes,
}

/// A set of the bytes of a function's slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bytes(Vec<u64>);

impl Bytes {
    pub(crate) fn none(frame: &Frame) -> Bytes {
        Bytes(vec![0; frame.bytes.div_ceil(64)])
    }

    pub(crate) fn has(&self, byte: usize) -> bool {
        self.0.get(byte / 64).is_some_and(|word| word >> (byte % 64) & 1 != 0)
    }

    pub(crate) fn add(&mut self, bytes: Range<usize>) {
        self.each_word(bytes, |word, bits| *word |= bits);
    }

    pub(crate) fn remove(&mut self, bytes: Range<usize>) {
        self.each_word(bytes, |word, bits| *word &= !bits);
    }

    fn each_word(&mut self, bytes: Range<usize>, change: impl Fn(&mut u64, u64)) {
        let mut first = bytes.start;
        while first < bytes.end {
            let end = bytes.end.min((first / 64 + 1) * 64);
            let bits = u64::MAX >> (64 - (end - first)) << (first % 64);
            self.0.get_mut(first / 64).into_iter().for_each(|word| change(word, bits));
            first = end;
        }
    }

    /// Those that are in one of them.
    pub(crate) fn all(&self, other: &Bytes) -> Bytes {
        Bytes(self.0.iter().zip(&other.0).map(|(a, b)| a | b).collect())
    }

    /// Those that are in both.
    pub(crate) fn common(&self, other: &Bytes) -> Bytes {
        Bytes(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_between_live_slots_is_used_again_and_live_slots_never_overlap() {
        let at = std::panic::Location::caller();
        let mut frame = Frame::default();
        let claims: Vec<Rc<()>> = (0..5).map(|_| Rc::new(())).collect();
        let mut claim = |size, alive: &Rc<()>| frame.claim(size, alive, at).map(|slot| (slot.offset, slot.start));
        assert_eq!(claim(8, &claims[0]), Ok((-8, 0)));
        assert_eq!(claim(20, &claims[1]), Ok((-32, 8)));
        assert_eq!(claim(1, &claims[2]), Ok((-40, 28)));
        let [a, b, c, d, e] = claims.try_into().unwrap();
        drop(b);
        assert_eq!(claim(16, &d), Ok((-24, 29)));
        assert_eq!(claim(8, &e), Ok((-32, 45)));
        drop((a, c));
        assert_eq!(claim(8, &Rc::new(())), Ok((-8, 53)));
        assert_eq!(frame.depth, 40);
    }

    #[test]
    fn the_512_bytes_can_be_filled_and_not_more() {
        let at = std::panic::Location::caller();
        let mut frame = Frame::default();
        let all = Rc::new(());
        assert_eq!(frame.claim(512, &all, at).map(|slot| slot.offset), Ok(-512));
        assert_eq!(frame.claim(1, &Rc::new(()), at), Err(ErrorKind::OutOfStack { size: 1, holders: vec![at] }));
        assert!(Frame::default().claim(usize::MAX - 7, &all, at).is_err());
    }

    #[test]
    fn sets_of_bytes_hold_what_was_added_and_not_removed() {
        let at = std::panic::Location::caller();
        let mut frame = Frame::default();
        let alive = Rc::new(());
        frame.claim(200, &alive, at).unwrap();
        for (start, end) in (0..200).step_by(7).flat_map(|start| (start..=200).step_by(9).map(move |end| (start, end)))
        {
            let mut bytes = Bytes::none(&frame);
            bytes.add(start..end);
            assert!((0..200).all(|byte| bytes.has(byte) == (start..end).contains(&byte)), "{start}..{end}");
            bytes.remove(50..130);
            let kept = |byte| (start..end).contains(&byte) && !(50..130).contains(&byte);
            assert!((0..200).all(|byte| bytes.has(byte) == kept(byte)), "{start}..{end}");
        }
    }
}
