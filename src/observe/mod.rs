//! What an instance shows: its open flows with the processes and pods behind them, its counters,
//! its lanes' changes, its metrics; and what any program in the kernel shows.

mod container_name;
mod flow;
mod metrics;
mod program;
mod refusal;
mod responder;
mod stats;
mod summary;
mod trace;
mod workload;

pub use flow::{Flow, FlowSide, Observer, flows};
pub use metrics::{Collector, Format, METRICS};
pub use program::program;
pub use refusal::{LeftToTcp, Program, left_to_tcp, name as program_name, refusals};
pub use responder::{Endpoint, Responder};
pub use stats::{Stats, stats};
pub use summary::Summary;
pub use trace::{Change, Tracing};
pub use workload::{Workload, Workloads};
