//! The proof that two ends which are adopted belong together.
//!
//! The agent gives each end two random numbers: one that its own segments carry, in an option of their TCP headers, and one that its
//! peer's segments carry. Who receives its peer's number is where the peer's segments arrive, whatever NAT lies between; nobody else gets
//! to see it. An end says so in its own segments, and so each learns that both numbers have come. From then on it is watched like any
//! other.
//!
//! An end that has sent its number many times and has not been answered is left alone: its peer is elsewhere, and somebody here has chosen
//! the same sequence numbers.

use bpf_asm::{Builder, NULL, Ptr, bpf_sock_ops, helper, record};

use super::count::count;
use super::counter::Total;
use super::event::{forget, sk_of};
use super::record::{Adoption, heard};
use super::{Datapath, event};

/// The kind of an experimental option (RFC 6994), which the kernel looks up by the first six bytes.
const EXPERIMENT: i32 = 254;
const FOUND_BY: i32 = 6;
/// Tells ours from others, half by half: "shunt" in no registry.
const EXID: [i32; 2] = [0x7348, 0x756e];

/// Segments that carry an end's number at most, until the peer has answered.
const PATIENCE: i32 = 64;
/// Segments that carry it after that: so that the peer learns of it.
const ECHOES: i32 = 4;

record! {
    /// The option.
    pub struct Mark {
        /// [`EXPERIMENT`].
        pub kind: u8,
        /// Its length, this byte and the one before included.
        pub length: u8,
        /// [`EXID`].
        pub exid: [u16; 2],
        /// Whether the peer's number has come: 0 or 1.
        pub heard: u16,
        /// The number.
        pub number: u64,
    }
}

const LENGTH: i32 = size_of::<Mark>() as i32;

/// The kernel asks how long the options of a segment will be: a socket that is being adopted makes room for its number. Of the last of
/// these segments on it is local.
pub(super) fn make_room(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let (proven, room, over, done) = (b.label(), b.label(), b.label(), b.label());
    let adoption = b.call(helper::sk_storage_get(&d.maps.adoptions, sk_of(b, event, &done), NULL, 0));
    b.jump_if(adoption.eq(0), &done);
    let segments = b.load(adoption.at(Adoption::segments));
    let heard = b.load(adoption.at(Adoption::heard));
    drop(adoption);
    b.jump_if(heard.eq(heard::BOTH as i32), &proven);
    b.jump_if(segments.lt(PATIENCE), &room);
    count(b, d, Total::Unproven);
    forget(b, event);
    b.jump(&over);
    b.place(&proven);
    b.jump_if(segments.lt(ECHOES), &room);
    drop((segments, heard));
    count(b, d, Total::Adopted);
    event::proven(b, event);
    b.place(&over);
    b.call(helper::sk_storage_delete(&d.maps.adoptions, sk_of(b, event, &done)));
    b.jump(&done);
    b.place(&room);
    b.call(helper::reserve_hdr_opt(event, LENGTH, 0));
    b.place(&done);
}

/// The kernel asks for the options that room was made for.
pub(super) fn say(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let done = b.label();
    let adoption = b.call(helper::sk_storage_get(&d.maps.adoptions, sk_of(b, event, &done), NULL, 0));
    b.jump_if(adoption.eq(0), &done);
    let adoption = b.keep(adoption);
    let mark = b.slot::<Mark>();
    b.zero(mark.place());
    b.store(mark.at(Mark::kind), EXPERIMENT);
    b.store(mark.at(Mark::length), LENGTH);
    for (half, content) in EXID.into_iter().enumerate() {
        b.store(mark.at(Mark::exid).index(half), content);
    }
    let heard = b.load(adoption.at(Adoption::heard));
    heard.and(heard::PEER as i32);
    b.store(mark.at(Mark::heard), &heard);
    drop(heard);
    b.store(mark.at(Mark::number), b.load(adoption.at(Adoption::says)));
    let segments = b.load(adoption.at(Adoption::segments));
    segments.add(1);
    b.store(adoption.at(Adoption::segments), &segments);
    drop((segments, adoption));
    b.call(helper::store_hdr_opt(event, &mark, LENGTH, 0));
    b.place(&done);
}

/// A segment has come with an option that the kernel does not know.
pub(super) fn hear(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    let done = b.label();
    let adoption = b.call(helper::sk_storage_get(&d.maps.adoptions, sk_of(b, event, &done), NULL, 0));
    b.jump_if(adoption.eq(0), &done);
    let adoption = b.keep(adoption);
    let mark = b.slot::<Mark>();
    b.zero(mark.place());
    b.store(mark.at(Mark::kind), EXPERIMENT);
    b.store(mark.at(Mark::length), FOUND_BY);
    for (half, content) in EXID.into_iter().enumerate() {
        b.store(mark.at(Mark::exid).index(half), content);
    }
    let length = b.call(helper::load_hdr_opt(event, &mark, LENGTH, 0));
    b.jump_if(length.ne(LENGTH), &done);
    drop(length);
    let number = b.load(mark.at(Mark::number));
    b.jump_if(number.ne(b.load(adoption.at(Adoption::hears))), &done);
    drop(number);
    // The peer's bit, and the other if the peer has heard this end.
    let known = b.load(mark.at(Mark::heard));
    known.and(1);
    const { assert!(heard::PEER == 1 && heard::BACK == 2) };
    known.lsh(1);
    known.or(heard::PEER as i32);
    known.or(b.load(adoption.at(Adoption::heard)));
    let new = b.value(&known);
    new.xor(b.load(adoption.at(Adoption::heard)));
    b.jump_if(new.eq(0), &done);
    drop(new);
    b.store(adoption.at(Adoption::heard), &known);
    b.store(adoption.at(Adoption::segments), 0);
    b.place(&done);
}

#[cfg(test)]
mod tests;
