//! The rules that bring a pod's connections to its sidecar, as istio-iptables makes them.

use crate::mesh::sidecar::{GROUP, INBOUND, OUTBOUND};
use crate::program::{command, finish};
use crate::stage::{Host, Stage};

/// Redirects what the pod's application sends and what is sent to it, but not what the sidecar
/// itself sends.
pub fn redirect(stage: &Stage, pod: Host) {
    for rule in [
        "OUTPUT -s 127.0.0.6/32 -o lo -j RETURN".to_owned(),
        format!("OUTPUT -m owner --gid-owner {GROUP} -j RETURN"),
        "OUTPUT -d 127.0.0.1/32 -j RETURN".to_owned(),
        format!("OUTPUT -p tcp -j REDIRECT --to-ports {OUTBOUND}"),
        format!("PREROUTING -p tcp -j REDIRECT --to-ports {INBOUND}"),
    ] {
        let arguments = ["--wait", "-t", "nat", "-A"].into_iter().chain(rule.split(' '));
        stage.at(pod, || finish(command("iptables", arguments)));
    }
}
