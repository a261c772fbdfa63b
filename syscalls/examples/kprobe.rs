//! A kprobe: counts the calls of a function by their first argument. Put on a function of the
//! kernel, the one that makes sockets, and on one of this process.
//!
//! `cargo run --example kprobe`, as root.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::net::UdpSocket;
use std::path::PathBuf;

use bpf_asm::{
    BuildErrors, Builder, MapKind, MapRef, Modify, Program, ProgramType, bpf_user_pt_regs_t, helper,
};
use syscalls::load::{self, Maps, Target};

/// How often the function was called with an argument.
const CALLS: MapRef<u64, u64> = MapRef::new("calls", MapKind::Hash, 1024);

/// Counts a call.
fn program() -> Result<Program, BuildErrors> {
    let b = Builder::new("count_calls");
    let registers = b.context::<bpf_user_pt_regs_t>();
    let argument = b.slot::<u64>();
    b.store(argument.place(), b.load(registers.at(bpf_user_pt_regs_t::ARGUMENTS[0])));
    let calls = b.call(helper::map_lookup_elem(&CALLS, &argument));
    b.when_else(
        calls.ne(0),
        || b.atomic(Modify::Add, calls.at_all(), &b.value(1)),
        || {
            let first = b.slot::<u64>();
            b.store(first.place(), 1);
            b.call(helper::map_update_elem(&CALLS, &argument, &first, 0));
        },
    );
    b.ret(0);
    b.finish(ProgramType::Kprobe)
}

/// What the second probe is on.
#[inline(never)]
extern "C" fn double(number: u64) -> u64 {
    black_box(number) * 2
}

/// The file of this process that has `function`, and the offset in it.
fn place_of(function: usize) -> Result<(PathBuf, u64), Box<dyn Error>> {
    for mapping in fs::read_to_string("/proc/self/maps")?.lines() {
        let mut words = mapping.split_whitespace();
        let (range, offset) = (words.next().unwrap_or(""), words.nth(1).unwrap_or(""));
        let (start, end) = range.split_once('-').ok_or("a range of addresses")?;
        let hex = |text| usize::from_str_radix(text, 16);
        if (hex(start)?..hex(end)?).contains(&function) {
            let file = words.nth(2).ok_or("code that is in no file")?;
            return Ok((file.into(), (function - hex(start)? + hex(offset)?) as u64));
        }
    }
    Err("the function is not mapped".into())
}

/// Attaches the program there while `call` runs; the calls by argument.
fn counted(target: Target<'_>, call: impl FnOnce()) -> Result<String, Box<dyn Error>> {
    let program = program()?;
    let maps = Maps::create([&program])?;
    let loaded = load::program(&program, &maps)?;
    let attached = load::attach(&program, &loaded, target)?;
    call();
    drop(attached);
    let calls = maps.typed(&CALLS)?;
    let mut counted = Vec::new();
    for key in calls.map().keys() {
        let argument = u64::from_ne_bytes(key?.try_into().map_err(|_| "a key of 8 bytes")?);
        counted.push((argument, calls.lookup(&argument)?.unwrap_or(0)));
    }
    counted.sort_unstable();
    Ok(format!("{counted:?}"))
}

fn main() -> Result<(), Box<dyn Error>> {
    print!("{}", program()?);
    let sockets = Target::KernelFunction("__sys_socket");
    match counted(sockets, || drop(UdpSocket::bind("127.0.0.1:0"))) {
        Ok(calls) => println!("__sys_socket: {calls}"),
        // Kernels are built without kprobes, too.
        Err(error) => println!("__sys_socket: {error}"),
    }
    let (file, offset) = place_of(double as *const () as usize)?;
    let calls = counted(Target::UserCode(&file, offset), || {
        for number in [7, 7, 9, 7] {
            black_box(double(number));
        }
    });
    println!("double: {}", calls?);
    Ok(())
}
