//! How a kernel treats enrolled sockets: named behaviours, each tested by doing it once.
//!
//! Without a required one shunt does not run: it would have to work around the kernel. The agent
//! asks for some of the others; all of them, with what they mean, are what `shunt doctor` shows,
//! and a kernel's column in `docs/kernels.md`.

use std::fmt;

use anyhow::Result;

use super::{facility, one_queue};

/// A behaviour that a kernel has or lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Behaviour {
    /// Bytes of both kinds form one stream.
    Order,
    /// EOF after the last byte.
    EndOfStream,
    /// One direction ends, the other continues.
    HalfClose,
    /// ECONNRESET as over TCP.
    Reset,
    /// poll and edge-triggered epoll.
    Readiness,
    /// `sk_rmem_alloc` counts redirected bytes.
    Charged,
    /// TCP bytes of a receiver that does not read are bounded.
    Bounded,
    /// A sender continues at once when its reader has made room.
    WindowUpdates,
    /// `copied_seq` counts bytes received by TCP, and no others.
    Sequence,
    /// An idle socket leaves the map without loss.
    Leaving,
    /// FIONREAD counts bytes received by TCP.
    FionreadByTcp,
    /// FIONREAD counts redirected bytes.
    FionreadDirect,
    /// FIONREAD counts bytes received before the enrolment.
    FionreadEarlier,
    /// TCP_INQ's control message is sent.
    TcpInq,
    /// `splice(2)` works.
    Splice,
    /// TCP_ULP "tls" works.
    Ktls,
    /// sk_msg programs attach by links.
    SkMsgLinks,
    /// Verdict programs attach by links.
    VerdictLinks,
    /// `tp_btf/sock_recv_length` exists.
    ReceiveTracepoint,
    /// An iterator over TCP sockets can set their callback flags.
    IteratorMarks,
    /// An iterator over socket storage can update a sockhash.
    StorageIteratorEnrols,
    /// An iterator over open files can update a sockhash.
    FileIteratorEnrols,
    /// The receive buffer bounds redirected bytes.
    LimitsDirect,
    /// TCP segments find room behind redirected bytes.
    FindsRoom,
    /// Unread bytes survive when their receiver leaves the map.
    KeepsUnread,
    /// `close` with unread bytes sends a reset.
    CloseResets,
    /// `IPPROTO_MPTCP` exists.
    Mptcp,
}

/// Result of a test on the running kernel.
#[derive(Debug)]
pub enum Answer {
    /// The behaviour holds.
    Yes,
    /// It does not hold: what the kernel did instead.
    No(String),
    /// It could not be tested here, for this reason.
    Unknown(anyhow::Error),
}

/// What a kernel did instead of the expected.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Deviation(pub String);

/// Returns what the kernel did instead unless a condition holds.
macro_rules! holds {
    ($condition:expr, $($instead:tt)+) => {
        if !$condition {
            return Err($crate::probe::behaviour::Deviation(format!($($instead)+)).into());
        }
    };
}
pub(super) use holds;

struct Row {
    behaviour: Behaviour,
    required: bool,
    name: &'static str,
    statement: &'static str,
    if_so: &'static str,
    if_not: &'static str,
    try_out: fn() -> Result<()>,
}

