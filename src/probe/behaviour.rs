//! How a kernel behaves towards redirected bytes, and what it can do about them: each behaviour by its name, found out by doing it once.
//!
//! The agent chooses by some of them; all of them together, with what they mean, are what `shunt doctor` shows, and a kernel's column in `docs/kernels.md`.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bpf_asm::insn::{Alu, AluOp, Call, Compare, Insn, JumpIf, Load, Register, Size, Source, Store, Width};
use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::socket::sockopt::TcpUlp;
use nix::sys::socket::{MsgFlags, SockaddrStorage, sendto, setsockopt};
use nix::unistd::pipe;
use nix::{setsockopt_impl, sockopt_impl};
use socket2::{Domain, Protocol, Socket, Type};
use syscalls::{AttachType, Prog, ProgKind, ProgSpec};

use super::edge::Edges;
use super::enrolled::{Enrolled, apart};
use super::{meter, wake};
use crate::agent::{kernel, load};
use crate::bed::Namespace;

/// Something that kernels do or do not.
#[derive(Debug)]
pub struct Behaviour {
    /// What logs and machines call it.
    pub name: &'static str,
    /// What it is, as a statement that holds or does not.
    pub statement: &'static str,
    /// What it means for applications and what to do, if it holds.
    pub if_so: &'static str,
    /// The same, if it does not hold.
    pub if_not: &'static str,
    /// Whether the agent chooses guards and defaults by it, and so tries it out at each start.
    pub decides: bool,
    try_out: fn() -> Result<bool>,
}

/// Whether it holds on the running kernel.
#[derive(Debug)]
pub enum Answer {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It could not be tried out here, for this reason.
    Unknown(anyhow::Error),
}

impl Behaviour {
    /// Tries it out, as root. Takes up to a second.
    pub fn try_out(&self) -> Answer {
        match (self.try_out)() {
            Ok(true) => Answer::Yes,
            Ok(false) => Answer::No,
            Err(error) => Answer::Unknown(error),
        }
    }
}

impl Answer {
    /// Whether it is known to hold.
    pub fn is_yes(&self) -> bool {
        matches!(self, Answer::Yes)
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Unknown(_) => "unknown",
        })
    }
}

/// Every behaviour, in the order of the table.
pub const ALL: &[Behaviour] = &[
    Behaviour {
        name: "charged",
        statement: "redirected bytes are charged to their receiver",
        if_so: "A reader's receive buffer bounds what it may leave unread, as by TCP.",
        if_not: "Senders count what is unread, so a slow reader may get less room than by TCP. Nothing to do.",
        decides: true,
        try_out: charges,
    },
    Behaviour {
        name: "wakes",
        statement: "a program that sets SO_RCVLOWAT wakes the reader",
        if_so: "Programs wake readers, also while no agent runs.",
        if_not: "The agent wakes readers: keep one running, with CAP_SYS_PTRACE and in the PID namespace of the host (hostPID: true).",
        decides: true,
        try_out: wake::wakes,
    },
    Behaviour {
        name: "links",
        statement: "sk_msg programs attach by a link",
        if_so: "Nobody takes the place of the sk_msg program by accident.",
        if_not: "Any tool with CAP_NET_ADMIN may take the place of the sk_msg program. Nothing to do.",
        decides: true,
        try_out: links,
    },
    Behaviour {
        name: "overtakes",
        statement: "redirected bytes overtake what came by TCP before",
        if_so: "The order gate is needed, and there.",
        if_not: "The order gate is not needed, and there.",
        decides: false,
        try_out: overtakes,
    },
    Behaviour {
        name: "overtakes-deferred",
        statement: "… what came before a deferred accept",
        if_so: "As above: the order gate.",
        if_not: "As above.",
        decides: false,
        try_out: overtakes_deferred,
    },
    Behaviour {
        name: "overtakes-fast-open",
        statement: "… what came in the SYN",
        if_so: "As above: the order gate.",
        if_not: "As above.",
        decides: false,
        try_out: overtakes_fast_open,
    },
    Behaviour {
        name: "loses-edges",
        statement: "an edge-triggered reader misses TCP bytes behind redirected ones",
        if_so: "Such readers are woken once more.",
        if_not: "There is nothing to wake readers for.",
        decides: false,
        try_out: loses_edges,
    },
    Behaviour {
        name: "fionread-direct",
        statement: "FIONREAD counts redirected bytes",
        if_so: "Programs that ask how much there is to read (nginx, Java, .NET) see it.",
        if_not: "Programs that ask how much there is to read (nginx, Java, .NET) would wait: leave their connections to TCP, or update the kernel.",
        decides: true,
        try_out: counts_redirected,
    },
    Behaviour {
        name: "fionread-tcp",
        statement: "FIONREAD counts bytes that came to an enrolled socket by TCP",
        if_so: "Programs that ask how much there is to read see what comes by TCP, too.",
        if_not: "Programs that ask how much there is to read (nginx, Java, .NET) miss what comes by TCP: leave their connections to TCP, or update the kernel.",
        decides: true,
        try_out: counts_by_tcp,
    },
    Behaviour {
        name: "splice",
        statement: "splice(2) moves redirected bytes",
        if_so: "Programs that splice(2) from sockets can be accelerated.",
        if_not: "Programs that splice(2) from sockets (HAProxy with option splice-…) would wait: leave their connections to TCP.",
        decides: true,
        try_out: splices,
    },
    Behaviour {
        name: "ktls",
        statement: "kTLS can be turned on for an enrolled socket",
        if_so: "It is refused on accelerated connections, since redirected bytes would not be decrypted: programs encrypt by themselves.",
        if_not: "Programs that turn it on are refused and encrypt by themselves.",
        decides: true,
        try_out: encrypts,
    },
    Behaviour {
        name: "iterator-options",
        statement: "an iterator over TCP sockets may set their options",
        if_so: "Nothing depends on it.",
        if_not: "Nothing depends on it.",
        decides: false,
        try_out: iterators_set_options,
    },
    Behaviour {
        name: "mptcp",
        statement: "MPTCP sockets can be made",
        if_so: "Their connections are left to TCP.",
        if_not: "There are none.",
        decides: false,
        try_out: has_mptcp,
    },
];

