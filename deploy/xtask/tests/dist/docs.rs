use std::fs;

use xtask::workspace;

use crate::tool::assert_understood;

fn page(name: &str) -> String {
    let path = workspace::root().expect("the workspace").join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Quoted names of tests in `vm-tests/connections/`, each as its file and its function.
fn named(page: &str) -> impl Iterator<Item = (&str, &str)> {
    quoted(page).filter_map(|quoted| quoted.split_once("::"))
}

fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.split('`').skip(1).step_by(2)
}

/// Quoted names of tests that stand before the quoted file that they are in.
fn named_in_files(page: &str) -> Vec<(&str, &str)> {
    let quoted: Vec<&str> = quoted(page).collect();
    let pairs = quoted.windows(2).map(|pair| (pair[1], pair[0]));
    pairs.filter(|(file, test)| file.ends_with(".rs") && is_function(test)).collect()
}

/// A name of several words: those of tests are statements.
fn is_function(name: &str) -> bool {
    name.matches('_').count() >= 3 && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

fn assert_has_test(path: &str, test: &str) {
    let source = fs::read_to_string(workspace::root().expect("the workspace").join(path))
        .unwrap_or_else(|error| panic!("read {path}: {error}"));
    let definition = format!("fn {test}()");
    let mut lines = source.lines().map(str::trim);
    let found =
        lines.any(|line| line == "#[test]") && lines.any(|line| line.starts_with(&definition));
    assert!(found, "{path} has no test {test}");
}

#[test]
fn every_test_that_the_security_model_and_the_differences_rest_on_exists() {
    let pages = ["security.md", "differences.md"].map(page);
    let mut found = 0;
    for (file, test) in pages.iter().flat_map(|page| named(page)) {
        assert_has_test(&format!("vm-tests/connections/{file}.rs"), test);
        found += 1;
    }
    assert!(found >= 30, "{found} tests are named");
    let elsewhere: Vec<_> = pages.iter().flat_map(|page| named_in_files(page)).collect();
    assert!(!elsewhere.is_empty(), "no test elsewhere is named");
    for (path, test) in elsewhere {
        assert_has_test(path, test);
    }
}

#[test]
fn every_test_of_an_upgrade_that_is_named_exists() {
    let source = workspace::root().expect("the workspace").join("vm-tests/applications");
    let source = fs::read_to_string(source.join("upgrading.rs")).expect("read the tests");
    let page = page("upgrading.md");
    let tests = page.split('`').skip(1).step_by(2).filter(|name| name.starts_with("an_upgrade"));
    let tests: Vec<&str> = tests.collect();
    assert_eq!(tests.len(), source.matches("#[test]").count());
    for test in tests {
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "there is no test {test}");
    }
}

#[test]
fn shunt_takes_every_command_that_the_pages_show() {
    let mut shown = 0;
    for name in ["install.md", "troubleshooting.md"] {
        for line in page(name).lines().filter_map(|line| line.strip_prefix("# shunt ")) {
            let command = line.split(" #").next().unwrap_or(line);
            assert_understood(&command.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
            shown += 1;
        }
    }
    assert!(shown >= 4, "{shown} commands are shown");
}
