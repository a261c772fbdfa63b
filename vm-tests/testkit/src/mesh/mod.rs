//! Two pods on one node: a client, and a service behind what kind of sidecars there are.

pub mod load;
pub mod meter;
mod rules;
mod sidecar;
mod steady;

use std::path::Path;

use bytesize::ByteSize;
use clap::ValueEnum;
use serde::Serialize;

use crate::agent::Agent;
use crate::program::{Running, command};
use crate::stage::{Host, Stage};

/// The port that the service listens at.
pub const PORT: u16 = 8080;

/// The directory of the service with a file for each size of an answer, whose name is that size in
/// bytes.
pub const ANSWERS: &str = "answers";
/// The path that bodies are sent to.
pub const UPLOADS: &str = "uploads";

/// What stands between the client and the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Sidecars that speak TLS to each other, each with a certificate
    Mtls,
    /// Sidecars that speak plain HTTP to each other
    Plain,
    /// Nothing: the client speaks to the service
    None,
}

impl Kind {
    pub fn describe(self) -> &'static str {
        match self {
            Self::Mtls => "Sidecars, mTLS between them",
            Self::Plain => "Sidecars, plain HTTP between them",
            Self::None => "No sidecars",
        }
    }
}

/// Running, for one measurement.
pub struct Mesh {
    // Dropped in this order: first the clients, last the stage that all run on.
    _sidecars: Vec<Running>,
    _service: Running,
    pub stage: Stage,
}

impl Mesh {
    /// Makes new pods and starts everything in them; with an agent, it runs before.
    /// `answers`: the sizes of the files that are asked for.
    pub fn start(kind: Kind, workers: usize, accelerated: bool, answers: &[ByteSize]) -> Self {
        let stage = Stage::new(accelerated.then_some(agent));
        std::fs::create_dir(stage.file(ANSWERS)).expect("make a directory for the answers");
        for size in answers {
            let content = vec![b'x'; size.as_u64() as usize];
            stage.write(&format!("{ANSWERS}/{}", size.as_u64()), content);
        }
        let configuration = include_str!("nginx.conf")
            .replace("WORKERS", &workers.to_string())
            .replace("DIR", stage.directory().to_str().expect("a path in UTF-8"))
            .replace("PORT", &PORT.to_string())
            .replace("ANSWERS", ANSWERS)
            .replace("UPLOADS", UPLOADS)
            .replace("KILOBYTE", &"x".repeat(1024));
        let configuration = stage.write("nginx.conf", configuration);
        let nginx = command(
            "nginx",
            ["-p".as_ref(), stage.directory(), "-c".as_ref(), configuration.as_path()],
        );
        let service = stage.serve(Host::Server, nginx, PORT);
        let mut sidecars = Vec::new();
        if kind != Kind::None {
            sidecar::certify(&stage);
            for pod in [Host::Client, Host::Server] {
                rules::redirect(&stage, pod);
                sidecars.push(sidecar::start(&stage, pod, workers, kind == Kind::Mtls));
            }
        }
        Self { _sidecars: sidecars, _service: service, stage }
    }
}

fn agent(cgroup: &Path) -> Agent {
    Agent::start(cgroup, &[])
}
