//! Other facilities of a kernel for enrolled sockets and their management. shunt also runs without
//! them, and reports the consequences.

use std::io::{ErrorKind, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::{Context, Result};
use bpf_asm::uapi::{
    BPF_F_NO_PREALLOC, BPF_NOEXIST, BPF_SOCK_OPS_STATE_CB_FLAG, TCP_BPF_SOCK_OPS_CB_FLAGS,
};
use bpf_asm::{
    Arg, Builder, Call, MapKind, MapRef, ProgramType, Reg, bpf_iter__bpf_sk_storage_map,
    bpf_iter__task_file, bpf_iter__tcp, helper,
};
use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::socket::sockopt::TcpUlp;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::unistd::pipe;
use nix::{setsockopt_impl, sockopt_impl};
use rustix::event::PollFlags;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use syscalls::{AttachType, Iter, Link, Map, Prog, ProgKind, ProgSpec, Update, btf};

use super::behaviour::{Deviation, holds};
use super::enrolled::{
    End, Enrolled, PATIENCE, Way, connection, in_namespace, ready, receive, stream,
};
use super::known_bug;
use crate::kernel::{self, load};

/// FIONREAD after 100 bytes were sent by one path.
fn counts(way: Way) -> Result<()> {
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        pair.send(End::Client, way, &[0; 100])?;
        let unread = pair.unread(End::Server)?;
        holds!(unread == 100, "FIONREAD returns {unread} of 100 bytes");
        Ok(())
    })
}

/// FIONREAD counts unread bytes received by TCP.
pub fn counts_by_tcp() -> Result<()> {
    counts(Way::Tcp)
}

/// FIONREAD counts unread redirected bytes.
pub fn counts_redirected() -> Result<()> {
    counts(Way::Direct)
}

/// FIONREAD counts bytes that were unread before the enrolment.
pub fn counts_earlier() -> Result<()> {
    in_namespace(|| {
        let ends = connection()?;
        (&ends[0]).write_all(&[0; 100])?;
        ready(&ends[1], PollFlags::IN, PATIENCE)?;
        let pair = Enrolled::of(ends)?;
        let unread = pair.unread(End::Server)?;
        holds!(unread == 100, "FIONREAD returns {unread} of 100 bytes");
        Ok(())
    })
}

/// `TCP_INQ`, and the type of its control message (include/uapi/linux/tcp.h).
const TCP_INQ: i32 = 36;

sockopt_impl!(
    /// Each `recvmsg` reports the number of bytes left.
    Inq, SetOnly, nix::libc::IPPROTO_TCP, TCP_INQ, i32
);

/// `recvmsg` with TCP_INQ reports the number of bytes left.
pub fn tells_what_is_left() -> Result<()> {
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        let server = pair.end(End::Server);
        setsockopt(server, Inq, &1).context("cannot set TCP_INQ")?;
        pair.send(End::Client, Way::Direct, &[0; 100])?;
        pair.send(End::Client, Way::Tcp, &[0; 100])?;
        let (mut room, mut control) = ([0; 50], [0; 256]);
        let mut slices = [IoSliceMut::new(&mut room)];
        let flags = MsgFlags::empty();
        let message = recvmsg::<()>(server.as_raw_fd(), &mut slices, Some(&mut control), flags)
            .context("recvmsg fails")?;
        let mut left = None;
        for message in message.cmsgs().context("cannot read the control messages")? {
            if let ControlMessageOwned::Unknown(message) = message {
                let header = message.cmsg_header;
                let bytes =
                    message.data_bytes.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
                if (header.cmsg_level, header.cmsg_type) == (nix::libc::IPPROTO_TCP, TCP_INQ) {
                    left = bytes;
                }
            }
        }
        let said = left.map_or("nothing".to_owned(), |left| left.to_string());
        holds!(left == Some(150), "150 bytes are left, reported: {said}");
        Ok(())
    })
}

/// `splice` moves bytes of both kinds into a pipe.
pub fn splices() -> Result<()> {
    in_namespace(|| {
        for way in [Way::Tcp, Way::Direct] {
            let pair = Enrolled::over_loopback()?;
            pair.send(End::Client, way, &[0; 100])?;
            let (_out, into) = pipe().context("cannot create a pipe")?;
            let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
            match splice(pair.end(End::Server), None, &into, None, 100, flags) {
                Ok(moved) => holds!(moved == 100, "splice moves {moved} of 100 {way} bytes"),
                Err(Errno::EAGAIN) => holds!(false, "splice does not see {way} bytes"),
                Err(errno) => return Err(errno).context("splice fails"),
            }
        }
        Ok(())
    })
}

