//! How much of the corpus comes back, in `corpus/counts.json`: a number may only grow.
//!
//! `UPDATE_COUNTS=1 cargo test -p bpf-asm --test elf` writes what has grown.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Of tests that run at the same time, one changes the file.
static FILE: Mutex<()> = Mutex::new(());

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/elf/corpus/counts.json")
}

fn counts() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(path()).expect("the counts");
    serde_json::from_str(&text).expect("names and numbers")
}

/// Compares what a test has counted with what it counted before.
///
/// # Panics
/// If it is less, or if it is more and the file does not say so yet.
pub fn count(name: &str, found: usize) {
    let _changing = FILE.lock();
    let mut counts = counts();
    let known = counts.get(name).copied().unwrap_or_default();
    assert!(found >= known, "{name}: {found}, and there were {known}");
    if found == known {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_COUNTS").is_some(),
        "{name}: {found}, more than {known}: keep that by UPDATE_COUNTS=1"
    );
    counts.insert(name.to_owned(), found);
    let text = serde_json::to_string_pretty(&counts).expect("JSON");
    fs::write(path(), text + "\n").expect("write the counts");
}
