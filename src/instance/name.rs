//! The name of an instance, which is also the name of its folder of pins.

use std::fmt;
use std::str::FromStr;

/// What an instance is called: 1 to 63 letters, digits, `-` and `_`.
///
/// The BPF file system does not take dots in names, and a path separator would leave its folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(String);

/// The longest name.
const LONGEST: usize = 63;

/// Why a name is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to {LONGEST} letters, digits, '-' or '_', and {0:?} does not")]
pub struct BadName(String);

impl FromStr for Name {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Name, BadName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=LONGEST).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Name(name.to_owned()))
        } else {
            Err(BadName(name.to_owned()))
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_be_a_folder_of_the_bpf_file_system_and_nothing_else() {
        for good in ["shunt", "a", "Pods_2-x", &"n".repeat(63)] {
            assert_eq!(good.parse::<Name>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", ".", "..", "a.b", "a/b", "ü", "a b", "a\0", &"n".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }
}
