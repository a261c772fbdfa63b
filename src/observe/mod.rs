//! What an instance shows: its open flows with the processes behind them, and its counters; who listens on this machine; and what any program in the kernel shows.

mod flow;
mod listener;
mod process;
mod program;
mod stats;

pub use flow::{Flow, FlowSide, flows};
pub use listener::{Listener, Listeners, listeners};
pub use process::{Process, Processes};
pub use program::program;
pub use stats::{Stats, stats};
