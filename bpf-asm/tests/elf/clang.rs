//! Reads objects from clang: names of functions, maps and variables, and source lines.

use std::process::Command;

use bpf_asm::elf;
use bpf_asm::insn::{Decoded, Insn, Wide, WideSource, decode};
use bpf_asm::text::{self, Style, Target};

const SOURCE: &str = r#"
typedef unsigned int u32;
typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))

struct lane { u32 credit; u32 size; u64 seen[3]; };

struct {
    int (*type)[1];
    int (*max_entries)[64];
    int (*map_flags)[1];
    u64 *key;
    struct lane *value;
} lanes SEC(".maps");

struct {
    int (*type)[27];
    int (*max_entries)[4096];
} events SEC(".maps");

static u64 total;
static const volatile u32 limit = 7;
char _license[] SEC("license") = "Dual MIT/GPL";

static void *(*const lookup)(void *map, const void *key) = (void *)1;
static long (*const loop)(u32 rounds, void *callback, void *context, u64 flags) = (void *)181;
extern int of_the_kernel(void *context) __attribute__((section(".ksyms")));

static __attribute__((noinline)) int spend(struct lane *lane, u32 size)
{
    if (lane->credit < size)
        return 0;
    lane->credit -= size;
    return 1;
}

static int once(u32 round, void *context)
{
    total += round;
    return 0;
}

SEC("socket")
int filter(void *context)
{
    u64 key = limit;
    struct lane *lane = lookup(&lanes, &key);
    if (!lane)
        return 0;
    return spend(lane, 100);
}

SEC("xdp")
int repeat(void *context)
{
    loop(4, once, context, 0);
    return of_the_kernel(context);
}
"#;

/// Compiles C to an object.
pub fn compile(source: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("make a folder");
    let (c, o) = (dir.path().join("program.c"), dir.path().join("program.o"));
    std::fs::write(&c, source).expect("write the source");
    let compiled = Command::new("clang")
        .args([
            "-target",
            "bpf",
            "-g",
            "-O2",
            "-mcpu=v3",
            "-Wall",
            "-c",
            "program.c",
            "-o",
            "program.o",
        ])
        .current_dir(dir.path())
        .output()
        .expect("clang is missing: apt-get install clang");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    std::fs::read(o).expect("read the object")
}

pub fn object() -> Vec<u8> {
    compile(SOURCE)
}

#[test]
fn functions_maps_variables_and_lines_of_clang_have_their_names() {
    let unit = elf::read(&object()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(unit.license.as_deref(), Some("Dual MIT/GPL"));
    let maps: Vec<_> = unit
        .maps
        .iter()
        .map(|m| (m.name.as_str(), m.kind, m.key_size, m.value_size, m.max_entries, m.flags))
        .collect();
    assert!(maps.contains(&("lanes", 1, 8, 32, 64, 1)), "{maps:?}");
    assert!(maps.contains(&("events", 27, 0, 0, 4096, 0)), "{maps:?}");
    assert!(maps.contains(&(".bss", 2, 4, 8, 1, 0)), "{maps:?}");
    assert!(maps.contains(&(".rodata", 2, 4, 4, 1, 128)), "{maps:?}");

    let section =
        |name: &str| unit.sections.iter().find(|section| section.name == name).expect(name);
    let functions =
        |name: &str| section(name).functions.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
    assert_eq!(functions(".text"), ["spend", "once"]);
    assert_eq!(
        (functions("socket"), functions("xdp")),
        (vec!["filter".to_owned()], vec!["repeat".to_owned()])
    );
    let named = |name: &str| {
        section(name).references.iter().map(|reference| reference.to.clone()).collect::<Vec<_>>()
    };
    let (map, function) =
        (|name: &str| Target::Map(name.into()), |name: &str| Target::Function(name.into()));
    assert_eq!(named("socket"), [map(".rodata"), map("lanes"), function("spend")]);
    assert_eq!(named("xdp"), [function("once"), Target::Kernel("of_the_kernel".into())]);
    assert_eq!(named(".text"), [map(".bss")]);

    let line =
        |text: &str| SOURCE.lines().position(|line| line.trim() == text).expect(text) as u32 + 1;
    for (name, text) in [("socket", "return spend(lane, 100);"), (".text", "lane->credit -= size;")]
    {
        let found = section(name).lines.iter().find(|line| line.text == text);
        let found = found.unwrap_or_else(|| panic!("{text} is not in {:?}", section(name).lines));
        assert_eq!(found.line, line(text));
        assert!(found.file.ends_with("program.c"), "{found:?}");
    }
}

#[test]
fn the_text_of_an_object_from_clang_gives_the_same_instructions() {
    let unit = elf::read(&object()).unwrap_or_else(|error| panic!("{error}"));
    let text = text::disassemble(&unit, &Style { lines: true, ..Style::default() });
    for part in [
        ".map lanes hash key=8 value=32 entries=64 flags=0x1",
        "r1 = map[name:lanes]",
        "call spend",
        "subprog[once]",
        "map[name:\".bss\"][0]+0",
        "call of_the_kernel",
        "return spend(lane, 100);",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    // The object has types, and the text reports what it lacks.
    let (without, rest): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| !line.starts_with(".incomplete "));
    assert_eq!(rest, [".incomplete \"the content or relocations of its section `.rodata`\""]);
    let refused = text::assemble("again.s", &text).expect_err("an incomplete text").to_string();
    assert!(
        refused.contains("this lacks parts of the object") && refused.contains("remove this line"),
        "{refused}"
    );
    let refused = elf::write(&unit).expect_err("an incomplete unit");
    assert!(matches!(refused, elf::WriteError::Incomplete { .. }), "{refused}");
    let text = without.join("\n");
    let again = text::assemble("again.s", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    for (again, section) in again.sections.iter().zip(&unit.sections) {
        assert_eq!((&again.name, &again.code), (&section.name, &section.code), "{text}");
        assert_eq!(again.references, section.references, "{text}");
    }
}

#[test]
fn an_object_without_types_is_read_by_its_symbols() {
    let source = "char _license[] __attribute__((section(\"license\"), used)) = \"GPL\";\n\
                  __attribute__((section(\"xdp\"), used)) int pass(void *context) { return 2; }\n";
    let unit = elf::read(&compile(source)).unwrap_or_else(|error| panic!("{error}"));
    let section = &unit.sections[0];
    assert_eq!((section.name.as_str(), section.functions[0].name.as_str()), ("xdp", "pass"));
    assert_eq!(section.code, decode(&[0xb4, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]));
    let wide = |piece: &Decoded| {
        matches!(piece, Decoded::Insn(Insn::Wide(Wide { source: WideSource::Imm(_), .. })))
    };
    assert!(!section.code.iter().any(wide));
}
