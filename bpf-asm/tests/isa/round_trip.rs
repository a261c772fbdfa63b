//! Bytes to instructions to text, and back.

use std::collections::BTreeSet;

use bpf_asm::insn::{Insn, encode};
use bpf_asm::text::{Style, Unit, assemble, disassemble};

use crate::forms;

/// The form of an instruction: its text without numbers and registers.
fn shape(insn: &Insn) -> String {
    let text = match insn {
        // All helpers are one form.
        Insn::Call(bpf_asm::insn::Call::Helper { .. }) => "call helper".to_owned(),
        insn => insn.to_string(),
    };
    let mut shape = String::new();
    let mut number = false;
    for c in text.chars() {
        let digit = c.is_ascii_digit() || number && (c.is_ascii_hexdigit() || c == 'x');
        if digit && !number {
            shape.push('N');
        } else if !digit && c != '-' && c != '+' {
            shape.push(c);
        }
        number = digit;
    }
    shape
}

#[test]
fn every_form_is_preserved_in_bytes_and_in_text() {
    let (mut shapes, mut count, mut opcodes) = (BTreeSet::new(), 0, BTreeSet::new());
    let (mut text, mut expected) = (String::new(), Vec::new());
    forms::each(|bytes, code| {
        assert_eq!(encode(code), bytes);
        let Some(insn) = forms::instruction(code) else { return };
        opcodes.insert(bytes[0]);
        shapes.insert(shape(&insn));
        count += 1;
        text.push_str(&insn.to_string());
        text.push('\n');
        expected.extend(bytes);
    });
    let unit = assemble("forms.s", &text).unwrap_or_else(|errors| panic!("{errors}"));
    let assembled = encode(&unit.sections[0].code);
    if let Some(wrong) = assembled.iter().zip(&expected).position(|(a, b)| a != b) {
        let slot = wrong / 8 * 8;
        panic!(
            "slot {}: {:02x?} became {:02x?}",
            slot / 8,
            &expected[slot..slot + 8],
            &assembled[slot..slot + 8]
        );
    }
    assert_eq!(assembled.len(), expected.len());
    // The opcodes of RFC 9669's appendix and of later kernels, which the decoder must support.
    let alu = 2 * (12 * 2 + 1) + 3;
    let jump = 2 * 11 * 2 + 7;
    let memory = 4 + 3 + 4 + 4 + 4 + 6;
    assert_eq!(opcodes.len(), alu + jump + memory + 1, "{opcodes:02x?}");
    println!("{count} instructions of {} shapes, {} opcodes", shapes.len(), opcodes.len());
    assert!(shapes.len() > 120, "{shapes:#?}");
}

#[test]
fn a_disassembly_with_labels_gives_the_same_bytes_in_every_style() {
    let mut bytes = Vec::new();
    let mut seen = 0u64;
    forms::each(|form, code| {
        // A pseudo-random choice of all forms, so that jumps have many targets.
        seen = seen.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        if seen >> 32 & 0x3ff == 0 || forms::instruction(code).is_some() && seen >> 40 & 0xff == 0 {
            bytes.extend(form);
        }
    });
    for (slots, raw, lines) in
        [(false, false, false), (true, false, true), (true, true, true), (false, true, false)]
    {
        let style = Style { slots, bytes: raw, lines };
        let text = disassemble(&Unit::from_bytes(&bytes), &style);
        assert!(text.contains("goto L") && text.contains("L1:") && text.contains(".byte"));
        let unit = assemble("forms.s", &text).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(encode(&unit.sections[0].code) == bytes, "{style:?}");
    }
}
