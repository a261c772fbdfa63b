//! The stack frame of a function: 512 bytes below r10, given out to slots.

use std::rc::{Rc, Weak};

use crate::error::{ErrorKind, Location};

const FRAME: usize = 512;
const ALIGNMENT: usize = 8;

/// What of a frame is taken.
#[derive(Default)]
pub(crate) struct Frame {
    claims: Vec<Claim>,
}

struct Claim {
    /// Bytes below the frame's end at which it starts.
    depth: usize,
    size: usize,
    at: Location,
    alive: Weak<()>,
}

impl Frame {
    /// The highest free bytes of this size, as an offset from r10. They stay taken while `alive` does.
    pub(crate) fn claim(&mut self, size: usize, alive: &Rc<()>, at: Location) -> Result<i64, ErrorKind> {
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
        Ok(-(depth as i64))
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
        assert_eq!(frame.claim(8, &claims[0], at), Ok(-8));
        assert_eq!(frame.claim(20, &claims[1], at), Ok(-32));
        assert_eq!(frame.claim(1, &claims[2], at), Ok(-40));
        let [a, b, c, d, e] = claims.try_into().unwrap();
        drop(b);
        assert_eq!(frame.claim(16, &d, at), Ok(-24));
        assert_eq!(frame.claim(8, &e, at), Ok(-32));
        drop((a, c));
        assert_eq!(frame.claim(8, &Rc::new(()), at), Ok(-8));
    }

    #[test]
    fn the_512_bytes_can_be_filled_and_not_more() {
        let at = std::panic::Location::caller();
        let mut frame = Frame::default();
        let all = Rc::new(());
        assert_eq!(frame.claim(512, &all, at), Ok(-512));
        assert_eq!(frame.claim(1, &Rc::new(()), at), Err(ErrorKind::OutOfStack { size: 1, holders: vec![at] }));
        assert!(Frame::default().claim(usize::MAX - 7, &all, at).is_err());
    }
}
