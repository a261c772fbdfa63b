//! The verdict program: each segment that arrives at an enrolled socket goes into the queue that messages are redirected to.
//!
//! That is all that makes one queue of two: the kernel takes the segment out of TCP's receive queue at the moment of its arrival
//! (`sk_psock_verdict_data_ready`), and reads are served in the order of arrival (`tcp_bpf_recvmsg_parser`).

use bpf_asm::{__sk_buff, BuildErrors, Builder, Program, ProgramType};

use super::Datapath;
use super::fallback::SK_PASS;

pub(super) fn program(_: &Datapath) -> Result<Program, BuildErrors> {
    let b = Builder::new("shunt_verdict");
    drop(b.context::<__sk_buff>());
    b.ret(SK_PASS);
    b.finish(ProgramType::SkSkbVerdict)
}
