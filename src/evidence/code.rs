//! Machine code: finds where the number of the splice system call is loaded, and what is called
//! then.
//!
//! This is not a disassembler, and the boundaries of x86 instructions are unknown. Patterns are
//! searched at every byte, and count only with what must follow: an instruction that enters the
//! kernel, or a call that ends in libc's `syscall`. Real programs load 0x113 into `%eax` and `%edi`
//! for other reasons dozens of times (libjvm, LLVM), but never with that continuation.
//!
//! | | x86-64 | arm64 |
//! |---|---|---|
//! | number of splice | 275 | 76 |
//! | in the system call register | `mov $0x113,%eax` … `syscall` | `mov w8,#76` … `svc #0` |
//! | as an argument of `syscall` | `mov $0x113,%edi` … `call` | `mov w0,#76` … `bl` |

use memchr::memmem;

use super::image::{Error, Image, Machine};

/// Distance within which the number must be used: six more arguments may be loaded.
const WINDOW: usize = 96;
/// Bytes examined of a called function: a PLT stub, or a system call wrapper.
const CALLEE: usize = 64;

/// Limit of loads examined, of the number and of the name. LLVM has about 60; a file with more is
/// hostile and counts as one that may splice.
const CANDIDATES: u32 = 1 << 16;

/// Counts a load that has to be examined. Returns true when there have been too many.
fn candidates() -> impl FnMut() -> bool {
    let mut left = CANDIDATES;
    move || {
        left = left.saturating_sub(1);
        left == 0
    }
}

/// What a load of the number needs to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A system call, or a call of libc's `syscall`, must follow.
    Call,
    /// The load suffices: there is no libc to call, or calls pass the number in the system call
    /// register, like Go's.
    Load,
}

