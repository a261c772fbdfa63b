//! Envoy in front of a pod.

use crate::eventually;
use crate::program::{Running, command, finish};
use crate::stage::{Host, Stage};

/// The group that Envoy runs as, whose connections are not redirected. Istio excludes the user 1337
/// as well; the group alone lets Envoy be started from where `install` has put it, in root's home.
pub const GROUP: u32 = 1337;

/// Where the rules send what the pod's application sends, and what others send to it.
pub const OUTBOUND: u16 = 15001;
pub const INBOUND: u16 = 15006;

const CONFIGURATION: &str = include_str!("sidecar.yaml");

const ORIGINAL_DESTINATION: &str = r#"{ name: original_dst, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst } }"#;

const ROUTE: &str = r#"{ name: http, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
      stat_prefix: CLUSTER,
      route_config: { virtual_hosts: [{ name: all, domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: CLUSTER } }] }] },
      http_filters: [{ name: router, typed_config: {
        "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router } }] } }"#;

const ANSWER_TLS: &str = r#", transport_socket: { name: tls, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
      require_client_certificate: true,
      common_tls_context: CERTIFICATES } }"#;

const ASK_TLS: &str = r#", transport_socket: { name: tls, typed_config: {
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext,
      common_tls_context: CERTIFICATES } }"#;

const CERTIFICATES: &str = "{ tls_certificates: [{ certificate_chain: { filename: DIR/pem }, private_key: { filename: DIR/key } }], \
     validation_context: { trusted_ca: { filename: DIR/pem } } }";

/// Makes the certificate that both sidecars prove themselves by.
pub fn certify(stage: &Stage) {
    let mut openssl =
        command("openssl", "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=mesh".split(' '));
    openssl.arg("-keyout").arg(stage.file("key")).arg("-out").arg(stage.file("pem"));
    finish(openssl);
}

/// Starts Envoy in a pod and waits until it listens at both ports.
pub fn start(stage: &Stage, pod: Host, workers: usize, mtls: bool) -> Running {
    use std::os::unix::process::CommandExt;
    let configuration = stage.write(&format!("sidecar-{pod:?}.yaml"), configuration(stage, mtls));
    let mut envoy =
        command("envoy", ["--use-dynamic-base-id", "--log-level", "warn", "--concurrency"]);
    envoy.arg(workers.to_string()).arg("-c").arg(configuration).gid(GROUP);
    let running = stage.serve(pod, envoy, OUTBOUND);
    eventually("the sidecar listens for what others send", || {
        stage.listens(pod, INBOUND).then_some(())
    });
    running
}

fn configuration(stage: &Stage, mtls: bool) -> String {
    let tls = |text| if mtls { text } else { "" };
    CONFIGURATION
        .replace("ORIGINAL_DESTINATION", ORIGINAL_DESTINATION)
        .replace("ROUTE_TO_outbound", &ROUTE.replace("CLUSTER", "outbound"))
        .replace("ROUTE_TO_inbound", &ROUTE.replace("CLUSTER", "inbound"))
        .replace("ANSWER_TLS", tls(ANSWER_TLS))
        .replace("ASK_TLS", tls(ASK_TLS))
        .replace("CERTIFICATES", CERTIFICATES)
        .replace("DIR", stage.directory().to_str().expect("a path in UTF-8"))
}
