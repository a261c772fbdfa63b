//! The kernel programs: how a TCP connection whose two ends are on this node is taken past the
//! TCP/IP stack.
//!
//! A connection with both ends here is a *flow*, each of its directions a *lane*. A lane's messages
//! go *direct*, from the sender's `sendmsg` into the receiver's socket queue, or by *TCP*; TCP is
//! the truth, the shortcut a cache.
//!
//! | file | hook | what it does |
//! |---|---|---|
//! | [`establish`] | sock_ops | calls the next three, [`policy`] and [`leave`] at the events of a connection |
//! | [`handshake`] | | which connections have both ends here |
//! | [`segment`] | | at each segment of such a connection |
//! | [`candidate`] | | is it worth enrolling, and who uses it |
//! | [`enrol`] | iterator, or classifier run on demand | puts candidates into the socket map, if there is evidence of how they are read |
//! | [`adopt`] | iterator, run at the start | marks connections that were open before |
//! | [`proof`] | | that two such ends belong together |
//! | [`evidence`] | tracepoint | how a process reads its sockets |
//! | [`rendezvous`] | | how the two ends of a flow find each other |
//! | [`verdict`] | sk_skb | segments go into the same queue as redirected messages |
//! | [`send`] | sk_msg | which way each message goes |
//! | [`gate`], [`refresh`] | | what has to hold before a lane becomes direct, and how long it may stay so |
//! | [`leave`] | | the way out of the socket map |
//! | [`options`] | setsockopt | options that the ingress queue cannot do justice to |
//! | [`policy`] | | whose connections are accelerated, by rules |
//! | [`trace`] | | each change of a lane's way, for traces |
//! | [`look`] | classifier, run on demand | shows one enrolled socket |
//! | [`holder`] | iterator, run on demand | which processes hold the enrolled sockets |
//!
//! They stand on [`lane`] (every transition of a lane), [`event`] (the socket of a sock_ops event),
//! [`receiver`] (what a sender sees of the other socket), [`waiters`] (who sleeps on a socket),
//! [`fallback`] (to TCP), [`control`] (what the agent tells them), [`guard`], [`count`] and
//! [`peek`].
//!
//! Nothing in here loads a program or does any I/O: programs are assembled for a kernel
//! ([`Layout`]) and a configuration ([`Settings`]) and handed on.

mod adopt;
mod arrived;
mod caller;
mod candidate;
mod control;
mod count;
mod counter;
mod enrol;
mod establish;
mod event;
mod evidence;
mod fallback;
mod gate;
mod guard;
mod handshake;
mod holder;
mod lane;
mod layout;
mod leave;
mod look;
mod map;
mod option;
mod options;
mod packet;
mod peek;
mod policy;
mod proof;
mod receiver;
mod record;
mod refresh;
mod refusal;
mod rendezvous;
mod segment;
mod send;
#[cfg(test)]
mod simulation;
mod trace;
mod verdict;
mod waiters;
mod watch;

use bpf_asm::{BuildErrors, Program};

pub use counter::{Cause, Counter, Ending, Kind, Outcome, Total};
pub use layout::Layout;
pub use map::{ADOPTEES, Maps, RULES};
pub use packet::RECORD_AT;
pub use record::{
    ABI, About, Adoption, Candidate, Comm, Control, End, Endings, Event, FlowEnd, Holder, Isns,
    Lane, Mode, Newcomer, PORTS_PER_BYTE, Pass, Ports, Prefix, Process, Reads, Refusal, Request,
    Role, Tracer, Wait, rules, ruling,
};

/// What programs are assembled for, beside the kernel's layout.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most flows that can be open at once.
    pub flows: u32,
    /// Jiffies in a second.
    pub hz: u32,
    /// How the program that enrols gets at candidates.
    pub passes: Passes,
}

/// How the program that enrols gets at candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passes {
    /// It is an iterator over their storage.
    Iterator,
    /// It is an iterator over the open files of the processes that use them: since 7.0, the kernel
    /// may crash in the former.
    Files,
    /// It is a classifier that is run for one after the other: some kernels, hardened ones, refuse
    /// such iterators even to root. Newer kernels (7.3) refuse classifiers that update a socket
    /// map.
    Classifier,
}

