//! An XDP program: counts the packets of a device and their bytes. Tried in user space with a
//! helper of our own, then attached to the loopback device of a new network namespace.
//!
//! `cargo run --example xdp_counter`, as root.

mod loopback;

use std::cell::Cell;
use std::error::Error;
use std::net::UdpSocket;

use bpf_asm::{
    BuildErrors, Builder, MapKind, MapRef, Program, ProgramType, helper, record, xdp_md,
};
use syscalls::load::{self, Maps, Target};

record! {
    /// What has been received.
    #[derive(bytemuck::Pod, bytemuck::Zeroable)]
    struct Received {
        packets: u64,
        bytes: u64,
    }
}

/// One entry; each CPU counts for itself.
const RECEIVED: MapRef<u32, Received> = MapRef::new("received", MapKind::PerCpuArray, 1);

/// Counts a packet and lets it pass.
fn program() -> Result<Program, BuildErrors> {
    const XDP_PASS: i32 = 2;
    let b = Builder::new("count");
    let packet = b.context::<xdp_md>();
    let index = b.slot::<u32>();
    b.store(index.place(), 0);
    let received = b.call(helper::map_lookup_elem(&RECEIVED, &index));
    b.when(received.ne(0), || {
        let packets = b.load(received.at(Received::packets));
        packets.add(1);
        b.store(received.at(Received::packets), &packets);
        let len = b.load(packet.at(xdp_md::data_end));
        len.sub(b.load(packet.at(xdp_md::data)));
        len.add(b.load(received.at(Received::bytes)));
        b.store(received.at(Received::bytes), &len);
    });
    b.ret(XDP_PASS);
    b.finish(ProgramType::Xdp)
}

thread_local! {
    /// The map's only value, for the helper below: rbpf takes plain functions.
    static VALUE: Cell<u64> = const { Cell::new(0) };
}

fn map_lookup_elem(_map: u64, _key: u64, _: u64, _: u64, _: u64) -> u64 {
    VALUE.get()
}

fn in_user_space(program: &Program) -> Result<(), Box<dyn Error>> {
    let mut received = [3u64, 1000];
    let range = received.as_mut_ptr_range();
    VALUE.set(range.start as u64);
    let code = program.for_rbpf(|_| 0);
    let mut machine = rbpf::EbpfVmRaw::new(Some(&code))?;
    machine.register_helper(1, map_lookup_elem)?;
    machine.register_allowed_memory(range.start as u64..range.end as u64);
    // `data` and `data_end`: to this program the packet is a number of bytes.
    let mut context = [0x1000u32, 0x1040, 0, 0, 0, 0].map(u32::to_le_bytes).concat();
    assert_eq!(machine.execute_program(&mut context)?, 2);
    assert_eq!(received, [4, 1000 + 0x40]);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let program = program()?;
    print!("{program}");
    in_user_space(&program)?;

    loopback::enter_own_network()?;
    let maps = Maps::create([&program])?;
    let loaded = load::program(&program, &maps)?;
    let attached = load::attach(&program, &loaded, Target::Device(loopback::INDEX))?;
    let (receiver, sender) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    for _ in 0..5 {
        sender.send_to(&[0; 58], receiver.local_addr()?)?;
        receiver.recv(&mut [0; 64])?;
    }
    drop(attached);

    let per_cpu = maps.per_cpu(&RECEIVED)?.lookup(&0)?.unwrap_or_default();
    let sum = |field: fn(&Received) -> u64| per_cpu.iter().map(field).sum::<u64>();
    println!("received: {} packets, {} bytes", sum(|r| r.packets), sum(|r| r.bytes));
    Ok(())
}
