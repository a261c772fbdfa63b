//! Serves `GET /metrics`, `GET /livez` and `GET /healthz` over HTTP/1.1.
//!
//! It runs in its own threads; the agent never waits for it. A request is limited to a few seconds
//! and kilobytes, and a few connections are served at once. A further connection closes the oldest
//! that has not sent its request or does not read its response: slow clients cannot starve a
//! liveness probe, which sends its request at once.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use super::request::{BadRequest, Method, Request};
use super::{Collector, Format};
use crate::host::{Endpoint, listens};

/// Maximum number of connections served at once.
const MAX_CONNECTIONS: usize = 8;
/// Time limit for reading a request, and for writing a response.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Size limit of a request, in bytes.
const MAX_REQUEST: usize = 8 << 10;

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A bound endpoint. Dropping it removes its socket file.
#[derive(Debug)]
pub struct Responder {
    listener: Listener,
    endpoint: Endpoint,
}

impl Responder {
    /// Binds the endpoint without serving yet.
    pub fn bind(endpoint: &Endpoint) -> Result<Responder> {
        let why = || format!("cannot listen on {endpoint}: choose another --metrics");
        let listener = match endpoint {
            Endpoint::Tcp(address) => {
                Listener::Tcp(listen(*address, TcpListener::bind).with_context(why)?)
            }
            Endpoint::Unix(path) => {
                // A socket file on which nobody listens was left by a killed agent.
                if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
                    match UnixStream::connect(path) {
                        Ok(_) => bail!("{endpoint} is in use: choose another --metrics"),
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                            fs::remove_file(path).with_context(why)?;
                        }
                        Err(error) => return Err(error).with_context(why),
                    }
                }
                Listener::Unix(UnixListener::bind(path).with_context(why)?)
            }
        };
        let endpoint = match (&listener, endpoint) {
            (Listener::Tcp(listener), _) => Endpoint::Tcp(listener.local_addr()?),
            (Listener::Unix(_), endpoint) => endpoint.clone(),
        };
        Ok(Responder { listener, endpoint })
    }

    /// Binds unless the process that is about to exit holds the endpoint: then returns `None`, and
    /// [`Responder::bind_after_another`] must follow.
    pub fn bind_unless_taken_by(
        process: Option<u32>,
        endpoint: &Endpoint,
    ) -> Result<Option<Responder>> {
        let taken = process.is_some_and(|process| match endpoint {
            Endpoint::Tcp(address) => listens(process, address.port()),
            Endpoint::Unix(path) => UnixStream::connect(path)
                .and_then(|there| Ok(getsockopt(&there, PeerCredentials)?))
                .is_ok_and(|listener| u32::try_from(listener.pid()) == Ok(process)),
        });
        if taken { Ok(None) } else { Responder::bind(endpoint).map(Some) }
    }

    /// Binds an endpoint whose previous agent is exiting.
    pub fn bind_after_another(endpoint: &Endpoint) -> Result<Responder> {
        let begun = Instant::now();
        loop {
            match Responder::bind(endpoint) {
                Err(_) if begun.elapsed() < TIMEOUT => {
                    std::thread::sleep(Duration::from_millis(50))
                }
                bound => return bound,
            }
        }
    }

    /// The bound endpoint, with the port that the kernel chose for port 0.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where the metrics are, for people.
    pub fn url(&self) -> String {
        match &self.endpoint {
            Endpoint::Tcp(address) => format!("http://{address}/metrics"),
            Endpoint::Unix(path) => format!("unix:{}, /metrics", path.display()),
        }
    }

    /// Serves from now on in separate threads, until the process exits.
    pub fn serve(&self, collector: Collector) -> Result<()> {
        let collector = Arc::new(collector);
        let answer = move |connection: Box<dyn Connection>, guard: &SlotGuard| match answer(
            connection,
            guard,
            &*collector,
        ) {
            Ok(()) => {}
            Err(error) => tracing::debug!("a scrape failed: {error}"),
        };
        match &self.listener {
            Listener::Tcp(listener) => {
                let listener = listener.try_clone()?;
                accept(
                    move || {
                        listener.accept().map(|(stream, _)| Box::new(stream) as Box<dyn Connection>)
                    },
                    answer,
                )
            }
            Listener::Unix(listener) => {
                let listener = listener.try_clone()?;
                accept(
                    move || {
                        listener.accept().map(|(stream, _)| Box::new(stream) as Box<dyn Connection>)
                    },
                    answer,
                )
            }
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Endpoint::Unix(path) = &self.endpoint {
            // It may have been removed already.
            let _ = fs::remove_file(path);
        }
    }
}

