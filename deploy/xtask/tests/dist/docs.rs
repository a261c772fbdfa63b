use std::fs;

use xtask::workspace;

use crate::tool::assert_understood;

fn page(name: &str) -> String {
    let path = workspace::root().expect("the workspace").join("docs").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

#[test]
fn every_test_that_the_security_model_rests_on_exists() {
    let page = page("security.md");
    let tests = page.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::"));
    let mut found = 0;
    for (file, test) in tests {
        let path = workspace::root()
            .expect("the workspace")
            .join(format!("vm-tests/connections/{file}.rs"));
        let source = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("read {}: {error}", path.display()));
        assert!(source.contains(&format!("#[test]\nfn {test}()")), "{file}.rs has no test {test}");
        found += 1;
    }
    assert!(found >= 10, "{found} tests are named");
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
