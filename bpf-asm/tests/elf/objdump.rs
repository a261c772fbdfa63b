//! What `llvm-objdump -dr` prints assembles to the code that it was printed from.

use std::fs;
use std::process::Command;

use bpf_asm::elf;
use bpf_asm::text::{self, Style, Target, Unit};

use crate::corpus::{COMPILED, run};
use crate::counts::count;

/// The declarations of a unit, which listings lack.
fn declarations(unit: &Unit) -> String {
    let text = text::disassemble(unit, &Style::default());
    let declared = |line: &&str| [".map ", ".extern "].iter().any(|word| line.starts_with(word));
    text.lines().filter(declared).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_listing_of_llvm_assembles_to_the_code_of_its_object() {
    let dir = tempfile::tempdir().expect("make a folder");
    let file = dir.path().join("program.o");
    let (mut alike, mut variables) = (0, 0);
    for compiled in COMPILED.iter() {
        let name = &compiled.name;
        fs::write(&file, &compiled.object).expect("write the object");
        // An object without types declares no maps.
        let Ok(unit) = elf::read(&compiled.object) else { continue };
        let mut objdump = Command::new("llvm-objdump-22");
        objdump.args(["-dr", "--mcpu=v4"]).arg(&file);
        let listing = run(&mut objdump, "apt-get install llvm-22").stdout;
        let listing = String::from_utf8(listing).expect("text");
        let source = declarations(&unit) + &listing;
        match text::assemble("listing.s", &source) {
            Ok(again) => {
                for section in &unit.sections {
                    let found = again.sections.iter().find(|found| found.name == section.name);
                    let found = found.unwrap_or_else(|| panic!("{name}: no {}", section.name));
                    assert_eq!(found.code, section.code, "{name}, {}\n{listing}", section.name);
                    assert_eq!(found.references, section.references, "{name}\n{listing}");
                    let starts = |section: &text::Section| -> Vec<(String, usize)> {
                        let functions = section.functions.iter();
                        functions.map(|found| (found.name.clone(), found.slot)).collect()
                    };
                    assert_eq!(starts(found), starts(section), "{name}");
                }
                alike += 1;
            }
            // A listing names variables, but not where they are; and it lacks types.
            Err(errors) => {
                let own: Vec<&str> = unit.maps.iter().map(|map| map.name.as_str()).collect();
                for error in errors.errors() {
                    if error.message.contains("CO-RE") {
                        continue;
                    }
                    let missing = error.message.strip_prefix("there is no map or function `");
                    let missing = missing.and_then(|rest| rest.strip_suffix('`'));
                    assert!(missing.is_some_and(|name| !own.contains(&name)), "{name}: {errors}");
                }
                variables += 1;
            }
        }
    }
    println!("{variables} name variables, or have CO-RE relocations");
    count("listings of LLVM", alike);
}

#[test]
fn a_listing_without_declarations_says_what_it_lacks() {
    let listing = "a.o:\tfile format elf64-bpf\n\nDisassembly of section xdp:\n\n\
        0000000000000000 <main>:\n       \
        0:\t18 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00\tr1 = 0x0 ll\n\
        \t\t0000000000000000:  R_BPF_64_64\tcounts\n       \
        2:\t85 10 00 00 ff ff ff ff\tcall -0x1\n\
        \t\t0000000000000010:  R_BPF_64_32\tbpf_of_the_kernel\n       \
        3:\t95 00 00 00 00 00 00 00\texit\n";
    let errors = text::assemble("a.s", listing).expect_err("it has no map").to_string();
    for part in
        ["a.s:7:34", "`.map counts array key=4", "a.s:9:34", "`.extern void bpf_of_the_kernel"]
    {
        assert!(errors.contains(part), "no {part} in\n{errors}");
    }
    let declared = ".map counts hash key=4 value=8 entries=1\n.extern bpf_of_the_kernel\n";
    let unit = text::assemble("a.s", &format!("{declared}{listing}"))
        .unwrap_or_else(|errors| panic!("{errors}"));
    let section = &unit.sections[0];
    let targets: Vec<&Target> = section.references.iter().map(|reference| &reference.to).collect();
    assert_eq!(
        targets,
        [&Target::Map("counts".to_owned()), &Target::Kernel("bpf_of_the_kernel".to_owned())]
    );
    assert_eq!((section.name.as_str(), section.functions[0].name.as_str()), ("xdp", "main"));
}