/// Whether the code of an image makes the system call.
pub fn makes_splice_call(image: &Image, proof: Proof) -> Result<bool, Error> {
    let mut exhausted = candidates();
    for segment in image.segments.iter().filter(|segment| segment.executable) {
        let found =
            image.any_chunk(segment, WINDOW + 16, |address, chunk| match image.machine {
                Machine::X86_64 => x86_64(image, proof, &mut exhausted, address, chunk),
                Machine::Aarch64 => aarch64(image, proof, &mut exhausted, address, chunk),
            })?;
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the code of an image passes one of these addresses, in ascending order, to `dlsym` as
/// the name.
pub fn looks_up(image: &Image, names: &[u64]) -> Result<bool, Error> {
    let is_name = |address: u64| names.binary_search(&address).is_ok();
    let mut exhausted = candidates();
    let mut to_dlsym = |address, following: &[u8]| {
        exhausted() || calls(image, &image.dlsym, false, address, following)
    };
    for segment in image.segments.iter().filter(|segment| segment.executable) {
        let found =
            image.any_chunk(segment, WINDOW + 16, |address, chunk| match image.machine {
                Machine::X86_64 => {
                    // lea name(%rip),%rsi
                    let relative = memmem::find_iter(chunk, b"\x48\x8d\x35").any(|at| {
                        let (following, here) = after(address, chunk, at + 7);
                        number(chunk, at + 3).is_some_and(|distance| {
                            is_name(here.wrapping_add_signed(distance.into()))
                        }) && to_dlsym(here, following)
                    });
                    // mov $name,%esi, in position-dependent code
                    relative
                        || memchr::memchr_iter(0xbe, chunk).any(|at| {
                            let (following, here) = after(address, chunk, at + 5);
                            number(chunk, at + 1)
                                .is_some_and(|name| is_name(name.cast_unsigned().into()))
                                && to_dlsym(here, following)
                        })
                }
                Machine::Aarch64 => {
                    // adrp x1,name; add x1,x1,#:lo12:name
                    words(chunk).enumerate().any(|(index, word)| {
                        let Some(page) = page(word, address.wrapping_add(index as u64 * 4), 1)
                        else {
                            return false;
                        };
                        let (following, here) = after(address, chunk, index * 4 + 4);
                        let low =
                            words(following).take(8).find(|word| word & 0xffc0_03ff == 0x9100_0021);
                        let name = low.map(|add| page.wrapping_add(u64::from(add >> 10 & 0xfff)));
                        name.is_some_and(is_name) && to_dlsym(here, following)
                    })
                }
            })?;
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The number as an immediate operand.
const X86_64_NUMBER: &[u8] = &275u32.to_le_bytes();

fn x86_64(
    image: &Image,
    proof: Proof,
    exhausted: &mut dyn FnMut() -> bool,
    address: u64,
    chunk: &[u8],
) -> bool {
    memmem::find_iter(chunk, X86_64_NUMBER).any(|at| {
        let before = &chunk[..at];
        let (following, here) = after(address, chunk, at + X86_64_NUMBER.len());
        let pushed = |pop| before.ends_with(b"\x68") && following.first() == Some(&pop);
        // mov $imm32,%eax; mov $imm32,%rax; push and pop %rax
        let kernel = before.ends_with(b"\xb8") || before.ends_with(b"\x48\xc7\xc0") || pushed(0x58);
        // The same with %rdi.
        let argument =
            before.ends_with(b"\xbf") || before.ends_with(b"\x48\xc7\xc7") || pushed(0x5f);
        // mov $imm32,(%rsp): the first argument, as Go passed it before 1.17.
        let stack = before.ends_with(b"\x48\xc7\x04\x24");
        (kernel || argument) && exhausted()
            || (kernel && (proof == Proof::Load || memmem::find(following, SYSCALL).is_some()))
            || (stack && proof == Proof::Load)
            || (argument && calls(image, &image.syscall, true, here, following))
    })
}

/// `syscall`
const SYSCALL: &[u8] = b"\x0f\x05";

fn aarch64(
    image: &Image,
    proof: Proof,
    exhausted: &mut dyn FnMut() -> bool,
    address: u64,
    chunk: &[u8],
) -> bool {
    words(chunk).enumerate().any(|(index, word)| {
        // movz with any register, of 32 or 64 bits
        if word & 0x7fff_ffe0 != 0x5280_0000 | 76 << 5 {
            return false;
        }
        let (following, here) = after(address, chunk, index * 4 + 4);
        match word & 31 {
            _ if exhausted() || proof == Proof::Load && image.go => true,
            8 => proof == Proof::Load || words(following).any(|word| word == SVC),
            0 => calls(image, &image.syscall, true, here, following),
            _ => false,
        }
    })
}

/// `svc #0`
const SVC: u32 = 0xd400_0001;

/// Whether the following code calls through one of these slots or, if `own`, calls a function of
/// the same image that enters the kernel, like `syscall` of a static libc.
fn calls(image: &Image, slots: &[u64], own: bool, here: u64, following: &[u8]) -> bool {
    if refers(image.machine, slots, here, following) {
        return true;
    }
    let enters = |code: &[u8]| match image.machine {
        Machine::X86_64 => memmem::find(code, SYSCALL).is_some(),
        Machine::Aarch64 => words(code).any(|word| word == SVC),
    };
    targets(image.machine, here, following).any(|target| {
        image.is_code(target..target.saturating_add(1)) && {
            let callee = image.code_at(target, CALLEE);
            // A PLT stub is at most 16 bytes long, followed by the next one.
            let stub = &callee[..callee.len().min(16)];
            refers(image.machine, slots, target, stub) || own && enters(&callee)
        }
    })
}

/// Whether code reads one of these pointers.
fn refers(machine: Machine, slots: &[u64], here: u64, code: &[u8]) -> bool {
    if slots.is_empty() {
        return false;
    }
    match machine {
        // call *slot(%rip), jmp *slot(%rip) and mov slot(%rip),%reg: a displacement of four bytes
        // relative to its end.
        Machine::X86_64 => (0..code.len()).any(|at| {
            let end = here.wrapping_add(at as u64 + 4);
            number(code, at).is_some_and(|to| slots.contains(&end.wrapping_add_signed(to.into())))
        }),
        // adrp xN,slot; ldr xM,[xN,#:lo12:slot]
        Machine::Aarch64 => {
            let mut pages = [None; 32];
            words(code).enumerate().any(|(index, word)| {
                let to = word & 31;
                if let Some(page) = page(word, here.wrapping_add(index as u64 * 4), to) {
                    pages[to as usize] = Some(page);
                    return false;
                }
                let from = pages[(word >> 5 & 31) as usize];
                let low = u64::from(word >> 10 & 0xfff) * 8;
                word & 0xffc0_0000 == 0xf940_0000
                    && from.is_some_and(|page: u64| slots.contains(&page.wrapping_add(low)))
            })
        }
    }
}

/// Targets of direct calls and jumps.
fn targets(machine: Machine, here: u64, code: &[u8]) -> impl Iterator<Item = u64> {
    let step = if machine == Machine::X86_64 { 1 } else { 4 };
    (0..code.len()).step_by(step).filter_map(move |at| {
        let address = here.wrapping_add(at as u64);
        match machine {
            Machine::X86_64 => matches!(code[at], 0xe8 | 0xe9)
                .then(|| number(code, at + 1))
                .flatten()
                .map(|distance| address.wrapping_add(5).wrapping_add_signed(distance.into())),
            Machine::Aarch64 => number(code, at)
                .filter(|word| word & 0x7c00_0000 == 0x1400_0000)
                .map(|word| address.wrapping_add_signed(i64::from(word << 6 >> 6) * 4)),
        }
    })
}

/// The value that `adrp` writes into a register, if `word` is one.
fn page(word: u32, address: u64, register: u32) -> Option<u64> {
    (word & 0x9f00_001f == 0x9000_0000 | register).then(|| {
        let pages = (word >> 5 & 0x7_ffff) << 2 | word >> 29 & 3;
        let pages = i64::from((pages << 11) as i32 >> 11);
        (address & !0xfff).wrapping_add_signed(pages << 12)
    })
}

/// The window after an instruction, and its address.
fn after(address: u64, chunk: &[u8], end: usize) -> (&[u8], u64) {
    let end = end.min(chunk.len());
    (&chunk[end..chunk.len().min(end + WINDOW)], address.wrapping_add(end as u64))
}

/// The 32-bit number at an offset, if in bounds.
fn number(code: &[u8], at: usize) -> Option<i32> {
    code.get(at..)?.first_chunk().copied().map(i32::from_le_bytes)
}

/// The instructions of arm64. Segments start at multiples of four.
fn words(code: &[u8]) -> impl Iterator<Item = u32> {
    code.as_chunks().0.iter().copied().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether code makes the call, given the address of a pointer to `syscall`.
    fn makes(machine: Machine, code: &[u8], slot: Option<u64>, proof: Proof) -> bool {
        let content = code.to_vec();
        let mut image = Image::of_code(machine, &content);
        image.syscall.extend(slot);
        makes_splice_call(&image, proof).expect("read code")
    }

    fn x86(code: &[&[u8]], slot: Option<u64>, proof: Proof) -> bool {
        makes(Machine::X86_64, &code.concat(), slot, proof)
    }

    fn arm(code: &[u32], slot: Option<u64>, proof: Proof) -> bool {
        let code: Vec<_> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
        makes(Machine::Aarch64, &code, slot, proof)
    }

    const NOPS: &[u8] = &[0x90; 40];

    #[test]
    fn a_number_in_the_system_call_register_counts_with_a_system_call_instruction() {
        let loads: [&[&[u8]]; 3] = [
            &[b"\xb8\x13\x01\0\0"],
            &[b"\x48\xc7\xc0\x13\x01\0\0"],
            &[b"\x68\x13\x01\0\0", b"\x58"],
        ];
        for load in loads {
            let with = |rest: &[&[u8]]| [load.concat(), rest.concat()].concat();
            assert!(x86(&[&with(&[NOPS, b"\x0f\x05"])], None, Proof::Call), "{load:x?}");
            assert!(
                !x86(&[&with(&[NOPS, NOPS, NOPS, b"\x0f\x05"])], None, Proof::Call),
                "{load:x?}"
            );
            assert!(!x86(&[&with(&[NOPS])], None, Proof::Call), "{load:x?}");
        }
        // tee's number, and a push of a PLT index
        assert!(!x86(&[b"\xb8\x14\x01\0\0\x0f\x05"], None, Proof::Call));
        assert!(!x86(&[b"\x68\x13\x01\0\0\xe9", NOPS, b"\x0f\x05"], None, Proof::Call));
    }

    #[test]
    fn a_number_is_found_across_chunks() {
        let call: &[u8] = b"\xb8\x13\x01\0\0\x0f\x05";
        for before in (1 << 18) - 128..(1 << 18) + 128 {
            let code = [&vec![0x90; before], call].concat();
            assert!(makes(Machine::X86_64, &code, None, Proof::Call), "{before}");
        }
    }

    #[test]
    fn without_libraries_the_number_alone_counts() {
        for load in [&b"\xb8\x13\x01\0\0"[..], b"\x48\xc7\x04\x24\x13\x01\0\0"] {
            assert!(x86(&[load], None, Proof::Load));
            assert!(!x86(&[load], None, Proof::Call));
        }
        assert!(arm(&[0x5280_0988], None, Proof::Load));
        assert!(!arm(&[0x5280_0988], None, Proof::Call));
    }

    #[test]
    fn an_argument_counts_only_with_a_call_of_syscall() {
        // mov $0x113,%edi; call *slot(%rip): the instruction ends at 0x1000 + 5 + 40 + 6.
        let slot = 0x1000 + 51 + 0x2000;
        let call: &[&[u8]] = &[b"\xbf\x13\x01\0\0", NOPS, b"\xff\x15\0\x20\0\0"];
        assert!(x86(call, Some(slot), Proof::Call));
        assert!(!x86(call, Some(slot + 8), Proof::Call));
        assert!(!x86(call, None, Proof::Call));
        // Through a stub: call +40; … endbr64; jmp *slot(%rip)
        let slot = 0x1000 + 10 + 40 + 10 + 0x2000;
        let stub: &[u8] = b"\xf3\x0f\x1e\xfa\xff\x25\0\x20\0\0";
        let call: &[&[u8]] = &[b"\xbf\x13\x01\0\0", b"\xe8\x28\0\0\0", NOPS, stub];
        assert!(x86(call, Some(slot), Proof::Call));
        assert!(!x86(call, Some(slot + 8), Proof::Call));
    }

    #[test]
    fn an_argument_counts_with_a_call_of_the_image_s_own_syscall() {
        let argument: &[u8] = b"\xbf\x13\x01\0\0";
        // mov %rdi,%rax; …; syscall
        let own: &[u8] = b"\x48\x89\xf8\x48\x89\xf7\x0f\x05";
        assert!(x86(&[argument, b"\xe8\x78\0\0\0", &[0x90; 120], own], None, Proof::Call));
        assert!(!x86(&[argument, b"\xe8\x78\0\0\0", &[0x90; 120]], None, Proof::Call));
    }

    #[test]
    fn arm64_loads_the_number_and_enters_the_kernel() {
        let nop = 0xd503_201f;
        assert!(arm(&[0xd280_0988, nop, nop, SVC], None, Proof::Call));
        assert!(arm(&[nop, 0x5280_0988, nop, SVC], None, Proof::Call));
        // x9; 77, which is tee; too far away
        assert!(!arm(&[0xd280_0989, nop, SVC], None, Proof::Call));
        assert!(!arm(&[0xd280_09a8, nop, SVC], None, Proof::Call));
        assert!(!arm(&[&[0xd280_0988][..], &[nop; 30], &[SVC]].concat(), None, Proof::Call));
    }

    #[test]
    fn arm64_calls_syscall_through_a_stub() {
        // mov w0,#76; bl +8; ret; adrp x16,page(0x1000) + 2 pages; ldr x17,[x16,#0x18]; br x17
        let code = [0x5280_0980, 0x9400_0002, 0xd65f_03c0, 0xd000_0010, 0xf940_0e11, 0xd61f_0220];
        assert!(arm(&code, Some(0x3018), Proof::Call));
        assert!(!arm(&code, Some(0x3020), Proof::Call));
        assert!(!arm(&code, None, Proof::Call));
        // A negative page offset.
        let code = [0x5280_0980, 0x9400_0002, 0xd65f_03c0, 0xf0ff_fff0, 0xf940_0e11, 0xd61f_0220];
        assert!(arm(&code, Some(0x18), Proof::Call));
    }

    #[test]
    fn only_a_name_passed_to_dlsym_counts() {
        // lea 0x2000(%rip),%rsi; call *0x3000(%rip)
        let content = b"\x48\x8d\x35\0\x20\0\0\xff\x15\0\x30\0\0".to_vec();
        let mut image = Image::of_code(Machine::X86_64, &content);
        image.dlsym.push(0x1000 + 13 + 0x3000);
        assert!(looks_up(&image, &[0x3007]).expect("read"));
        assert!(!looks_up(&image, &[0x3008]).expect("read"));
        image.dlsym[0] += 8;
        assert!(!looks_up(&image, &[0x3007]).expect("read"));
        // adrp x1,0x3000; add x1,x1,#7; adrp x3,0x5000; ldr x3,[x3,#8]; blr x3
        let words = [0xd000_0001_u32, 0x9100_1c21, 0x9000_0023, 0xf940_0463, 0xd63f_0060];
        let content: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut image = Image::of_code(Machine::Aarch64, &content);
        image.dlsym.push(0x5008);
        assert!(looks_up(&image, &[0x3007]).expect("read"));
        assert!(!looks_up(&image, &[0x3008]).expect("read"));
    }

    #[test]
    fn the_number_of_examined_loads_is_bounded() {
        let code = b"\xbf\x13\x01\0\0".repeat(1 << 17);
        assert!(makes(Machine::X86_64, &code, Some(1), Proof::Call));
        // mov $name,%esi, and nothing that is called
        let load = b"\xbe\x07\x30\0\0";
        for (loads, too_many) in [(1 << 17, true), (1 << 10, false)] {
            let code = load.repeat(loads);
            let image = Image::of_code(Machine::X86_64, &code);
            assert_eq!(looks_up(&image, &[0x3007]).expect("read"), too_many, "{loads}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_code_makes_the_search_panic(code: Vec<u8>, slot: u64, other: u64) {
            for machine in [Machine::X86_64, Machine::Aarch64] {
                let head: &[u8] = match machine {
                    Machine::X86_64 => b"\xbf\x13\x01\0\0\xe8",
                    Machine::Aarch64 => b"\x80\x09\x80\x52",
                };
                let content = [head, &code].concat();
                let mut image = Image::of_code(machine, &content);
                image.segments[0].address = other;
                image.syscall.push(slot);
                image.dlsym.push(slot);
                for proof in [Proof::Call, Proof::Load] {
                    let _ = makes_splice_call(&image, proof);
                }
                let _ = looks_up(&image, &[other]);
            }
        }
    }
}
