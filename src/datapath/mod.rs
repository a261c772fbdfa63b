//! The kernel programs: how a TCP connection whose two ends are on this node is taken past the TCP/IP stack.
//!
//! A connection with both ends here is a *flow*, each of its directions a *lane*. A lane's messages go *direct*, from the sender's
//! `sendmsg` into the receiver's socket queue, or by *TCP*; TCP is the truth, the shortcut a cache.
//!
//! | file | hook | what it does |
//! |---|---|---|
//! | [`establish`] | sock_ops | calls the next three at the events of a connection |
//! | [`rendezvous`] | | hint, enrol and pair: which two sockets are the ends of one flow |
//! | [`segment`] | | at each segment of an enrolled socket: room for its reader, and the next |
//! | [`wake`] | | the wake-up that a reader with bytes in both queues can miss |
//! | [`send`] | sk_msg | which way each message goes |
//! | [`gate`] | | order gate, reader gate, memory gate, refresh |
//! | [`guard`] | | what is left to TCP because an application could tell the difference |
//! | [`policy`] | | whose connections are accelerated, by rules |
//! | [`leave`] | | the end of a lane, and the way out of the socket map |
//! | [`options`] | setsockopt | options that redirected bytes cannot do justice to |
//! | [`trace`] | | each change of a lane's way, for whoever traces |
//! | [`look`] | classifier, run on demand | shows one enrolled socket |
//!
//! Nothing in here loads a program or does any I/O: programs are assembled for a kernel ([`Layout`]) and a configuration
//! ([`Settings`]) and handed on.

mod count;
mod establish;
mod gate;
mod guard;
mod layout;
mod leave;
mod look;
mod map;
mod option;
mod options;
mod peek;
mod policy;
mod reason;
mod record;
mod rendezvous;
mod segment;
mod send;
#[cfg(test)]
mod simulation;
mod trace;
mod wake;

use bpf_asm::{BuildErrors, Program};

pub use layout::Layout;
pub use look::RECORD_AT;
pub use map::{Maps, RULES};
pub use reason::Reason;
pub use record::{
    ABI, About, Comm, Control, End, Event, Fins, FlowEnd, Isns, Lane, Mode, PORTS_PER_BYTE, Ports, Prefix, Role,
    Tracer, Wake, rules, verdict,
};

/// How the unread bytes of a receiver are metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Meter {
    /// The kernel charges redirected bytes to the receiver's `sk_rmem_alloc` (since 6.12.8 and 6.1.123).
    Charged = 0,
    /// It does not: bytes are counted since the receiver's direct queue was last seen empty.
    Counted = 1,
}

/// What programs are assembled for, beside the kernel's layout.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The most flows that can be open at once.
    pub flows: u32,
    /// How the memory gate looks at a receiver.
    pub meter: Meter,
    /// Jiffies in a second.
    pub hz: u32,
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

    /// What the kernel allocates to queue one message, in bytes, however short the message is: its size class.
    fn bookkeeping(&self) -> u32 {
        self.layout.sk_msg_size.next_power_of_two()
    }

    /// Every program.
    ///
    /// # Errors
    /// What the builder refuses, each with its Rust line.
    pub fn programs(&self) -> Result<[Program; 4], BuildErrors> {
        Ok([self.establish()?, self.send()?, self.options()?, self.look()?])
    }

    /// The sock_ops program.
    ///
    /// # Errors
    /// What the builder refuses, each with its Rust line.
    pub fn establish(&self) -> Result<Program, BuildErrors> {
        establish::program(self)
    }

    /// The sk_msg program.
    ///
    /// # Errors
    /// What the builder refuses, each with its Rust line.
    pub fn send(&self) -> Result<Program, BuildErrors> {
        send::program(self)
    }

    /// The program that is asked about socket options.
    ///
    /// # Errors
    /// What the builder refuses, each with its Rust line.
    pub fn options(&self) -> Result<Program, BuildErrors> {
        options::program(self)
    }

    /// The program that looks at one enrolled socket.
    ///
    /// # Errors
    /// What the builder refuses, each with its Rust line.
    pub fn look(&self) -> Result<Program, BuildErrors> {
        look::program(self)
    }
}
