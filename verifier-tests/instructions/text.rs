//! Programs are read back from their text.

use bpf_asm::insn::encode;
use bpf_asm::text::{Style, Unit, assemble, disassemble};

use crate::variant::{self, Variant};

#[test]
fn every_variant_is_read_back_from_its_text() {
    for Variant { name, program } in variant::all() {
        let what = format!("{} ({name})", program.name());
        let unit = Unit::from(&program);
        for style in [Style::default(), Style { slots: true, bytes: true, lines: true }] {
            let text = disassemble(&unit, &style);
            let read = assemble(&what, &text).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(encode(&read.sections[0].code), encode(&unit.sections[0].code), "{what}");
            let plain = Style::default();
            assert_eq!(disassemble(&read, &plain), disassemble(&unit, &plain), "{what}");
            assert_eq!(read.sections[0].references, unit.sections[0].references, "{what}");
            assert_eq!(unit.sections[0].references.is_empty(), program.maps().is_empty());
        }
    }
}
