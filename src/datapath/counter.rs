//! What the programs count: one number each, per CPU.
//!
//! Four kinds of things are counted, each with a type of its own: what became of a connection
//! ([`Outcome`]), why a message went by TCP ([`Cause`]), why a lane ended ([`Ending`]), and plain
//! [`Total`]s. A connection has one outcome or none yet, a message that was not redirected has
//! exactly one cause: all causes together are the messages by TCP of enrolled sockets.

macro_rules! counters {
    ($(
        $(#[doc = $kind_doc:literal])+
        $kind:ident { $($(#[doc = $doc:literal])+ $name:ident => $text:literal,)+ }
    )+) => {
        /// Every counter; its number is its index in the `counters` map.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum Counter { $($($(#[doc = $doc])+ $name,)+)+ }

        /// What a counter counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[doc = $kind_doc])+ $kind,)+ }

        impl Counter {
            /// Every counter, in the order of its index.
            pub const ALL: &[Counter] = &[$($(Counter::$name,)+)+];

            /// The name in `shunt stats` and in metrics.
            pub fn name(self) -> &'static str {
                match self { $($(Counter::$name => $text,)+)+ }
            }

            /// What it means, for people.
            pub fn meaning(self) -> &'static str {
                match self { $($(Counter::$name => concat!($($doc,)+).trim_ascii(),)+)+ }
            }

            /// What it counts.
            pub fn kind(self) -> Kind {
                match self { $($(Counter::$name => Kind::$kind,)+)+ }
            }
        }

        $(
            $(#[doc = $kind_doc])+
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            #[repr(u32)]
            pub enum $kind { $($(#[doc = $doc])+ $name = Counter::$name as u32,)+ }

            impl From<$kind> for Counter {
                fn from(counted: $kind) -> Counter {
                    Counter::ALL[counted as usize]
                }
            }
        )+
    };
}

counters! {
    /// What became of a connection.
    Outcome {
        /// Connections whose two ends are enrolled and know each other.
        Paired => "paired",
        /// Connections opened here whose SYN reached no listener here: left alone.
        NoHint => "no_hint",
        /// Connections accepted here whose client is not here.
        NoClient => "no_client",
        /// Connections whose handshake was not seen (TCP_REPAIR), of MPTCP, or whose socket belongs
        /// to the kernel itself.
        Unsuitable => "unsuitable",
        /// Connections that the configuration excludes, or of which it cannot be told whether it
        /// does.
        Excluded => "excluded",
        /// Two sockets claimed the same sequence numbers: neither was paired.
        Ambiguous => "ambiguous",
        /// Ends of connections left to TCP: a socket option asks for what only TCP does.
        Guarded => "guarded",
        /// Ends of connections left to TCP: the file of the socket blocks.
        BlockingFile => "blocking_file",
        /// Ends of connections left to TCP: the process that uses the socket splices.
        Splices => "splices",
        /// Ends of connections left to TCP: another socket map, or a protocol above TCP, has the
        /// socket.
        Foreign => "foreign",
        /// Sockets that could not be enrolled: the socket map is full or refused them.
        SocksFull => "socks_full",
        /// Sockets that could not be enrolled: no memory.
        NoMemory => "no_memory",
        /// Sockets that were used for a second connection: taken out, plain TCP from then on.
        Reused => "reused",
        /// Sockets that were taken out of the socket map after their lane had ended.
        Left => "left",
    }
    /// Why a message of an enrolled socket went by TCP.
    Cause {
        /// Messages by TCP: the peer is not enrolled yet.
        NoPeer => "no_peer",
        /// Messages by TCP: bytes sent by TCP before have not arrived yet.
        ArrivalGate => "arrival_gate",
        /// Messages by TCP: the receiver holds as much as it may.
        MemoryGate => "memory_gate",
        /// Messages by TCP: the receiver's cgroup is short of socket memory.
        ShortOfMemory => "short_of_memory",
        /// Messages by TCP to be seen by connection tracking.
        Refresh => "refresh",
        /// Messages by TCP: somebody is inside a call on the receiving socket, and the sender does
        /// not wait.
        ReceiverBusy => "receiver_busy",
        /// Messages by TCP: many small ones that nothing answers, which TCP joins.
        OneWay => "one_way",
        /// Messages by TCP: the receiver's file blocks.
        Blocking => "blocking",
        /// Messages by TCP on lanes that have ended.
        Ended => "ended",
        /// Messages by TCP: shunt is being stopped.
        Draining => "draining",
        /// Messages by TCP: the receiver could not be looked at.
        LookFailed => "look_failed",
    }
    /// Why a lane ended: every further message goes by TCP.
    Ending {
        /// Lanes ended: the peer is gone.
        PeerGone => "peer_gone",
        /// Lanes ended: this end has sent its FIN.
        ShutDown => "shut_down",
        /// Lanes ended: the application set an option that asks for what only TCP does.
        OptionSet => "option_set",
        /// Lanes ended: many messages in a row went by TCP, which does that better on its own.
        Resting => "resting",
        /// Lanes ended: shunt is being stopped.
        Stopped => "stopped",
        /// Lanes ended: the peer has left the socket map.
        PeerLeft => "peer_left",
        /// Lanes ended: a thread sleeps in a receive call on the socket.
        Sleeper => "sleeper",
    }
    /// Plain totals.
    Total {
        /// Changes of lanes that were not traced: the ring buffer of `shunt trace` was full.
        TraceLost => "trace_lost",
        /// Messages redirected by sockets that have closed or left.
        DirectMessages => "direct_messages",
        /// Bytes redirected by sockets that have closed or left.
        DirectBytes => "direct_bytes",
        /// Enrolled sockets that have closed.
        Closed => "closed",
        /// Sockets that became candidates for enrolment.
        Candidates => "candidates",
        /// Ends of connections that were open before shunt was, and have proved to belong together.
        Adopted => "adopted",
        /// Ends of connections that were open before, left to TCP: their peer did not answer with
        /// its number.
        Unproven => "unproven",
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Counter, Ending, Kind, Outcome, Total};

    #[test]
    fn every_counter_is_at_its_own_index_and_explains_itself() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert!(!counter.meaning().is_empty(), "{counter:?}");
            assert!(counter.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }

    #[test]
    fn what_is_counted_is_the_counter_of_its_name_and_kind() {
        assert_eq!(Counter::from(Outcome::Left), Counter::Left);
        assert_eq!(Counter::from(Cause::Refresh), Counter::Refresh);
        assert_eq!(Counter::from(Ending::Sleeper), Counter::Sleeper);
        assert_eq!(Counter::from(Total::Closed), Counter::Closed);
        assert_eq!(Counter::ArrivalGate.kind(), Kind::Cause);
        assert_eq!(Counter::PeerGone.kind(), Kind::Ending);
    }

    /// 0 stands for "nothing" where a lane or an event says why.
    #[test]
    fn neither_a_cause_nor_an_ending_is_at_index_zero() {
        assert_eq!(Counter::ALL[0].kind(), Kind::Outcome);
    }
}
