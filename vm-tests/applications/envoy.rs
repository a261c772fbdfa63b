//! Envoy: a sidecar at each host, plain and with mutual TLS between them.

use crate::clients::load;
use crate::languages::{build_go_echo, go_echo};
use testkit::isolation::isolated;
use testkit::program::{Running, command, finish};
use testkit::stage::{Host, Stage, same_over_both};

/// A listener that passes HTTP on to one cluster; `LISTENER_TLS` and `CLUSTER_TLS` are transport
/// sockets or empty.
const HOP: &str = r#"
  - name: "PORT"
    address: { socket_address: { address: ADDRESS, port_value: PORT } }
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: "PORT"
          route_config:
            virtual_hosts:
            - { name: all, domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: from-PORT, timeout: 30s } }] }
          http_filters:
          - name: router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
LISTENER_TLS"#;

const CLUSTER: &str = r#"
  - name: from-PORT
    connect_timeout: 5s
    load_assignment:
      cluster_name: from-PORT
      endpoints:
      - lb_endpoints: [{ endpoint: { address: { socket_address: { address: TARGET, port_value: NEXT } } } }]
CLUSTER_TLS"#;

const LISTENER_TLS: &str = r#"      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context: CERTIFICATE
"#;

const CLUSTER_TLS: &str = r#"    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        common_tls_context: CERTIFICATE
"#;

struct Hop {
    listen: (&'static str, u16),
    to: (&'static str, u16),
    /// Whether it answers, and whether it asks, by TLS.
    tls: (bool, bool),
}

fn start(stage: &Stage, host: Host, hops: &[Hop]) -> Running {
    let directory = stage.directory().to_str().expect("a path in UTF-8");
    let certificate = format!(
        "{{ tls_certificates: [{{ certificate_chain: {{ filename: {directory}/pem }}, private_key: {{ filename: {directory}/key }} }}], \
         validation_context: {{ trusted_ca: {{ filename: {directory}/pem }} }} }}"
    );
    let fill = |template: &str, hop: &Hop| {
        template
            .replace("LISTENER_TLS", if hop.tls.0 { LISTENER_TLS } else { "" })
            .replace("CLUSTER_TLS", if hop.tls.1 { CLUSTER_TLS } else { "" })
            .replace("ADDRESS", hop.listen.0)
            .replace("PORT", &hop.listen.1.to_string())
            .replace("TARGET", hop.to.0)
            .replace("NEXT", &hop.to.1.to_string())
            .replace("CERTIFICATE", &certificate)
    };
    let all = |template| hops.iter().map(|hop| fill(template, hop)).collect::<String>();
    let text =
        format!("static_resources:\n  listeners:{}\n  clusters:{}\n", all(HOP), all(CLUSTER));
    let configuration = stage.write(&format!("envoy-{host:?}.yaml"), text);
    let mut envoy = command(
        "envoy",
        ["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warn", "-c"],
    );
    envoy.arg(configuration);
    stage.serve(host, envoy, hops[0].listen.1)
}

#[test]
fn two_envoys_pass_bodies_on_whole_and_direct_plain_and_by_tls() {
    isolated(|| {
        let echo = build_go_echo();
        let toll = same_over_both(|stage| {
            let mut certificate = command(
                "openssl",
                "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=envoy".split(' '),
            );
            certificate.arg("-keyout").arg(stage.file("key")).arg("-out").arg(stage.file("pem"));
            finish(certificate);
            let _echo = stage.serve(Host::Server, go_echo(&echo, "server", "127.0.0.1:7000"), 7000);
            let inbound = [
                Hop { listen: ("10.77.0.2", 10002), to: ("127.0.0.1", 7000), tls: (false, false) },
                Hop { listen: ("10.77.0.2", 10003), to: ("127.0.0.1", 7000), tls: (true, false) },
            ];
            let outbound = [
                Hop { listen: ("127.0.0.1", 10000), to: ("10.77.0.2", 10002), tls: (false, false) },
                Hop { listen: ("127.0.0.1", 10001), to: ("10.77.0.2", 10003), tls: (false, true) },
            ];
            let _inbound = start(stage, Host::Server, &inbound);
            let _outbound = start(stage, Host::Client, &outbound);
            ["127.0.0.1:10000", "127.0.0.1:10001"].map(|address| {
                load(stage, &format!("http://{address}/"));
                stage.run(Host::Client, go_echo(&echo, "client", address))
            })
        });
        toll.assert_direct(10_000, 0.8);
    });
}