fn charges() -> Result<bool> {
    meter()
}

fn links() -> Result<bool> {
    apart(|| Ok(Enrolled::over_loopback()?.is_linked()))
}

/// Whether the second of two messages is read first.
fn second_is_first(mut pair: Enrolled, first: u8) -> Result<bool> {
    pair.send_directly(&[first + 1])?;
    let mut read = [0; 2];
    pair.receiver.read_exact(&mut read).context("the bytes that were sent cannot be read")?;
    match read.map(|byte| byte.wrapping_sub(first)) {
        [0, 1] => Ok(false),
        [1, 0] => Ok(true),
        _ => bail!("read {read:?}, which was not sent"),
    }
}

fn overtakes() -> Result<bool> {
    apart(|| {
        let mut pair = Enrolled::over_loopback()?;
        pair.send_by_tcp(&[1])?;
        second_is_first(pair, 1)
    })
}

sockopt_impl!(
    /// The connection is accepted when its first bytes have come, or after so many seconds.
    DeferAccept, SetOnly, nix::libc::IPPROTO_TCP, nix::libc::TCP_DEFER_ACCEPT, i32
);

fn overtakes_deferred() -> Result<bool> {
    apart(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback address")?;
        setsockopt(&listener, DeferAccept, &10)?;
        let mut sender = TcpStream::connect(listener.local_addr()?)?;
        sender.write_all(&[1])?;
        let (receiver, _) = listener.accept()?;
        second_is_first(Enrolled::new(sender, receiver)?, 1)
    })
}

sockopt_impl!(
    /// How many connections may wait whose first bytes came in the SYN (RFC 7413).
    FastOpen, SetOnly, nix::libc::IPPROTO_TCP, nix::libc::TCP_FASTOPEN, i32
);

fn overtakes_fast_open() -> Result<bool> {
    /// Client and server, neither asking for a cookie (Documentation/networking/ip-sysctl.rst).
    const WITHOUT_COOKIES: &str = "519";
    let namespace = Namespace::new()?;
    namespace.set_sysctl("net/ipv4/tcp_fastopen", WITHOUT_COOKIES)?;
    namespace.run(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on the loopback address")?;
        setsockopt(&listener, FastOpen, &1)?;
        let target = listener.local_addr()?;
        let sender = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let flags = MsgFlags::from_bits_retain(nix::libc::MSG_FASTOPEN);
        sendto(sender.as_raw_fd(), &[1], &SockaddrStorage::from(target), flags).context("cannot send in the SYN")?;
        let (receiver, _) = listener.accept()?;
        second_is_first(Enrolled::new(sender.into(), receiver)?, 1)
    })?
}

