//! A classifier: UDP datagrams for one port do not arrive. Attached to the ingress of the loopback
//! device of a new network namespace.
//!
//! `cargo run --example tc`, as root.

mod loopback;

use std::error::Error;
use std::net::UdpSocket;

use bpf_asm::{
    __sk_buff, BuildErrors, Builder, MapKind, MapRef, Modify, Program, ProgramType, record,
};
use syscalls::load::{self, Maps, Target};

/// How many datagrams were dropped.
const DROPPED: MapRef<u32, u64> = MapRef::new("dropped", MapKind::Array, 1);

record! {
    /// The headers of a datagram in Ethernet and IPv4 without options, in network byte order.
    struct Headers {
        ethernet: [u16; 6],
        ethertype: u16,
        /// Version and length of the header.
        version: u8,
        service: u8,
        total_length: u16,
        id: u16,
        /// Flags, and the offset of the fragment.
        fragment: u16,
        time_to_live: u8,
        protocol: u8,
        checksum: u16,
        source: [u16; 2],
        destination: [u16; 2],
        source_port: u16,
        destination_port: u16,
        udp: [u16; 2],
    }
}

/// Drops the datagrams for `port`.
fn program(port: u16) -> Result<Program, BuildErrors> {
    const TCX_NEXT: i32 = -1;
    const TCX_DROP: i32 = 2;
    const IPV4: u16 = 0x0800;
    const UDP: u8 = 17;
    let b = Builder::new("closed_port");
    let packet = b.context::<__sk_buff>();
    b.block(|pass| {
        let headers = b.load(packet.at(__sk_buff::data)).cast::<Headers>();
        let behind = b.value(&headers);
        behind.add(size_of::<Headers>());
        b.jump_if(behind.gt(b.load(packet.at(__sk_buff::data_end))), pass);
        b.jump_if(b.load(headers.at(Headers::ethertype)).ne(IPV4.to_be()), pass);
        // Four times five bytes: no options.
        b.jump_if(b.load(headers.at(Headers::version)).ne(0x45), pass);
        b.jump_if(b.load(headers.at(Headers::protocol)).ne(UDP), pass);
        // Only the first fragment has ports.
        b.jump_if(b.load(headers.at(Headers::fragment)).has(0x1fff_u16.to_be()), pass);
        b.jump_if(b.load(headers.at(Headers::destination_port)).ne(port.to_be()), pass);
        b.atomic(Modify::Add, b.map_value(&DROPPED).at_all(), &b.value(1));
        b.ret(TCX_DROP);
    });
    b.ret(TCX_NEXT);
    b.finish(ProgramType::Classifier)
}

fn main() -> Result<(), Box<dyn Error>> {
    loopback::enter_own_network()?;
    let (open, closed) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    let program = program(closed.local_addr()?.port())?;
    print!("{program}");
    let maps = Maps::create([&program])?;
    let loaded = load::program(&program, &maps)?;
    let attached = load::attach(&program, &loaded, Target::Ingress(loopback::INDEX))?;

    let sender = UdpSocket::bind("127.0.0.1:0")?;
    closed.set_nonblocking(true)?;
    for (name, receiver) in [("closed", &closed), ("open", &open)] {
        sender.send_to(b"a datagram", receiver.local_addr()?)?;
        // Loopback delivers before `sendto` returns.
        match receiver.recv(&mut [0; 64]) {
            Ok(bytes) => println!("{name}: {bytes} bytes"),
            Err(error) => println!("{name}: {:?}", error.kind()),
        }
    }
    drop(attached);
    println!("dropped: {}", maps.typed(&DROPPED)?.lookup(&0)?.unwrap_or(0));
    Ok(())
}
