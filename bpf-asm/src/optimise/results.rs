//! Results that nobody reads.

use super::live::Live;
use crate::flow::graph::Graph;
use crate::stack::Bytes;
use crate::step::Step;

/// Marks the steps that do nothing that anybody reads, given what is read behind each block.
pub(super) fn remove(
    steps: &[Step],
    graph: &Graph,
    behind: Vec<Live>,
    reached: &Bytes,
    gone: &mut [bool],
) {
    for (block, mut live) in graph.blocks.iter().zip(behind) {
        for number in block.lines.clone().rev().filter(|number| !gone[*number]).collect::<Vec<_>>()
        {
            if live.is_dead(&steps[number], reached) {
                gone[number] = true;
            } else {
                live.before(&steps[number]);
            }
        }
    }
}
