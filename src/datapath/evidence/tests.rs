use super::super::Control;
use super::super::simulation::{Fault, Helper, REFRESH, on_every_kernel};

const MSG_PEEK: u64 = 2;

#[test]
fn what_recvmsg_gives_the_reader_of_a_candidate_is_counted_from_the_first_call_on() {
    on_every_kernel(|mut w| {
        let (client, server) = w.candidates();
        let read = w.get(client, |l| l.copied_seq) as u32;
        w.send(server, 30);
        assert_eq!((w.receive(client, 10), w.receive(client, 20)), (10, 20));
        // Nothing is taken by these.
        w.reads(client, 5, MSG_PEEK);
        w.reads(client, 0, 0);
        w.reads(client, -11, 0);
        let candidate = w.candidate(client).unwrap();
        assert_eq!((candidate.received, candidate.reads, candidate.read_from), (30, 2, read));
    });
}

#[test]
fn a_history_begins_anew_when_the_tracepoint_is_attached_again_since_calls_were_missed() {
    on_every_kernel(|mut w| {
        let (client, server) = w.candidates();
        w.send(server, 60);
        w.receive(client, 10);
        // Nobody sees this.
        w.read_up_to(client, 20);
        w.control(Control { refresh: REFRESH, tracings: 2, ..Control::default() });
        let read = w.get(client, |l| l.copied_seq) as u32;
        w.receive(client, 14);
        w.receive(client, 16);
        let candidate = w.candidate(client).unwrap();
        assert_eq!((candidate.received, candidate.reads, candidate.read_from), (30, 2, read));
    });
}

#[test]
fn other_sockets_and_no_socket_are_of_no_interest() {
    on_every_kernel(|mut w| {
        let (client, _) = w.local();
        w.reads(client, 5, 0);
        w.reads(0, 5, 0);
        assert_eq!(w.len("candidates"), 0);
    });
}

#[test]
fn a_history_does_not_begin_with_a_call_whose_socket_cannot_be_looked_at() {
    on_every_kernel(|mut w| {
        let (client, _) = w.candidates();
        w.fails(Helper::SkcToTcpSock);
        w.reads(client, 5, 0);
        w.fault(Helper::SkStorageGet, 0, Fault::SocketHidden);
        w.reads(client, 5, 0);
        assert_eq!((w.candidate(client).unwrap().reads, w.pending_faults()), (0, 0));
        w.reads(client, 5, 0);
        assert_eq!(w.candidate(client).unwrap().reads, 1);
    });
}
