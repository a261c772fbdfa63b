//! Writes in one direction at full speed, from one thread to another, like a log, a backup or an
//! upload. Small writes without TCP_NODELAY suit TCP best, since it coalesces them.

use std::slice;
use std::time::Duration;

use anyhow::Result;

use super::gaps::Gaps;
use super::outcome::Outcome;
use super::pair::Pair;
use super::traffic::{BULK, receive_bulk, send_bulk};
use super::{Lab, Transport, ends};

/// Throughput, gaps between reads, processor time, and writes.
pub(super) fn measure(
    lab: &Lab,
    transport: Transport,
    size: usize,
    nodelay: bool,
) -> Result<Outcome> {
    lab.on_pair(transport, |pair| {
        if transport != Transport::Unix {
            for end in [&pair.near, &pair.far] {
                end.set_tcp_nodelay(nodelay)?;
            }
        }
        let (transfer, direct) = lab.watch(|| {
            let transfer = transfer(pair, size, lab.transfer())?;
            let bytes = transfer.bytes;
            Ok((transfer, bytes))
        })?;
        let Transfer { bytes, time, cpu, writes, reads } = transfer;
        let per_kib = cpu.as_nanos() as f64 / bytes as f64 * 1024.0;
        let throughput = bytes as f64 / time.as_secs_f64();
        let figures = [throughput, reads.p99(), per_kib, reads.longest(), writes.p99()];
        Ok(Outcome::of(figures).with_direct(direct))
    })
}

/// Nanoseconds per write of 64 KiB, until the receiver has all of them.
pub(super) fn bulk(lab: &Lab, transport: Transport) -> Result<Outcome> {
    lab.on_pair(transport, |pair| {
        let (time, direct) = lab.watch(|| {
            let Transfer { bytes, time, .. } = transfer(pair, BULK, lab.transfer())?;
            Ok((time.as_nanos() as f64 * BULK as f64 / bytes as f64, bytes))
        })?;
        Ok(Outcome::of([time]).with_direct(direct))
    })
}

struct Transfer {
    bytes: u64,
    /// Until the sender learnt that all of them had been read.
    time: Duration,
    cpu: Duration,
    /// Between the ends of two writes, including waits for buffer space.
    writes: Gaps,
    /// Between two reads that returned data.
    reads: Gaps,
}

fn transfer(pair: &Pair, size: usize, length: Duration) -> Result<Transfer> {
    let mut writes = Gaps::default();
    let near = || send_bulk(&pair.near, size, length, |now| writes.mark(now));
    let far = || {
        let mut reads = Gaps::default();
        receive_bulk(&pair.far, |now| reads.mark(now))?;
        Ok(reads)
    };
    let ends::Both { near: (bytes, time), far: reads, cpu } =
        ends::work(slice::from_ref(pair), near, far)?;
    Ok(Transfer { bytes, time, cpu, writes, reads })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_of_small_writes_arrives_and_is_timed_at_both_ends() {
        let length = Duration::from_millis(30);
        for pair in [Pair::tcp().expect("connect"), Pair::unix().expect("a pair")] {
            let done = transfer(&pair, 16, length).expect("all of it arrives");
            assert!(done.bytes > 0 && done.bytes.is_multiple_of(16) && done.time >= length);
            assert!(done.cpu > Duration::ZERO && done.cpu < done.time * 3, "{:?}", done.cpu);
            for gaps in [done.writes, done.reads] {
                assert!(gaps.longest() >= gaps.p99() && gaps.p99() > 0.0, "{gaps:?}");
            }
        }
    }
}
