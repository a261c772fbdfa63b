//! Whether every byte of the stack that is read has been written, over all paths through a
//! function.
//!
//! A kernel from 6.3 on lets a program that is loaded with CAP_PERFMON read what was never written,
//! so for such a program nobody else looks.

use std::ops::Range;

use super::graph::{Block, Graph};
use crate::draft::Function;
use crate::error::{BuildError, ErrorKind, Location};
use crate::stack::{Access, FRAME, Frame, NO_SLOT, Touch};
use crate::step::Step;

/// For each byte that is used of the frame, the slot whose content it holds on all paths. What was
/// written into one slot is lost when another gets the same bytes.
#[derive(Clone, PartialEq)]
struct Holders(Vec<u32>);

impl Holders {
    fn none(frame: &Frame) -> Holders {
        Holders(vec![NO_SLOT; frame.depth])
    }

    /// Where in the list the bytes are.
    fn at(&self, bytes: &Range<usize>) -> Range<usize> {
        let unused = FRAME - self.0.len();
        bytes.start.saturating_sub(unused)..bytes.end.saturating_sub(unused)
    }

    /// Whoever has a slot's address may have written all of it.
    fn run(&mut self, step: &Step) {
        let writes = |touch: &&Touch| {
            touch.slot.number != NO_SLOT
                && (touch.access == Access::Writes || touch.access.is_by_address())
        };
        for touch in step.touches.iter().filter(writes) {
            let bytes = self.at(&touch.bytes);
            self.0.get_mut(bytes).into_iter().for_each(|bytes| bytes.fill(touch.slot.number));
        }
    }

    fn common(&self, other: &Holders) -> Holders {
        let same = |(a, b): (&u32, &u32)| if a == b { *a } else { NO_SLOT };
        Holders(self.0.iter().zip(&other.0).map(same).collect())
    }

    /// The first and the last of the bytes, counted from the first, that hold something else than
    /// what was written to the slot.
    fn missing(&self, touch: &Touch) -> Option<(usize, usize)> {
        let bytes = self.0.get(self.at(&touch.bytes))?;
        let other = |holder: &u32| *holder != touch.slot.number;
        Some((bytes.iter().position(other)?, bytes.iter().rposition(other)?))
    }
}

/// The reads of bytes that some path leaves unwritten, one error for each slot that a Rust line
/// reads.
pub(super) fn check(function: &Function, steps: &[Step], graph: &Graph) -> Vec<BuildError> {
    if function.frame.depth == 0 {
        return Vec::new();
    }
    let of = |block: &Block| &steps[block.lines.clone()];
    let before = graph.forward(
        Holders::none(&function.frame),
        |block, holders| of(block).iter().for_each(|step| holders.run(step)),
        |_, known, new| known.common(new),
    );

    let mut found: Vec<Unwritten> = Vec::new();
    for (block, before) in graph.blocks.iter().zip(before) {
        let Some(mut holders) = before else { continue };
        for step in of(block) {
            for touch in step.touches.iter().filter(|touch| touch.access == Access::Reads) {
                let (slot, Some((first, last))) = (touch.slot, holders.missing(touch)) else {
                    continue;
                };
                let before = touch.bytes.start - slot.start();
                let (first, last) = (before + first, before + last);
                match found.last_mut() {
                    // A copy reads a slot piece by piece, and that is one mistake.
                    Some(known) if (known.at, known.slot) == (step.at, slot.number) => {
                        known.last = known.last.max(last)
                    }
                    _ => found.push(Unwritten {
                        at: step.at,
                        slot: slot.number,
                        made: slot.at,
                        first,
                        last,
                    }),
                }
            }
            holders.run(step);
        }
    }
    let error = |Unwritten { at, made, first, last, .. }| BuildError {
        at,
        kind: ErrorKind::UnwrittenStack { slot: made, first, last },
    };
    found.into_iter().map(error).collect()
}

struct Unwritten {
    at: Location,
    slot: u32,
    made: Location,
    first: usize,
    last: usize,
}
