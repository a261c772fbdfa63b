//! What the cache holds: for each series the kernel that was the newest when it was fetched.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The contents of the cache.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// One for each series.
    pub kernels: Vec<Kernel>,
}

/// One kernel in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The series it was fetched for.
    pub series: String,
    /// What `uname -r` says when it runs.
    pub release: String,
    /// The Debian packages that make it up.
    pub packages: Vec<Package>,
}

/// A Debian package in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The name of its file in the cache.
    pub file: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The kernel of a series.
    pub fn kernel(&self, series: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.series == series)
    }

    /// Every package of every kernel.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.kernels.iter().flat_map(|kernel| &kernel.packages)
    }

    /// Whether every name is one path component, so that it cannot lead out of the cache. A
    /// manifest may come from elsewhere.
    pub fn stays_inside(&self) -> bool {
        let names = self
            .packages()
            .map(|package| &package.file)
            .chain(self.kernels.iter().map(|kernel| &kernel.release));
        names
            .into_iter()
            .all(|name| !name.starts_with('.') && !name.is_empty() && !name.contains(['/', '\0']))
    }
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// When it cannot be read.
pub fn sha256(file: &Path) -> io::Result<String> {
    Ok(Sha256::digest(fs::read(file)?).iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(release: &str, file: &str) -> Manifest {
        let package = Package {
            name: "n".into(),
            version: "1".into(),
            file: file.into(),
            sha256: "00".into(),
        };
        Manifest {
            kernels: vec![Kernel {
                series: "6.1".into(),
                release: release.into(),
                packages: vec![package],
            }],
        }
    }

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        let manifest = manifest("6.1.0-cloud-amd64", "linux.deb");
        let text = serde_json::to_string(&manifest).expect("write");
        assert_eq!(serde_json::from_str::<Manifest>(&text).expect("read"), manifest);
    }

    #[test]
    fn names_that_lead_out_of_the_cache_are_noticed() {
        assert!(manifest("6.1.0", "linux_6.1~bpo+1.deb").stays_inside());
        for (release, file) in
            [("..", "a.deb"), ("6.1", "../a.deb"), ("/etc", "a.deb"), ("6.1", "")]
        {
            assert!(!manifest(release, file).stays_inside(), "{release} {file}");
        }
    }

    #[test]
    fn the_hash_of_a_file_is_sha_256() {
        let file = tempfile::NamedTempFile::new().expect("make a file");
        std::fs::write(file.path(), "abc").expect("write");
        // The example of FIPS 180-4.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(file.path()).expect("read"), expected);
    }
}
