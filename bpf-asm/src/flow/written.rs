//! Whether every byte of the stack that is read has been written, over all paths through a function.
//!
//! A kernel from 6.3 on lets a program that is loaded with CAP_PERFMON read what was never written, so for such a program
//! nobody else looks.

use super::graph::{Block, Graph};
use crate::builder::{FunctionState, Line};
use crate::error::{BuildError, ErrorKind, Location};
use crate::stack::{Access, Bytes, Frame};

/// The reads of bytes that some path leaves unwritten, one error for each slot that a Rust line reads.
pub(super) fn check(function: &FunctionState, graph: &Graph) -> Vec<BuildError> {
    let lines = |block: &Block| &function.lines[block.lines.clone()];
    let before = graph.forward(
        Bytes::none(&function.frame),
        |block, written| lines(block).iter().for_each(|line| run(&function.frame, line, written)),
        |_, known, new| known.common(new),
    );

    let mut found: Vec<Unwritten> = Vec::new();
    for (block, before) in graph.blocks.iter().zip(before) {
        let Some(mut written) = before else { continue };
        for line in lines(block) {
            for touch in line.touches.iter().filter(|touch| touch.access == Access::Reads) {
                let start = touch.slot.start;
                let mut missing = touch.bytes.clone().filter(|byte| !written.has(*byte)).map(|byte| byte - start);
                let Some(first) = missing.next() else { continue };
                let last = missing.next_back().unwrap_or(first);
                match found.last_mut() {
                    // A copy reads a slot piece by piece, and that is one mistake.
                    Some(known) if (known.at, known.start) == (line.at, start) => known.last = known.last.max(last),
                    _ => found.push(Unwritten { at: line.at, slot: touch.slot.at, start, first, last }),
                }
            }
            run(&function.frame, line, &mut written);
        }
    }
    let error = |Unwritten { at, slot, first, last, .. }| BuildError {
        at,
        kind: ErrorKind::UnwrittenStack { slot, first, last },
    };
    found.into_iter().map(error).collect()
}

struct Unwritten {
    at: Location,
    slot: Location,
    start: usize,
    first: usize,
    last: usize,
}

/// Whoever has a slot's address may have written all of it. What is written into one slot is lost for those that had the
/// same bytes of the frame before, and have them again on the next round of a loop.
fn run(frame: &Frame, line: &Line, written: &mut Bytes) {
    for touch in line.touches.iter().filter(|touch| matches!(touch.access, Access::Writes | Access::Escapes)) {
        frame.shared(touch.slot, touch.bytes.clone()).for_each(|shared| written.remove(shared));
        written.add(touch.bytes.clone());
    }
}