/// An accepted connection.
trait Connection: Read + Write + Send {
    fn set_timeouts(&self, read: Duration, write: Duration) -> std::io::Result<()>;
    /// Another handle of the same connection.
    fn duplicate(&self) -> std::io::Result<Box<dyn Connection>>;
    /// Shuts the connection down, which wakes its reader and writer.
    fn disconnect(&self);
}

macro_rules! connection {
    ($($stream:ty),*) => {
        $(impl Connection for $stream {
            fn set_timeouts(&self, read: Duration, write: Duration) -> std::io::Result<()> {
                self.set_read_timeout(Some(read))?;
                self.set_write_timeout(Some(write))
            }

            fn duplicate(&self) -> std::io::Result<Box<dyn Connection>> {
                Ok(Box::new(self.try_clone()?))
            }

            fn disconnect(&self) {
                // The peer may have closed it already.
                let _ = self.shutdown(Shutdown::Both);
            }
        })*
    };
}

connection!(TcpStream, UnixStream);

/// The data that is served.
trait Source: Send + Sync {
    fn metrics(&self, format: Format) -> Result<String>;
    fn is_draining(&self) -> Result<bool>;
}

impl Source for Collector {
    fn metrics(&self, format: Format) -> Result<String> {
        self.render(format)
    }

    fn is_draining(&self) -> Result<bool> {
        Collector::is_draining(self)
    }
}

/// The connections being served.
#[derive(Clone, Default)]
struct Slots(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    /// In order of arrival.
    slots: Vec<Slot>,
    next: u64,
}

struct Slot {
    number: u64,
    stream: Box<dyn Connection>,
    /// It has sent its request, and the response is not ready yet: the delay is the agent's.
    is_served: bool,
}

impl Slots {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table stays valid when a thread panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves a slot, closing an idle connection if there is none free.
    fn take(&self, stream: &dyn Connection) -> Option<SlotGuard> {
        let stream = stream.duplicate().ok()?;
        let mut table = self.lock();
        if table.slots.len() >= MAX_CONNECTIONS {
            let oldest = table.slots.iter().position(|slot| !slot.is_served)?;
            table.slots.remove(oldest).stream.disconnect();
        }
        let number = table.next;
        table.next += 1;
        table.slots.push(Slot { number, stream, is_served: false });
        Some(SlotGuard { slots: self.clone(), number })
    }
}

/// A connection's slot, released on drop.
struct SlotGuard {
    slots: Slots,
    number: u64,
}

impl SlotGuard {
    fn is_served(&self, is_served: bool) {
        if let Some(slot) =
            self.slots.lock().slots.iter_mut().find(|slot| slot.number == self.number)
        {
            slot.is_served = is_served;
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.slots.lock().slots.retain(|slot| slot.number != self.number);
    }
}

/// Accepts connections and serves each in a thread.
fn accept(
    mut next: impl FnMut() -> std::io::Result<Box<dyn Connection>> + Send + 'static,
    answer: impl Fn(Box<dyn Connection>, &SlotGuard) + Send + Sync + 'static,
) -> Result<()> {
    let answer = Arc::new(answer);
    let slots = Slots::default();
    let thread = std::thread::Builder::new().name("metrics".into());
    thread.spawn(move || {
        loop {
            let stream = match next() {
                Ok(stream) => stream,
                Err(error) => {
                    // Out of descriptors, or a connection that was reset: retry later.
                    tracing::debug!("a scrape could not be accepted: {error}");
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            let Some(guard) = slots.take(&*stream) else { continue };
            let answer = Arc::clone(&answer);
            // If no thread can be started, the connection is closed.
            let _ = std::thread::Builder::new()
                .name("scrape".into())
                .spawn(move || answer(stream, &guard));
        }
    })?;
    Ok(())
}

/// Reads a request and writes the response.
fn answer(
    mut stream: Box<dyn Connection>,
    guard: &SlotGuard,
    source: &dyn Source,
) -> std::io::Result<()> {
    let (response, with_body) = match read_request(&mut *stream)? {
        Arrived::Request(request) => {
            guard.is_served(true);
            let response = respond(&request, source);
            guard.is_served(false);
            (response, request.method != Method::Head)
        }
        Arrived::Bad(bad @ BadRequest::Malformed) => {
            (Response::text("400 Bad Request", &bad.to_string()), true)
        }
        Arrived::Bad(bad @ BadRequest::TooLong) => {
            (Response::text("431 Request Header Fields Too Large", &bad.to_string()), true)
        }
        Arrived::TooLate => (Response::text("408 Request Timeout", "the request timed out"), true),
        Arrived::Closed => return Ok(()),
    };
    let Response { status, content_type, body } = response;
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         {allow}Connection: close\r\n\r\n",
        body.len()
    );
    if with_body {
        response.push_str(&body);
    }
    stream.write_all(response.as_bytes())
}

/// What has come of a connection.
enum Arrived {
    Request(Request),
    Bad(BadRequest),
    TooLate,
    Closed,
}

/// Reads up to and including the empty line.
fn read_request(stream: &mut dyn Connection) -> std::io::Result<Arrived> {
    let deadline = Instant::now() + TIMEOUT;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        // One deadline for the whole request: sending single bytes does not extend it.
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Arrived::TooLate);
        }
        stream.set_timeouts(left.max(Duration::from_millis(1)), TIMEOUT)?;
        let read = match stream.read(&mut piece) {
            Ok(0) => return Ok(Arrived::Closed),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(Arrived::TooLate);
            }
            Err(error) => return Err(error),
        };
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
        match Request::parse(&head) {
            Ok(Some(request)) => return Ok(Arrived::Request(request)),
            Ok(None) if head.len() < MAX_REQUEST => {}
            Ok(None) => return Ok(Arrived::Bad(BadRequest::TooLong)),
            Err(bad) => return Ok(Arrived::Bad(bad)),
        }
    }
}

