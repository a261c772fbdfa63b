//! The stack frame of a function: 512 bytes below r10, allocated to slots, and which bytes of slots
//! instructions access.

use std::ops::Range;
use std::rc::{Rc, Weak};

use crate::error::{ErrorKind, Location};

/// The maximum size of a frame, or of nested frames together (kernel `MAX_BPF_STACK`).
pub(crate) const FRAME: usize = 512;
const ALIGNMENT: usize = 8;
/// The number of bytes that are in no slot.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// Which bytes of a frame are allocated.
#[derive(Default)]
pub(crate) struct Frame {
    claims: Vec<Claim>,
    /// Slots allocated so far.
    count: u32,
    /// The maximum allocated at once.
    pub(crate) depth: usize,
}

struct Claim {
    slot: SlotBytes,
    /// Offset of its start below the frame's end.
    depth: usize,
    /// Allocated bytes.
    size: usize,
    alive: Weak<()>,
    /// Whether its address may be used as long as the function runs.
    escaped: bool,
}

/// The position of a slot in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotBytes {
    /// Its number among the slots of its function.
    pub(crate) number: u32,
    /// Where it was made.
    pub(crate) at: Location,
    /// From r10.
    pub(crate) offset: i64,
    /// Bytes.
    pub(crate) size: usize,
}

impl SlotBytes {
    /// The offset of its first byte from r10 - 512.
    pub(crate) fn start(&self) -> usize {
        FRAME.saturating_add_signed(self.offset as isize)
    }
}

impl Frame {
    /// Allocates the highest free bytes of this size. They are freed when `alive` is dropped, or
    /// never once their address escapes.
    pub(crate) fn claim(
        &mut self,
        size: usize,
        alive: &Rc<()>,
        at: Location,
    ) -> Result<SlotBytes, ErrorKind> {
        self.claims.retain(|claim| claim.escaped || claim.alive.strong_count() > 0);
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
            return Err(ErrorKind::OutOfStack {
                size,
                holders: self.claims.iter().map(|claim| claim.slot.at).collect(),
            });
        }
        let slot = SlotBytes { number: self.count, at, offset: -(depth as i64), size };
        self.claims.push(Claim {
            slot,
            depth,
            size: needed,
            alive: Rc::downgrade(alive),
            escaped: false,
        });
        self.depth = self.depth.max(depth);
        self.count += 1;
        Ok(slot)
    }

    /// Where those slots were made.
    pub(crate) fn holders(&self) -> Vec<Location> {
        self.live().into_iter().map(|slot| slot.at).collect()
    }

    /// The slots whose bytes are taken.
    pub(crate) fn live(&self) -> Vec<SlotBytes> {
        let live = |claim: &&Claim| claim.escaped || claim.alive.strong_count() > 0;
        self.claims.iter().filter(live).map(|claim| claim.slot).collect()
    }

    /// The address of a slot escapes, so that its bytes stay in use.
    pub(crate) fn escape(&mut self, slot: &SlotBytes) {
        let escaped = self.claims.iter_mut().filter(|claim| claim.slot.number == slot.number);
        escaped.for_each(|claim| claim.escaped = true);
    }
}

/// An access to bytes of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) slot: SlotBytes,
    /// Bytes of the frame, counted from r10 - 512.
    pub(crate) bytes: Range<usize>,
    pub(crate) access: Access,
}

impl Touch {
    /// An access to all of a slot.
    pub(crate) fn all(slot: SlotBytes, access: Access) -> Touch {
        Touch { slot, bytes: slot.start()..slot.start() + slot.size, access }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// All of them are read.
    Reads,
    /// An unknown part of them is read or written.
    May,
    /// All of them are written.
    Writes,
    /// A call reads and writes any of them, but does not keep their address.
    Lent,
    /// Their address escapes: from here on, any of them may be read and written.
    Escapes,
}

impl Access {
    /// Whether any of them may be read and written through a pointer.
    pub(crate) fn is_by_address(self) -> bool {
        matches!(self, Access::Lent | Access::Escapes)
    }
}

/// A set of bytes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bytes([u64; FRAME / 64]);

impl Bytes {
    pub(crate) fn add(&mut self, bytes: Range<usize>) {
        self.each_word(bytes, |word, bits| *word |= bits);
    }

    pub(crate) fn remove(&mut self, bytes: Range<usize>) {
        self.each_word(bytes, |word, bits| *word &= !bits);
    }

    /// Whether one of the bytes is in the set.
    pub(crate) fn meets(&self, bytes: Range<usize>) -> bool {
        let mut met = false;
        let mut set = *self;
        set.each_word(bytes, |word, bits| met |= *word & bits != 0);
        met
    }

    /// The union of two sets.
    pub(crate) fn with(&self, other: &Bytes) -> Bytes {
        Bytes(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }

    fn each_word(&mut self, bytes: Range<usize>, mut change: impl FnMut(&mut u64, u64)) {
        let mut first = bytes.start;
        while first < bytes.end {
            let end = bytes.end.min((first / 64 + 1) * 64);
            let bits = u64::MAX >> (64 - (end - first)) << (first % 64);
            self.0.get_mut(first / 64).into_iter().for_each(|word| change(word, bits));
            first = end;
        }
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
        let mut claim = |size, alive: &Rc<()>| {
            frame.claim(size, alive, at).map(|slot| (slot.number, slot.offset))
        };
        assert_eq!(claim(8, &claims[0]), Ok((0, -8)));
        assert_eq!(claim(20, &claims[1]), Ok((1, -32)));
        assert_eq!(claim(1, &claims[2]), Ok((2, -40)));
        let [a, b, c, d, e] = claims.try_into().unwrap();
        drop(b);
        assert_eq!(claim(16, &d), Ok((3, -24)));
        assert_eq!(claim(8, &e), Ok((4, -32)));
        drop((a, c));
        assert_eq!(claim(8, &Rc::new(())), Ok((5, -8)));
        assert_eq!(frame.depth, 40);
    }

    #[test]
    fn the_512_bytes_can_be_filled_and_not_more() {
        let at = std::panic::Location::caller();
        let mut frame = Frame::default();
        let all = Rc::new(());
        assert_eq!(frame.claim(512, &all, at).map(|slot| slot.offset), Ok(-512));
        assert_eq!(
            frame.claim(1, &Rc::new(()), at),
            Err(ErrorKind::OutOfStack { size: 1, holders: vec![at] })
        );
        assert!(Frame::default().claim(usize::MAX - 7, &all, at).is_err());
    }

    #[test]
    fn sets_of_bytes_hold_what_was_added_and_not_removed() {
        let has = |bytes: &Bytes, byte: usize| bytes.meets(byte..byte + 1);
        for start in (0..=FRAME).step_by(7) {
            for end in (0..=FRAME).step_by(9) {
                let mut bytes = Bytes::default();
                bytes.add(start..end);
                bytes.remove(50..130);
                let kept = |byte| (start..end).contains(&byte) && !(50..130).contains(&byte);
                assert!((0..FRAME).all(|byte| has(&bytes, byte) == kept(byte)), "{start}..{end}");
                assert_eq!(bytes.meets(130..FRAME), end > 130.max(start), "{start}..{end}");
            }
        }
        assert!(!Bytes::default().meets(0..FRAME) && !Bytes::default().meets(3..3));
    }
}
