//! Writes the seeds of each target to where cargo-fuzz looks for its corpus.

use std::fs;
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    for target in fuzzing::TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
        fs::create_dir_all(&corpus)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed)?;
        }
        println!("{}", corpus.display());
    }
    Ok(())
}
