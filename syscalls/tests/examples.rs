//! The examples run as described, match the README of bpf-asm, and have C equivalents that compile.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Those that bpf-asm's README shows, and that are in C, too.
const EXAMPLES: [&str; 3] = ["socket_filter", "xdp_counter", "connect_guard"];
/// Those that the README of this crate shows.
const BY_TYPE: [&str; 3] = ["tc", "kprobe", "lsm"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The README of a crate.
fn readme(crate_folder: &str) -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(crate_folder).join("README.md"))
}

/// The output of an example.
fn output(example: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let built = test.ancestors().nth(2).unwrap().join("examples").join(example);
    assert!(built.exists(), "{example} is not built; run: cargo build -p bpf-syscalls --examples");
    let run = Command::new(built).output().unwrap();
    let output = String::from_utf8(run.stdout).unwrap();
    let errors = String::from_utf8_lossy(&run.stderr);
    assert!(
        run.status.success(),
        "the examples load programs and make namespaces and cgroups: run this as root\n{errors}"
    );
    output
}

#[test]
fn a_filtered_socket_receives_what_is_short() {
    let output = output("socket_filter");
    let program =
        output.strip_suffix("received: this one fits\n").unwrap_or_else(|| panic!("{output}"));
    assert!(
        readme("bpf-asm").contains(program),
        "README.md does not show what the filter becomes:\n{program}"
    );
}

/// Each datagram has 14 + 20 + 8 bytes of headers.
#[test]
fn the_packets_of_a_device_are_counted() {
    let output = output("xdp_counter");
    assert!(
        output.contains("call bpf_map_lookup_elem#1\n") && output.contains("map[name:received]"),
        "{output}"
    );
    assert!(output.ends_with("\nreceived: 5 packets, 500 bytes\n"), "{output}");
}

#[test]
fn a_process_in_the_cgroup_cannot_connect_to_a_refused_port() {
    let output = output("connect_guard");
    let (program, after) = output.split_once("127.0.0.1").unwrap_or_else(|| panic!("{output}"));
    assert!(program.contains("lock *(u64 *)"), "{output}");
    let lines: Vec<&str> = after.lines().collect();
    assert!(lines[0].ends_with(": connected"), "{output}");
    assert!(lines[1].contains("(os error 1)"), "{output}");
    assert_eq!(lines[2..], ["refused: 1"], "{output}");
}

#[test]
fn datagrams_for_a_closed_port_do_not_arrive() {
    let output = output("tc");
    let ending = "\nclosed: WouldBlock\nopen: 10 bytes\ndropped: 1\n";
    assert!(output.ends_with(ending), "{output}");
}

#[test]
fn calls_are_counted_by_their_first_argument() {
    let output = output("kprobe");
    let kernel = output.lines().rev().nth(1).unwrap_or_default();
    // An address family and a number of calls, or what is missing.
    assert!(
        kernel.starts_with("__sys_socket: [(") || kernel.contains("CONFIG_KPROBE_EVENTS"),
        "{output}"
    );
    assert!(output.ends_with("\ndouble: [(7, 3), (9, 1)]\n"), "{output}");
}

#[test]
fn a_process_cannot_make_sockets_or_is_told_why_it_can() {
    let output = output("lsm");
    let refused =
        output.ends_with("\nattached: Operation not permitted (os error 1)\ndetached: made\n");
    let last = output.lines().last().unwrap_or_default();
    let told = last.starts_with("not called: ") && last.contains("boot with lsm=");
    let policy = last.starts_with("not loaded: the security policy");
    assert!(refused || told || policy, "{output}");
}

#[test]
fn the_readmes_show_the_examples_as_they_are() {
    for (folder, examples) in [("bpf-asm", EXAMPLES), ("syscalls", BY_TYPE)] {
        let readme = readme(folder);
        for example in examples {
            let source = text(&self::folder().join(example).with_extension("rs"));
            let start = source.find("fn program(").expect("every example has a program");
            let end = start + source[start..].find("\n}\n").expect("it ends") + 3;
            assert!(
                readme.contains(&source[start..end]),
                "{folder}/README.md does not show the program of {example} as it is"
            );
        }
    }
}

#[test]
fn the_c_equivalent_of_each_example_compiles() {
    let made = tempfile::tempdir().unwrap();
    for example in EXAMPLES {
        let machine_headers = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        let clang = Command::new("clang")
            .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", &machine_headers, "-c", "-o"])
            .arg(made.path().join(example))
            .arg(folder().join("c").join(example).with_extension("c"))
            .output()
            .expect("this test compiles C: apt-get install clang linux-libc-dev");
        assert!(clang.status.success(), "{example}: {}", String::from_utf8_lossy(&clang.stderr));
    }
}
