//! Real programs, as they are installed by `.ci/install`.

use super::*;

/// Judges a program and the libraries that the dynamic linker would load for it.
fn linked(examiner: &mut Examiner, program: &Path) -> Vec<(PathBuf, Result<Finding, Error>)> {
    let listed = std::process::Command::new("ldd").arg(program).output().expect("ldd");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let libraries = listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from);
    std::iter::once(program.to_owned())
        .chain(libraries)
        .map(|path| {
            let (file, identity) = open(&path).expect("open");
            let finding = examiner.judge(&file, identity, &path, false);
            (path, finding)
        })
        .collect()
}

#[test]
fn look() {
    let mut examiner = Examiner::new();
    for path in std::env::var("LOOK").unwrap_or_default().split_whitespace() {
        let started = std::time::Instant::now();
        let all = linked(&mut examiner, Path::new(path));
        println!("{path} {:?}", started.elapsed());
        for (path, finding) in all {
            match finding {
                Ok(Finding { reads: Reads::Receives, .. }) => {}
                other => println!("    {} {other:?}", path.display()),
            }
        }
    }
    for pid in std::env::var("PIDS").unwrap_or_default().split_whitespace() {
        println!("{pid} {:?}", examiner.examine(pid.parse().unwrap()));
    }
}