/// In the order of the enum.
const ROWS: &[Row] = &[
    Row {
        behaviour: Behaviour::Order,
        required: true,
        name: "order",
        statement: "redirected bytes and bytes by TCP are read in the order in which they were sent",
        if_so: "Messages can go directly or by TCP.",
        if_not: "Streams would be out of order: update the kernel.",
        try_out: one_queue::order,
    },
    Row {
        behaviour: Behaviour::EndOfStream,
        required: true,
        name: "end-of-stream",
        statement: "the end of a stream comes after its last byte",
        if_so: "Readers see the end as over TCP.",
        if_not: "Readers would miss the end or the bytes before it: update the kernel.",
        try_out: one_queue::end_of_stream,
    },
    Row {
        behaviour: Behaviour::HalfClose,
        required: true,
        name: "half-close",
        statement: "after one direction has ended the other goes on",
        if_so: "Connections can be half-closed.",
        if_not: "Responses to a half-closed client would be lost: update the kernel.",
        try_out: one_queue::half_close,
    },
    Row {
        behaviour: Behaviour::Reset,
        required: true,
        name: "reset",
        statement: "a reset is seen as over TCP",
        if_so: "Readers see unread bytes and then ECONNRESET.",
        if_not: "Readers would misinterpret a reset: update the kernel.",
        try_out: one_queue::reset,
    },
    Row {
        behaviour: Behaviour::Readiness,
        required: true,
        name: "readiness",
        statement: "each arrival of either kind makes the reader ready (poll, edge-triggered epoll)",
        if_so: "Readers are always woken.",
        if_not: "Readers would sleep with bytes unread: update the kernel.",
        try_out: one_queue::readiness,
    },
    Row {
        behaviour: Behaviour::Charged,
        required: true,
        name: "charged",
        statement: "redirected bytes are charged to their receiver",
        if_so: "A receiver's memory can be limited.",
        if_not: "A receiver that does not read could exhaust memory: update the kernel \
                 (Linux 6.12.8, 6.1.123).",
        try_out: one_queue::charged,
    },
    Row {
        behaviour: Behaviour::Bounded,
        required: true,
        name: "bounded",
        statement: "a receiver that does not read bounds what it is sent by TCP",
        if_so: "TCP's own flow control works.",
        if_not: "A receiver that does not read could exhaust memory: update the kernel.",
        try_out: one_queue::bounded,
    },
    Row {
        behaviour: Behaviour::WindowUpdates,
        required: true,
        name: "window-updates",
        statement: "when a full window has been read its sender goes on at once",
        if_so: "Streams by TCP do not stall.",
        if_not: "Streams would stall for 200 ms repeatedly: update the kernel.",
        try_out: one_queue::window,
    },
    Row {
        behaviour: Behaviour::Sequence,
        required: true,
        name: "sequence",
        statement: "redirected bytes do not count as read from TCP",
        if_so: "A socket that leaves the socket map continues by TCP with the right byte.",
        if_not: "Bytes would be skipped when a socket leaves the socket map: update the kernel.",
        try_out: one_queue::sequence,
    },
    Row {
        behaviour: Behaviour::Leaving,
        required: true,
        name: "leaving",
        statement: "an idle socket leaves the socket map without loss",
        if_so: "shunt can stop while connections are open.",
        if_not: "Stopping would break connections: update the kernel.",
        try_out: one_queue::leaving,
    },
    Row {
        behaviour: Behaviour::FionreadByTcp,
        required: true,
        name: "fionread-tcp",
        statement: "FIONREAD counts bytes that came to an enrolled socket by TCP",
        if_so: "Programs that use it (nginx, Java, .NET) work.",
        if_not: "Programs that use it (nginx, Java, .NET) would hang: update the kernel.",
        try_out: facility::counts_by_tcp,
    },
    Row {
        behaviour: Behaviour::FionreadDirect,
        required: true,
        name: "fionread-direct",
        statement: "FIONREAD counts redirected bytes",
        if_so: "Programs that use it (nginx, Java, .NET) work.",
        if_not: "Programs that use it (nginx, Java, .NET) would hang: update the kernel.",
        try_out: facility::counts_redirected,
    },
    Row {
        behaviour: Behaviour::FionreadEarlier,
        required: false,
        name: "fionread-earlier",
        statement: "FIONREAD counts what was unread when a socket was enrolled",
        if_so: "Sockets can be enrolled with unread bytes.",
        if_not: "Sockets are enrolled only when nothing is unread.",
        try_out: facility::counts_earlier,
    },
    Row {
        behaviour: Behaviour::TcpInq,
        required: false,
        name: "tcp-inq",
        statement: "recvmsg with TCP_INQ says how many bytes are left",
        if_so: "Sockets that use it (gRPC) can be accelerated.",
        if_not: "Sockets that use it (gRPC) are left to TCP.",
        try_out: facility::tells_what_is_left,
    },
    Row {
        behaviour: Behaviour::Splice,
        required: false,
        name: "splice",
        statement: "splice(2) moves bytes of an enrolled socket",
        if_so: "Programs that splice(2) from sockets can be accelerated.",
        if_not: "Programs that splice(2) from sockets (HAProxy, Go's io.Copy between connections) \
                 would read nothing: their connections are left to TCP.",
        try_out: facility::splices,
    },
    Row {
        behaviour: Behaviour::Ktls,
        required: false,
        name: "ktls",
        statement: "kTLS can be turned on for an enrolled socket",
        if_so: "It is refused on accelerated connections, since redirected bytes would not be \
                decrypted: programs fall back to their own encryption.",
        if_not: "Programs that try get an error and use their own encryption.",
        try_out: facility::encrypts,
    },
    Row {
        behaviour: Behaviour::SkMsgLinks,
        required: false,
        name: "links",
        statement: "sk_msg programs attach by a link",
        if_so: "The sk_msg program cannot be replaced by accident.",
        if_not: "Any tool with CAP_NET_ADMIN can replace the sk_msg program. Nothing to \
                 do.",
        try_out: facility::links_sk_msg,
    },
    Row {
        behaviour: Behaviour::VerdictLinks,
        required: false,
        name: "verdict-links",
        statement: "verdict programs attach by a link",
        if_so: "The verdict program cannot be replaced by accident.",
        if_not: "Any tool with CAP_NET_ADMIN can replace the verdict program. Nothing to \
                 do.",
        try_out: facility::links_verdict,
    },
    Row {
        behaviour: Behaviour::ReceiveTracepoint,
        required: false,
        name: "receive-tracepoint",
        statement: "a program attaches to the tracepoint sock_recv_length",
        if_so: "Readers that call recv and not splice(2) are recognised.",
        if_not: "How a reader reads must be established by other evidence.",
        try_out: facility::traces_receiving,
    },
    Row {
        behaviour: Behaviour::IteratorMarks,
        required: false,
        name: "iterator-marks",
        statement: "an iterator over TCP sockets owns their locks and asks for their callbacks",
        if_so: "Connections that were open before the start are accelerated too.",
        if_not: "Connections that were open before the start stay with TCP.",
        try_out: facility::iterators_mark,
    },
    Row {
        behaviour: Behaviour::StorageIteratorEnrols,
        required: false,
        name: "storage-iterator-enrols",
        statement: "an iterator over socket storage may update a sockhash, and does not crash",
        if_so: "Connections are enrolled by one pass over all candidates.",
        if_not: "Connections are enrolled by passes over the open files of their processes, or \
                 one by one.",
        try_out: facility::storage_iterators_enrol,
    },
    Row {
        behaviour: Behaviour::FileIteratorEnrols,
        required: false,
        name: "file-iterator-enrols",
        statement: "an iterator over the open files of a process may update a sockhash",
        if_so: "Connections can be enrolled by passes over the open files of their processes.",
        if_not: "If iterators over socket storage do not enrol either, connections are enrolled \
                 one by one by a classifier, which the verifier must accept (that of Linux 7.3 \
                 does not).",
        try_out: facility::file_iterators_enrol,
    },
    Row {
        behaviour: Behaviour::LimitsDirect,
        required: false,
        name: "limits-direct",
        statement: "the receive buffer bounds redirected bytes that are unread",
        if_so: "The kernel limits them besides shunt's memory gate.",
        if_not: "Only shunt's memory gate limits them.",
        try_out: facility::limits_redirected,
    },
    Row {
        behaviour: Behaviour::FindsRoom,
        required: false,
        name: "finds-room",
        statement: "a segment finds room behind redirected bytes that fill the receive buffer",
        if_so: "Nothing depends on it.",
        if_not: "TCP retransmits such segments 200 ms later: shunt keeps room for them.",
        try_out: facility::finds_room,
    },
    Row {
        behaviour: Behaviour::KeepsUnread,
        required: false,
        name: "keeps-unread",
        statement: "what is unread survives when its receiver leaves the socket map",
        if_so: "Nothing depends on it.",
        if_not: "shunt removes sockets only when everything has been read.",
        try_out: facility::keeps_unread,
    },
    Row {
        behaviour: Behaviour::CloseResets,
        required: false,
        name: "close-resets",
        statement: "a close with unread bytes resets the connection",
        if_so: "Peers see it as over TCP.",
        if_not: "Peers see an orderly end until they write.",
        try_out: facility::close_resets,
    },
    Row {
        behaviour: Behaviour::Mptcp,
        required: false,
        name: "mptcp",
        statement: "MPTCP sockets can be made",
        if_so: "Their connections are left to TCP.",
        if_not: "The kernel has none.",
        try_out: facility::has_mptcp,
    },
];

