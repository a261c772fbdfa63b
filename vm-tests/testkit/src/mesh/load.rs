//! What is asked of the service, and how it was answered.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error};
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::mesh::steady;
use crate::mesh::{ANSWERS, PORT, UPLOADS};
use crate::program::command;
use crate::stage::{Host, SERVER, Stage};

/// The load on a mesh.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Load {
    /// So many connections, each of which asks again as soon as it is answered: by wrk.
    Connections(usize),
    /// So many requests a second, however fast they are answered.
    Rate(u32),
    /// The same as [`Load::Connections`], for answers of a size.
    Answer(Bodies),
    /// The same, for requests that bring a body.
    Upload(Bodies),
}

/// Bodies of a size, over so many connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bodies {
    pub size: ByteSize,
    pub connections: usize,
}

impl FromStr for Bodies {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (size, connections) =
            text.split_once('@').context("not of the form SIZE@CONNECTIONS, as in 100KiB@8")?;
        let size = size.parse::<ByteSize>().map_err(Error::msg)?;
        Ok(Self { size, connections: connections.parse().context("the number of connections")? })
    }
}

impl fmt::Display for Bodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.size.display().iec(), self.connections)
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connections(1) => write!(f, "1 connection"),
            Self::Connections(count) => write!(f, "{count} connections"),
            Self::Rate(rate) => write!(f, "{rate} requests/s"),
            Self::Answer(Bodies { size, connections }) => {
                write!(f, "{} answers, {}", size.display().iec(), Self::Connections(*connections))
            }
            Self::Upload(Bodies { size, connections }) => {
                write!(f, "{} uploads, {}", size.display().iec(), Self::Connections(*connections))
            }
        }
    }
}

/// How requests were answered; durations are in microseconds.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Answers {
    pub requests: u64,
    pub duration: f64,
    pub errors: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub slowest: f64,
}

impl Load {
    /// Runs it for so long, in the client's pod. Fails if a single request is not answered well.
    pub fn run(self, stage: &Stage, seconds: u64) -> Answers {
        let answers = match self {
            Self::Connections(count) => wrk(stage, count, seconds, "", 0),
            Self::Answer(Bodies { size, connections }) => {
                wrk(stage, connections, seconds, &format!("{ANSWERS}/{}", size.as_u64()), 0)
            }
            Self::Upload(Bodies { size, connections }) => {
                wrk(stage, connections, seconds, UPLOADS, size.as_u64())
            }
            Self::Rate(rate) => {
                stage.at(Host::Client, || steady::ask(rate, seconds)).expect("ask at a steady rate")
            }
        };
        assert!(answers.requests > 0 && answers.errors == 0, "{self}: {answers:?}");
        answers
    }
}

/// Asks for `path`, each time with a body of so many bytes.
fn wrk(stage: &Stage, connections: usize, seconds: u64, path: &str, body: u64) -> Answers {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/mesh/wrk.lua");
    let mut wrk = command("wrk", ["-t1", "-s", script]);
    wrk.arg(format!("-c{connections}")).arg(format!("-d{seconds}s"));
    wrk.arg(format!("http://{SERVER}:{PORT}/{path}")).arg("--").arg(body.to_string());
    let report = stage.run(Host::Client, wrk);
    let line = report.lines().find(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("what wrk says cannot be understood: {error}: {report}"))
}
