//! One rule: a port or a port range, an address or a prefix, a process name, a cgroup path, a
//! Kubernetes namespace or pod.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::datapath::Comm;

/// A rule parse error: the reason, and the allowed forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a valid {expected}")]
pub struct BadRule {
    given: String,
    expected: &'static str,
}

fn bad(given: &str, expected: &'static str) -> BadRule {
    BadRule { given: given.to_owned(), expected }
}

/// A range of ports, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

const PORTS: &str = "port: allowed are numbers from 1 to 65535 and ranges like \"8000-8100\"";

impl FromStr for Ports {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Ports, BadRule> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Ports { first, last }),
            _ => Err(bad(text, PORTS)),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Accepts a number as well as a string.
impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Ports, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PORTS)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Ports, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// An address prefix (CIDR, RFC 4632 and RFC 4291).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    ip: IpAddr,
    length: u8,
}

const ADDRESSES: &str = "address: allowed are addresses and ranges in which only the first bits count, like \"10.0.0.0/8\" and \"fd00::/8\"";

impl Addresses {
    /// The address as IPv6 address and the prefix length in bits, 0 to 128. An IPv4 address is
    /// mapped (RFC 4291 section 2.5.5.2).
    pub fn prefix(&self) -> (Ipv6Addr, u32) {
        match self.ip {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped(), u32::from(self.length) + 96),
            IpAddr::V6(ip) => (ip, self.length.into()),
        }
    }
}

impl FromStr for Addresses {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Addresses, BadRule> {
        let (ip, length) =
            text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
        let ip: IpAddr = ip.parse().map_err(|_| bad(text, ADDRESSES))?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let length = match length {
            None => longest,
            Some(length) => length
                .parse()
                .ok()
                .filter(|length| *length <= longest)
                .ok_or_else(|| bad(text, ADDRESSES))?,
        };
        let addresses = Addresses { ip, length };
        let (start, bits) = addresses.prefix();
        // A range that does not begin where it says is more likely a mistake than meant.
        let rest = start.to_bits().checked_shl(bits).unwrap_or(0);
        if rest != 0 { Err(bad(text, ADDRESSES)) } else { Ok(addresses) }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = if self.ip.is_ipv4() { 32 } else { 128 };
        if self.length == longest {
            write!(f, "{}", self.ip)
        } else {
            write!(f, "{}/{}", self.ip, self.length)
        }
    }
}

/// A process name: that of its main thread, as `ps -o comm` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process(String);

const PROCESS: &str =
    "process name: allowed are 1 to 15 bytes without \"/\", as `ps -eo comm` prints them";

impl Process {
    /// The name in the kernel's format (`task_struct.comm`).
    pub fn bytes(&self) -> [u8; 16] {
        Comm::of(&self.0).name
    }
}

