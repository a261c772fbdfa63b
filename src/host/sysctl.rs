//! Sysctls of a network namespace (Documentation/networking/ip-sysctl.rst).

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::{Error, Namespace};

impl Namespace {
    /// The value of a sysctl of this namespace, without the newline; `name` is its path below
    /// `/proc/sys`, such as `net/ipv4/tcp_syncookies`.
    pub fn sysctl(&self, name: &str) -> Result<String, Error> {
        let value = self.with_setting("read", name, |path| fs::read_to_string(path))?;
        Ok(value.trim_end().to_owned())
    }

    /// Sets a sysctl of this namespace. Where connection tracking is a module, its sysctls exist
    /// once it is loaded, which a [`Nat`](super::Nat) rule does.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), Error> {
        self.with_setting(&format!("write \"{value}\" to"), name, |path| fs::write(path, value))
    }

    /// `/proc/sys/net` shows the namespace of the thread that opens it.
    fn with_setting<T: Send>(
        &self,
        action: &str,
        name: &str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send,
    ) -> Result<T, Error> {
        let path = PathBuf::from("/proc/sys").join(name);
        let outcome = if is_per_namespace(Path::new(name)) {
            self.run(|| work(&path))?
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "only sysctls below net belong to a network namespace",
            ))
        };
        outcome.map_err(|cause| Error::Sysctl { action: action.into(), path, cause })
    }
}

fn is_per_namespace(name: &Path) -> bool {
    name.starts_with("net") && name.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_belongs_to_its_namespace() {
        let name = "net/ipv4/ip_local_port_range";
        let make = || Namespace::new().expect("make a namespace (as root)");
        let (changed, other, outside) =
            (make(), make(), Namespace::current().expect("this namespace"));
        let before = outside.sysctl(name).expect("read");
        changed.set_sysctl(name, "20000\t20999").expect("write");
        assert_eq!(changed.sysctl(name).expect("read"), "20000\t20999");
        assert_ne!(other.sysctl(name).expect("read"), "20000\t20999");
        assert_eq!(outside.sysctl(name).expect("read"), before);
    }

    #[test]
    fn an_error_names_the_file_and_sysctls_outside_net_are_rejected() {
        let namespace = Namespace::new().expect("make a namespace (as root)");
        for (name, path) in [
            ("net/ipv4/no_such_setting", "/proc/sys/net/ipv4/no_such_setting"),
            ("kernel/hostname", "/proc/sys/kernel/hostname"),
            ("net/../kernel/hostname", "/proc/sys/net/../kernel/hostname"),
            ("/tmp/x", "/tmp/x"),
        ] {
            for error in [namespace.sysctl(name).err(), namespace.set_sysctl(name, "1").err()] {
                let text = error.unwrap_or_else(|| panic!("{name} was accepted")).to_string();
                assert!(text.contains(path), "{text}");
            }
        }
        let refused =
            namespace.set_sysctl("net/ipv4/tcp_syncookies", "words").expect_err("not a number");
        assert!(refused.to_string().contains("tcp_syncookies"), "{refused}");
    }
}
