//! Why things went the way they went: one counter each, per CPU.

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident => $text:literal,)+) => {
        /// A decision of the datapath, counted each time it is taken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }

        impl Reason {
            /// Every reason, in the order of its index in the `counters` map.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The name in `shunt stats` and in metrics.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$name => $text,)+ }
            }

            /// What it means, for people.
            pub fn meaning(self) -> &'static str {
                match self { $(Reason::$name => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// Flows whose two ends found each other.
    Paired => "paired",
    /// Connections opened here whose SYN reached no listener here: left alone.
    NoHint => "no_hint",
    /// Connections accepted here whose client is not here or was not enrolled.
    NoClient => "no_client",
    /// Connections whose handshake was not seen (TCP_REPAIR) or is of a kind that is left alone (MPTCP).
    Unsuitable => "unsuitable",
    /// Connections and messages by TCP: the reader's file blocks.
    Blocking => "blocking",
    /// Connections and messages by TCP: the application has set an option that asks for what only TCP does.
    Guarded => "guarded",
    /// Connections that the configuration excludes, or of which it cannot be told whether it does.
    Excluded => "excluded",
    /// Two clients claimed the same sequence numbers: neither was paired.
    Ambiguous => "ambiguous",
    /// A socket could not be enrolled: the socket map is full or refused it.
    SocksFull => "socks_full",
    /// A socket could not be enrolled: no memory for its lane.
    LaneFull => "lane_full",
    /// A socket was used for a second connection: taken out, plain TCP from then on.
    Reused => "reused",
    /// Sockets that were taken out when their lane had ended, since nothing was on its way to them.
    Left => "left",
    /// Messages by TCP: the peer is not known yet.
    NoPeer => "no_peer",
    /// Messages by TCP: bytes sent by TCP before are still unread.
    OrderGate => "order_gate",
    /// Messages by TCP: a reader sleeps, or may be about to sleep, in TCP's own receive function, which redirected bytes do not wake.
    ReaderGate => "reader_gate",
    /// Messages by TCP: the receiver holds as much as TCP would let it hold.
    MemoryGate => "memory_gate",
    /// Messages by TCP to be seen by connection tracking.
    Refresh => "refresh",
    /// Lanes ended: the peer is gone.
    PeerGone => "peer_gone",
    /// Messages by TCP on lanes that have ended.
    Ended => "ended",
    /// Messages by TCP: shunt is being stopped.
    Draining => "draining",
    /// Gates that could not be looked at: a helper failed.
    LookFailed => "look_failed",
    /// Readers whose keepalive timer was borrowed because both of their queues held bytes.
    WakeArmed => "wake_armed",
    /// Wake-ups given to readers that TCP bytes waited for.
    Woken => "woken",
    /// Changes of lanes that nobody was told of: the ring buffer of `shunt trace` was full.
    TraceLost => "trace_lost",
    /// Messages redirected by sockets that have closed.
    DirectMessages => "direct_messages",
    /// Bytes redirected by sockets that have closed.
    DirectBytes => "direct_bytes",
    /// Enrolled sockets that have closed.
    Closed => "closed",
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn every_reason_is_at_its_own_index_and_explains_itself() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert!(!reason.meaning().is_empty(), "{reason:?}");
            assert!(reason.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        }
    }
}
