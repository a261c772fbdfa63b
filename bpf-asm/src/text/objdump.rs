//! The lines that `llvm-objdump -dr` prints between instructions: sections, symbols, relocations.

/// Such a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dumped<'a> {
    /// `program.o: file format elf64-bpf`
    File,
    /// `Disassembly of section xdp:`
    Section(&'a str),
    /// `0000000000000000 <main>:`; jump targets have such a line, too, but distances lead to them.
    Function(&'a str),
    /// A jump target.
    Label,
    /// `0000000000000030:  CO-RE <byte_off> [5] struct task_struct::pid (0:0)`
    Core,
    /// `0000000000000018:  R_BPF_64_64 counts`, which is about the instruction before it.
    Relocation {
        /// The kind.
        kind: &'a str,
        /// What it refers to: a symbol or a section.
        to: &'a str,
    },
}

/// The digits of an address.
const ADDRESS: usize = 16;

/// The line of a listing, if it is one.
pub(super) fn dumped(line: &str) -> Option<Dumped<'_>> {
    if let Some(rest) = line.strip_prefix("Disassembly of section ") {
        return rest.trim_end().strip_suffix(':').map(Dumped::Section);
    }
    if line.contains(":\tfile format elf64-bpf") {
        return Some(Dumped::File);
    }
    let line = line.trim();
    let (address, rest) = line.split_at_checked(ADDRESS)?;
    if !address.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    if let Some(name) = rest.strip_prefix(" <").and_then(|rest| rest.strip_suffix(">:")) {
        let label = name.starts_with("LBB") || name.starts_with(".L");
        return Some(if label { Dumped::Label } else { Dumped::Function(name) });
    }
    let rest = rest.strip_prefix(':')?.trim_start();
    if rest.starts_with("CO-RE <") {
        return Some(Dumped::Core);
    }
    let (kind, to) = rest.split_once('\t')?;
    kind.starts_with("R_BPF_").then(|| Dumped::Relocation { kind, to: to.trim() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_listings_are_told_from_instructions() {
        let relocation = Dumped::Relocation { kind: "R_BPF_64_64", to: "counts" };
        for (line, expected) in [
            ("a.o:\tfile format elf64-bpf", Some(Dumped::File)),
            ("Disassembly of section cgroup/connect4:", Some(Dumped::Section("cgroup/connect4"))),
            ("0000000000000050 <main>:", Some(Dumped::Function("main"))),
            ("0000000000000060 <LBB0_2>:", Some(Dumped::Label)),
            ("\t\t0000000000000018:  R_BPF_64_64\tcounts", Some(relocation)),
            ("\t\t0000000000000030:  CO-RE <byte_off> [5] struct a::b (0:0)", Some(Dumped::Core)),
            ("       9:\t95 00 00 00 00 00 00 00\texit", None),
            ("0000000000000050: r1 = 5", None),
            ("main:", None),
            ("", None),
        ] {
            assert_eq!(dumped(line), expected, "{line}");
        }
    }
}
