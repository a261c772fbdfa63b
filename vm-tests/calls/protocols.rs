//! Protocols on top of TCP and beside it.

use std::net::{SocketAddr, TcpListener, TcpStream};

use nix::errno::Errno;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{TcpTlsRx, TcpTlsTx, TcpUlp, TlsCryptoInfo};
use rustix::event::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};

use crate::compare::{Side, compare};
use crate::seen::{LACKING, Seen};
use crate::talk::{each_way, ready, say};
use testkit::node::Pair;
use testkit::socket::option;

fn note_read(seen: &mut Seen, mut from: &TcpStream) {
    ready(from, PollFlags::IN);
    let mut buffer = [0; 100];
    let outcome = std::io::Read::read(&mut from, &mut buffer);
    seen.read("read", outcome, &buffer);
}

/// The keys of one direction (Documentation/networking/tls.rst).
fn keys(direction: u8) -> TlsCryptoInfo {
    TlsCryptoInfo::Aes128Gcm(libc::tls12_crypto_info_aes_gcm_128 {
        info: libc::tls_crypto_info {
            version: libc::TLS_1_2_VERSION,
            cipher_type: libc::TLS_CIPHER_AES_GCM_128,
        },
        iv: [direction; 8],
        key: [direction; 16],
        salt: [direction; 4],
        rec_seq: [0; 8],
    })
}

/// Turns kTLS on, as a program does after its handshake.
fn encrypt(end: &TcpStream, sends: u8, receives: u8) -> nix::Result<()> {
    setsockopt(end, TcpUlp::default(), b"tls")?;
    setsockopt(end, TcpTlsTx, &keys(sends))?;
    setsockopt(end, TcpTlsRx, &keys(receives))
}

#[test]
fn the_kernel_encrypts_what_is_sent_and_decrypts_what_is_read() {
    compare(|side, seen| {
        // A client that blocks goes by TCP on either side.
        if encrypt(&side.blocking_pair().client, 1, 2) == Err(Errno::ENOENT) {
            seen.note(LACKING, "kTLS, or a cipher for it");
        }
        let pair = side.pair();
        seen.note(
            "kTLS is turned on",
            [encrypt(&pair.client, 1, 2), encrypt(&pair.server, 2, 1)].map(|done| done.is_ok()),
        );
        each_way(&pair, |from, to| {
            for word in ["hello", "world"] {
                say(from, word);
                note_read(seen, to);
            }
        });
    });
}

fn note_multipath(side: &Side, seen: &mut Seen, server: Protocol, client: Protocol) {
    let make = |protocol| side.inside(|| Socket::new(Domain::IPV4, Type::STREAM, Some(protocol)));
    let (listener, client) = match (make(server), make(client)) {
        (Ok(listener), Ok(client)) => (listener, client),
        (listener, client) => {
            seen.call("the listener's socket", listener.map(drop));
            return seen.call("the client's socket", client.map(drop));
        }
    };
    let address: SocketAddr = ([127, 0, 0, 1], 0).into();
    listener.bind(&address.into()).expect("bind");
    listener.listen(1).expect("listen");
    client.connect(&listener.local_addr().expect("its address")).expect("connect");
    let (server, _) = TcpListener::from(listener).accept().expect("accept");
    let pair = Pair { client: client.into(), server };
    for (whose, end) in [("client", &pair.client), ("server", &pair.server)] {
        end.set_nonblocking(true).expect("make it non-blocking");
        seen.note(
            format_args!("the {whose}'s SO_PROTOCOL"),
            option(end, libc::SOL_SOCKET, libc::SO_PROTOCOL),
        );
    }
    for word in ["hello", "world", "again"] {
        each_way(&pair, |mut from, to| {
            seen.call("write", std::io::Write::write(&mut from, word.as_bytes()));
            note_read(seen, to);
        });
    }
    let Pair { client, server } = pair;
    drop(client);
    note_read(seen, &server);
}

#[test]
fn multipath_connections_are_left_alone() {
    compare(|side, seen| note_multipath(side, seen, Protocol::MPTCP, Protocol::MPTCP));
}

#[test]
fn a_multipath_client_of_an_ordinary_server_talks_tcp() {
    compare(|side, seen| note_multipath(side, seen, Protocol::TCP, Protocol::MPTCP));
}

#[test]
fn an_ordinary_client_of_a_multipath_server_talks_tcp() {
    compare(|side, seen| note_multipath(side, seen, Protocol::MPTCP, Protocol::TCP));
}
