//! HAProxy, also where it moves bytes by splice(2), of which redirected bytes are not a part (Q1).

use std::process::Command;

use tcp_shunt::datapath::Counter;

use crate::languages::{build_go_echo, go_echo};
use testkit::isolation::isolated;
use testkit::program::find;
use testkit::stage::{Host, same_over_both};

const CONFIGURATION: &str = "
global
    nbthread 2
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    default_backend echo
frontend plain
    bind 10.77.0.2:9000
frontend spliced
    bind 10.77.0.2:9001
    option splice-request
    option splice-response
    default_backend echo-spliced
frontend stream
    mode tcp
    bind 10.77.0.2:9002 defer-accept
    option splice-request
    option splice-response
    default_backend echo-stream
backend echo
    server go 127.0.0.1:7000
backend echo-spliced
    option splice-request
    option splice-response
    server go 127.0.0.1:7000
backend echo-stream
    mode tcp
    option splice-request
    option splice-response
    server go 127.0.0.1:7000
";

/// Q1: under a name that no list has.
#[test]
fn haproxy_passes_bodies_on_whole_with_and_without_splice() {
    isolated(|| {
        let echo = build_go_echo();
        let toll = same_over_both(|stage| {
            let _echo = stage.serve(Host::Server, go_echo(&echo, "server", ":7000"), 7000);
            let configuration = stage.write("haproxy.cfg", CONFIGURATION);
            let renamed = stage.file("edge");
            std::fs::copy(find("haproxy"), &renamed).expect("copy HAProxy");
            let mut haproxy = Command::new(renamed);
            haproxy.args(["-db".as_ref(), "-f".as_ref(), configuration.as_os_str()]);
            let _haproxy = stage.serve(Host::Server, haproxy, 9000);
            [9000, 9001, 9002].map(|port| {
                stage.run(Host::Client, go_echo(&echo, "client", &format!("10.77.0.2:{port}")))
            })
        });
        toll.assert_left_alone(Counter::Splices);
    });
}
