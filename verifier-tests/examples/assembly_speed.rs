//! The speed of assembling: `cargo run --release -p verifier-tests --example assembly_speed`.
//!
//! Measures all kernel programs of shunt, from the builder to the bytes for the kernel, and the
//! effect of the optimiser; and compares the lines of bpf-asm's examples with those of the same
//! programs in C.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use tcp_shunt::datapath::{Datapath, Passes, Settings};
use tcp_shunt::kernel;

/// How long to measure.
const BUDGET: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let layout = kernel::layout()?;
    let datapath =
        Datapath::new(layout, Settings { flows: 262_144, hz: 250, passes: Passes::Iterator });
    let assemble = || -> Result<(usize, usize), Box<dyn Error>> {
        let programs = datapath.programs()?;
        let slots = programs.iter().map(|(_, program)| program.slots()).sum();
        Ok((slots, programs.iter().map(|(_, program)| program.relocate(|_| 3).insns.len()).sum()))
    };
    let (slots, bytes) = assemble()?;
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < BUDGET {
        let start = Instant::now();
        assemble()?;
        times.push(start.elapsed());
    }
    times.sort();
    let (median, fastest) = (times[times.len() / 2], times[0]);
    let per_second = slots as f64 / median.as_secs_f64();
    println!("shunt's programs: {slots} instructions, {bytes} bytes");
    println!("assembled in: {median:.1?} (median of {}), {fastest:.1?} (fastest)", times.len());
    println!("instructions per second: {per_second:.0}");

    println!(
        "\n{:16}{:>8}{:>8}   lines of code without comments and blank lines",
        "example", "Rust", "C"
    );
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bpf-asm/examples");
    for example in ["socket_filter", "xdp_counter", "connect_guard"] {
        let rust = std::fs::read_to_string(examples.join(example).with_extension("rs"))?;
        let c = std::fs::read_to_string(examples.join("c").join(example).with_extension("c"))?;
        println!("{example:16}{:>8}{:>8}", lines(&kernel_part(&rust)), lines(&c));
    }
    Ok(())
}

/// The part of an example that runs in the kernel: records, maps and the program.
fn kernel_part(source: &str) -> String {
    let blocks = source.split("\n\n");
    let is_part = |block: &&str| {
        let code = block.lines().find(|line| is_code(line)).unwrap_or_default();
        ["record!", "const ", "fn program("].iter().any(|start| code.starts_with(start))
    };
    blocks.filter(is_part).collect::<Vec<_>>().join("\n")
}

fn lines(source: &str) -> usize {
    source.lines().filter(|line| is_code(line)).count()
}

fn is_code(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !["//", "/*", "*"].iter().any(|comment| line.starts_with(comment))
}
