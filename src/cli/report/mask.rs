//! Masks IP addresses in text.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The addresses seen so far.
#[derive(Debug, Default)]
pub struct Mask {
    known: HashMap<IpAddr, String>,
}

impl Mask {
    /// Replaces each address by a name, the same address by the same name. Ports and prefix lengths
    /// stay, as do loopback and unspecified addresses.
    pub fn apply(&mut self, text: &str) -> String {
        // IPv4-mapped IPv6 addresses end with an IPv4 address, so IPv6 goes first.
        let without_v6 = each_run(
            text,
            |c| c.is_ascii_hexdigit() || c == ':' || c == '.',
            |run, in_word| {
                // Hexadecimal digits also occur in words.
                if in_word { run.to_owned() } else { self.address::<Ipv6Addr>(run) }
            },
        );
        each_run(
            &without_v6,
            |c| c.is_ascii_digit() || c == '.',
            |run, _| self.address::<Ipv4Addr>(run),
        )
    }

    /// Masks an address that may be surrounded by punctuation, of which only `::` belongs to it.
    fn address<A: FromStr + Into<IpAddr>>(&mut self, run: &str) -> String {
        const PUNCTUATION: [char; 2] = [':', '.'];
        let core = run.trim_start_matches(PUNCTUATION);
        let (before, _) = run.split_at(run.len() - core.len());
        let (_, after) = core.split_at(core.trim_end_matches(PUNCTUATION).len());
        let before = before.strip_suffix("::").unwrap_or(before);
        let after = after.strip_prefix("::").unwrap_or(after);
        let written = &run[before.len()..run.len() - after.len()];
        match written.parse::<A>() {
            Ok(address) => format!("{before}{}{after}", self.name(address.into(), written)),
            Err(_) => run.to_owned(),
        }
    }

    fn name(&mut self, address: IpAddr, written: &str) -> String {
        let address = address.to_canonical();
        if address.is_loopback() || address.is_unspecified() {
            return written.to_owned();
        }
        let number = self.known.len() + 1;
        let kind = if address.is_ipv4() { "ipv4" } else { "ipv6" };
        self.known.entry(address).or_insert_with(|| format!("{kind}-{number}")).clone()
    }
}

/// Replaces each longest run of such characters; the function is told whether the run is inside a
/// word.
fn each_run(
    text: &str,
    is_in: impl Fn(char) -> bool,
    mut other: impl FnMut(&str, bool) -> String,
) -> String {
    let of_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut all = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(&is_in) {
        let (before, from) = rest.split_at(start);
        let (run, after) = from.split_at(from.find(|c| !is_in(c)).unwrap_or(from.len()));
        all += before;
        all += &other(run, before.ends_with(of_word) || after.starts_with(of_word));
        rest = after;
    }
    all + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_masked_everywhere_and_nothing_else_is() {
        let cases = [
            ("10.0.0.1:6379 > 10.0.0.2:80, 10.0.0.1.", "ipv4-1:6379 > ipv4-2:80, ipv4-1."),
            ("[fd00::1]:80 fd00::1 ::ffff:10.0.0.1", "[ipv6-1]:80 ipv6-1 ipv4-2"),
            (
                "\"addresses\":[\"10.0.0.0/8\",\"fd00::/8\"]",
                "\"addresses\":[\"ipv4-2/8\",\"ipv6-1/8\"]",
            ),
            ("at 10.0.0.1: refused; address:10.0.0.1", "at ipv4-1: refused; address:ipv4-1"),
            ("host10.1.2.3 v10.1.2.3x", "hostipv4-1 vipv4-1x"),
            ("..10.1.2.3.: ..:fd00::1:.", "..ipv4-2.: ..:ipv6-1:."),
        ];
        for (text, masked) in cases {
            assert_eq!(Mask::default().apply(text), masked);
        }
        for same in [
            "127.0.0.1:80 [::1]:80 ::1 0.0.0.0 [::]:9464",
            "2026-11-29T23:20:06.123Z 12:30:45 Linux 6.12.8 mod::beef std::cafe::x",
            "0:26 253:0 8.3.1 deadbeef /sys/fs/cgroup …: ü",
        ] {
            assert_eq!(Mask::default().apply(same), same);
        }
    }

    proptest! {
        /// Whatever surrounds an address, it is masked.
        #[test]
        fn every_address_is_masked(before in "[^0-9]{0,6}", address: [u8; 4], after in "[ ,:/\\]\"a-z]{0,3}") {
            let address = std::net::Ipv4Addr::from(address);
            prop_assume!(!address.is_loopback() && !address.is_unspecified());
            let text = format!("{before}{address}{after}");
            let masked = Mask::default().apply(&text);
            prop_assert!(!masked.contains(&address.to_string()), "{} is {}", text, masked);
        }

        #[test]
        fn any_text_can_be_masked(text in ".*") {
            Mask::default().apply(&text);
        }
    }
}
