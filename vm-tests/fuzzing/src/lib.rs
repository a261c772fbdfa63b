//! What parsers of input that others write have to hold for any input.
//!
//! Each [`Target`] takes bytes, gives them to a parser, and panics where one of its promises is
//! broken. A fuzzer guided by coverage (`fuzz/`, the layout of `cargo fuzz`) finds the bytes, in
//! this package's folder:
//!
//! ```console
//! $ cargo run --example seeds              # a corpus to begin with, once
//! $ cargo fuzz run --sanitizer none elf    # or without that option, by a nightly compiler
//! ```
//!
//! Without one, the tests of this package give every target its seeds, changed at random but each
//! time in the same way ([`Mutation`]).

mod btf;
mod configuration;
mod elf;
mod mutation;
mod request;
mod text;

pub use mutation::Mutation;

/// A parser under test.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is that of its file in `fuzz/fuzz_targets/`.
    pub name: &'static str,
    /// Parses the bytes, and panics where a promise is broken. Whether they were accepted.
    pub parse: fn(&[u8]) -> bool,
    /// Inputs that are accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// BTF of a kernel (`syscalls::Btf`).
pub const BTF: Target = Target { name: "btf", parse: btf::parse, seeds: btf::seeds };

/// The configuration file (`tcp_shunt::policy::file`).
pub const CONFIGURATION: Target =
    Target { name: "configuration", parse: configuration::parse, seeds: configuration::seeds };

/// ELF objects (`bpf_asm::elf`).
pub const ELF: Target = Target { name: "elf", parse: elf::parse, seeds: elf::seeds };

/// HTTP requests (`tcp_shunt::observe::Request`).
pub const REQUEST: Target =
    Target { name: "request", parse: request::parse, seeds: request::seeds };

/// Assembler text (`bpf_asm::text`).
pub const TEXT: Target = Target { name: "text", parse: text::parse, seeds: text::seeds };

/// All of them.
pub const TARGETS: [Target; 5] = [BTF, CONFIGURATION, ELF, REQUEST, TEXT];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use super::*;

    /// How many changed inputs each target gets, of all seeds together.
    const CHANGED: usize = 4000;

    /// Gives a target its seeds and changed ones; how many of the changed ones it accepted.
    fn accepted(target: Target) -> usize {
        let seeds = (target.seeds)();
        for seed in &seeds {
            assert!((target.parse)(seed), "{}: {:?}", target.name, String::from_utf8_lossy(seed));
        }
        let mut mutation = Mutation::new(7);
        let mut accepted = 0;
        for round in 0..CHANGED {
            let mut input = seeds[round % seeds.len()].clone();
            mutation.change(&mut input, &seeds);
            // The panic has said what is wrong, and `cargo fuzz run` takes the file as well.
            match catch_unwind(AssertUnwindSafe(|| (target.parse)(&input))) {
                Ok(taken) => accepted += usize::from(taken),
                Err(_) => {
                    let file = std::env::temp_dir().join(format!("shunt-fuzzing-{}", target.name));
                    std::fs::write(&file, &input).expect("keep the input");
                    panic!("{} fails for input {round}, {}", target.name, file.display());
                }
            }
        }
        accepted
    }

    /// Mutation is of use where it gets past the first check, and where it does not always.
    fn holds_for_changed_input(target: Target) {
        let accepted = accepted(target);
        let some = CHANGED / 100..CHANGED * 99 / 100;
        assert!(some.contains(&accepted), "{}: {accepted} of {CHANGED}", target.name);
    }

    #[test]
    fn btf_holds_for_changed_input() {
        holds_for_changed_input(BTF);
    }

    #[test]
    fn the_configuration_holds_for_changed_input() {
        holds_for_changed_input(CONFIGURATION);
    }

    #[test]
    fn elf_holds_for_changed_input() {
        holds_for_changed_input(ELF);
    }

    #[test]
    fn requests_hold_for_changed_input() {
        holds_for_changed_input(REQUEST);
    }

    #[test]
    fn text_holds_for_changed_input() {
        holds_for_changed_input(TEXT);
    }

    #[test]
    fn every_target_holds_for_no_input_and_for_noise() {
        let mut mutation = Mutation::new(1);
        for target in TARGETS {
            (target.parse)(&[]);
            for length in 0..200 {
                (target.parse)(&mutation.noise(length));
            }
        }
    }

    #[test]
    fn every_target_has_its_file_for_cargo_fuzz() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let files = std::fs::read_dir(folder.join("fuzz_targets")).expect("a folder");
        let files: BTreeSet<String> = files
            .map(|file| file.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        let names = TARGETS.map(|target| format!("{}.rs", target.name));
        assert_eq!(files, names.clone().into_iter().collect());
        for target in TARGETS {
            let name = target.name;
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
            let path = folder.join(format!("fuzz_targets/{name}.rs"));
            let text = std::fs::read_to_string(path).expect("a target");
            let call = format!("fuzzing::{}.parse", name.to_uppercase());
            assert!(text.contains(&call), "{text}");
        }
    }
}
