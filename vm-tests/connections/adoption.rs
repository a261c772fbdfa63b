//! Connections that were open before shunt was are accelerated, too.

use crate::harness::isolation::isolated;
use crate::harness::node::{Node, Pair, new_bed, pair_on};
use crate::harness::path::Path;
use crate::harness::traffic::{exchange, until_direct};

#[test]
fn connections_over_every_path_that_were_open_before_become_direct() {
    isolated(|| {
        let (node, pairs) = Node::start_after(new_bed(), &["--refresh", "3600"], |bed| {
            let pairs: Vec<Pair> = Path::all().map(|path| pair_on(bed, path)).collect();
            for pair in &pairs {
                exchange(pair, 1, 5000, 7000);
            }
            pairs
        });
        until_direct(&node.agent, &pairs);
        for pair in &pairs {
            exchange(pair, 2, 5000, 7000);
        }
        assert_eq!(node.stats().counter("adopted"), 2 * pairs.len() as u64);
    });
}
