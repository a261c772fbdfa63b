//! A socket filter: long datagrams do not reach the socket. Written, tried in user space, loaded,
//! attached, used.
//!
//! `cargo run --example socket_filter`, as root.

use std::error::Error;
use std::net::UdpSocket;
use std::time::Duration;

use bpf_asm::{__sk_buff, BuildErrors, Builder, Program, ProgramType};
use syscalls::load::{self, Maps};

/// The filter of a UDP socket that receives datagrams of up to `most` bytes.
fn program(most: u32) -> Result<Program, BuildErrors> {
    const UDP_HEADER: u32 = 8;
    let b = Builder::new("short_only");
    let packet = b.context::<__sk_buff>();
    let len = b.load(packet.at(__sk_buff::len));
    b.when(len.gt(most + UDP_HEADER), || b.ret(0));
    // So many bytes of the packet are kept: all of them.
    b.ret(&len);
    b.finish(ProgramType::SocketFilter)
}

fn main() -> Result<(), Box<dyn Error>> {
    let program = program(16)?;
    print!("{program}");

    // In user space a packet is the context's bytes, of which this program reads the length.
    let code = program.for_rbpf(|_| 0);
    let machine = rbpf::EbpfVmRaw::new(Some(&code))?;
    for (len, kept) in [(24u32, 24), (25, 0)] {
        let mut context = [len.to_le_bytes(), [0; 4], [0; 4]].concat();
        assert_eq!(machine.execute_program(&mut context)?, kept);
    }

    let loaded = load::program(&program, &Maps::create([&program])?)?;
    let (receiver, sender) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
    loaded.attach_to_socket(&receiver)?;
    receiver.set_read_timeout(Some(Duration::from_secs(5)))?;
    for message in ["this one is too long", "this one fits"] {
        sender.send_to(message.as_bytes(), receiver.local_addr()?)?;
    }
    let mut received = [0; 64];
    let bytes = receiver.recv(&mut received)?;
    println!("received: {}", String::from_utf8_lossy(&received[..bytes]));
    Ok(())
}
