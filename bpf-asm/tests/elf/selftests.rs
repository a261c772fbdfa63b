//! The kernel's own BPF programs for tests (`tools/testing/selftests/bpf/progs`), from Debian's
//! package of its source: written by others, for everything that the kernel can do.
//!
//! Each is compiled by the oldest and by the newest clang, with the types of the running kernel
//! where it includes them. What a clang does not compile by way of its own text is not counted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use bpf_asm::text::Style;

use crate::corpus::{assembles_to, comes_back, run};

const SOURCE: &str = "/usr/src/linux-source-6.1.tar.xz";
const FOLDER: &str = "linux-source-6.1/tools/testing/selftests/bpf";

/// The compilers, and how many of the sources each takes at least: 472 and 469 of 497 when this was
/// written. A later source, or the types of another kernel, may change that by a few.
const COMPILERS: [(&str, usize); 2] = [("clang", 465), ("clang-22", 460)];

/// The sources, unpacked, and the types of this kernel beside them.
fn unpacked() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("make a folder");
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--file", SOURCE, "--wildcards", &format!("{FOLDER}/*.[ch]")]);
    run(tar.current_dir(&dir), "apt-get install linux-source-6.1 xz-utils");
    let mut bpftool = Command::new("bpftool");
    bpftool.args(["btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"]);
    let types = run(&mut bpftool, "apt-get install bpftool").stdout;
    fs::write(dir.path().join("vmlinux.h"), types).expect("write the types");
    dir
}

/// What a compiler makes of a source: an object and its text. None if it rejects it.
fn compiled(compiler: &str, source: &Path, dir: &Path) -> Option<(Vec<u8>, String)> {
    let machine_headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let own_headers = format!("-I{}", dir.join(FOLDER).display());
    let types = format!("-I{}", dir.display());
    let name = source.file_stem().expect("a name").to_string_lossy();
    let (text, object) =
        (dir.join(format!("{name}, {compiler}.s")), dir.join(format!("{name}, {compiler}.o")));
    let target = ["-target", "bpf", "-mcpu=v3", "-w"];
    let done = |clang: &mut Command| {
        clang.output().unwrap_or_else(|error| panic!("{compiler}: {error}")).status.success()
    };
    let mut clang = Command::new(compiler);
    clang.args(target).args(["-g", "-O2", "-D__TARGET_ARCH_x86"]);
    clang.args([&own_headers, &types, &machine_headers]).arg("-S").arg(source);
    let mut assembler = Command::new(compiler);
    assembler.args(target).arg("-c").arg(&text).arg("-o").arg(&object);
    (done(clang.arg("-o").arg(&text)) && done(&mut assembler)).then(|| {
        let text = fs::read_to_string(text).expect("read its text");
        (fs::read(object).expect("the object"), text)
    })
}

/// What became of the programs of a compiler.
#[derive(Default)]
struct Judged {
    compiled: usize,
    wrong: Vec<String>,
}

#[test]
fn the_kernels_own_programs_come_back_from_text_and_so_do_the_texts_of_their_compilers() {
    let dir = unpacked();
    let entries = fs::read_dir(dir.path().join(FOLDER).join("progs")).expect("the programs");
    let mut sources: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    let judged =
        COMPILERS.map(|(compiler, least)| (compiler, least, Mutex::new(Judged::default())));
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            for (compiler, _, judged) in &judged {
                let Some((object, text)) = compiled(compiler, source, dir.path()) else { continue };
                let name = source.file_name().expect("a name").to_string_lossy();
                let both = [
                    ("", comes_back(&object, &Style::default())),
                    ("the text of ", assembles_to(&object, &text)),
                ];
                let wrong = both.into_iter().filter_map(|(of, judgement)| {
                    Some(format!("{of}{name}: {}", judgement.err()?))
                });
                let mut all = judged.lock().expect("no other thread has failed");
                all.compiled += 1;
                all.wrong.extend(wrong);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, |number| number.get()) {
            scope.spawn(work);
        }
    });
    for (compiler, least, judged) in judged {
        let Judged { compiled, wrong } = judged.into_inner().expect("no thread failed");
        println!("{compiler} compiles {compiled} of {}", sources.len());
        assert!(compiled >= least, "{compiler} compiles {compiled} of {}", sources.len());
        assert!(
            wrong.is_empty(),
            "{compiler}: {} do not come back:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}
