//! What an instance shows: its open flows with the processes behind them, and its counters.

mod flow;
mod process;
mod stats;

pub use flow::{Flow, FlowSide, flows};
pub use process::{Process, Processes};
pub use stats::{Stats, stats};
