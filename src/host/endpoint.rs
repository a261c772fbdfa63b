//! Where a service of this node is reached.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serializer;

/// Address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `ADDR:PORT`
    Tcp(SocketAddr),
    /// `unix:PATH`
    Unix(PathBuf),
}

/// Not an [`Endpoint`].
#[derive(Debug, thiserror::Error)]
#[error("expected ADDRESS:PORT, such as 127.0.0.1:9464 or [::]:9464, or unix:PATH")]
pub struct BadEndpoint;

impl FromStr for Endpoint {
    type Err = BadEndpoint;

    fn from_str(text: &str) -> Result<Endpoint, BadEndpoint> {
        match text.strip_prefix("unix:") {
            Some("") => Err(BadEndpoint),
            Some(path) => Ok(Endpoint::Unix(path.into())),
            None => text.parse().map(Endpoint::Tcp).map_err(|_| BadEndpoint),
        }
    }
}

/// As it is written.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(address) => address.fmt(f),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// As it is written.
impl serde::Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_or_a_path_and_shown_as_it_is_written() {
        let cases = [
            ("127.0.0.1:9464", Endpoint::Tcp(([127, 0, 0, 1], 9464).into())),
            ("[::]:9464", Endpoint::Tcp(([0; 8], 9464).into())),
            ("unix:/run/x", Endpoint::Unix("/run/x".into())),
        ];
        for (text, endpoint) in cases {
            assert_eq!(text.parse::<Endpoint>().ok(), Some(endpoint.clone()));
            assert_eq!(endpoint.to_string(), text);
        }
        for bad in ["", "unix:", "9464", ":9464", "localhost:9464", "/run/x"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
