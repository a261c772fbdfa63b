//! Machine code: where the system call number of splice is loaded, and who is called then.
//!
//! There is no disassembler here, and the starts of x86 instructions are not known. Patterns are
//! looked for at every byte, and count only together with what has to follow them: an instruction
//! that enters the kernel, or a call that ends in libc's `syscall`. Real programs load 0x113 into
//! `%eax` and `%edi` for other reasons some dozen times (libjvm, LLVM); with what follows they never do.
//!
//! | | x86-64 | arm64 |
//! |---|---|---|
//! | number of splice | 275 | 76 |
//! | in the register of the kernel | `mov $0x113,%eax` … `syscall` | `mov w8,#76` … `svc #0` |
//! | as an argument of `syscall` | `mov $0x113,%edi` … `call` | `mov w0,#76` … `bl` |

use memchr::memmem;

use super::image::{Error, Image, Machine};

/// How far behind the number what uses it may be. Six more arguments have to be loaded.
const WINDOW: usize = 96;
/// How much of a called function is looked at: a stub of the linker, or a wrapper of a system call.
const CALLEE: usize = 64;

/// How many loads of the number are followed up. LLVM has about 60. A file with more was made to keep
/// us busy, and is taken for one that makes the call.
const CANDIDATES: u32 = 1 << 16;

/// What makes a load of the number count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The system call itself, or a call of libc's `syscall`, has to follow.
    Call,
    /// The load is enough: there is no libc that would be called with the number, or calls pass it in
    /// the register in which the kernel takes it, as Go's do.
    Load,
}

/// Whether the code of an image makes the system call.
pub fn makes_splice_call(image: &Image, proof: Proof) -> Result<bool, Error> {
    let mut left = CANDIDATES;
    let mut exhausted = || {
        left = left.saturating_sub(1);
        left == 0
    };
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

/// Whether the code of an image hands one of these addresses to `dlsym` as the name to look up.
pub fn looks_up(image: &Image, names: &[u64]) -> Result<bool, Error> {
    let to_dlsym =
        |address, following: &[u8]| calls(image, &image.dlsym, false, address, following);
    for segment in image.segments.iter().filter(|segment| segment.executable) {
        let found =
            image.any_chunk(segment, WINDOW + 16, |address, chunk| match image.machine {
                Machine::X86_64 => {
                    // lea name(%rip),%rsi
                    let relative = memmem::find_iter(chunk, b"\x48\x8d\x35").any(|at| {
                        let (following, here) = after(address, chunk, at + 7);
                        number(chunk, at + 3).is_some_and(|distance| {
                            names.contains(&here.wrapping_add_signed(distance.into()))
                        }) && to_dlsym(here, following)
                    });
                    // mov $name,%esi, in what is not position-independent
                    relative
                        || names.iter().filter_map(|name| u32::try_from(*name).ok()).any(|name| {
                            memmem::find_iter(chunk, &name.to_le_bytes()).any(|at| {
                                let (following, here) = after(address, chunk, at + 4);
                                chunk[..at].ends_with(b"\xbe") && to_dlsym(here, following)
                            })
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
                        name.is_some_and(|name| names.contains(&name)) && to_dlsym(here, following)
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

/// Whether the code that follows calls what one of these slots points to, or, if asked for, a function
/// of the same image that enters the kernel at once, as `syscall` of a static libc does.
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
            // A stub has no more than 16 bytes; behind it lies the next one.
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
        // call *slot(%rip), jmp *slot(%rip) and mov slot(%rip),%reg: four bytes that are the distance
        // from their end.
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

/// Where direct calls and jumps in this code go.
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

/// What `adrp` writes into a register, if this is one.
fn page(word: u32, address: u64, register: u32) -> Option<u64> {
    (word & 0x9f00_001f == 0x9000_0000 | register).then(|| {
        let pages = (word >> 5 & 0x7_ffff) << 2 | word >> 29 & 3;
        let pages = i64::from((pages << 11) as i32 >> 11);
        (address & !0xfff).wrapping_add_signed(pages << 12)
    })
}

/// The window behind an instruction, and its address.
fn after(address: u64, chunk: &[u8], end: usize) -> (&[u8], u64) {
    let end = end.min(chunk.len());
    (&chunk[end..chunk.len().min(end + WINDOW)], address.wrapping_add(end as u64))
}

/// The 32-bit number at this place, if there is room for one.
fn number(code: &[u8], at: usize) -> Option<i32> {
    code.get(at..)?.first_chunk().copied().map(i32::from_le_bytes)
}

/// The instructions of arm64. Code lies at multiples of four in segments, which start at such.
fn words(code: &[u8]) -> impl Iterator<Item = u32> {
    code.as_chunks().0.iter().copied().map(u32::from_le_bytes)
}