/// The body is sent unless the method is HEAD.
struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Response {
    /// A line of text.
    fn text(status: &'static str, line: &str) -> Response {
        Response { status, content_type: "text/plain; charset=utf-8", body: format!("{line}\n") }
    }
}

fn respond(request: &Request, source: &dyn Source) -> Response {
    if request.method == Method::Other {
        return Response::text("405 Method Not Allowed", "only GET and HEAD are allowed");
    }
    let failed =
        |error: anyhow::Error| Response::text("500 Internal Server Error", &format!("{error:#}"));
    match request.path.as_str() {
        "/metrics" => {
            let format = match request.accepts_openmetrics {
                true => Format::OpenMetrics,
                false => Format::Prometheus,
            };
            match source.metrics(format) {
                Ok(body) => {
                    Response { status: "200 OK", content_type: format.content_type(), body }
                }
                Err(error) => failed(error),
            }
        }
        // The response itself is the liveness proof; its cost does not depend on open flows.
        "/livez" => Response::text("200 OK", "ok"),
        "/healthz" => match source.is_draining() {
            Ok(false) => Response::text("200 OK", "ok"),
            Ok(true) => Response::text("503 Service Unavailable", "draining"),
            Err(error) => failed(error),
        },
        _ => Response::text("404 Not Found", "only /metrics, /livez and /healthz exist"),
    }
}