impl Behaviour {
    /// How many there are.
    pub const COUNT: usize = ROWS.len();

    /// Every behaviour, in the order of the table.
    pub fn all() -> impl Iterator<Item = Behaviour> {
        ROWS.iter().map(|row| row.behaviour)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// Name in logs and JSON.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The behaviour as a statement that holds or does not.
    pub fn statement(self) -> &'static str {
        self.row().statement
    }

    /// Whether a kernel without it is refused.
    pub fn is_required(self) -> bool {
        self.row().required
    }

    /// Consequences of an answer, and the remedy.
    pub fn meaning(self, holds: bool) -> &'static str {
        if holds { self.row().if_so } else { self.row().if_not }
    }

    /// Tests it, as root. Takes some milliseconds, or some seconds where it does not hold.
    pub fn try_out(self) -> Answer {
        match (self.row().try_out)() {
            Ok(()) => Answer::Yes,
            Err(error) => match error.downcast::<Deviation>() {
                Ok(Deviation(what)) => Answer::No(what),
                Err(error) => Answer::Unknown(error),
            },
        }
    }

    /// Tests a required behaviour a second time before failing it: on a busy machine an event may
    /// come late once.
    pub fn settle(self) -> Answer {
        match self.try_out() {
            Answer::No(_) if self.is_required() => self.try_out(),
            answer => answer,
        }
    }
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.statement())
    }
}

