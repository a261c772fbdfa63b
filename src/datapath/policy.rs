//! Whose connections are accelerated: rules by port, address, process and cgroup.
//!
//! A rule speaks of a connection, and holds for it if it holds for either of its ends. Each end is
//! judged where it is known best: the listener's when it answers a SYN, and its verdict stands in
//! the note until the client comes; the client's when it is established, which decides. So what
//! leaves the node costs nothing, and a connection is never accelerated at one end alone.
//!
//! Who the process is can be seen only in its own calls, `listen` and `connect`: a listener's is
//! kept in a map by cookie, a client's verdict in the storage of its socket. Where no rule is, one
//! look at the control record is all that this costs. What cannot be found out is excluded.

use bpf_asm::uapi::{BPF_ANY, BPF_SK_STORAGE_GET_F_CREATE};
use bpf_asm::{Builder, EndianBits, Label, MapRef, NULL, Ptr, Reg, Slot, bpf_sock_ops, helper};

use super::count::count;
use super::counter::Outcome;
use super::event::sk_of;
use super::peek::{copy_v6, peek};
use super::record::{Control, PORTS_PER_BYTE, Ports, Prefix, rules, ruling};
use super::{Datapath, caller};

/// Kernels before 5.16 keep two flags in the address of a socket's cgroup.
pub(super) const CGROUP_ADDRESS: i32 = !3;

/// How deep a cgroup may lie for rules by cgroup to be followed.
pub(super) const DEPTH: i32 = 12;

/// A socket begins to listen: its process is noted. Always, since rules may come later.
pub(super) fn listening(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.block(|unknown| {
        let cookie = b.slot::<u64>();
        let number = b.call(helper::get_socket_cookie(event));
        b.store(cookie.place(), &number);
        let name = caller::name(b, d, unknown);
        b.call(helper::map_update_elem(&d.maps.listeners, &cookie, &name, BPF_ANY));
    });
}

/// A socket begins to connect: what the rules say of its process is kept with it.
pub(super) fn connecting(b: &Builder, d: &Datapath, event: &Ptr<bpf_sock_ops>) {
    b.block(|done| {
        {
            let control = b.map_value(&d.maps.control);
            let kinds = b.load(control.at(Control::rules));
            kinds.and(rules::PROCESSES as i32);
            b.jump_if(kinds.eq(0), done);
        }
        let verdict = b.slot::<u64>();
        b.store(verdict.place(), 0);
        b.attempt(
            |unknown| look_up(b, &d.maps.processes, &caller::name(b, d, unknown), &verdict),
            || b.store(verdict.place(), ruling::EXCLUDED as i32),
        );

        let sk = sk_of(b, event, done);
        let said = b.load(verdict.place());
        b.when(said.eq(0), || {
            // Another process may have begun to connect with it before.
            b.call(helper::sk_storage_delete(&d.maps.clients, &sk));
            b.jump(done);
        });
        let kept =
            b.call(helper::sk_storage_get(&d.maps.clients, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE));
        b.jump_if(kept.eq(0), done);
        b.store(kept.at_all(), b.load(verdict.place()));
    });
}

/// Adds to `verdict` what the rules say of the end that answers a SYN with this request socket.
pub(super) fn judge_listener(b: &Builder, d: &Datapath, request: &Slot<u64>, verdict: &Slot<u64>) {
    b.block(|judged| {
        b.block(|unknown| {
            let kinds = kinds(b, d);
            b.jump_if(b.load(kinds.place()).eq(0), judged);

            let of_kind = |kind: u32, judge: &dyn Fn()| when(b, &kinds, kind, judge);
            of_kind(rules::PORTS, &|| {
                by_port(
                    b,
                    d,
                    peek(b, b.load(request.place()), d.layout.local_port, unknown),
                    verdict,
                );
            });
            of_kind(rules::ADDRESSES, &|| by_addresses(b, d, request, verdict, unknown));
            let listener = b.slot::<u64>();
            b.store(listener.place(), peek(b, b.load(request.place()), d.layout.listener, unknown));
            of_kind(rules::CGROUPS, &|| by_cgroup(b, d, &listener, verdict, unknown));
            of_kind(rules::PROCESSES, &|| {
                let cookie = b.slot::<u64>();
                b.store(
                    cookie.place(),
                    peek(b, b.load(listener.place()), d.layout.cookie, unknown),
                );
                let name = b.call(helper::map_lookup_elem(&d.maps.listeners, &cookie));
                b.jump_if(name.eq(0), unknown);
                let rule = b.call(helper::map_lookup_elem(&d.maps.processes, &name));
                add(b, rule, verdict);
            });
            b.jump(judged);
        });
        b.store(verdict.place(), ruling::EXCLUDED as i32);
    });
}

