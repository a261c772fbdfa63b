//! Programs of every kind, compiled by clang and LLVM, are preserved in text, and clang's own texts
//! assemble to clang's own objects. Objects are compared by their ELF content, read by `object`,
//! and by what libbpf and the kernel load.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::{fs, process};

use crate::counts::count;
use bpf_asm::elf;
use bpf_asm::text::Style;
use object::read::{Object, ObjectSection, ObjectSymbol, RelocationTarget};
use object::{File, SectionFlags, SectionKind, SymbolFlags};

/// A compiled program.
pub struct Compiled {
    /// Its source and compiler options.
    pub name: String,
    pub object: Vec<u8>,
    /// The compiler's own text for it.
    text: String,
}

pub fn run(command: &mut Command, missing: &str) -> process::Output {
    let output = command.output().unwrap_or_else(|error| panic!("{error}: {missing}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Every program of the folder: by clang with and without types, and by LLVM 22 for the newest
/// instructions.
pub static COMPILED: LazyLock<Vec<Compiled>> = LazyLock::new(compiled);

fn compiled() -> Vec<Compiled> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/elf/corpus");
    let mut sources: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    sources.sort();
    assert!(sources.len() >= 15, "{sources:?}");
    let dir = tempfile::tempdir().expect("make a folder");
    let mut all = Vec::new();
    for source in sources {
        let name = source.file_stem().expect("a name").to_string_lossy().into_owned();
        // CO-RE requires types.
        let bare: &[&[&str]] = if name == "core" { &[] } else { &[&["-mcpu=v1"]] };
        for arguments in [&["-g", "-mcpu=v3"][..]].into_iter().chain(bare.iter().copied()) {
            let clang = |kind: &str, file: &Path| {
                let mut clang = Command::new("clang");
                clang.args(["-target", "bpf", "-O2", "-Wall", "-Wno-unused", kind]).args(arguments);
                run(clang.arg(&source).arg("-o").arg(file), "apt-get install clang");
            };
            let (object, text) = (dir.path().join("program.o"), dir.path().join("program.s"));
            clang("-c", &object);
            clang("-S", &text);
            all.push(Compiled {
                name: format!("{name}, clang {}", arguments.join(" ")),
                object: fs::read(&object).expect("the object"),
                text: fs::read_to_string(&text).expect("the text"),
            });
        }
        let ir = dir.path().join("program.ll");
        let mut clang = Command::new("clang");
        clang
            .args(["-target", "bpf", "-O2", "-g", "-S", "-emit-llvm"])
            .arg(&source)
            .arg("-o")
            .arg(&ir);
        run(&mut clang, "apt-get install clang");
        let llc = |kind: &str| {
            let mut llc = Command::new("/usr/lib/llvm-22/bin/llc");
            llc.args(["-march=bpfel", "-mcpu=v4", kind, "-o", "-"]).arg(&ir);
            run(&mut llc, "apt-get install llvm-22").stdout
        };
        all.push(Compiled {
            name: format!("{name}, LLVM 22 -mcpu=v4"),
            object: llc("-filetype=obj"),
            text: String::from_utf8(llc("-filetype=asm")).expect("text"),
        });
    }
    all
}

/// The loaded parts of an object as text: bytes with their relocations, symbols, types and lines.
fn parts(bytes: &[u8]) -> BTreeSet<String> {
    let file = File::parse(bytes).expect("an object");
    let mut parts = BTreeSet::new();
    for section in file.sections() {
        let name = section.name().expect("a name");
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else { panic!("no ELF") };
        let types = name == ".BTF" || name == ".BTF.ext";
        if !types && (sh_flags.0 & 2 == 0 || section.size() == 0) {
            continue;
        }
        let nobits = section.kind() == SectionKind::UninitializedData;
        let mut data = if nobits {
            vec![0; section.size() as usize]
        } else {
            section.data().expect("bytes").to_vec()
        };
        for (offset, relocation) in section.relocations().filter(|_| !types) {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!("no symbol") };
            let symbol = file.symbol_by_index(symbol).expect("a symbol");
            let code = sh_flags.0 & 4 != 0;
            let word = offset as usize + if code { 4 } else { 0 };
            let added =
                i64::from(i32::from_le_bytes(data[word..word + 4].try_into().expect("four bytes")));
            let call = code && data[offset as usize] == 0x85;
            let added = if call { (added + 1) * 8 } else { added };
            data[word..word + 4].fill(0);
            let place = symbol
                .section_index()
                .map(|section| file.section_by_index(section).expect("a section"));
            let to = match &place {
                Some(place) => {
                    format!("{} {}", place.name().expect("a name"), symbol.address() as i64 + added)
                }
                None => format!("{} {added}", symbol.name().expect("a name")),
            };
            parts.insert(format!("{name} {offset}: {:?} to {to}", relocation.flags()));
        }
        parts.insert(format!("{name} {:#x} {nobits} {data:?}", sh_flags.0));
    }
    for symbol in file.symbols() {
        let SymbolFlags::Elf { st_info, st_other } = symbol.flags() else { continue };
        let (binding, kind) = (st_info.0 >> 4, st_info.0 & 15);
        // Sections, files, and compiler-generated labels.
        if matches!(kind, 3 | 4) || kind == 0 && binding == 0 {
            continue;
        }
        let name = symbol.name().expect("a name");
        let section = symbol
            .section_index()
            .map(|section| file.section_by_index(section).expect("a section"));
        let section = section.map(|section| section.name().expect("a name").to_owned());
        let place = (symbol.address(), symbol.size(), st_other.0);
        parts.insert(format!("symbol {name} in {section:?}: {binding} {kind} {place:?}"));
    }
    parts
}

fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> String {
    let short = |part: &String| part.chars().take(300).collect::<String>();
    let lost: Vec<String> = before.difference(after).map(short).collect();
    let new: Vec<String> = after.difference(before).map(short).collect();
    if lost.is_empty() && new.is_empty() {
        String::new()
    } else {
        format!("lost: {lost:#?}\nnew: {new:#?}")
    }
}

/// Whether a text assembles to the object that it is of, and if not, why.
pub fn assembles_to(object: &[u8], text: &str) -> Result<(), String> {
    let again = elf::assemble("again.s", text).map_err(|errors| errors.to_string())?;
    let differs = difference(&parts(object), &parts(&again.object));
    if differs.is_empty() { Ok(()) } else { Err(differs) }
}

/// The same of the text that an object is disassembled to.
pub fn comes_back(object: &[u8], style: &Style) -> Result<(), String> {
    let text = elf::disassemble(object, style).map_err(|error| error.to_string())?;
    assembles_to(object, &text)
}

#[test]
fn every_object_is_preserved_in_text() {
    let (mut back, mut wrong) = (0, Vec::new());
    for Compiled { name, object, .. } in COMPILED.iter() {
        for style in [Style::default(), Style { slots: true, bytes: true, lines: true }] {
            match comes_back(object, &style) {
                Ok(()) => back += 1,
                Err(reason) => wrong.push(format!("{name}: {reason}")),
            }
        }
    }
    // None is rejected and none differs; more programs increase the number.
    assert!(
        wrong.is_empty(),
        "{back} are preserved, {} are not:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    count("objects that come back from text", back);
}

#[test]
fn a_text_of_the_compiler_assembles_to_its_own_object() {
    let (mut right, mut wrong) = (0, Vec::new());
    for Compiled { name, object, text } in COMPILED.iter() {
        match assembles_to(object, text) {
            Ok(()) => right += 1,
            Err(reason) => wrong.push(format!("{name}: {reason}")),
        }
    }
    assert!(wrong.is_empty(), "{right} are right, {} not:\n{}", wrong.len(), wrong.join("\n"));
    count("texts of compilers that assemble to their objects", right);
}

#[test]
fn llvm_reads_the_text_of_a_disassembled_object() {
    let dir = tempfile::tempdir().expect("make a folder");
    let (text, object) = (dir.path().join("again.s"), dir.path().join("again.o"));
    let mut read = 0;
    for Compiled { name, object: before, .. } in COMPILED.iter() {
        fs::write(&text, elf::disassemble(before, &Style::default()).expect("a text"))
            .expect("write it");
        let mut mc = Command::new("llvm-mc-22");
        mc.args(["-triple", "bpfel", "-mcpu=v4", "-filetype=obj"])
            .arg(&text)
            .arg("-o")
            .arg(&object);
        run(&mut mc, "apt-get install llvm-22");
        let again = fs::read(&object).expect("the object");
        let differs = difference(&parts(before), &parts(&again));
        assert!(differs.is_empty(), "{name}: {differs}");
        read += 1;
    }
    count("texts that LLVM assembles to their objects", read);
}

/// How libbpf and the kernel load an object: each program's type, name and tag, and each map with
/// its content; or that they reject it.
fn loaded(object: &[u8]) -> Result<String, String> {
    let dir = tempfile::tempdir().expect("make a folder");
    fs::write(dir.path().join("object.o"), object).expect("write the object");
    fs::create_dir(dir.path().join("bpffs")).expect("make a folder");
    // The mount and the pins in it are private to this process and end with it.
    let script = r#"
        # Also where maps are pinned that say so themselves: nothing outlives the process.
        mount -t bpf bpf bpffs && mkdir -p /sys/fs/bpf && mount --bind bpffs /sys/fs/bpf && cd bpffs && mkdir progs maps || exit 1
        bpftool prog loadall ../object.o progs pinmaps maps 2>../said ||
            { rm -rf progs maps; mkdir progs maps; bpftool prog loadall ../object.o progs 2>>../said; } || exit 7
        mv ./*_counter maps/ 2>/dev/null
        for file in progs/* maps/*; do
            kind=${file%%s/*}
            case $kind in prog) show=prog;; *) show=map;; esac
            [ -e "$file" ] || continue
            echo "$file"
            bpftool $show show pinned "$file" | sed -E 's/^[0-9]+: //; s/loaded_at.*//; s/pids .*//; s/map_ids .*//; s/btf_id .*//'
            # What maps of maps and of programs hold has another number each time.
            [ $show = prog ] || case "$(bpftool map show pinned "$file")" in
                *_of_maps*|*prog_array*) bpftool map dump pinned "$file" | grep -cE 'id|value' || true;;
                *) bpftool map dump pinned "$file" 2>&1;;
            esac
        done
        true"#;
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-uc", script])
        .current_dir(dir.path())
        .output();
    let ran = ran.expect("run unshare, of util-linux");
    match ran.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&ran.stdout).into_owned()),
        Some(7) => Err(fs::read_to_string(dir.path().join("said")).unwrap_or_default()),
        _ => panic!(
            "bpftool is missing, or this is not root: {}",
            String::from_utf8_lossy(&ran.stderr)
        ),
    }
}

