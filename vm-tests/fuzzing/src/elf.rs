//! ELF objects.

use bpf_asm::text::{self, Style};
use bpf_asm::{Builder, MapKind, MapRef, ProgramType, elf, helper};

/// An object is read, and what is disassembled assembles to an object that is read; or it is
/// rejected.
pub(crate) fn parse(bytes: &[u8]) -> bool {
    let all = Style { lines: true, slots: true, bytes: true };
    if let Ok(text) = elf::disassemble(bytes, &all) {
        let again = elf::assemble("again.s", &text);
        let again = again.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        if let Err(error) = elf::disassemble(&again.object, &Style::default()) {
            panic!("{error}\n{text}");
        }
    }
    let Ok(unit) = elf::read(bytes) else { return false };
    let _ = text::disassemble(&unit, &all);
    // What an object cannot express is an error; what it can is read again.
    if let Ok(written) = elf::write(&unit)
        && let Err(error) = elf::read(&written)
    {
        panic!("cannot read what was written: {error}");
    }
    true
}

/// An object with all that objects of this crate have: maps, a variable, functions, BTF with lines.
fn object() -> Option<Vec<u8>> {
    const VALUES: MapRef<u32, [u64; 2]> = MapRef::new("values", MapKind::Hash, 16);
    const STATE: MapRef<u32, u64> = MapRef::new("state", MapKind::Array, 1);
    let b = Builder::new("reader");
    let twice = b.function("twice", |[number]: [bpf_asm::Reg; 1]| {
        number.lsh(1);
        b.ret(&number);
    });
    let key = b.slot::<u32>();
    b.store(key.place(), 1);
    drop(b.call(helper::map_lookup_elem(&VALUES, &key)));
    let state = b.map_value(&STATE);
    let number = b.load(state.at_all());
    drop(state);
    b.ret(b.call_local(&twice, [(&number).into()]));
    let program = b.finish(ProgramType::SocketFilter).ok()?;
    elf::write(&elf::unit("GPL", &[&program]).ok()?).ok()
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    object().into_iter().collect()
}
