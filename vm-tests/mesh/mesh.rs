//! Two pods on one node: a client, and a service behind what kind of sidecars there are.

use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use crate::harness::agent::Agent;
use crate::program::{Running, command};
use crate::stage::{Host, Stage};
use crate::{rules, sidecar};

/// The port that the service listens at.
pub const PORT: u16 = 8080;

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
    // In this order: first who asks, last where it all stands.
    _sidecars: Vec<Running>,
    _service: Running,
    pub stage: Stage,
}

impl Mesh {
    /// Makes new pods and starts everything in them; with an agent, it runs before.
    pub fn start(kind: Kind, workers: usize, accelerated: bool) -> Self {
        let stage = Stage::new(accelerated.then_some(agent));
        let configuration = include_str!("nginx.conf")
            .replace("WORKERS", &workers.to_string())
            .replace("DIR", stage.directory().to_str().expect("a path in UTF-8"))
            .replace("PORT", &PORT.to_string())
            .replace("KILOBYTE", &"x".repeat(1024));
        let configuration = stage.write("nginx.conf", configuration);
        let nginx = command("nginx", ["-p".as_ref(), stage.directory(), "-c".as_ref(), configuration.as_path()]);
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