#[test]
fn an_object_from_text_is_loaded_like_the_original() {
    let (mut alike, mut refused) = (Vec::new(), Vec::new());
    for Compiled { name, object, .. } in
        COMPILED.iter().filter(|compiled| compiled.name.contains("-g"))
    {
        let text = elf::disassemble(object, &Style::default()).expect("a text");
        let again = elf::assemble("again.s", &text)
            .unwrap_or_else(|errors| panic!("{name}: {errors}"))
            .object;
        match (loaded(object), loaded(&again)) {
            (Ok(first), Ok(second)) => {
                assert_eq!(first, second, "{name}");
                alike.push(name);
            }
            (Err(first), Err(second)) => {
                let last = |said: &str| said.lines().last().unwrap_or_default().to_owned();
                assert_eq!(last(&first), last(&second), "{name}");
                refused.push(format!("{name}: {}", last(&first)));
            }
            (first, second) => panic!("{name}: {first:?}, and again {second:?}"),
        }
    }
    // This kernel and libbpf do not load all of them, such as legacy maps and types of modules.
    assert!(alike.len() >= 12, "alike: {alike:?}; rejected both times: {refused:?}");
}

#[test]
fn function_and_line_info_moves_with_its_instructions_when_the_text_is_changed() {
    let name = "core, clang -g -mcpu=v3";
    let core = COMPILED.iter().find(|compiled| compiled.name == name).expect(name);
    let text =
        elf::disassemble(&core.object, &Style::default()).unwrap_or_else(|error| panic!("{error}"));
    let longer = text.replacen("\nlook:\n", "\nlook:\n\tr0 = 0\n\tr0 = 0\n", 1);
    assert_ne!(longer, text);
    let again =
        elf::assemble("longer.s", &longer).unwrap_or_else(|errors| panic!("{errors}")).object;
    let lines = |object: &[u8]| -> Vec<(usize, u32)> {
        let unit = elf::read(object).unwrap_or_else(|error| panic!("{error}"));
        unit.sections[0].lines.iter().map(|line| (line.slot, line.line)).collect()
    };
    let moved: Vec<_> = lines(&core.object)
        .into_iter()
        .map(|(slot, line)| (if slot == 0 { 0 } else { slot + 2 }, line))
        .collect();
    // Function info stays at the start of the function, as the kernel requires.
    assert!(moved.len() > 10);
    assert_eq!(lines(&again), moved);
    // CO-RE relocations also move: libbpf finds them at their instructions.
    let loaded = loaded(&again).unwrap_or_else(|said| panic!("{said}"));
    assert!(loaded.contains("raw_tracepoint  name look"), "{loaded}");
}

#[test]
fn a_unit_reports_what_it_lacks_of_an_object() {
    let mut said = Vec::new();
    for Compiled { name, object, .. } in
        COMPILED.iter().filter(|compiled| compiled.name.contains("clang -g"))
    {
        let unit = elf::read(object).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(elf::write(&unit).is_err(), unit.incomplete.is_some(), "{name}");
        let program = name.split(',').next().unwrap_or_default();
        said.push((program, unit.incomplete.unwrap_or_default()));
    }
    for (program, word) in [
        ("pinned", "symbol `_license`"),
        ("core", "CO-RE"),
        ("functions", "section `.bss`"),
        ("struct_ops", "section `.struct_ops`"),
        ("inner", "section `.maps`"),
        ("bare", "its types"),
    ] {
        let (_, reason) = said.iter().find(|(known, _)| *known == program).expect(program);
        assert!(reason.contains(word), "{program}: {reason}");
    }
}
