//! Programs as text in the kernel's own notation.
//!
//! [`assemble`] reads what [`disassemble`] writes, with the same bytes as the result, and also the
//! output of verifier logs, bpftool and llvm-objdump where they differ. A [`Unit`] is the
//! intermediate form of text, bytes and object files.
//!
//! ```
//! use bpf_asm::text::{self, Style};
//!
//! let unit = text::assemble("count.s", r#"
//!     .license "GPL"
//!     .map counts array key=4 value=8 entries=1
//!     .section "socket"
//!     .function count
//!         *(u32 *)(r10 -4) = 0
//!         r2 = r10
//!         r2 += -4
//!         r1 = map[name:counts]
//!         call bpf_map_lookup_elem
//!         if r0 == 0 goto out        ; an array has all its values, but the verifier asks
//!         r1 = 1
//!         lock *(u64 *)(r0 +0) += r1
//!     out:
//!         r0 = 0
//!         exit
//! "#)?;
//! assert_eq!(unit.sections[0].slots(), 11);
//!
//! let text = text::disassemble(&unit, &Style::default());
//! assert!(text.contains("    if r0 == 0x0 goto L1\n"), "{text}");
//! assert_eq!(text::assemble("count.s", &text)?.sections[0].code, unit.sections[0].code);
//!
//! let errors = text::assemble("count.s", "r1 = r11").unwrap_err();
//! assert!(errors.to_string().contains("count.s:1:6"), "{errors}");
//! # Ok::<(), bpf_asm::text::TextErrors>(())
//! ```
//!
//! # Instructions
//!
//! One per line. `r0` to `r10` are registers, `w0` to `w10` their lower halves; numbers are decimal
//! or hexadecimal, with an optional sign. A number that starts with 0, such as `010`, is rejected:
//! it is octal in C and other assemblers.
//!
//! | instruction | also read |
//! |---|---|
//! | `r1 += -2`, `w1 s>>= w2`, `r1 s/= r2`, `r1 = -r1`, `r1 = r2`, `r1 = 5` | `r1 = 0x5` |
//! | `r1 = (s8)r2`, `w1 = (s16)w2` | |
//! | `r1 = be16 r1`, `le32`, `bswap64` | |
//! | `r1 = addr_space_cast(r2, 0, 1)` | |
//! | `r1 = *(u32 *)(r2 +8)`, `s8`, `s16`, `s32` | `(r2 + 0x8)`, `(r2)`, `w1 = …` |
//! | `*(u8 *)(r1 -1) = r2`, `*(u64 *)(r10 -8) = -1` | `… = w2` |
//! | `r1 = load_acquire((u64 *)(r2 +8))`, `store_release((u8 *)(r1 +0), r2)` | `w1 = …`, `w2` |
//! | `lock *(u64 *)(r1 +0) += r2`, `\|=`, `&=`, `^=` | `w2` |
//! | `r2 = atomic64_fetch_add((u64 *)(r1 +0), r2)`, `or`, `and`, `xor` | `atomic_fetch_add((u64 …` |
//! | `r2 = atomic64_xchg((u64 *)(r1 +0), r2)` | `r2 = xchg_64(r1 + 0x0, r2)`, `w2 = xchg32_32(…` |
//! | `r0 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r2)` | `r0 = cmpxchg_64(r1 + 0x0, r0, r2)`, `w0 = cmpxchg32_32(…` |
//! | `r0 = *(u16 *)skb[12]`, `r0 = *(u8 *)skb[r1 + 3]` | `skb[r1]`, `skb[0xc]` |
//! | `r1 = 0x1122334455667788 ll` | without `ll`, if the number does not fit in 32 signed bits |
//! | `r1 = map[name:counts]`, `map[fd:3]`, `map[idx:0]` | `map[id:3]`, `counts ll`, `ld_pseudo r1, 1, 3` |
//! | `r1 = map[name:counts][0]+8` | `map[idx:0]+8` |
//! | `r1 = btf[id:7]`, `btf[id:7, fd:4]` | |
//! | `r1 = extern[CONFIG_HZ]` | `CONFIG_HZ ll` |
//! | `r1 = subprog[callback]`, `subprog[+5]` | `callback ll` |
//! | `if r1 s> 5 goto out` | `if (r1 s> 5) goto out` |
//! | `goto out`, `goto pc+3`, `gotol far`, `may_goto out`, `gotox r1` | `goto +0x3 <LBB0_2>` |
//! | `if r1 s> 0x5 goto out`, `if w1 & w2 goto pc-3` | `if r1 s> 5 goto -3` |
//! | `call bpf_map_lookup_elem#1`, `call pc+5`, `call name`, `call kernel-function#7`, `callx r1` | `call 1`, `call bpf_map_lookup_elem` |
//! | `exit` | |
//!
//! Numbers are taken literally: `if r1 == 0xffffffff` is rejected, since the instruction would
//! compare with −1. An instruction may follow its slot number (`12:`) and its opcode as the kernel
//! prints it (`(bf)`), or its bytes as llvm-objdump prints them. Numbers are then read as that tool
//! writes them, and text that contradicts the opcode is an error. Comments start with `;`, `//`, or
//! a `#` after a space.
//!
//! The listing of `llvm-objdump -dr` assembles as a whole: section and symbol lines, and
//! relocations, which follow their instruction. Maps, and what the kernel defines, have to be
//! declared before it.
//!
//! Code that no verifier accepts (a division by 0, a shift by 64, unreachable instructions) or that
//! is probably a mistake (`*(u8 *)(r1 +0) = 300` stores 44, an instruction after a `;` is a
//! comment) is assembled as written; [`assemble_with_warnings`] warns about it.
//!
//! # Labels and directives
//!
//! `name:` names the next instruction for jumps in its function. Numeric labels such as `1:` may
//! repeat: `1b` is the previous one, `1f` the next. A name that is not an identifier is written
//! `"in quotes"`, with Rust's escapes.
//!
//! | directive | meaning |
//! |---|---|
//! | `.license "GPL"` | the licence of the programs |
//! | `.map NAME KIND key=BYTES value=BYTES entries=N flags=N` | a map; the kind by its name in `enum bpf_map_type` (`hash`, `array`, `ringbuf`), or its number |
//! | `… numa_node=N extra=N pinning=1 inner=(array key=4 value=8 entries=1)` | attributes that few maps have; `inner` is the template of a map of maps |
//! | `.value NAME "text\0"`, `.value NAME 1, 2` | the first bytes of the only value of a map above; several lines follow each other |
//! | `.minimum v3`, `.minimum 5.10` | reject instructions that require more |
//! | `.section "cgroup_skb/egress"` | appends what follows to the section; libbpf takes a program's type from its name |
//! | `.function NAME` | a function starts here |
//! | `.extern NAME` | a kfunc, to be called by name |
//! | `.extern int bpf_dynptr_size(struct bpf_dynptr *p)` | the same with its types, as libbpf requires |
//! | `.extern const void bpf_link_fops __weak` | a variable of the kernel; `__weak`: it may be missing |
//! | `.extern int CONFIG_HZ __kconfig` | a value of the kernel's configuration |
//! | `.byte 0x95, 0, …`, `.short`, `.long`, `.quad` | numbers of 1, 2, 4 and 8 bytes; slots have 8 |
//! | `.equ NAME, NUMBER` | a name for a number, valid below |
//! | `.incomplete "REASON"` | rejects the text: it lacks parts of the object that it was read from, see [`Unit::incomplete`] |
//!
//! A map needs `entries`, unless its kind has no capacity (storage maps) or libbpf sets it
//! (`perf_event_array`).
//!
//! # Whole objects
//!
//! Objects from compilers contain more: types, values of variables, CO-RE relocations.
//! `elf::disassemble` writes them like clang's `-S`, in the syntax of GNU as and LLVM, and
//! `elf::assemble` reads that syntax, including clang's own output. A text has that syntax if it
//! contains one of its directives (`.text`, `.globl`, `.type`, `.p2align`, `.section` with flags,
//! …); the table above does not apply to it, and a semicolon separates instructions.

mod assemble;
mod declaration;
mod directive;
mod disassemble;
mod error;
#[cfg(feature = "elf")]
pub(crate) mod gas;
mod instruction;
mod mnemonic;
mod name;
mod objdump;
mod token;
mod unit;

pub use assemble::{assemble, assemble_with_warnings};
pub use declaration::{CType, Extern, ExternType, declare};
#[cfg(feature = "elf")]
pub(crate) use disassemble::more;
pub use disassemble::{Style, disassemble};
#[cfg(feature = "elf")]
pub(crate) use error::similar;
pub use error::{TextError, TextErrors, TextWarnings};
pub use unit::{Function, Line, Map, Reference, Section, Target, Unit, map_kind, map_kind_name};