impl FromStr for Process {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Process, BadRule> {
        let fits = (1..=15).contains(&text.len()) && !text.contains(['/', '\0']);
        if fits { Ok(Process(text.to_owned())) } else { Err(bad(text, PROCESS)) }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A cgroup with all its descendants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup(PathBuf);

const CGROUP: &str = "cgroup: allowed are paths that begin with \"/\", as in /proc/PID/cgroup or below the mount point of cgroup v2";

impl Cgroup {
    /// Its directory, below the mount point of cgroup v2.
    pub fn folder(&self, mount_point: &Path) -> PathBuf {
        if self.0.starts_with(mount_point) {
            return self.0.clone();
        }
        mount_point.join(self.0.strip_prefix("/").unwrap_or(&self.0))
    }
}

impl FromStr for Cgroup {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Cgroup, BadRule> {
        let path = PathBuf::from(text);
        let climbs = path.components().any(|part| part == Component::ParentDir);
        if path.is_absolute() && !climbs && !text.contains('\0') {
            Ok(Cgroup(path))
        } else {
            Err(bad(text, CGROUP))
        }
    }
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// A pattern for Kubernetes namespaces: `*` matches any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

const NAMESPACE: &str = "namespace: allowed are a-z, 0-9, \"-\", and \"*\" for any of them, like \"shop\" and \"kube-*\"";

/// A pattern for Kubernetes pods: `*` matches any characters but "/".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod(String);

const POD: &str = "pod: allowed are NAMESPACE/NAME of a-z, 0-9, \"-\", \".\", and \"*\" for any of them, like \"shop/cart-*\"";

/// Whether it consists of label characters (RFC 1123) and `*`.
fn is_name(text: &str) -> bool {
    let may_be = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.' | b'*')
    };
    !text.is_empty() && text.bytes().all(may_be)
}

impl FromStr for Namespace {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Namespace, BadRule> {
        let fits = is_name(text) && !text.contains('.');
        if fits { Ok(Namespace(text.to_owned())) } else { Err(bad(text, NAMESPACE)) }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Pod {
    /// All pods of a namespace.
    pub fn any_of(namespace: &Namespace) -> Pod {
        Pod(format!("{namespace}/*"))
    }

    /// Whether a pod matches.
    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        let parts = self.0.split_once('/');
        parts.is_some_and(|parts| matches(parts.0, namespace) && matches(parts.1, name))
    }
}

/// Whether a text matches a pattern, in which `*` matches any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let (parts, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    // The first place of each part leaves the most for those after it.
    for part in parts.split('*') {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(end)
}

impl FromStr for Pod {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Pod, BadRule> {
        let parts = text.split_once('/');
        let fits = parts.is_some_and(|(namespace, name)| {
            namespace.parse::<Namespace>().is_ok() && is_name(name)
        });
        if fits { Ok(Pod(text.to_owned())) } else { Err(bad(text, POD)) }
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! texts {
    ($($rule:ident $expected:ident,)+) => {$(
        impl<'de> Deserialize<'de> for $rule {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<$rule, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $rule;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$rule, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                from.deserialize_str(Visitor)
            }
        }
    )+};
}

texts! { Addresses ADDRESSES, Process PROCESS, Cgroup CGROUP, Namespace NAMESPACE, Pod POD, }

macro_rules! shown {
    ($($rule:ident)+) => {$(
        impl Serialize for $rule {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
    )+};
}

shown! { Ports Addresses Process Cgroup Namespace Pod }

#[cfg(test)]
mod tests {
    use super::*;

    fn shows_itself<T: FromStr<Err = BadRule> + fmt::Display + fmt::Debug>(
        good: &[&str],
        wrong: &[&str],
    ) {
        for text in good {
            assert_eq!(text.parse::<T>().map(|rule| rule.to_string()), Ok((*text).to_owned()));
        }
        for text in wrong {
            let error = text.parse::<T>().expect_err(text).to_string();
            assert!(
                error.contains(&format!("{text:?}")) && error.contains("allowed are"),
                "{error}"
            );
        }
    }

    #[test]
    fn rules_are_what_they_say_and_nothing_else() {
        shows_itself::<Ports>(
            &["1", "80", "65535", "8000-8100", "1-65535"],
            &["", "0", "65536", "-1", "http", "8100-8000", "1-", "-", "0-10", "1-2-3"],
        );
        shows_itself::<Addresses>(
            &["10.0.0.0/8", "10.1.2.3", "0.0.0.0/0", "fd00::/8", "::1", "::/0", "192.168.1.128/25"],
            &[
                "",
                "10.0.0.1/8",
                "10.0.0.0/33",
                "fd00::1/64",
                "::/129",
                "10.0.0/8",
                "host",
                "10.0.0.0/",
                "10.0.0.0/-1",
            ],
        );
        shows_itself::<Process>(
            &["envoy", "a b", "fifteen-letters"],
            &["", "sixteen--letters", "/usr/bin/envoy", "a\0b"],
        );
        shows_itself::<Cgroup>(
            &["/", "/system.slice/redis.service"],
            &["", "system.slice", "/a/../b", "/a\0"],
        );
        shows_itself::<Namespace>(
            &["shop", "kube-*", "*"],
            &["", "shop/cart", "Shop", "a.b", "a b", "a?"],
        );
        shows_itself::<Pod>(
            &["shop/cart-*", "*/redis-0", "kube-system/etcd-node1.example"],
            &["", "cart", "/cart", "shop/", "a.b/c", "a/b/c", "shop/Cart", "shop_cart_1"],
        );
    }

    #[test]
    fn an_asterisk_stands_for_any_characters_of_a_name() {
        for (pattern, meant, others) in [
            ("shop/cart", &["shop/cart"][..], &["shop/cart-1", "shop/car", "shops/cart"][..]),
            ("shop/cart-*", &["shop/cart-", "shop/cart-1"], &["shop/cart", "a-shop/cart-1"]),
            ("*/redis-0", &["a/redis-0"], &["a/redis-01", "a/my-redis-0"]),
            ("*/*", &["a/b"], &[]),
            ("a/b*c*b", &["a/bcb", "a/bccb", "a/bxcxbcb"], &["a/bb", "a/bc", "a/cb", "a/bcbx"]),
            ("a/ab*ba", &["a/abba", "a/abxba"], &["a/aba"]),
            ("a/**b", &["a/b", "a/ab"], &["a/a"]),
        ] {
            let rule: Pod = pattern.parse().expect(pattern);
            let is_meant = |pod: &&str| {
                let (namespace, name) = pod.split_once('/').expect("a pod");
                rule.matches(namespace, name)
            };
            assert!(meant.iter().all(&is_meant), "{pattern}");
            assert!(!others.iter().any(is_meant), "{pattern}");
        }
        let all = Pod::any_of(&"kube-*".parse().expect("a namespace"));
        assert!(all.matches("kube-system", "etcd") && !all.matches("kube", "etcd"));
    }

    #[test]
    fn ipv4_addresses_are_prefixes_of_the_addresses_that_they_are_mapped_to() {
        let prefix = |text: &str| text.parse::<Addresses>().expect("addresses").prefix();
        assert_eq!(prefix("10.0.0.0/8"), ("::ffff:10.0.0.0".parse().unwrap(), 104));
        assert_eq!(prefix("fd00::/8"), ("fd00::".parse().unwrap(), 8));
        assert_eq!(prefix("0.0.0.0/0"), ("::ffff:0.0.0.0".parse().unwrap(), 96));
    }

    #[test]
    fn a_cgroup_is_found_by_both_of_its_paths() {
        let mount_point = Path::new("/sys/fs/cgroup");
        for text in ["/pods/a", "/sys/fs/cgroup/pods/a"] {
            assert_eq!(
                text.parse::<Cgroup>().unwrap().folder(mount_point),
                Path::new("/sys/fs/cgroup/pods/a")
            );
        }
    }

    #[test]
    fn the_longest_name_leaves_room_for_its_end() {
        assert_eq!(&"fifteen-letters".parse::<Process>().unwrap().bytes(), b"fifteen-letters\0");
    }
}
