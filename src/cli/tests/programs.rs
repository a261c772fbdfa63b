//! `shunt programs --elf`

use std::fs;

use crate::{SHUNT, shunt, stdout_of};
use bpftool::{json, run};

#[test]
fn the_kernel_programs_are_an_object_that_bpftool_loads_with_lines_and_types() {
    let dir = tempfile::tempdir().expect("make a folder");
    let path = stdout_of(shunt(["programs", "--elf", dir.path().to_str().expect("a path")]));
    let object = fs::read(path.trim()).expect("the file that the command names");
    let commands = [
        "bpftool prog dump xlated pinned progs/shunt_send linum",
        "bpftool -j prog show pinned progs/shunt_establish",
        "bpftool -j prog run pinned progs/shunt_look data_in ../packet repeat 1",
        "bpftool -j map dump pinned maps/_data_control",
        "bpftool btf dump file ../object.o format c",
        &format!("{SHUNT} disasm ../object.o"),
    ];
    let output = run(&object, &commands);
    assert!(output[0].contains("[file:src/datapath/send.rs line_num:"), "{}", output[0]);
    assert!(output[0].contains("int shunt_send(struct sk_msg_md * context):"), "{}", output[0]);
    assert_eq!(json(&output[1])["type"], "sock_ops");
    // A packet that does not name an enrolled socket.
    assert_eq!(json(&output[2])["retval"], 0);
    let control = json(&output[3]);
    assert!(
        control[0]["formatted"]["value"][".data.control"][0]["control"].is_object(),
        "{control}"
    );
    assert!(output[4].contains("struct Lane {"), "{}", output[4]);
    // The types appear as data.
    for part in [
        "\t.section\tsk_msg,\"ax\"",
        "\t.section\tsockops,",
        "# map \"lanes\": sk_storage key=4",
        "r1 = control",
    ] {
        assert!(output[5].contains(part), "no {part} in what shunt itself reads");
    }
}
