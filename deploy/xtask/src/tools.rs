//! What tests need beside Rust: `.ci/tools`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::tier::Tier;
use crate::workspace;

/// A line of the list.
#[derive(Debug, PartialEq, Eq)]
struct Tool {
    tier: Tier,
    /// A name for PATH, or a file or folder.
    name: String,
    why: String,
}

/// Where programs are, beside PATH.
const ELSEWHERE: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/libexec"];

fn list() -> Result<Vec<Tool>> {
    let path = workspace::root()?.join(".ci/tools");
    parse(&fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?)
}

fn parse(text: &str) -> Result<Vec<Tool>> {
    let mut tools = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().with_context(|| format!(".ci/tools: too short: {line}"));
        let tier = word()?;
        let tier = Tier::named(tier).with_context(|| format!(".ci/tools: no tier: {tier}"))?;
        let (name, _packages, why) = (word()?.to_owned(), word()?, word()?.to_owned());
        tools.push(Tool { tier, name, why });
    }
    Ok(tools)
}

/// Where it is, if it is there.
fn find(name: &str) -> Option<PathBuf> {
    let home = std::env::home_dir().unwrap_or_default();
    if let Some(rest) = name.strip_prefix("~/") {
        return Some(home.join(rest)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(ELSEWHERE.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.exists())
}

/// Whether all is there that a tier needs.
///
/// # Errors
/// With what is missing.
pub fn check(tier: Tier) -> Result<()> {
    let missing: Vec<String> = list()?
        .iter()
        .filter(|tool| tier.has(tool.tier) && find(&tool.name).is_none())
        .map(|tool| format!("{} ({})", tool.name, tool.why))
        .collect();
    ensure!(
        missing.is_empty(),
        "missing for the {tier} tier: {}. Run .ci/install {tier}, as root",
        missing.join(", ")
    );
    Ok(())
}

/// The files and folders that a tier has to do without.
///
/// # Errors
/// When the list cannot be read.
pub fn hidden(tier: Tier) -> Result<Vec<PathBuf>> {
    let list = list()?;
    let needed = |path: &Path| {
        let mut own = list.iter().filter(|tool| tier.has(tool.tier));
        own.any(|tool| find(&tool.name).is_some_and(|own| same(&own, path)))
    };
    let others = list.iter().filter(|tool| !tier.has(tool.tier));
    Ok(others.filter_map(|tool| find(&tool.name)).filter(|path| !needed(path)).collect())
}

/// Whether two names lead to the same file.
fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    real(one) == real(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_tier_a_name_packages_and_a_reason() {
        let tools = parse("# comment\n\nroot clang clang,llvm whose objects are read\n");
        let (name, why) = ("clang".to_owned(), "whose objects are read".to_owned());
        assert_eq!(tools.expect("a list"), [Tool { tier: Tier::Root, name, why }]);
        assert!(parse("root clang").is_err() && parse("rot clang clang why").is_err());
        assert!(list().is_ok_and(|list| !list.is_empty()));
    }

    #[test]
    fn a_missing_tool_is_not_hidden_and_one_of_two_tiers_neither() {
        assert!(find("no-such-program").is_none() && find("/no/such/file").is_none());
        assert!(find("sh").is_some_and(|found| same(&found, &find("sh").expect("sh"))));
        for hidden in hidden(Tier::Quick).expect("a list") {
            assert!(!hidden.ends_with("cc"), "{}", hidden.display());
        }
    }
}