/// kTLS can be enabled on an enrolled socket.
pub fn encrypts() -> Result<()> {
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        let turned_on = setsockopt(pair.end(End::Server), TcpUlp::default(), b"tls");
        let said = turned_on.err().map_or("yes".to_owned(), |errno| errno.to_string());
        holds!(turned_on.is_ok(), "setsockopt fails: {said}");
        Ok(())
    })
}

/// A close with unread bytes resets the connection.
pub fn close_resets() -> Result<()> {
    in_namespace(|| {
        for way in [Way::Tcp, Way::Direct] {
            let mut pair = Enrolled::over_loopback()?;
            pair.send(End::Client, way, &[0; 100])?;
            pair.close(End::Server);
            let mut client = pair.end(End::Client);
            ready(client, PollFlags::IN, PATIENCE)?;
            let seen = client.read(&mut [0]).map_err(|error| error.kind());
            let reset = seen == Err(ErrorKind::ConnectionReset);
            let said = seen.map_or_else(|kind| kind.to_string(), |read| format!("{read} bytes"));
            holds!(reset, "with unread {way} bytes, the peer reads: {said}");
        }
        Ok(())
    })
}

/// Unread bytes can still be read after a socket is removed from the map.
pub fn keeps_unread() -> Result<()> {
    in_namespace(|| {
        for way in [Way::Tcp, Way::Direct] {
            let pair = Enrolled::over_loopback()?;
            pair.send(End::Client, way, &[0; 100])?;
            pair.remove(End::Server)?;
            let mut server = pair.end(End::Server);
            ready(server, PollFlags::IN, Duration::from_millis(20))?;
            let seen = server.read(&mut [0; 200]).map_err(|error| error.kind());
            let read = seen.as_ref().copied().unwrap_or(0);
            holds!(read == 100, "{read} of 100 {way} bytes can be read");
        }
        Ok(())
    })
}

/// Redirects until the kernel refuses or `enough` bytes were accepted.
fn flood(pair: &Enrolled, enough: impl Fn(usize) -> Result<bool>) -> Result<usize> {
    pair.goes(Way::Direct)?;
    let mut client = pair.end(End::Client);
    let mut sent = 0;
    while !enough(sent)? {
        match client.write(&stream(sent, 16 << 10)) {
            Ok(written) => sent += written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOMEM) => break,
            Err(error) => return Err(error).context("cannot send"),
        }
    }
    Ok(sent)
}

/// The receive buffer bounds redirected bytes that are unread.
pub fn limits_redirected() -> Result<()> {
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        let buffer = SockRef::from(pair.end(End::Server)).recv_buffer_size()?;
        let sent = flood(&pair, |sent| Ok(sent >= 4 * buffer))?;
        holds!(sent < 4 * buffer, "{sent} bytes fit a receive buffer of {buffer}");
        Ok(())
    })
}

/// A segment finds room behind redirected bytes that fill the receive buffer.
pub fn finds_room() -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(30);
    in_namespace(|| {
        let pair = Enrolled::over_loopback()?;
        let buffer = SockRef::from(pair.end(End::Server)).recv_buffer_size()?;
        let sent = flood(&pair, |_| Ok(pair.charged(End::Server)? as usize > buffer))?;
        let before = pair.charged(End::Server)?;
        pair.goes(Way::Tcp)?;
        let mut client = pair.end(End::Client);
        client.write_all(&stream(sent, 100))?;
        std::thread::sleep(PAUSE);
        let arrived = pair.charged(End::Server)? > before;
        let received = receive(pair.end(End::Server), sent + 100)?;
        holds!(received == stream(0, sent + 100), "the segment is lost");
        holds!(arrived, "the segment is dropped and retransmitted");
        Ok(())
    })
}

/// The sk_msg program attaches by a link.
pub fn links_sk_msg() -> Result<()> {
    let [sk_msg, _] = in_namespace(|| Ok(Enrolled::over_loopback()?.are_linked()))?;
    holds!(sk_msg, "BPF_LINK_CREATE is refused");
    Ok(())
}

