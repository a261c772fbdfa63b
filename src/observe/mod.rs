//! What an instance shows: its open flows with the processes behind them, and its counters; and what any program in the kernel shows.

mod flow;
mod process;
mod program;
mod stats;

pub use flow::{Flow, FlowSide, flows};
pub use process::{Process, Processes};
pub use program::program;
pub use stats::{Stats, stats};
