//! One connection, several descriptors, processes and listeners.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use rustix::event::PollFlags;
use socket2::{Domain, Socket, Type};

use crate::compare::compare;
use crate::process::Process;
use crate::seen::{Seen, text};
use crate::talk::{A_WHILE, each_way, ready, say};
use testkit::node::{Pair, Service};
use testkit::traffic::read_exactly;

/// Reads once there is something.
fn hear(mut from: &TcpStream, length: usize) -> String {
    ready(from, PollFlags::IN);
    let mut buffer = vec![0; length];
    let read = from.read(&mut buffer).expect("read what is there");
    text(&buffer[..read])
}

#[test]
fn a_descriptor_that_is_passed_on_reads_and_writes_there() {
    compare(|side, seen| {
        let Pair { client, server } = side.pair();
        say(&client, "hello world");
        seen.note("read here", hear(&server, 6));
        let (here, there) = UnixStream::pair().expect("make a pair of sockets");
        let process = Process::start(|| {
            let server = receive_descriptor(&there);
            let heard = hear(&server, 100);
            say(&server, "from there");
            format!("{heard}, {}", hear(&server, 100))
        });
        pass_descriptor(&here, &server);
        drop(server);
        seen.note("answered there", hear(&client, 100));
        say(&client, "bye");
        seen.note("read there", process.join());
        seen.note("the end, since nobody has it any more", hear(&client, 100));
    });
}

fn pass_descriptor(to: &UnixStream, socket: &TcpStream) {
    let descriptors = [socket.as_raw_fd()];
    let control = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(b"!")], &control, MsgFlags::empty(), None)
        .expect("pass it on");
}

fn receive_descriptor(from: &UnixStream) -> TcpStream {
    let (mut byte, mut control) = ([0], vec![0; 64]);
    let mut slices = [IoSliceMut::new(&mut byte)];
    let message =
        recvmsg::<()>(from.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())
            .expect("receive it");
    let descriptor = message.cmsgs().expect("control messages").find_map(|message| match message {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just made this descriptor for the receiver of the message.
    unsafe { OwnedFd::from_raw_fd(descriptor.expect("a descriptor")) }.into()
}

#[test]
fn two_descriptors_read_one_stream() {
    compare(|side, seen| {
        let pair = side.pair();
        each_way(&pair, |from, to| {
            let other = to.try_clone().expect("duplicate");
            say(from, "one two three");
            seen.note("read by the one", hear(to, 4));
            seen.note("read by the other", hear(&other, 4));
            drop(other);
            seen.note("read when the other is closed", hear(to, 100));
            say(to, "still open");
            seen.note("read by the peer", hear(from, 100));
        });
    });
}

#[test]
fn two_processes_read_one_stream() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            say(from, "one two three four");
            seen.note("read here", hear(to, 4));
            let process = Process::start(|| {
                let heard = hear(to, 4);
                say(to, "from there");
                heard
            });
            seen.note("read there", process.join());
            seen.note("read here again", hear(to, 6));
            let process = Process::start(|| hear(to, 100));
            seen.note("read there again", process.join());
            seen.note("read by the peer", hear(from, 100));
        });
    });
}

#[test]
fn a_connection_that_another_process_accepts_is_like_any_other() {
    compare(|side, seen| {
        let service = side.listen();
        let client = side.connect(&service);
        let process = Process::start(|| {
            let server = service.accept();
            server.set_nonblocking(true).expect("make it non-blocking");
            echo_to_the_end(&server)
        });
        drop(service);
        side.until_direct(&client, || ask(&client));
        say(&client, "hello");
        seen.note("answered there", hear(&client, 100));
        client.shutdown(Shutdown::Write).expect("shut down");
        seen.note("the end", hear(&client, 100));
        seen.note("what the other process says", process.join());
    });
}

/// A question that is answered by itself.
fn ask(client: &TcpStream) {
    say(client, "?");
    assert_eq!(hear(client, 100), "?");
}

fn echo_to_the_end(mut server: &TcpStream) -> String {
    let mut buffer = [0; 100];
    loop {
        ready(server, PollFlags::IN);
        match server.read(&mut buffer) {
            Ok(0) => return "it ended".to_owned(),
            Ok(read) => server.write_all(&buffer[..read]).expect("answer"),
            Err(error) => return error.to_string(),
        }
    }
}

#[test]
fn two_listeners_share_a_port() {
    const CLIENTS: usize = 20;
    compare(|side, seen| {
        let bind = |port| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("make a socket");
            socket.set_reuse_port(true).expect("set SO_REUSEPORT");
            let address: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
            socket.bind(&address.into()).expect("bind");
            socket.listen(CLIENTS as i32).expect("listen");
            TcpListener::from(socket)
        };
        let listeners = side.inside(|| {
            let first = bind(0);
            let port = first.local_addr().expect("its address").port();
            [first, bind(port)]
        });
        let target = listeners[0].local_addr().expect("its address");
        let mut accepted = BTreeSet::new();
        let pairs = [(); CLIENTS].map(|()| {
            let service =
                Service { listener: listeners[0].try_clone().expect("duplicate"), target };
            let client = side.connect(&service);
            let (whose, server) = accept_of_either(&listeners);
            accepted.insert(whose);
            Pair { client, server }
        });
        let mut answered = 0;
        for (number, pair) in pairs.iter().enumerate() {
            // All together: each is used for some seconds before it is direct.
            side.until_direct(&pair.client, || pairs.iter().for_each(testkit::traffic::small_talk));
            say(&pair.client, number.to_string());
            answered += usize::from(hear(&pair.server, 100) == number.to_string());
        }
        seen.note("accepted by", accepted);
        seen.note("answered", answered);
    });
}

fn accept_of_either(listeners: &[TcpListener; 2]) -> (usize, TcpStream) {
    for listener in listeners {
        listener.set_nonblocking(true).expect("make it non-blocking");
    }
    testkit::eventually("somebody accepts", || {
        listeners.iter().enumerate().find_map(|(number, listener)| match listener.accept() {
            Ok((server, _)) => {
                server.set_nonblocking(true).expect("make it non-blocking");
                Some((number, server))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("accept: {error}"),
        })
    })
}

#[test]
fn blocking_can_be_switched_on_and_off() {
    compare(|side, seen| {
        each_way(&side.pair(), |from, to| {
            note_read(seen, "read of nothing", to);
            to.set_nonblocking(false).expect("make it blocking");
            to.set_read_timeout(Some(A_WHILE)).expect("set SO_RCVTIMEO");
            note_read(seen, "read of nothing, blocking", to);
            to.set_read_timeout(None).expect("wait as long as it takes");
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(A_WHILE);
                    say(from, "hello");
                });
                let mut buffer = [0; 5];
                seen.call("read, blocking", read_exactly(to, &mut buffer));
                seen.note("… into", text(&buffer));
            });
            to.set_nonblocking(true).expect("make it non-blocking");
            note_read(seen, "read of nothing, again", to);
            say(from, "world");
            note_read(seen, "read", to);
        });
    });
}

fn note_read(seen: &mut Seen, what: &str, mut from: &TcpStream) {
    let mut buffer = [0; 100];
    let outcome = from.read(&mut buffer);
    seen.read(what, outcome, &buffer);
}