/// The whole datapath for one kernel and one configuration.
#[derive(Clone, Debug)]
pub struct Datapath {
    /// The maps that all programs share.
    pub maps: Maps,
    /// Where the kernel keeps what they read.
    pub layout: Layout,
    /// What they are assembled for.
    pub settings: Settings,
}

impl Datapath {
    /// The datapath for a kernel with this layout.
    pub fn new(layout: Layout, settings: Settings) -> Datapath {
        Datapath { maps: Maps::new(settings.flows), layout, settings }
    }

    /// What the kernel allocates to queue one message, in bytes, however short the message is: its
    /// size class.
    fn bookkeeping(&self) -> u32 {
        self.layout.sk_msg_size.next_power_of_two()
    }

    /// Every program, in the order in which they are attached.
    ///
    /// # Errors
    /// What the builder refuses, each with its Rust line.
    pub fn programs(
        &self,
    ) -> Result<[(ProgramName, Program); ProgramName::ALL.len()], BuildErrors> {
        let mut built = Vec::new();
        for name in ProgramName::ALL {
            built.push((name, self.program(name)?));
        }
        Ok(built.try_into().unwrap_or_else(|_| unreachable!("one for each name")))
    }

    /// The program of this name.
    ///
    /// # Errors
    /// What the builder refuses, each with its Rust line.
    pub fn program(&self, name: ProgramName) -> Result<Program, BuildErrors> {
        match name {
            ProgramName::Establish => establish::program(self),
            ProgramName::Send => send::program(self),
            ProgramName::Verdict => verdict::program(self),
            ProgramName::Enrol => enrol::program(self),
            ProgramName::Reads => evidence::program(self),
            ProgramName::Options => options::program(self),
            ProgramName::Adopt => adopt::program(self),
            ProgramName::Look => look::program(self),
            ProgramName::Show => look::iterator(self),
            ProgramName::Holders => holder::program(self),
        }
    }
}

/// The programs of the datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProgramName {
    /// sk_msg: which way each message goes.
    Send,
    /// sk_skb: segments go into the same queue as redirected messages.
    Verdict,
    /// setsockopt: options that the ingress queue cannot do justice to.
    Options,
    /// Iterator, or classifier where the kernel refuses that: puts candidates into the socket map.
    Enrol,
    /// Tracepoint: what `recvmsg` gives to the readers of candidates.
    Reads,
    /// Iterator: shows connections that were open before, and marks them.
    Adopt,
    /// Classifier: shows one enrolled socket.
    Look,
    /// Iterator: shows all of them.
    Show,
    /// Iterator: which processes hold them.
    Holders,
    /// sock_ops: the events of a connection.
    Establish,
}

impl ProgramName {
    /// Every one, in the order in which they are attached: with the last, connections begin to be
    /// noticed.
    pub const ALL: [ProgramName; 10] = [
        ProgramName::Send,
        ProgramName::Verdict,
        ProgramName::Options,
        ProgramName::Enrol,
        ProgramName::Reads,
        ProgramName::Adopt,
        ProgramName::Look,
        ProgramName::Show,
        ProgramName::Holders,
        ProgramName::Establish,
    ];

    /// What is missing where the kernel refuses it; none if nothing works without it.
    pub fn without(self) -> Option<&'static str> {
        match self {
            ProgramName::Reads => Some("programs that could splice stay with TCP"),
            ProgramName::Adopt => Some("connections that were open before stay with TCP"),
            ProgramName::Show | ProgramName::Holders => {
                Some("with many connections, what shows them takes longer")
            }
            _ => None,
        }
    }

    /// The name of its pin.
    pub fn pin(self) -> &'static str {
        match self {
            ProgramName::Send => "send",
            ProgramName::Verdict => "verdict",
            ProgramName::Options => "options",
            ProgramName::Enrol => "enrol",
            ProgramName::Reads => "reads",
            ProgramName::Adopt => "adopt",
            ProgramName::Look => "look",
            ProgramName::Show => "show",
            ProgramName::Holders => "holders",
            ProgramName::Establish => "establish",
        }
    }
}
