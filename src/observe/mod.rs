//! Observation of an instance: open flows with their processes and pods, counters, lane changes,
//! metrics; also programs in the kernel.

mod container_name;
mod flow;
mod metrics;
mod program;
mod refusal;
mod request;
mod responder;
mod stats;
mod summary;
mod trace;
mod workload;

pub use flow::{Flow, FlowSide, Observer, flows};
pub use metrics::{Collector, Format, METRICS};
pub use program::program;
pub use refusal::{LeftToTcp, Program, left_to_tcp, name as program_name, refusals};
pub use request::{BadRequest, Method, Request};
pub use responder::Responder;
pub use stats::{Stats, stats};
pub use summary::Summary;
pub use trace::{Change, Tracing};
pub use workload::{Workload, Workloads};
