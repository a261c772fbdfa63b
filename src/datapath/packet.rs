//! Programs that the agent runs on demand: a request is a packet, and an answer is written over it.
//!
//! ```text
//! 0                14         (Ethernet header, which a packet has to have)
//! | header         | record   |
//! ```

use bpf_asm::{__sk_buff, Builder, FieldType, Label, Ptr, Slot, helper};

/// Where the record stands in the packet: after an Ethernet header.
pub const RECORD_AT: usize = 14;

/// Reads the request; jumps to `none` if the packet is too short.
pub(super) fn request<T: FieldType>(b: &Builder, packet: &Ptr<__sk_buff>, none: &Label) -> Slot<T> {
    let request = b.slot::<T>();
    let unread = b.call(helper::skb_load_bytes(packet, RECORD_AT as i32, &request, request.size()));
    b.jump_if(unread.ne(0), none);
    request
}