impl Answer {
    /// Whether it is known to hold.
    pub fn is_yes(&self) -> bool {
        matches!(self, Answer::Yes)
    }

    /// What happened instead, or what prevented the test.
    pub fn detail(&self) -> Option<String> {
        match self {
            Answer::Yes => None,
            Answer::No(instead) => Some(instead.clone()),
            Answer::Unknown(error) => Some(format!("{error:#}")),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Answer::Yes => "yes",
            Answer::No(_) => "no",
            Answer::Unknown(_) => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_behaviour_has_its_row_and_a_unique_name() {
        for (place, row) in ROWS.iter().enumerate() {
            assert_eq!(row.behaviour as usize, place, "{}", row.name);
            let same = |other: &Row| other.name == row.name || other.statement == row.statement;
            assert_eq!(ROWS.iter().filter(|other| same(other)).count(), 1, "{}", row.name);
        }
        assert_eq!(Behaviour::Mptcp as usize + 1, ROWS.len());
    }

    #[test]
    fn the_documents_say_how_many_behaviours_are_required() {
        const WORDS: [&str; 16] = [
            "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
            "eleven", "twelve", "thirteen", "fourteen", "fifteen",
        ];
        let required = Behaviour::all().filter(|behaviour| behaviour.is_required()).count();
        let first = Behaviour::all().take_while(|behaviour| behaviour.is_required()).count();
        assert_eq!(first, required, "in docs/kernels.md they are the first rows");
        let word = WORDS[required];
        for (document, said) in [
            ("kernels.md", format!("The first {word} rows are required")),
            ("install.md", format!("lacks one of {word} behaviours")),
        ] {
            let text = std::fs::read_to_string(
                std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document),
            );
            let text = text.unwrap_or_else(|error| panic!("read {document}: {error}"));
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(words.join(" ").contains(&said), "{document} does not say {said:?}");
        }
    }

    #[test]
    fn this_kernel_has_every_required_behaviour() {
        for behaviour in Behaviour::all() {
            let began = std::time::Instant::now();
            let answer = behaviour.settle();
            eprintln!(
                "{:>4} ms {:<8} {behaviour}: {}",
                began.elapsed().as_millis(),
                answer.to_string(),
                answer.detail().unwrap_or_default()
            );
            assert!(answer.is_yes() || !behaviour.is_required(), "{behaviour}: {answer:?}");
        }
    }
}