/// The verdict attaches by a link.
pub fn links_verdict() -> Result<()> {
    let [_, verdict] = in_namespace(|| Ok(Enrolled::over_loopback()?.are_linked()))?;
    holds!(verdict, "BPF_LINK_CREATE is refused");
    Ok(())
}

/// A program attaches to the tracepoint of `recvmsg`.
pub fn traces_receiving() -> Result<()> {
    let b = Builder::new("shunt_probe");
    b.ret(0);
    let image = b.finish(ProgramType::SocketFilter)?.relocate(|_| -1);
    let mut spec = ProgSpec::new(ProgKind::TRACING, "shunt_probe", load::LICENSE, &image.insns);
    spec.expected_attach_type = AttachType::TRACE_RAW_TP;
    // The arguments of a tracepoint are described by a typedef of this name.
    let described = kernel::btf()?.find(btf::Kind::Typedef, "btf_trace_sock_recv_length");
    holds!(described.is_ok(), "there is no such tracepoint");
    spec.attach_btf_id = described?;
    let attached = Prog::load(&spec).and_then(|program| Link::to_traced(&program));
    let error = attached.err().map(|error| error.to_string());
    holds!(error.is_none(), "{}", error.unwrap_or_default());
    Ok(())
}

/// Emits a `bpf_map_update_elem` that puts a socket into a sockhash under key 0, and returns the
/// helper's result.
fn put(b: &Builder, sockets: &MapRef<u32, u64>, sk: Arg) -> Reg {
    const BPF_MAP_UPDATE_ELEM: i32 = 2;
    let key = b.slot::<u32>();
    b.store(key.place(), 0);
    b.call(Call::raw(
        BPF_MAP_UPDATE_ELEM,
        vec![sockets.into(), (&key).into(), sk, BPF_NOEXIST.into()],
    ))
}

/// Runs an iterator to its end, over a map if given.
fn run_iterator(program: Builder, maps: &load::Maps, over: Option<&Map>) -> Result<()> {
    std::io::copy(&mut Iter::new(&iterator(program, maps)?, over)?, &mut std::io::sink())?;
    Ok(())
}

/// Loads an iterator.
fn iterator(program: Builder, maps: &load::Maps) -> Result<Prog> {
    let program = program.finish(ProgramType::Iterator)?;
    let loaded = load::submit(&program, maps, Prog::load);
    Ok(loaded.map_err(|error| Deviation(error.to_string()))?)
}

/// An iterator over TCP sockets holds the lock of the socket that its program sees, and the program
/// can set the socket's callback flags.
///
/// Only under the lock: sock_ops programs change the same flags without atomic operations.
pub fn iterators_mark() -> Result<()> {
    /// Words of the map value with the findings.
    const SEEN: usize = 0;
    const LOCKED: usize = 1;
    const MARKED: usize = 2;
    /// include/uapi/linux/bpf.h
    const SOL_TCP: i32 = 6;
    in_namespace(|| {
        let [client, _server] = connection()?;
        let layout = kernel::layout()?;
        let found: MapRef<u32, [u32; 4]> = MapRef::new("probe_found", MapKind::Array, 1);
        let b = Builder::new("shunt_probe");
        let context = b.context::<bpf_iter__tcp>();
        let sk = b.load(context.at(bpf_iter__tcp::sk_common));
        let done = b.label();
        b.jump_if(sk.eq(0), &done);
        let socket = b.call(helper::skc_to_tcp_sock(&sk));
        b.jump_if(socket.eq(0), &done);
        b.jump_if(
            b.load(socket.member(layout.local_port)).ne(i32::from(client.local_addr()?.port())),
            &done,
        );
        let entry = |index: usize| b.map_value(&found).at_all().index(index);
        b.store(entry(SEEN), 1);
        b.jump_if(b.load(socket.member(layout.lock_owned)).eq(0), &done);
        b.store(entry(LOCKED), 1);
        let flags = b.slot::<u32>();
        b.store(flags.place(), BPF_SOCK_OPS_STATE_CB_FLAG);
        b.call(helper::setsockopt(&sk, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, 4));
        b.store(entry(MARKED), b.load(socket.member(layout.callback_flags)));
        b.place(&done);
        b.ret(0);

        let maps = load::maps(&[found.def()])?;
        run_iterator(b, &maps, None)?;
        let (_, found) = maps.first().context("a map was requested")?;
        let value = found.lookup(&0u32.to_ne_bytes())?.context("an array has its entries")?;
        let found =
            |index: usize| value.chunks_exact(4).nth(index).is_some_and(|word| word != [0; 4]);
        holds!(found(SEEN), "the iterator does not reach an established socket");
        holds!(found(LOCKED), "the iterator holds only the spinlock of the socket lock");
        holds!(found(MARKED), "the kernel does not set the flags");
        Ok(())
    })
}

