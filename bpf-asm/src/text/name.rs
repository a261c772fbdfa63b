//! Names in text: identifiers are written as they are, others in quotes.

use std::fmt;

/// Whether a name may start with a character.
pub(super) fn begins(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | '.' | '$')
}

/// Whether a name may continue with a character.
pub(super) fn continues(c: char) -> bool {
    begins(c) || c.is_ascii_digit()
}

/// Writes a name.
pub(super) struct Name<'a>(pub &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        // A name that starts with a dot would be a directive, and `pc` is the program counter.
        let plain = chars.next().is_some_and(|c| begins(c) && c != '.') && chars.all(continues);
        if plain && self.0 != "pc" && super::token::register(self.0).is_none() {
            f.write_str(self.0)
        } else {
            write!(f, "\"{}\"", self.0.escape_debug())
        }
    }
}

/// Writes a name in the syntax of GNU as, where it may start with a dot.
#[cfg(feature = "elf")]
pub(super) struct GasName<'a>(pub &'a str);

#[cfg(feature = "elf")]
impl fmt::Display for GasName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.strip_prefix('.') {
            Some(rest) if !rest.is_empty() && rest.chars().all(continues) => f.write_str(self.0),
            _ => Name(self.0).fmt(f),
        }
    }
}

/// The content of a quoted string without escapes; `None` for an unknown escape sequence.
pub(super) fn unquote(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        name.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                c @ ('\\' | '"' | '\'') => c,
                'u' => {
                    let (digits, rest) = chars.as_str().strip_prefix('{')?.split_once('}')?;
                    chars = rest.chars();
                    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                }
                _ => return None,
            },
            c => c,
        });
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_as_it_was_written() {
        for (name, written) in [
            ("main", "main"),
            (".rodata", "\".rodata\""),
            ("a.llvm.5$x", "a.llvm.5$x"),
            ("r10", "\"r10\""),
            ("r11", "r11"),
            ("pc", "\"pc\""),
            ("", "\"\""),
            ("9lives", "\"9lives\""),
            ("a b", "\"a b\""),
            ("q\"\\\n\u{7f}é", "\"q\\\"\\\\\\n\\u{7f}é\""),
        ] {
            assert_eq!(Name(name).to_string(), written);
            let inside = written.strip_prefix('"').and_then(|inside| inside.strip_suffix('"'));
            assert_eq!(inside.map_or(Some(written.to_owned()), unquote).as_deref(), Some(name));
        }
        for wrong in ["\\", "\\q", "\\u", "\\u{", "\\u{}", "\\u{d800}", "\\u{zz}"] {
            assert_eq!(unquote(wrong), None, "{wrong}");
        }
    }
}
