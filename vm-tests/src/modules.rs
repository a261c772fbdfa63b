//! Kernel modules and what each needs, as `depmod` found it (modules.dep(5)).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Why a module cannot be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The kernel has it neither as a file nor built in.
    #[error(
        "the kernel has no module {0}, nor is it built in: was its name changed? (the list is in vm-tests/kernels.toml)"
    )]
    Missing(String),
}

/// The modules of one kernel.
#[derive(Debug)]
pub struct Modules<'a> {
    /// Module name to its file and the files it needs, the nearest first.
    files: HashMap<String, (&'a str, Vec<&'a str>)>,
    /// Names of modules that are part of the kernel's image.
    built_in: Vec<String>,
}

impl<'a> Modules<'a> {
    /// Reads `modules.dep` (`file: needed needed …`) and `modules.builtin` (a file a line).
    pub fn parse(dependencies: &'a str, built_in: &str) -> Self {
        let files = dependencies.lines().filter_map(|line| line.split_once(':'));
        Self {
            files: files.map(|(file, needed)| (name(file), (file, needed.split_whitespace().collect()))).collect(),
            built_in: built_in.lines().map(name).collect(),
        }
    }

    /// Whether the kernel has this module, as a file or built in.
    pub fn has(&self, module: &str) -> bool {
        let module = normal(module);
        self.files.contains_key(&module) || self.built_in.contains(&module)
    }

    /// The files to load for these modules, each after those it needs, relative to the directory of modules.dep.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub fn in_load_order(&self, wanted: &[String]) -> Result<Vec<PathBuf>, Error> {
        let mut order: Vec<PathBuf> = Vec::new();
        for module in wanted {
            let module = normal(module);
            let Some((file, needed)) = self.files.get(&module) else {
                if self.built_in.contains(&module) {
                    continue;
                }
                return Err(Error::Missing(module));
            };
            // The list is transitive, with what has to come first at its end.
            for file in needed.iter().rev().chain([file]) {
                if !order.iter().any(|earlier| earlier == Path::new(file)) {
                    order.push(file.into());
                }
            }
        }
        Ok(order)
    }
}

/// `kernel/drivers/net/veth.ko.xz` holds `veth`.
fn name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    normal(base.split_once(".ko").map_or(base, |(name, _)| name))
}

/// The kernel takes `-` and `_` in a module's name for the same.
fn normal(name: &str) -> String {
    name.trim().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPENDENCIES: &str = "\
        kernel/net/nft-redir.ko.xz: kernel/net/nf_nat.ko.xz kernel/net/nf_conntrack.ko.xz\n\
        kernel/net/nf_nat.ko.xz: kernel/net/nf_conntrack.ko.xz\n\
        kernel/net/nf_conntrack.ko.xz:\n\
        kernel/drivers/net/veth.ko.xz:\n";

    fn order(wanted: &[&str]) -> Result<Vec<PathBuf>, Error> {
        let wanted: Vec<_> = wanted.iter().map(|&name| name.to_owned()).collect();
        Modules::parse(DEPENDENCIES, "kernel/net/tun.ko\n").in_load_order(&wanted)
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it_and_once() {
        let expected =
            ["nf_conntrack", "nf_nat", "nft-redir"].map(|name| PathBuf::from(format!("kernel/net/{name}.ko.xz")));
        assert_eq!(order(&["nf_nat", "nft_redir"]).expect("known"), expected);
        assert_eq!(order(&["nft_redir", "nf-nat"]).expect("known"), expected);
    }

    #[test]
    fn a_module_inside_the_kernel_needs_no_file_and_an_unknown_one_is_refused() {
        assert_eq!(order(&["tun"]), Ok(vec![]));
        assert_eq!(order(&["veth", "vet"]), Err(Error::Missing("vet".into())));
        let modules = Modules::parse(DEPENDENCIES, "kernel/net/tun.ko\n");
        assert_eq!(["tun", "nft-redir", "vet"].map(|name| modules.has(name)), [true, true, false]);
    }
}
