//! How a process reads its sockets: what the agent has found out, by process.
//!
//! An enrolled socket gives its bytes to `recvmsg` and its relatives alone. So a socket is enrolled
//! only if there is evidence that the process which uses it reads that way. The process is the one
//! that is in a call on the socket while it sends. The agent examines its executable; a process
//! that could splice, such as every Go program, has to show by its history on this very connection
//! that it does not: what `recvmsg` gave it (`tp_btf/sock_recv_length`) is all that TCP has seen it
//! take. What is not known stays with TCP.

use bpf_asm::{BuildErrors, Builder, NULL, Program, ProgramType, helper, sock_recv_length};

use super::record::Candidate;
use super::{Datapath, control};

/// How often a reader that could splice has to be seen to call `recvmsg`.
pub(super) const READS: i32 = 256;

/// `MSG_PEEK` (include/linux/socket.h).
const MSG_PEEK: i32 = 2;

/// The program at the tracepoint `sock_recv_length`: counts what `recvmsg` gives to the reader of a
/// candidate, from the first call that it sees since the tracepoint was attached.
pub(super) fn program(d: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_reads");
    let call = b.context::<sock_recv_length>();
    b.block(|done| {
        let sk = b.load(call.at(sock_recv_length::sk));
        b.jump_if(sk.eq(0), done);
        let candidate = b.call(helper::sk_storage_get(&d.maps.candidates, sk, NULL, 0));
        b.jump_if(candidate.eq(0), done);
        let bytes = b.load(call.at(sock_recv_length::ret));
        b.jump_if(bytes.sle32(0), done);
        // MSG_PEEK takes nothing.
        let flags = b.load(call.at(sock_recv_length::flags));
        b.jump_if(flags.has32(MSG_PEEK), done);

        b.block(|begun| {
            let tracing = control::tracings(&b, d);
            b.jump_if(tracing.eq(b.load(candidate.at(Candidate::tracing))), begun);
            let sk = b.load(call.at(sock_recv_length::sk));
            b.jump_if(sk.eq(0), done);
            let socket = b.call(helper::skc_to_tcp_sock(sk));
            b.jump_if(socket.eq(0), done);
            let from = b.load(socket.member(d.layout.copied_seq));
            from.sub32(b.load(call.at(sock_recv_length::ret)));
            b.store(candidate.at(Candidate::read_from), &from);
            b.store(candidate.at(Candidate::received), 0);
            b.store(candidate.at(Candidate::reads), 0);
            b.store(candidate.at(Candidate::tracing), control::tracings(&b, d));
        });
        let received = b.load(candidate.at(Candidate::received));
        received.add(b.load(call.at(sock_recv_length::ret)));
        b.store(candidate.at(Candidate::received), &received);
        let reads = b.load(candidate.at(Candidate::reads));
        reads.add(1);
        b.store(candidate.at(Candidate::reads), &reads);
    });
    b.ret(0);
    b.finish(ProgramType::Tracepoint)
}

#[cfg(test)]
mod tests;
