//! What a scrape asks for: the head of an HTTP/1 request.

use httparse::{EMPTY_HEADER, Status};

/// The most header fields that a request may have.
const MAX_FIELDS: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The resource.
    Get,
    /// The head of the response to [`Method::Get`].
    Head,
    /// Anything else, which is not allowed.
    Other,
}

/// A request, without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub method: Method,
    /// The path of the target, without its query.
    pub path: String,
    /// Whether it accepts OpenMetrics.
    pub accepts_openmetrics: bool,
}

/// A request that is answered by an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// It is not HTTP/1.0 or HTTP/1.1.
    #[error("malformed request")]
    Malformed,
    /// It has more header fields than are read.
    #[error("the request is too long")]
    TooLong,
}

impl Request {
    /// Parses the head of a request; `None` while its end has not come.
    ///
    /// # Errors
    /// [`BadRequest`], however the request goes on.
    pub fn parse(bytes: &[u8]) -> Result<Option<Request>, BadRequest> {
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(bytes) {
            Ok(Status::Partial) => return Ok(None),
            Ok(Status::Complete(_)) => {}
            Err(httparse::Error::TooManyHeaders) => return Err(BadRequest::TooLong),
            Err(_) => return Err(BadRequest::Malformed),
        }
        let (Some(method), Some(target)) = (request.method, request.path) else {
            return Err(BadRequest::Malformed);
        };
        let mut accepted =
            request.headers.iter().filter(|it| it.name.eq_ignore_ascii_case("accept"));
        Ok(Some(Request {
            method: match method {
                "GET" => Method::Get,
                "HEAD" => Method::Head,
                _ => Method::Other,
            },
            path: target.split('?').next().unwrap_or_default().to_owned(),
            accepts_openmetrics: accepted.any(|field| {
                let value = field.value.to_ascii_lowercase();
                memchr::memmem::find(&value, b"application/openmetrics-text").is_some()
            }),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str) -> Request {
        let whole = format!("{head}\r\n\r\n");
        let request = Request::parse(whole.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        request.unwrap_or_else(|| panic!("{head:?} has no end"))
    }

    #[test]
    fn method_path_and_accepted_format_are_read() {
        let request = parsed("GET /metrics?x=1 HTTP/1.0\r\nAccept: text/plain");
        assert_eq!((request.method, request.path.as_str()), (Method::Get, "/metrics"));
        assert!(!request.accepts_openmetrics);
        let accept = "aCCept: Application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";
        assert!(parsed(&format!("GET / HTTP/1.1\r\nHost: x\r\n{accept}")).accepts_openmetrics);
        assert!(!parsed("GET / HTTP/1.1\r\nX: application/openmetrics-text").accepts_openmetrics);
        assert_eq!(parsed("HEAD / HTTP/1.1").method, Method::Head);
        assert_eq!(parsed("get / HTTP/1.1").method, Method::Other);
    }

    #[test]
    fn a_request_is_waited_for_until_its_empty_line() {
        let whole = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        for length in 0..whole.len() {
            assert_eq!(Request::parse(&whole[..length]), Ok(None), "{length} bytes");
        }
        assert!(Request::parse(whole).is_ok_and(|request| request.is_some()));
    }

    #[test]
    fn a_malformed_request_is_rejected() {
        for request in [
            " \r\n\r\n",
            "GET\r\n\r\n",
            "GET /metrics\r\n\r\n",
            "GET /metrics HTTP/2\r\n\r\n",
            "GET  /metrics HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "\0",
        ] {
            let parsed = Request::parse(request.as_bytes());
            assert_eq!(parsed, Err(BadRequest::Malformed), "{request:?}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(Request::parse(many.as_bytes()), Err(BadRequest::TooLong));
    }
}
