//! The proof that two ends which are adopted belong together.
//!
//! The agent gives each end two random numbers: one that its own segments carry, in an option of
//! their TCP headers, and one that its peer's segments carry. Only the socket at which the
//! peer's segments arrive, behind whatever NAT, receives its peer's number. An end confirms that in
//! its own segments, and so each learns that both numbers have arrived. From then on it is
//! watched like any other.
//!
//! An end that has sent its number many times and has not been answered is left alone: its peer is
//! elsewhere, and somebody here has chosen the same sequence numbers. But not in the first seconds:
//! a busy end sends very much before its peer is marked, too.

use bpf_asm::{Builder, Label, NULL, Ptr, bpf_sock_ops, helper, record};

use super::count::count;
use super::counter::Total;
use super::event::{forget, sk_of};
use super::record::{Adoption, heard};
use super::{Datapath, event};

/// The kind of an experimental option (RFC 6994), which the kernel looks up by the first six bytes.
const EXPERIMENT: u8 = 254;
const FOUND_BY: u8 = 6;
/// Tells ours from others; in no registry.
const EXID: [u8; 4] = *b"shun";

/// Segments that carry an end's number at least, unless the peer answers.
const PATIENCE: i32 = 512;
/// After how many seconds an end may be given up.
pub(super) const SECONDS: u32 = 5;
/// Segments that carry it after that: so that the peer learns of it.
const ECHOES: i32 = 4;

record! {
    /// The option.
    pub struct Mark {
        /// In this order: [`EXPERIMENT`]; the length of the option; [`EXID`]; and whether the
        /// peer's number has come, 0 or 1, in two bytes.
        pub head: u64,
        /// The number.
        pub number: u64,
    }
}

const LENGTH: u8 = size_of::<Mark>() as u8;
/// Where the last two bytes of the head are.
const HEARD_SHIFT: i32 = 48;

/// The head of an option of this length, which has heard nothing.
const fn head(length: u8) -> u64 {
    u64::from_le_bytes([EXPERIMENT, length, EXID[0], EXID[1], EXID[2], EXID[3], 0, 0])
}

/// How far the adoption of the event's socket has come; jumps to `none` if the context shows no
/// socket or it is not being adopted.
fn adoption_of(
    b: &Builder,
    d: &Datapath,
    event: &Ptr<bpf_sock_ops>,
    none: &Label,
) -> Ptr<Adoption> {
    let adoption =
        b.call(helper::sk_storage_get(&d.maps.adoptions, sk_of(b, event, none), NULL, 0));
    b.jump_if(adoption.eq(0), none);
    adoption
}

/// The kernel asks how long the options of a segment will be: a socket that is being adopted makes
/// room for its number. Of the last of these segments on it is local.
pub(super) fn make_room(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let (proven, room, over) = (b.label(), b.label(), b.label());
    b.block(|done| {
        let adoption = adoption_of(b, d, event, done);
        let echoes = b.load(adoption.at(Adoption::echoes));
        b.jump_if(echoes.ge(ECHOES), &proven);
        let segments = b.load(adoption.at(Adoption::segments));
        b.jump_if(segments.lt(PATIENCE), &room);
        let until = b.load(adoption.at(Adoption::until));
        let now = b.call(helper::jiffies64());
        b.jump_if(now.lt(&until), &room);
        count(b, d, Total::Unproven);
        forget(b, event);
        b.jump(&over);
        b.place(&proven);
        count(b, d, Total::Adopted);
        event::proven(b, event);
        b.place(&over);
        b.call(helper::sk_storage_delete(&d.maps.adoptions, sk_of(b, event, done)));
        b.jump(done);
        b.place(&room);
        b.call(helper::reserve_hdr_opt(event, i32::from(LENGTH), 0));
    });
}

/// The kernel asks for the options that room was made for.
pub(super) fn say(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.block(|done| {
        let adoption = adoption_of(b, d, event, done);
        let mark = b.slot::<Mark>();
        let whole = b.load(adoption.at(Adoption::heard));
        whole.and(heard::PEER as i32);
        whole.lsh(HEARD_SHIFT);
        whole.or(b.value(head(LENGTH)));
        b.store(mark.at(Mark::head), &whole);
        b.store(mark.at(Mark::number), b.load(adoption.at(Adoption::says)));
        let segments = b.load(adoption.at(Adoption::segments));
        segments.add(1);
        b.store(adoption.at(Adoption::segments), &segments);
        // One if both bits are set.
        const { assert!(heard::BOTH == 3) };
        let echoes = b.load(adoption.at(Adoption::heard));
        echoes.add(1);
        echoes.rsh(2);
        echoes.add(b.load(adoption.at(Adoption::echoes)));
        b.store(adoption.at(Adoption::echoes), &echoes);
        b.call(helper::store_hdr_opt(event, &mark, i32::from(LENGTH), 0));
    });
}

/// A segment has come. Sockets that are not being adopted are told of unknown options, too, and
/// make nothing of them.
pub(super) fn hear(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.block(|done| {
        let adoption = adoption_of(b, d, event, done);
        let mark = b.slot::<Mark>();
        b.store(mark.at(Mark::head), head(FOUND_BY));
        b.store(mark.at(Mark::number), 0);
        // One branch for the two.
        let wrong = b.call(helper::load_hdr_opt(event, &mark, i32::from(LENGTH), 0));
        wrong.xor(i32::from(LENGTH));
        let number = b.load(mark.at(Mark::number));
        number.xor(b.load(adoption.at(Adoption::hears)));
        wrong.or(&number);
        b.jump_if(wrong.ne(0), done);
        // The peer's bit, and the other if the peer has heard this end.
        let known = b.load(mark.at(Mark::head));
        known.rsh(HEARD_SHIFT);
        known.and(1);
        const { assert!(heard::PEER == 1 && heard::BACK == 2) };
        known.lsh(1);
        known.or(heard::PEER as i32);
        known.or(b.load(adoption.at(Adoption::heard)));
        b.store(adoption.at(Adoption::heard), &known);
    });
}

#[cfg(test)]
mod tests;
