use std::fs;

use xtask::workspace;

use crate::tool::assert_understood;

fn page(name: &str) -> String {
    let path = workspace::root().expect("the workspace").join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Quoted names of tests in `vm-tests/connections/`, each as its file and its function.
fn named(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::"))
}

#[test]
fn every_test_that_the_security_model_and_the_differences_rest_on_exists() {
    let pages = ["security.md", "differences.md"].map(page);
    let mut found = 0;
    for (file, test) in pages.iter().flat_map(|page| named(page)) {
        let path = workspace::root()
            .expect("the workspace")
            .join(format!("vm-tests/connections/{file}.rs"));
        let source = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "{file}.rs has no test {test}");
        found += 1;
    }
    assert!(found >= 30, "{found} tests are named");
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
