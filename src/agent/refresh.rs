//! How often a lane sends a message by TCP, so that connection tracking does not forget it.

use std::fs;
use std::time::Duration;

/// The longest time between two messages by TCP, in jiffies: what the operator allows, and a third
/// of the time-out of connection tracking in the namespace of the agent, through which flows
/// between other namespaces may pass.
pub fn refresh(allowed: Duration, hz: u32) -> u32 {
    let tracked =
        fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established");
    let seconds = tracked.ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(u64::MAX);
    let allowed = allowed.as_millis() as u64;
    let third = seconds.saturating_mul(1000) / 3;
    u32::try_from(allowed.min(third).saturating_mul(u64::from(hz)) / 1000)
        .unwrap_or(u32::MAX)
        .max(1)
}