/// Goes to `done` unless the rules let the connection of this client be accelerated. In `note` is
/// the verdict on its listener's end.
pub(super) fn judge_client(
    b: &Builder,
    d: &Datapath,
    event: &Ptr<bpf_sock_ops>,
    note: &Ptr<u64>,
    done: &Label,
) {
    b.block(|allowed| {
        b.block(|excluded| {
            let kinds = kinds(b, d);
            b.jump_if(b.load(kinds.place()).eq(0), allowed);

            let verdict = b.slot::<u64>();
            b.store(verdict.place(), b.load(note.at_all()));
            let client = b.slot::<u64>();
            b.store(client.place(), peek(b, event, d.layout.context_sk, excluded));
            let of_kind = |kind: u32, judge: &dyn Fn()| when(b, &kinds, kind, judge);
            of_kind(rules::PORTS, &|| {
                let port = peek(b, b.load(client.place()), d.layout.remote_port, excluded);
                port.to_be(EndianBits::B16);
                by_port(b, d, port, &verdict);
            });
            of_kind(rules::ADDRESSES, &|| by_addresses(b, d, &client, &verdict, excluded));
            of_kind(rules::CGROUPS, &|| by_cgroup(b, d, &client, &verdict, excluded));
            of_kind(rules::PROCESSES, &|| {
                let sk = sk_of(b, event, excluded);
                add(b, b.call(helper::sk_storage_get(&d.maps.clients, sk, NULL, 0)), &verdict);
            });

            let said = b.load(verdict.place());
            b.jump_if(said.has(ruling::EXCLUDED as i32), excluded);
            b.jump_if(said.has(ruling::INCLUDED as i32), allowed);
            let only_included = b.load(kinds.place());
            only_included.and(rules::ONLY_INCLUDED as i32);
            b.jump_if(only_included.eq(0), allowed);
        });
        count(b, d, Outcome::Excluded);
        b.jump(done);
    });
}

/// Which kinds of rules there are.
fn kinds(b: &Builder, d: &Datapath) -> Slot<u32> {
    let kinds = b.slot::<u32>();
    let control = b.map_value(&d.maps.control);
    b.store(kinds.place(), b.load(control.at(Control::rules)));
    kinds
}

fn when(b: &Builder, kinds: &Slot<u32>, kind: u32, then: &dyn Fn()) {
    b.block(|none| {
        let there = b.load(kinds.place());
        there.and(kind as i32);
        b.jump_if(there.eq(0), none);
        then();
    });
}

/// By the port that the connection is to: the one that was dialled or the one that is listened at.
fn by_port(b: &Builder, d: &Datapath, port: Reg, verdict: &Slot<u64>) {
    let four: Ptr<u8> = b.map_value(&d.maps.ports).cast();
    let index = b.value(&port);
    index.rsh(PORTS_PER_BYTE.ilog2() as i32);
    // It is in there; the verifier wants to see it.
    index.and(size_of::<Ports>() - 1);
    four.advance(&index);
    let said = b.load(four.at_all());
    port.and(PORTS_PER_BYTE as i32 - 1);
    port.lsh(1);
    said.rsh(&port);
    said.and(ruling::ALL as i32);
    said.or(b.load(verdict.place()));
    b.store(verdict.place(), &said);
}

/// By both addresses, as this end sees them. IPv4 sockets carry theirs as mapped IPv6 addresses,
/// too (`sk_daddr_set`), where the kernel has IPv6.
fn by_addresses(b: &Builder, d: &Datapath, sk: &Slot<u64>, verdict: &Slot<u64>, unknown: &Label) {
    const MAPPED: i32 = 0xffff_0000_u32.cast_signed();
    let l = &d.layout;
    for (v6, v4) in [(l.local_v6, l.local_v4), (l.remote_v6, l.remote_v4)] {
        let address = b.slot::<Prefix>();
        b.store(address.at(Prefix::length), 128);
        if let Some(v6) = v6 {
            b.jump_if(
                copy_v6(b, b.load(sk.place()), v6, address.at(Prefix::address)).ne(0),
                unknown,
            );
        } else {
            let v4 = peek(b, b.load(sk.place()), v4, unknown);
            b.store(address.at(Prefix::address).index(3), &v4);
            for (word, content) in [(0, 0), (1, 0), (2, MAPPED)] {
                b.store(address.at(Prefix::address).index(word), content);
            }
        }
        look_up(b, &d.maps.addresses, &address, verdict);
    }
}

/// By the socket's cgroup, or the nearest above it that there is a rule for. Cgroups are named by
/// their folders, which lie in each other as they do.
fn by_cgroup(b: &Builder, d: &Datapath, sk: &Slot<u64>, verdict: &Slot<u64>, unknown: &Label) {
    b.block(|judged| {
        let next = b.label();
        let folder = b.slot::<u64>();
        {
            let own = peek(b, b.load(sk.place()), d.layout.cgroup, unknown);
            own.and(CGROUP_ADDRESS);
            b.store(folder.place(), peek(b, own, d.layout.cgroup_folder, unknown));
        }
        let left = b.value(DEPTH);
        let id = b.slot::<u64>();
        b.place(&next);
        b.store(id.place(), peek(b, b.load(folder.place()), d.layout.folder_inode, unknown));
        let rule = b.call(helper::map_lookup_elem(&d.maps.cgroups, &id));
        b.when(rule.ne(0), || {
            let said = b.load(rule.at_all());
            said.or(b.load(verdict.place()));
            b.store(verdict.place(), &said);
            b.jump(judged);
        });
        let above = peek(b, b.load(folder.place()), d.layout.folder_above, unknown);
        b.jump_if(above.eq(0), judged);
        b.store(folder.place(), &above);
        left.sub(1);
        b.jump_if(left.ne(0), &next);
        b.jump(unknown);
    });
}

fn look_up<K: bpf_asm::FieldType>(
    b: &Builder,
    map: &MapRef<K, u64>,
    key: &Slot<K>,
    verdict: &Slot<u64>,
) {
    add(b, b.call(helper::map_lookup_elem(map, key)), verdict);
}

/// Adds what a rule says, if there is one.
fn add(b: &Builder, rule: Ptr<u64>, verdict: &Slot<u64>) {
    b.block(|none| {
        b.jump_if(rule.eq(0), none);
        let said = b.load(rule.at_all());
        said.or(b.load(verdict.place()));
        b.store(verdict.place(), &said);
    });
}

#[cfg(test)]
mod tests;
