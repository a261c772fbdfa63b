//! One message a period goes by TCP, so that connection tracking keeps its entry.

use bpf_asm::{Builder, Ptr};

use super::Datapath;
use super::counter::Cause;
use super::fallback::Fallback;
use super::peek::peek;
use super::record::{Control, End, Lane};

/// A refresh is due: the message goes by TCP, to be seen by connection tracking, whose entry of a
/// NAT hop would expire otherwise.
///
/// The period is found anew each time, since a packet that passes sets the time-out that is valid
/// then.
pub(super) fn due(b: &Builder, d: &Datapath, lane: &Ptr<Lane>, fallback: &Fallback) {
    find_period(b, d, lane);
    fallback.because(b, Cause::Refresh);
}

/// The period, in jiffies, that no time-out of connection tracking is too short for: a third of a
/// second, since the time-outs are whole seconds.
pub(super) fn shortest_period(d: &Datapath) -> u32 {
    d.settings.hz / 3
}

/// Finds how long a lane may send nothing by TCP: the least of what the agent allows and a third of
/// the time-out of connection tracking in the namespaces of the ends that are known.
fn find_period(b: &Builder, d: &Datapath, lane: &Ptr<Lane>) {
    let period = b.slot::<u32>();
    {
        let control = b.map_value(&d.maps.control);
        b.store(period.place(), b.load(control.at(Control::refresh)));
    }
    if let Some(timeout) = d.layout.conntrack_established {
        for end in [Lane::own, Lane::peer] {
            b.block(|no_namespace| {
                let sk = b.load(lane.at(end).at(End::sk));
                b.jump_if(sk.eq(0), no_namespace);
                let namespace = peek(b, sk, d.layout.namespace, no_namespace);
                let third = peek(b, namespace, timeout, no_namespace);
                third.div(3);
                let least = b.load(period.place());
                b.when(third.lt(&least), || b.store(period.place(), &third));
            });
        }
    }
    b.store(lane.at(Lane::period), b.load(period.place()));
}

#[cfg(test)]
mod tests;
