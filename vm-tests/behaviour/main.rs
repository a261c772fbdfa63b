//! What the running kernel does is what docs/kernels.md says of it.

use tcp_shunt::probe::behaviour::{Answer, Behaviour};

use testkit::kernels::Table;

/// The variable that makes a run write this kernel's column anew.
const UPDATE: &str = "UPDATE_KERNELS";

/// What the kernel matrix calls the kernel that it has booted; without it the kernel is the
/// machine's own.
const SERIES: &str = "KERNEL_SERIES";

/// The column of the kernel that these tests were written on.
const MACHINE: &str = "machine";

#[test]
fn this_kernel_behaves_as_is_written_down() {
    let release =
        std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("read the kernel's release");
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
    let written_down = booted.is_some() || table.release(name) == Some(release);
    let differences = if written_down {
        differences(&table, name, &answers)
    } else {
        unlike_all(&table, &answers)
    };
    let known =
        table.statements().filter(|statement| !answers.iter().any(|(tried, _)| tried == statement));
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

/// What is not as it is written down for this kernel.
fn differences(table: &Table, name: &str, answers: &[(&str, String)]) -> Vec<String> {
    let differs =
        answers.iter().filter(|(statement, answer)| table.answer(name, statement) != Some(answer));
    differs
        .map(|(statement, answer)| {
            format!("{statement}: {answer}, not {:?}", table.answer(name, statement))
        })
        .collect()
}

/// What is not as on the kernels that shunt runs on. Of another machine's own kernel nothing is
/// written down: it has to do what shunt needs, and what all of those do; in what they differ it
/// may be like either, as long as it can be told.
fn unlike_all(table: &Table, answers: &[(&str, String)]) -> Vec<String> {
    let needs = || Behaviour::all().filter(|behaviour| behaviour.is_required());
    let yes = |answer: Option<&String>| answer.is_some_and(|answer| answer == "yes");
    let supported =
        |kernel: &str| needs().all(|behaviour| yes(table.answer(kernel, behaviour.statement())));
    assert!(
        table.kernels().any(supported),
        "docs/kernels.md has no kernel that does what shunt needs"
    );
    let mut unlike = Vec::new();
    for (statement, answer) in answers {
        let needed = needs().any(|behaviour| behaviour.statement() == *statement);
        match table.common_answer(statement, supported) {
            _ if needed && answer != "yes" => {
                unlike.push(format!("{statement}: {answer}, and shunt needs it"))
            }
            Some(common) if common != answer => {
                unlike.push(format!("{statement}: {answer}, not {common} as elsewhere"))
            }
            None if answer == "unknown" => unlike.push(format!("{statement}: it cannot be told")),
            None if !table.statements().any(|row| row == *statement) => {
                unlike.push(format!("{statement}: no row"))
            }
            _ => {}
        }
    }
    unlike
}

#[test]
fn a_kernel_that_is_not_written_down_is_held_to_what_the_others_have_in_common() {
    let table = Table::read();
    let as_on = |kernel: &str| -> Vec<(&str, String)> {
        let answer = |statement| table.answer(kernel, statement).cloned().unwrap_or_default();
        Behaviour::all()
            .map(|behaviour| (behaviour.statement(), answer(behaviour.statement())))
            .collect()
    };
    for kernel in ["6.12", "6.18", "7"] {
        assert_eq!(unlike_all(&table, &as_on(kernel)), Vec::<String>::new(), "{kernel}");
    }
    // It lacks what shunt needs.
    assert!(unlike_all(&table, &as_on("6.1")).iter().any(|found| found.contains("shunt needs it")));
    for (place, (statement, answer)) in as_on("6.12").iter().enumerate() {
        let mut answers = as_on("6.12");
        answers[place].1 = if answer == "yes" { "no" } else { "yes" }.into();
        let same = ["6.18", "7", MACHINE]
            .iter()
            .all(|kernel| table.answer(kernel, statement) == Some(answer));
        assert_eq!(unlike_all(&table, &answers).len(), usize::from(same), "{statement}");
        answers[place].1 = "unknown".into();
        assert_eq!(unlike_all(&table, &answers).len(), 1, "{statement}");
    }
    let mut answers = as_on("6.12");
    answers.push(("is new", "yes".into()));
    assert_eq!(unlike_all(&table, &answers), ["is new: no row"]);
}
