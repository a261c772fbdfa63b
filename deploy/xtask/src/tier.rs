//! The tiers of tests: what a machine has to have for them.
//!
//! A test is in the quick tier unless its package names it, or its test target, or a module of one,
//! in `[package.metadata.tiers]`. So the tier is stated in one place, and a wrong statement shows:
//! what needs more than its tier has fails there ([`crate::test`]), and an entry that names nothing
//! is an error.

use std::fmt;

use clap::ValueEnum;

/// What a machine has to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Tier {
    /// Rust and a linker: most of the logic, without privileges
    Quick,
    /// Root on a kernel that shunt supports, LLVM and bpftool: this kernel
    Root,
    /// Servers, proxies, databases, container engines, systemd: what others run
    Applications,
    /// virtme-ng and its kernels: the other kernels
    Matrix,
    /// A cross compiler, QEMU and a kernel for arm64: the other architecture
    Arm64,
}

impl Tier {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Root => "root",
            Self::Applications => "applications",
            Self::Matrix => "matrix",
            Self::Arm64 => "arm64",
        }
    }

    /// The tier of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|tier| tier.name() == name)
    }

    /// Whether a machine for this tier has what `other` needs.
    pub fn has(self, other: Self) -> bool {
        other == self || other < self.min(Self::Applications)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a package says of its tests.
#[derive(Debug, Default)]
pub struct Statement(Vec<(String, Tier)>);

impl Statement {
    /// Reads `package.metadata`.
    ///
    /// # Errors
    /// With what is wrong in it.
    pub fn read(metadata: &serde_json::Value) -> Result<Self, String> {
        let Some(tiers) = metadata.get("tiers") else { return Ok(Self::default()) };
        let tiers = tiers.as_object().ok_or("metadata.tiers is not a table")?;
        let mut entries = Vec::new();
        for (name, tests) in tiers {
            let tier = Tier::named(name).ok_or_else(|| format!("there is no tier {name}"))?;
            let tests = tests.as_array().ok_or_else(|| format!("{name} is not a list"))?;
            for test in tests {
                let test = test.as_str().ok_or_else(|| format!("{name}: {test} is no name"))?;
                entries.push((test.to_owned(), tier));
            }
        }
        Ok(Self(entries))
    }

    /// The tier of a test, by the path that begins with its target. The longest entry counts.
    pub fn tier(&self, test: &str) -> Tier {
        let entries = self.0.iter().filter(|(entry, _)| covers(entry, test));
        entries.max_by_key(|(entry, _)| entry.len()).map_or(Tier::Quick, |&(_, tier)| tier)
    }

    /// Whether a target may have tests of this tier.
    pub fn may_have(&self, target: &str, tier: Tier) -> bool {
        self.tier(target) == tier
            || self.0.iter().any(|(entry, of)| *of == tier && covers(target, entry))
    }

    /// The entries that name none of `tests` though they name something in `target`.
    pub fn idle<'a>(&'a self, target: &str, tests: &[String]) -> Vec<&'a str> {
        let entries = self.0.iter().map(|(entry, _)| entry.as_str());
        entries
            .filter(|entry| covers(target, entry))
            .filter(|entry| !tests.iter().any(|test| covers(entry, test)))
            .collect()
    }

    /// The entries that are about none of these targets.
    pub fn homeless<'a>(&'a self, targets: &[&str]) -> Vec<&'a str> {
        let entries = self.0.iter().map(|(entry, _)| entry.as_str());
        entries.filter(|entry| !targets.iter().any(|target| covers(target, entry))).collect()
    }
}

/// Whether a path is `entry` or in it.
fn covers(entry: &str, path: &str) -> bool {
    path.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn statement() -> Statement {
        let tiers = json!({"tiers": {"root": ["a", "lib::x"], "applications": ["lib::x::y"]}});
        Statement::read(&tiers).expect("a statement")
    }

    #[test]
    fn a_test_is_quick_unless_an_entry_names_it_and_the_longest_entry_counts() {
        for (test, tier) in [
            ("lib::w::test", Tier::Quick),
            ("lib::xx::test", Tier::Quick),
            ("lib::x::test", Tier::Root),
            ("lib::x::y::test", Tier::Applications),
            ("lib::x::yy", Tier::Root),
            ("a::anything", Tier::Root),
            ("ab::anything", Tier::Quick),
        ] {
            assert_eq!(statement().tier(test), tier, "{test}");
        }
        let may = |target, tier| statement().may_have(target, tier);
        assert!(
            may("lib", Tier::Quick) && may("lib", Tier::Root) && may("lib", Tier::Applications)
        );
        assert!(may("a", Tier::Root) && !may("a", Tier::Quick) && !may("lib", Tier::Matrix));
    }

    #[test]
    fn a_tier_has_the_same_name_on_the_command_line_and_in_a_statement() {
        for &tier in Tier::value_variants() {
            assert_eq!(Tier::from_str(tier.name(), false), Ok(tier));
            assert_eq!(Tier::named(tier.name()), Some(tier));
        }
    }

    #[test]
    fn an_entry_that_names_no_test_or_no_target_is_found() {
        let tests = ["lib::x::test".to_owned()];
        assert_eq!(statement().idle("lib", &tests), ["lib::x::y"]);
        assert_eq!(statement().homeless(&["lib"]), ["a"]);
        assert!(Statement::read(&json!({"tiers": {"rot": []}})).is_err());
        assert!(Statement::read(&json!({"tiers": {"root": [1]}})).is_err());
        assert!(Statement::read(&json!(null)).expect("no statement").0.is_empty());
    }

    #[test]
    fn virtual_machines_need_no_applications_and_each_tier_what_the_lower_ones_need() {
        let has = |tier: Tier| -> Vec<Tier> {
            Tier::value_variants().iter().copied().filter(|&other| tier.has(other)).collect()
        };
        assert_eq!(has(Tier::Quick), [Tier::Quick]);
        assert_eq!(has(Tier::Root), [Tier::Quick, Tier::Root]);
        assert_eq!(has(Tier::Applications), [Tier::Quick, Tier::Root, Tier::Applications]);
        assert_eq!(has(Tier::Matrix), [Tier::Quick, Tier::Root, Tier::Matrix]);
        assert_eq!(has(Tier::Arm64), [Tier::Quick, Tier::Root, Tier::Arm64]);
    }
}
