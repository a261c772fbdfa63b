//! What is linked into the binary.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{CargoOpt, DependencyKind, MetadataCommand, PackageId};

use crate::target::Target;
use crate::workspace;

/// A part of the binary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// As its registry has it.
    pub name: String,
    /// The one in the lock file.
    pub version: String,
    /// An SPDX expression.
    pub licence: String,
    /// Where its source is, for what comes from a registry or this workspace.
    pub source: Option<PathBuf>,
    /// SHA-256 of the package as its registry has it.
    pub checksum: Option<String>,
    /// The names and versions of what it depends on.
    pub depends_on: BTreeSet<(String, String)>,
}

/// The crates of this workspace and of the registry, the standard library, and the C library, which
/// are linked in for one of these targets.
///
/// # Errors
/// When cargo, rustc or the C compiler cannot be asked.
pub fn linked(targets: &[Target]) -> Result<Vec<Component>> {
    let mut all = crates(targets)?;
    let rustc = said_by(Command::new("rustc").arg("--version"))?;
    all.push(Component {
        name: "rust-std".into(),
        version: rustc
            .split_whitespace()
            .nth(1)
            .context("rustc does not say its version")?
            .to_owned(),
        licence: "MIT OR Apache-2.0".into(),
        source: None,
        checksum: None,
        depends_on: BTreeSet::new(),
    });
    for target in targets {
        all.push(Component {
            name: "glibc".into(),
            version: target.c_library()?,
            licence: "LGPL-2.1-or-later".into(),
            source: None,
            checksum: None,
            depends_on: BTreeSet::new(),
        });
    }
    all.sort();
    all.dedup();
    Ok(all)
}

fn crates(targets: &[Target]) -> Result<Vec<Component>> {
    let platforms = targets.iter().flat_map(|target| ["--filter-platform", target.triple()]);
    let metadata = MetadataCommand::new()
        .current_dir(workspace::root()?)
        .features(CargoOpt::SomeFeatures(vec![]))
        .other_options(
            ["--locked"].into_iter().chain(platforms).map(str::to_owned).collect::<Vec<_>>(),
        )
        .exec()
        .context("cannot ask cargo for the dependencies")?;
    let resolve = metadata.resolve.as_ref().context("cargo did not resolve the dependencies")?;
    let nodes: HashMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let checksums = checksums()?;
    let mut found = BTreeSet::new();
    let mut open = vec![resolve.root.as_ref().context("the workspace has no root package")?];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        // What runs at build time and in tests is not in the binary. Procedural macros leave
        // nothing in it either.
        let linked =
            |id: &PackageId| !metadata[id].targets.iter().any(|target| target.is_proc_macro());
        let needs: Vec<&PackageId> = nodes.get(id).map_or(Vec::new(), |node| {
            let normal = |dep: &&cargo_metadata::NodeDep| {
                dep.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            };
            node.deps.iter().filter(normal).map(|dep| &dep.pkg).filter(|id| linked(id)).collect()
        });
        let named =
            |id: &PackageId| (metadata[id].name.to_string(), metadata[id].version.to_string());
        let package = &metadata[id];
        found.insert(Component {
            name: package.name.to_string(),
            version: package.version.to_string(),
            licence: spdx(
                package
                    .license
                    .as_deref()
                    .with_context(|| format!("{} states no licence", package.name))?,
            ),
            source: package.manifest_path.parent().map(|dir| dir.as_std_path().to_owned()),
            checksum: checksums.get(&named(id)).cloned(),
            depends_on: needs.iter().map(|id| named(id)).collect(),
        });
        open.extend(needs);
    }
    Ok(found.into_iter().collect())
}

/// Older crates separate alternatives by a slash, which SPDX does not know.
fn spdx(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

/// The checksums in the lock file.
fn checksums() -> Result<HashMap<(String, String), String>> {
    let path = workspace::root()?.join("Cargo.lock");
    let lock = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let value = |entry: &str, key: &str| {
        entry.lines().find_map(|line| {
            Some(line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')?.to_owned())
        })
    };
    let checksum = |entry: &str| {
        Some(((value(entry, "name")?, value(entry, "version")?), value(entry, "checksum")?))
    };
    Ok(lock.split("[[package]]").filter_map(checksum).collect())
}

/// What a command prints.
pub fn said_by(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} did not print text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> [Target; 1] {
        [Target::native().expect("a machine that shunt is made for")]
    }

    #[test]
    fn what_is_linked_in_is_found_and_what_only_builds_or_tests_is_not() {
        let names: Vec<String> = linked(&here())
            .expect("ask cargo")
            .into_iter()
            .map(|component| component.name)
            .collect();
        for inside in ["tcp-shunt", "bpf-asm", "bpf-syscalls", "clap", "libc", "glibc", "rust-std"]
        {
            assert!(names.iter().any(|name| name == inside), "{inside} is not in {names:?}");
        }
        for outside in [
            "proptest",
            "tempfile",
            "rbpf",
            "bytemuck_derive",
            "clap_derive",
            "syn",
            "xtask",
            "vm-tests",
        ] {
            assert!(!names.iter().any(|name| name == outside), "{outside} is in {names:?}");
        }
    }

    #[test]
    fn what_comes_from_a_registry_has_its_checksum() {
        for component in crates(&here()).expect("ask cargo") {
            let own = component.licence == "Apache-2.0" && component.checksum.is_none();
            let sum = component.checksum.as_deref().is_some_and(|sum| sum.len() == 64);
            assert!(own || sum, "{component:?}");
        }
    }

    #[test]
    fn an_old_way_of_writing_alternatives_becomes_spdx() {
        assert_eq!(spdx("MIT/Apache-2.0"), "MIT OR Apache-2.0");
        assert_eq!(spdx("MIT OR Apache-2.0"), "MIT OR Apache-2.0");
    }
}