fn loses_edges() -> Result<bool> {
    const PATIENCE: Duration = Duration::from_millis(500);
    apart(|| {
        let mut pair = Enrolled::over_loopback()?;
        let edges = Edges::of(&pair.receiver)?;
        pair.send_directly(&[1])?;
        pair.send_by_tcp(&[2])?;
        ensure!(edges.take(PATIENCE)?, "bytes made no edge within {PATIENCE:?}");
        let mut room = [0; 100];
        let read = pair.receiver.read(&mut room)?;
        ensure!(read >= 1, "the connection has ended");
        // A short read. Was that all, or is there an edge for the rest?
        Ok(read == 1 && !edges.take(PATIENCE)?)
    })
}

fn unread(receiver: &TcpStream) -> Result<u64> {
    rustix::io::ioctl_fionread(receiver).context("FIONREAD is refused")
}

fn counts_redirected() -> Result<bool> {
    apart(|| {
        let mut pair = Enrolled::over_loopback()?;
        pair.send_directly(&[0; 100])?;
        Ok(unread(&pair.receiver)? == 100)
    })
}

fn counts_by_tcp() -> Result<bool> {
    apart(|| {
        let mut pair = Enrolled::over_loopback()?;
        pair.send_by_tcp(&[0; 100])?;
        Ok(unread(&pair.receiver)? == 100)
    })
}

fn splices() -> Result<bool> {
    apart(|| {
        let mut pair = Enrolled::over_loopback()?;
        pair.send_directly(&[0; 100])?;
        pair.receiver.set_nonblocking(true)?;
        let (_out, into) = pipe().context("cannot make a pipe")?;
        match splice(&pair.receiver, None, &into, None, 100, SpliceFFlags::SPLICE_F_NONBLOCK) {
            Ok(moved) => Ok(moved == 100),
            Err(Errno::EAGAIN) => Ok(false),
            Err(errno) => Err(errno).context("splice is refused"),
        }
    })
}

fn encrypts() -> Result<bool> {
    apart(|| {
        let pair = Enrolled::over_loopback()?;
        Ok(setsockopt(&pair.receiver, TcpUlp::default(), b"tls").is_ok())
    })
}

/// A kernel that does not know the helper there refuses to load the program.
fn iterators_set_options() -> Result<bool> {
    use Register::{R0, R1, R2, R3, R4, R5, R10};
    const SOL_SOCKET: i32 = 1;
    const SO_RCVLOWAT: i32 = 18;
    const SETSOCKOPT: i32 = 49;
    let alu = |op, dst, src| Insn::Alu(Alu { width: Width::W64, op, dst, src });
    let set = |dst, number| alu(AluOp::Mov, dst, Source::Imm(number));
    let program = [
        // struct bpf_iter__tcp (net/ipv4/tcp_ipv4.c): the socket comes after `meta`.
        Insn::Load(Load { size: Size::DW, dst: R1, base: R1, offset: 8 }),
        Insn::JumpIf(JumpIf { width: Width::W64, compare: Compare::Eq, dst: R1, src: Source::Imm(0), offset: 7 }),
        Insn::Store(Store { size: Size::W, base: R10, offset: -4, src: Source::Imm(1) }),
        set(R2, SOL_SOCKET),
        set(R3, SO_RCVLOWAT),
        alu(AluOp::Mov, R4, Source::Reg(R10)),
        alu(AluOp::Add, R4, Source::Imm(-4)),
        set(R5, 4),
        Insn::Call(Call::Helper { id: SETSOCKOPT }),
        set(R0, 0),
        Insn::Exit,
    ];
    let mut bytes = Vec::new();
    program.iter().for_each(|insn| insn.encode(&mut bytes));
    let mut spec = ProgSpec::new(ProgKind::TRACING, "shunt_probe", load::LICENSE, &bytes);
    spec.expected_attach_type = AttachType::TRACE_ITER;
    spec.attach_btf_id = kernel::btf()?.function("bpf_iter_tcp").context("there is no iterator over TCP sockets")?;
    match Prog::load(&spec) {
        Ok(_) => Ok(true),
        Err(error) if error.errno() == Some(syscalls::Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn has_mptcp() -> Result<bool> {
    match Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(nix::libc::EPROTONOSUPPORT) => Ok(false),
        Err(error) if error.raw_os_error() == Some(nix::libc::ENOPROTOOPT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