/// Listens on an address. `[::]` means all addresses of both families, so without IPv6
/// (`ipv6.disable=1`) it means those of IPv4.
fn listen(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<TcpListener>,
) -> io::Result<TcpListener> {
    match bind(address) {
        Err(error)
            if address.ip() == Ipv6Addr::UNSPECIFIED
                && error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32) =>
        {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
            bind(address).inspect(|_| {
                tracing::info!("this kernel has no IPv6: metrics are served on {address}");
            })
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source with fixed answers.
    struct Fixed {
        draining: Result<bool, ()>,
    }

    impl Source for Fixed {
        fn metrics(&self, format: Format) -> Result<String> {
            Ok(format!("{format:?}"))
        }

        fn is_draining(&self) -> Result<bool> {
            self.draining.map_err(|()| anyhow::anyhow!("no map"))
        }
    }

    /// The status and the body of the response to the request with this line and these fields.
    fn to(head: &str, draining: Result<bool, ()>) -> (String, String) {
        let head = format!("{head}\r\n\r\n");
        let request = Request::parse(head.as_bytes()).expect("well-formed").expect("whole");
        let Response { status, body, .. } = respond(&request, &Fixed { draining });
        (status[..3].to_owned(), body)
    }

    #[test]
    fn scrapes_are_answered_in_the_format_that_they_accept() {
        let format = |head| to(head, Ok(false));
        assert_eq!(format("GET /metrics HTTP/1.1"), ("200".into(), "Prometheus".into()));
        let accept = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text";
        assert_eq!(format(accept), ("200".into(), "OpenMetrics".into()));
    }

    #[test]
    fn health_reflects_the_state_of_the_instance() {
        for (draining, status) in [(Ok(false), "200"), (Ok(true), "503"), (Err(()), "500")] {
            assert_eq!(to("GET /healthz HTTP/1.1", draining).0, status);
            assert_eq!(to("GET /livez HTTP/1.1", draining).0, "200");
        }
    }

    #[test]
    fn another_method_or_path_is_an_error_of_the_client() {
        assert_eq!(to("POST /metrics HTTP/1.1", Ok(false)).0, "405");
        assert_eq!(to("GET / HTTP/1.1", Ok(false)).0, "404");
    }

    #[test]
    fn all_addresses_are_those_of_ipv4_where_the_kernel_has_no_ipv6() {
        let without_ipv6 = |address: SocketAddr| match address {
            SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(Errno::EAFNOSUPPORT as i32)),
            SocketAddr::V4(_) => TcpListener::bind(address),
        };
        let all: SocketAddr = "[::]:0".parse().expect("an address");
        let listener = listen(all, without_ipv6).expect("listen");
        let bound = listener.local_addr().expect("its address");
        assert_eq!(bound.ip(), Ipv4Addr::UNSPECIFIED);
        // Another address means no address of IPv4, and another error not that there is no IPv6.
        let one: SocketAddr = "[::1]:0".parse().expect("an address");
        assert!(listen(one, without_ipv6).is_err());
        let taken = |_: SocketAddr| Err(io::Error::from(ErrorKind::AddrInUse));
        assert_eq!(
            listen(all, taken).map_err(|error| error.kind()).err(),
            Some(ErrorKind::AddrInUse)
        );
    }

    fn listening() -> (Responder, SocketAddr) {
        let responder =
            Responder::bind(&"127.0.0.1:0".parse().expect("an endpoint")).expect("listen");
        let Listener::Tcp(listener) = &responder.listener else { panic!("a TCP listener") };
        let listener = listener.try_clone().expect("one more descriptor");
        accept(
            move || listener.accept().map(|(stream, _)| Box::new(stream) as Box<dyn Connection>),
            |connection, guard| drop(answer(connection, guard, &Fixed { draining: Ok(false) })),
        )
        .expect("answer");
        let Endpoint::Tcp(address) = *responder.endpoint() else { panic!("an address") };
        (responder, address)
    }

    fn ask(address: SocketAddr, question: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).expect("connect");
        // The response may come, and the connection end, before the whole request is sent.
        let _ = stream.write_all(question);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn hostile_requests_are_bounded_in_size_and_time_and_delay_nobody_else() {
        let (_responder, address) = listening();
        let long = ask(address, &[b'x'; 64 << 10]);
        assert!(long.is_empty() || long.starts_with("HTTP/1.1 431"), "{long}");
        // A malformed request is answered before its end has come.
        assert!(ask(address, b"\xff\xfe\0").starts_with("HTTP/1.1 400"));
        let head = ask(address, b"HEAD /healthz HTTP/1.1\r\n\r\n");
        assert!(head.contains("\r\nContent-Length: 3\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        drop(TcpStream::connect(address).expect("connect and go"));

        // More idle connections than slots: others are still answered.
        let begun = Instant::now();
        let mut idle: Vec<TcpStream> = (0..MAX_CONNECTIONS * 4)
            .map(|_| TcpStream::connect(address).expect("connect"))
            .collect();
        for _ in 0..MAX_CONNECTIONS * 2 {
            let answer = ask(address, b"GET /healthz HTTP/1.1\r\n\r\n");
            assert!(
                answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"),
                "{answer}"
            );
        }
        assert!(begun.elapsed() < TIMEOUT / 2, "idle connections delayed a request");
        // Sending single bytes does not extend the deadline.
        let slow = idle.last_mut().expect("one of them");
        let mut said = Vec::new();
        while begun.elapsed() < TIMEOUT * 2 && slow.write_all(b"G").is_ok() && said.is_empty() {
            slow.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
            let mut piece = [0; 512];
            match slow.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => said.extend_from_slice(&piece[..read]),
                Err(_) => {}
            }
        }
        assert!(begun.elapsed() < TIMEOUT + TIMEOUT / 2, "single bytes extended the deadline");
        assert!(said.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&said));

        // Clients that do not read their responses cannot keep their slots either.
        let mut greedy: Vec<TcpStream> = (0..MAX_CONNECTIONS * 2)
            .map(|_| TcpStream::connect(address).expect("connect"))
            .collect();
        greedy.iter_mut().for_each(|stream| {
            stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap_or_default()
        });
        assert!(ask(address, b"GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
        drop(greedy);
    }

    #[test]
    fn a_socket_file_of_a_killed_agent_is_reused_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let endpoint = Endpoint::Unix(dir.path().join("metrics"));
        drop(UnixListener::bind(dir.path().join("metrics")).expect("leave a socket behind"));
        let responder = Responder::bind(&endpoint).expect("listen where a socket was left");
        assert!(Responder::bind(&endpoint).is_err(), "it took over a path in use");
        drop(responder);
        assert!(!dir.path().join("metrics").exists());

        fs::write(dir.path().join("metrics"), "a file").expect("write");
        assert!(Responder::bind(&endpoint).is_err());
        assert!(dir.path().join("metrics").exists(), "a file that is not a socket stays");
    }
}
