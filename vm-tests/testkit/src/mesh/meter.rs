//! What requests cost beside time: processor, and packets on each of the three legs.

use std::fs;
use std::ops::Sub;

use tcp_shunt::host::Namespace;

use crate::stage::Stage;

/// Counted since the pods were made.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    /// Microseconds that everybody in the cgroup has run: the client, both sidecars and the
    /// service.
    pub cpu: u64,
    /// Packets on each of [`LEGS`].
    pub packets: [u64; LEGS.len()],
}

/// From the client to its sidecar, between the pods, and from the other sidecar to the service.
pub const LEGS: [&str; 3] = ["client", "pods", "service"];

impl Meter {
    pub fn read(stage: &Stage) -> Self {
        let bed = stage.bed();
        let (client, between) = packets(bed.client());
        let (service, _) = packets(bed.server());
        let path = bed.cgroup().path().join("cpu.stat");
        let stat = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        let usage = stat.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
        let cpu = usage.unwrap_or_else(|| panic!("no usage_usec in {}: {stat}", path.display()));
        Self { cpu, packets: [client, between, service] }
    }
}

impl Sub for Meter {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu - earlier.cpu,
            packets: std::array::from_fn(|leg| self.packets[leg] - earlier.packets[leg]),
        }
    }
}

/// What has passed a pod's loopback interface, where each packet is received once, and the one to
/// the other pod, in both directions.
fn packets(pod: &Namespace) -> (u64, u64) {
    let table = pod
        .run(|| {
            fs::read_to_string("/proc/thread-self/net/dev").expect("read the table of interfaces")
        })
        .expect("enter the pod's namespace");
    let (mut own, mut other) = (0, 0);
    // proc_pid_net(5): two lines of headings; then `name: bytes packets` and six more of what was
    // received, and the same of what was sent.
    for line in table.lines().skip(2) {
        let (name, counters) =
            line.split_once(':').unwrap_or_else(|| panic!("not an interface: {line}"));
        let counters: Vec<u64> =
            counters.split_whitespace().filter_map(|counter| counter.parse().ok()).collect();
        match name.trim() {
            "lo" => own += counters[1],
            _ => other += counters[1] + counters[9],
        }
    }
    (own, other)
}
