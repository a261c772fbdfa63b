//! Runs bpftool, and with it libbpf, in a private BPF file system.

use std::fs;
use std::process::Command;

use serde_json::Value;

/// Loads an object and pins its programs in `progs` and its maps in `maps`; then runs shell
/// commands in that folder, and returns their output. `../packet` is a file of 64 bytes.
///
/// # Panics
/// If a command fails, with its output.
pub fn run(object: &[u8], commands: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("make a folder");
    let path = |name: &str| dir.path().join(name);
    fs::write(path("object.o"), object).expect("write the object");
    fs::write(path("packet"), [0; 64]).expect("write the packet");
    fs::create_dir(path("bpffs")).expect("make a folder");
    // The mount and the pins in it are private to this process and end with it.
    let mut script = "mount -t bpf bpf bpffs && cd bpffs && mkdir progs maps\n\
                      bpftool prog loadall ../object.o progs pinmaps maps\n"
        .to_owned();
    for (number, command) in commands.iter().enumerate() {
        script += &format!("{{ {command}; }} > ../{number}\n");
    }
    let ran = Command::new("unshare")
        .args(["--mount", "sh", "-euc", &script])
        .current_dir(dir.path())
        .output()
        .expect("run unshare, of util-linux");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!said.contains("bpftool: not found"), "bpftool is missing: apt-get install bpftool");
    assert!(ran.status.success(), "a command failed, or this is not root: {}\n{said}", ran.status);
    let read = |number: usize| {
        fs::read_to_string(path(&number.to_string())).expect("read what a command printed")
    };
    (0..commands.len()).map(read).collect()
}

/// Parses the output of bpftool `-j`.
pub fn json(printed: &str) -> Value {
    serde_json::from_str(printed).unwrap_or_else(|error| panic!("{error} in {printed}"))
}
