//! Assembler text.

use bpf_asm::insn::encode;
use bpf_asm::text::{Section, Style, Unit, assemble, disassemble};

/// Text is assembled, and then what is disassembled means the same; or it is rejected, each error
/// at a line that there is.
pub(crate) fn parse(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let unit = match assemble("fuzz.s", &text) {
        Ok(unit) => unit,
        Err(errors) => {
            assert!(!errors.errors().is_empty(), "rejected without an error");
            for error in errors.errors() {
                let line = text.lines().nth(error.line - 1);
                assert_eq!(line, Some(error.text.as_str()), "line {}", error.line);
            }
            assert!(!errors.render(true).is_empty());
            return false;
        }
    };
    for style in [Style::default(), Style { lines: true, slots: true, bytes: true }] {
        let again = disassemble(&unit, &style);
        let read = assemble("again.s", &again);
        let read = read.unwrap_or_else(|errors| panic!("{errors}\n{again}"));
        let (read, unit) = (with_code(&read), with_code(&unit));
        assert_eq!(read.len(), unit.len(), "{again}");
        for (read, unit) in read.into_iter().zip(unit) {
            assert_eq!(encode(&read.code), encode(&unit.code), "{again}");
            assert_eq!((&read.functions, &read.references), (&unit.functions, &unit.references));
        }
    }
    true
}

/// A section of labels alone has nothing that could be written.
fn with_code(unit: &Unit) -> Vec<&Section> {
    unit.sections.iter().filter(|section| !section.code.is_empty()).collect()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        ".license \"GPL\"\n\
         .map counts array key=4 value=8 entries=2\n\
         .extern bpf_cast_to_kern_ctx\n\
         .section \"socket\"\n\
         .function reader\n\
         *(u32 *)(r10 -4) = 0\n\
         r2 = r10\n\
         r2 += -4\n\
         r1 = map[name:counts]\n\
         call bpf_map_lookup_elem\n\
         if r0 == 0 goto out\n\
         r1 = 1\n\
         lock *(u64 *)(r0 +0) += r1\n\
         call bpf_cast_to_kern_ctx\n\
         out: r0 = 0\n\
         exit\n",
        ".equ SIZE, 0x10\n\
         r6 = r1\n\
         r0 = 0x1122334455667788 ll\n\
         r3 = be16 r3\n\
         w0 s/= w3\n\
         r4 = (s8)r0\n\
         *(u8 *)(r10 -1) = 5\n\
         r2 = atomic64_fetch_add((u64 *)(r10 -8), r2)\n\
         r5 = load_acquire((u64 *)(r2 +8))\n\
         1: if w1 & w2 goto 2f\n\
         call bpf_map_lookup_elem#1\n\
         may_goto pc+1\n\
         if r1 s> SIZE goto 1b\n\
         2: r0 = *(u16 *)skb[12]\n\
         exit\n\
         .byte 0x95, 0, 0, 0, 0, 0, 0, 0\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
