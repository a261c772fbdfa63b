//! Splits a line into tokens.

use std::ops::Range;

use super::error::Fault;
use super::name::{begins, continues, unquote};
use crate::insn::{Register, Width};

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    /// Its span in the line.
    pub span: Range<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A register, a keyword or a name.
    Word(String),
    /// A quoted name, without the quotes.
    Quoted(String),
    /// An unsigned number.
    Number(u64),
    /// An operator or a bracket.
    Sign(&'static str),
}

/// Longer signs before their prefixes.
const SIGNS: &[&str] = &[
    "s>>=", "<<=", ">>=", "s/=", "s%=", "s>=", "s<=", "+=", "-=", "*=", "/=", "|=", "&=", "%=",
    "^=", "==", "!=", ">=", "<=", "s>", "s<", "=", ">", "<", "&", "+", "-", "*", "(", ")", "[",
    "]", ",", ":", "#", "@", "%", "!",
];

/// The line without its comment.
pub(super) fn without_comment(line: &str) -> &str {
    without_comment_as(line, false)
}

/// The same, where a semicolon separates statements.
pub(super) fn without_comment_as(line: &str, separated: bool) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        let ends = match c {
            _ if quoted => {
                quoted = escaped || c != '"';
                escaped = !escaped && c == '\\';
                false
            }
            '"' => {
                quoted = true;
                false
            }
            ';' => !separated,
            '#' => before.is_whitespace(),
            '/' => line.get(at..).is_some_and(|rest| rest.starts_with("//")),
            _ => false,
        };
        if ends {
            return line.get(..at).unwrap_or_default();
        }
        before = c;
    }
    line
}

/// The tokens of a line without comment, `offset` bytes into the line.
pub(super) fn tokens(line: &str, offset: usize) -> Result<Vec<Token>, Fault> {
    let mut tokens = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let start = offset + line.len() - rest.len();
        let (kind, length) = token(rest, first).map_err(|(length, message, hint)| Fault {
            span: start..start + length,
            message,
            hint,
        })?;
        tokens.push(Token { kind, span: start..start + length });
        rest = rest.get(length..).unwrap_or_default();
    }
}

type Wrong = (usize, String, Option<String>);

fn token(rest: &str, first: char) -> Result<(Kind, usize), Wrong> {
    if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        return Ok((Kind::Sign(sign), sign.len()));
    }
    let word = rest.find(|c| !continues(c)).map_or(rest, |end| rest.get(..end).unwrap_or_default());
    if first == '"' {
        return quoted(rest);
    }
    if first.is_ascii_digit() {
        // `1b` and `1f`: the label `1` before or after this.
        if word
            .strip_suffix(['b', 'f'])
            .is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_digit()))
        {
            return Ok((Kind::Word(word.to_owned()), word.len()));
        }
        if let Some(octal) =
            word.strip_prefix('0').filter(|rest| rest.bytes().all(|c| c.is_ascii_digit()))
            && !octal.is_empty()
        {
            let decimal = Some(word.trim_start_matches('0'))
                .filter(|digits| !digits.is_empty())
                .unwrap_or("0");
            let hint = match u64::from_str_radix(octal, 8) {
                Ok(number) => format!("write `{number}` if it is octal, or `{decimal}`"),
                Err(_) => format!("write `{decimal}`"),
            };
            let message = format!("`{word}` is octal in C and other assemblers, but not here");
            return Err((word.len(), message, Some(hint)));
        }
        let number = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        return match number {
            Ok(number) => Ok((Kind::Number(number), word.len())),
            Err(error) if matches!(error.kind(), std::num::IntErrorKind::PosOverflow) => {
                Err((word.len(), "the number has more than 64 bits".to_owned(), None))
            }
            Err(_) => Err((
                word.len(),
                format!("`{word}` is neither a number nor a name"),
                Some(
                    "numbers are decimal (`10`) or hexadecimal (`0xa`); names do not begin with a \
                    digit"
                        .to_owned(),
                ),
            )),
        };
    }
    if begins(first) {
        return Ok((Kind::Word(word.to_owned()), word.len()));
    }
    Err((first.len_utf8(), format!("unexpected character `{}`", first.escape_debug()), None))
}

fn quoted(rest: &str) -> Result<(Kind, usize), Wrong> {
    let mut escaped = false;
    let inside = rest.get(1..).unwrap_or_default();
    for (at, c) in inside.char_indices() {
        if c == '"' && !escaped {
            let length = at + 2;
            let text = inside.get(..at).and_then(unquote);
            return text.map(|text| (Kind::Quoted(text), length)).ok_or((
                length,
                "unknown escape sequence".to_owned(),
                Some("escapes are \\\" \\\\ \\n \\r \\t \\0 and \\u{…}".to_owned()),
            ));
        }
        escaped = !escaped && c == '\\';
    }
    Err((rest.trim_end().len(), "unterminated string".to_owned(), None))
}

/// The register with this name.
pub(super) fn register(word: &str) -> Option<(Width, Register)> {
    Width::ALL.into_iter().find_map(|width| {
        let digits = word.strip_prefix(width.letter())?;
        let canonical = !digits.starts_with('0') || digits == "0";
        let number = digits
            .parse()
            .ok()
            .filter(|_| canonical && digits.bytes().all(|c| c.is_ascii_digit()))?;
        Some((width, Register::from_number(number)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_end_a_line_except_in_quotes() {
        for (line, code) in [
            ("r1 = 1 ; one", "r1 = 1 "),
            ("r1 = 1 // one", "r1 = 1 "),
            ("r1 = 1 # one", "r1 = 1 "),
            ("# one", ""),
            ("call bpf_x#1", "call bpf_x#1"),
            (".license \"a;b # \\\" // c\" ; d", ".license \"a;b # \\\" // c\" "),
            ("r1 /= 2", "r1 /= 2"),
        ] {
            assert_eq!(without_comment(line), code);
        }
    }

    #[test]
    fn registers_have_numbers_up_to_10() {
        let table = [
            ("r0", true),
            ("w10", true),
            ("r11", false),
            ("r00", false),
            ("r", false),
            ("r+1", false),
            ("rx", false),
            ("r256", false),
        ];
        for (word, is) in table {
            assert_eq!(register(word).is_some(), is, "{word}");
        }
    }

    #[test]
    fn tokens_have_their_spans() {
        let pieces = tokens("  if r1 s>= 0x10 goto \"é\"", 3).unwrap();
        let spans: Vec<_> = pieces.iter().map(|piece| piece.span.clone()).collect();
        assert_eq!(spans, [5..7, 8..10, 11..14, 15..19, 20..24, 25..29]);
        assert_eq!(pieces[3].kind, Kind::Number(16));
        for (wrong, span) in
            [("r1 = 5x", 5..7), ("é", 0..2), ("a \"b", 2..4), ("18446744073709551616", 0..20)]
        {
            assert_eq!(tokens(wrong, 0).unwrap_err().span, span, "{wrong}");
        }
    }
}
