//! Instructions by mnemonics, as in RFC 9669 and other assemblers: `mov r0, 2`. They are not
//! supported, but translated for the error's hint.

/// A line of mnemonics in the kernel's notation; `None` if it is unknown.
pub(super) fn translated(line: &str) -> Option<String> {
    let line = line.trim().to_lowercase();
    let (mnemonic, operands) = line.split_once(char::is_whitespace).unwrap_or((&line, ""));
    let operands = operands.replace('%', "");
    let operands: Vec<&str> =
        operands.split(',').map(str::trim).filter(|operand| !operand.is_empty()).collect();
    let (stem, half) = match mnemonic.strip_suffix("32") {
        Some(stem) if !matches!(stem, "be" | "le" | "bswap") => (stem, true),
        _ => (mnemonic.strip_suffix("64").unwrap_or(mnemonic), false),
    };
    let side = |operand: &str| match operand.strip_prefix('r') {
        Some(number) if half => format!("w{number}"),
        _ => operand.to_owned(),
    };
    Some(match (mnemonic, operands.as_slice()) {
        ("exit" | "ret" | "return", []) => "exit".to_owned(),
        ("lddw", [dst, number]) => format!("{dst} = {number} ll"),
        ("ja" | "jmp", [target]) => format!("goto {target}"),
        (
            "be16" | "be32" | "be64" | "le16" | "le32" | "le64" | "bswap16" | "bswap32" | "bswap64",
            [dst],
        ) => {
            format!("{dst} = {mnemonic} {dst}")
        }
        ("ldxb" | "ldxh" | "ldxw" | "ldxdw", [dst, from]) => {
            format!("{dst} = *({} *)({})", size(mnemonic.strip_prefix("ldx")?)?, memory(from)?)
        }
        ("stb" | "sth" | "stw" | "stdw", [to, number]) => {
            format!("*({} *)({}) = {number}", size(mnemonic.strip_prefix("st")?)?, memory(to)?)
        }
        ("stxb" | "stxh" | "stxw" | "stxdw", [to, src]) => {
            format!("*({} *)({}) = {src}", size(mnemonic.strip_prefix("stx")?)?, memory(to)?)
        }
        (_, [dst]) if stem == "neg" => format!("{0} = -{0}", side(dst)),
        (_, [dst, src]) => {
            let (_, operator) = ARITHMETIC.iter().find(|(known, _)| *known == stem)?;
            format!("{} {operator} {}", side(dst), side(src))
        }
        (_, [dst, src, target]) => {
            let (_, compare) = COMPARISONS.iter().find(|(known, _)| *known == stem)?;
            format!("if {} {compare} {} goto {target}", side(dst), side(src))
        }
        _ => return None,
    })
}

const ARITHMETIC: [(&str, &str); 14] = [
    ("mov", "="),
    ("add", "+="),
    ("sub", "-="),
    ("mul", "*="),
    ("div", "/="),
    ("sdiv", "s/="),
    ("or", "|="),
    ("and", "&="),
    ("lsh", "<<="),
    ("rsh", ">>="),
    ("arsh", "s>>="),
    ("mod", "%="),
    ("smod", "s%="),
    ("xor", "^="),
];

const COMPARISONS: [(&str, &str); 11] = [
    ("jeq", "=="),
    ("jne", "!="),
    ("jgt", ">"),
    ("jge", ">="),
    ("jlt", "<"),
    ("jle", "<="),
    ("jset", "&"),
    ("jsgt", "s>"),
    ("jsge", "s>="),
    ("jslt", "s<"),
    ("jsle", "s<="),
];

fn size(letter: &str) -> Option<&'static str> {
    Some(match letter {
        "b" => "u8",
        "h" => "u16",
        "w" => "u32",
        "dw" => "u64",
        _ => return None,
    })
}

/// `[r1+8]` as `r1 +8`.
fn memory(operand: &str) -> Option<String> {
    let inside = operand.strip_prefix('[')?.strip_suffix(']')?.replace(' ', "");
    Some(match inside.find(['+', '-']) {
        Some(at) => format!("{} {}", inside.get(..at)?, inside.get(at..)?),
        None => format!("{inside} +0"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnemonics_are_translated_into_the_kernels_notation() {
        let table = [
            ("mov r0, 2", "r0 = 2"),
            ("mov64 %r1, %r2", "r1 = r2"),
            ("add32 r1, r2", "w1 += w2"),
            ("neg r3", "r3 = -r3"),
            ("LDXDW r1, [r2 + 8]", "r1 = *(u64 *)(r2 +8)"),
            ("ldxb r1, [r2]", "r1 = *(u8 *)(r2 +0)"),
            ("stxw [r10-4], r1", "*(u32 *)(r10 -4) = r1"),
            ("stdw [r10-8], 0", "*(u64 *)(r10 -8) = 0"),
            ("lddw r1, 0x1122334455", "r1 = 0x1122334455 ll"),
            ("jne r1, 0, out", "if r1 != 0 goto out"),
            ("jsgt32 r1, r2, +3", "if w1 s> w2 goto +3"),
            ("ja +1", "goto +1"),
            ("be16 r1", "r1 = be16 r1"),
            ("return", "exit"),
        ];
        for (line, expected) in table {
            assert_eq!(translated(line).as_deref(), Some(expected));
            let text = format!("{expected}\nout:\nexit\nexit\nexit\nexit");
            assert!(super::super::assemble("t", &text).is_ok(), "{expected} is not read");
        }
        for line in ["mov r0", "movs r0, 2", "", "ldxw r1, r2"] {
            assert_eq!(translated(line), None, "{line}");
        }
    }
}
