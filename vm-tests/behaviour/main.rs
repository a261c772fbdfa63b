//! What the running kernel does is what docs/kernels.md says of it.

mod table;

use tcp_shunt::probe::behaviour::{Answer, Behaviour};

use table::Table;

/// The variable that makes a run write this kernel's column anew.
const UPDATE: &str = "UPDATE_KERNELS";

/// What the kernel matrix calls the kernel that it has booted; without it the kernel is the machine's own.
const SERIES: &str = "KERNEL_SERIES";

/// The column of the kernel that these tests were written on.
const MACHINE: &str = "machine";

#[test]
fn this_kernel_behaves_as_is_written_down() {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("read the kernel's release");
    let release = release.trim();
    let booted = std::env::var(SERIES).ok();
    let name = booted.as_deref().unwrap_or(MACHINE);

    let mut answers = Vec::new();
    for behaviour in Behaviour::all() {
        let answer = match behaviour.settle() {
            // In an emulated guest a time of 100 ms says little.
            Answer::No(_) if !behaviour.is_required() => behaviour.try_out(),
            answer => answer,
        };
        if let Some(detail) = answer.detail() {
            eprintln!("{behaviour}: {answer}: {detail}");
        }
        answers.push((behaviour.statement(), answer.to_string()));
    }

    let mut table = Table::read();
    if std::env::var_os(UPDATE).is_some() {
        table.set(name, release, &answers);
        return table.write();
    }
    // Of another machine's own kernel nothing is written down: there it has to be possible to tell.
    if booted.is_none() && table.release(name) != Some(release) {
        let unknown: Vec<_> = answers.iter().filter(|(_, answer)| answer == "unknown").collect();
        assert!(unknown.is_empty(), "it cannot be told on this kernel, {release}: {unknown:?}");
        return eprintln!("docs/kernels.md has no column for this kernel, {release}: {answers:#?}");
    }
    let differences: Vec<String> = answers
        .iter()
        .filter(|(statement, answer)| table.answer(name, statement) != Some(answer))
        .map(|(statement, answer)| format!("{statement}: {answer}, not {:?}", table.answer(name, statement)))
        .collect();
    let known = table.statements().filter(|statement| !answers.iter().any(|(tried, _)| tried == statement));
    let differences: Vec<String> =
        differences.into_iter().chain(known.map(|gone| format!("{gone}: not tried"))).collect();
    assert!(
        differences.is_empty(),
        "kernel {name} ({release}) is not as docs/kernels.md says:\n  {}\nif that is as it should be, write its column \
         anew: {UPDATE}=1 cargo test --test behaviour, or for a kernel of the matrix: \
         cargo run -p vm-tests -- run --kernel {name} --env {UPDATE}=1 behaviour::",
        differences.join("\n  ")
    );
}
