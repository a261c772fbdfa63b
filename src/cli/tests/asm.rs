//! `shunt asm`

use std::fs;
use std::path::Path;

use crate::{EXAMPLE, shunt, shunt_reading, stderr_of, stdout_of};
use bpftool::{json, run};

#[test]
fn text_becomes_an_object_that_bpftool_loads_and_the_kernel_runs() {
    let dir = tempfile::tempdir().expect("make a folder");
    let source = dir.path().join("count.s");
    fs::write(&source, EXAMPLE).expect("write the source");
    assert_eq!(stdout_of(shunt([Path::new("asm"), &source])), "");
    let object = fs::read(dir.path().join("count.o")).expect("the object beside the source");
    let run_once = "bpftool -j prog run pinned progs/count data_in ../packet repeat 3";
    let output = run(
        &object,
        &[
            run_once,
            "bpftool map dump pinned maps/packets",
            "bpftool prog dump xlated pinned progs/count linum",
        ],
    );
    assert_eq!(json(&output[0])["retval"], 2);
    assert_eq!(json(&output[1]), serde_json::json!([{"key": 0, "value": 3}]));
    assert!(output[2].contains("; lock *(u64 *)(r0 +0) += r1 [file:"), "{}", output[2]);
    assert!(output[2].contains("count.s line_num:13 "), "{}", output[2]);
}

#[test]
fn standard_input_is_assembled_into_the_named_file() {
    let dir = tempfile::tempdir().expect("make a folder");
    let object = dir.path().join("here.o");
    stdout_of(shunt_reading(EXAMPLE, &["asm", "-", "-o", object.to_str().expect("a path")]));
    assert!(fs::read(&object).expect("the object").starts_with(b"\x7fELF"));
    assert!(stderr_of(shunt_reading(EXAMPLE, &["asm", "-"])).contains("--output"));
}

#[test]
fn an_error_is_shown_in_its_line_with_a_hint_and_nothing_is_written() {
    let dir = tempfile::tempdir().expect("make a folder");
    let source = dir.path().join("wrong.s");
    fs::write(&source, ".map x hsh key=4 value=4 entries=1\n    r1 = r11\n    goto nowhere\n")
        .expect("write the source");
    let errors = stderr_of(shunt([Path::new("asm"), &source]));
    for part in [
        "wrong.s:1:8",
        "did you mean `hash`?",
        "wrong.s:2:10",
        "    r1 = r11\n",
        "     ^^^",
        "wrong.s:3:10",
        "3 errors",
    ] {
        assert!(errors.contains(part), "no {part} in\n{errors}");
    }
    assert!(!errors.contains('\x1b'), "colours are for terminals: {errors:?}");
    assert!(!dir.path().join("wrong.o").exists());
}

#[test]
fn the_source_is_not_overwritten_by_the_object() {
    let dir = tempfile::tempdir().expect("make a folder");
    let (source, link) = (dir.path().join("count.o"), dir.path().join("link.o"));
    fs::write(&source, EXAMPLE).expect("write the source");
    std::os::unix::fs::symlink(&source, &link).expect("make a link");
    let path = |path: &Path| path.to_str().expect("a path").to_owned();
    for arguments in
        [vec![path(&source)], vec![path(&link)], vec![path(&source), "-o".to_owned(), path(&link)]]
    {
        let refused = stderr_of(shunt([vec!["asm".to_owned()], arguments].concat()));
        assert!(refused.contains("would overwrite") && refused.contains("--output"), "{refused}");
        assert_eq!(fs::read_to_string(&source).expect("the source"), EXAMPLE);
    }
}

#[test]
fn a_warning_is_shown_and_the_object_is_written() {
    let text = ".license \"GPL\"\n.section \"xdp\"\n.function p\n    r0 <<= 64\n    exit\n";
    let dir = tempfile::tempdir().expect("make a folder");
    let object = dir.path().join("p.o");
    let output = shunt_reading(text, &["asm", "-", "-o", object.to_str().expect("a path")]);
    assert!(output.status.success() && object.exists());
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.starts_with("warning: the verifier rejects a shift by 64\n --> <stdin>:4:5\n"),
        "{stderr}"
    );
    assert!(stderr.ends_with("1 warning in <stdin>\n"), "{stderr}");
}

#[test]
fn an_object_that_libbpf_cannot_load_is_rejected_with_a_remedy() {
    let refused = stderr_of(shunt_reading("r0 = 0\nexit\n", &["asm", "-", "-o", "/dev/null"]));
    assert!(
        refused.contains("<stdin>:1:1") && refused.contains("write `.section \"socket\"`"),
        "{refused}"
    );
    let missing = stderr_of(shunt(["asm", "/nowhere/at-all.s"]));
    assert!(missing.contains("cannot read /nowhere/at-all.s"), "{missing}");
}

#[test]
fn the_help_shows_a_program_and_how_to_load_it() {
    let help = stdout_of(shunt(["asm", "--help"]));
    for line in EXAMPLE.lines() {
        assert!(help.lines().any(|shown| shown == line), "no line '{line}' in\n{help}");
    }
    assert!(help.contains("bpftool prog loadall count.o"), "{help}");
}
