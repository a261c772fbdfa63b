//! HTTP requests.

use tcp_shunt::observe::Request;

/// The most bytes of a request that a connection reads before it answers.
const MAX_REQUEST: usize = 8 << 10;

/// A request is answered the same however it is cut into segments: the answer of a part that is
/// answered is that of the whole.
pub(crate) fn parse(bytes: &[u8]) -> bool {
    let bytes = &bytes[..bytes.len().min(MAX_REQUEST)];
    let whole = Request::parse(bytes);
    // A few cuts suffice where there are thousands of bytes.
    for length in (0..bytes.len()).step_by(bytes.len() / 64 + 1) {
        match Request::parse(&bytes[..length]) {
            Ok(None) => {}
            answered => assert_eq!(answered, whole, "after {length} bytes"),
        }
    }
    matches!(whole, Ok(Some(_)))
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let requests = [
        "GET /metrics HTTP/1.1\r\nHost: node:9464\r\nUser-Agent: Prometheus/3.5\r\n\
         Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.3\r\n\
         Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n",
        "HEAD /healthz?verbose HTTP/1.0\r\n\r\n",
    ];
    requests.iter().map(|request| request.as_bytes().to_vec()).collect()
}