/// An iterator over socket storage can put a socket into a sockhash.
pub fn storage_iterators_enrol() -> Result<()> {
    // Must not be tested on affected kernels.
    let release = known_bug::running();
    holds!(!known_bug::storage_iterators_crash(&release), "it may crash Linux {release}");
    in_namespace(|| {
        let [client, _server] = connection()?;
        let storage: MapRef<i32, u64> =
            MapRef::new("probe_storage", MapKind::SkStorage, 0).flags(BPF_F_NO_PREALLOC);
        let sockets: MapRef<u32, u64> = MapRef::new("probe_sockets", MapKind::SockHash, 1);
        let b = Builder::new("shunt_probe");
        let context = b.context::<bpf_iter__bpf_sk_storage_map>();
        let sk = b.load(context.at(bpf_iter__bpf_sk_storage_map::sk));
        let done = b.label();
        b.jump_if(sk.eq(0), &done);
        put(&b, &sockets, Arg::from(&sk));
        b.place(&done);
        b.ret(0);
        let maps = load::maps(&[storage.def(), sockets.def()])?;
        let (storage, sockets) = (&maps[0].1, &maps[1].1);
        let fd = client.as_raw_fd().to_ne_bytes();
        storage
            .update(&fd, &0u64.to_ne_bytes(), Update::ANY)
            .context("cannot add storage to a socket")?;
        run_iterator(b, &maps, Some(storage))?;
        holds!(sockets.delete(&0u32.to_ne_bytes()).is_ok(), "the socket is not in the map");
        Ok(())
    })
}

/// An iterator over the open files of this process can put a socket into a sockhash.
pub fn file_iterators_enrol() -> Result<()> {
    in_namespace(|| {
        let [client, _server] = connection()?;
        let layout = kernel::layout()?;
        let sockets: MapRef<u32, u64> = MapRef::new("probe_sockets", MapKind::SockHash, 1);
        let b = Builder::new("shunt_probe");
        let context = b.context::<bpf_iter__task_file>();
        let done = b.label();
        let file = b.load(context.at(bpf_iter__task_file::file));
        b.jump_if(file.eq(0), &done);
        b.jump_if(b.load(context.at(bpf_iter__task_file::fd)).ne(client.as_raw_fd()), &done);
        let socket = b.call(helper::sock_from_file(file));
        b.jump_if(socket.eq(0), &done);
        let sk = b.load(socket.member(layout.socket_sk));
        b.jump_if(sk.eq(0), &done);
        put(&b, &sockets, Arg::from(&sk));
        b.place(&done);
        b.ret(0);
        let maps = load::maps(&[sockets.def()])?;
        let link = Link::to_iter_of_process(&iterator(b, &maps)?, std::process::id());
        let link = link
            .map_err(|error| Deviation(format!("it cannot iterate over one process: {error}")))?;
        std::io::copy(&mut Iter::of_link(&link)?, &mut std::io::sink())?;
        holds!(maps[0].1.delete(&0u32.to_ne_bytes()).is_ok(), "the socket is not in the map");
        Ok(())
    })
}

/// The kernel has MPTCP sockets.
pub fn has_mptcp() -> Result<()> {
    match Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::MPTCP)) {
        Ok(socket) => drop(socket.as_fd()),
        Err(error) => {
            let lacking = [nix::libc::EPROTONOSUPPORT, nix::libc::ENOPROTOOPT].map(Some);
            holds!(!lacking.contains(&error.raw_os_error()), "socket fails: {error}");
            return Err(error.into());
        }
    }
    Ok(())
}
