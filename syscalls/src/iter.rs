//! Reads the output of iterator programs.

use crate::error::Result;
use crate::uapi;
use crate::{Link, Map, Prog};
use bytemuck::Zeroable;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

/// One pass of an iterator program over its target. Reading runs the program and returns what it
/// writes with `bpf_seq_write` or `bpf_seq_printf`, until the end of the target. Since Linux 5.8.
#[derive(Debug)]
pub struct Iter {
    output: File,
}

impl Iter {
    /// `bpf(BPF_ITER_CREATE)` on a link that is created for this pass: see [`Link::to_iter`].
    ///
    /// # Errors
    /// As [`Link::to_iter`].
    pub fn new(prog: &Prog, map: Option<&Map>) -> Result<Self> {
        Self::of_link(&Link::to_iter(prog, map)?)
    }

    /// `bpf(BPF_ITER_CREATE)`: a pass of an iterator that is already linked.
    ///
    /// # Errors
    /// `EINVAL` if the link is not an iterator.
    pub fn of_link(link: &Link) -> Result<Self> {
        let mut attr = uapi::IterCreate::zeroed();
        attr.link_fd = uapi::fd(link.as_fd());
        // SAFETY: no address in the attribute; the command returns a new descriptor.
        let fd = unsafe { uapi::ITER_CREATE.call_fd(&mut attr) }
            .map_err(uapi::ITER_CREATE.failed("iterator link"))?;
        Ok(Self { output: File::from(fd) })
    }
}

impl Read for Iter {
    /// # Errors
    /// `E2BIG` if the output for one element exceeds the kernel's buffer (8 pages).
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.output.read(buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{add, copy};
    use crate::insn::{EXIT, call, insn, mov};
    use crate::{AttachType, Btf, MapKind, MapSpec, ProgKind, ProgSpec};

    /// Writes the id of each map of the machine, 4 bytes.
    fn map_ids() -> Prog {
        const SEQ_WRITE: u32 = 127;
        let btf = Btf::vmlinux().unwrap();
        let id = btf.member("bpf_map", "id").unwrap();
        let insns = [
            // r6 = ctx->meta; r7 = ctx->map; if r7 == 0 goto the end
            insn(0x79, 6, 1, 0, 0),
            insn(0x79, 7, 1, 8, 0),
            insn(0x15, 7, 0, 7, 0),
            // *(u32 *)(r10 - 4) = r7->id
            insn(0x61, 2, 7, id.offset as i16, 0),
            insn(0x63, 10, 2, -4, 0),
            // bpf_seq_write(r6->seq, r10 - 4, 4)
            insn(0x79, 1, 6, 0, 0),
            copy(2, 10),
            add(2, -4),
            mov(3, 4),
            call(SEQ_WRITE),
            mov(0, 0),
            EXIT,
        ];
        let mut spec = ProgSpec::new(ProgKind::TRACING, "ids", c"GPL", insns.as_flattened());
        spec.expected_attach_type = AttachType::TRACE_ITER;
        spec.attach_btf_id = btf.function("bpf_iter_bpf_map").unwrap();
        Prog::load(&spec).unwrap()
    }

    fn read_ids(iter: &mut Iter) -> Vec<u32> {
        let mut bytes = Vec::new();
        iter.read_to_end(&mut bytes).unwrap();
        let words = bytes.chunks_exact(4);
        words.map(|w| u32::from_ne_bytes(w.try_into().unwrap())).collect()
    }

    #[test]
    fn each_pass_of_an_iterator_reads_its_target_again() {
        let link = Link::to_iter(&map_ids(), None).unwrap();
        let map = Map::create(&MapSpec::new(MapKind::ARRAY, "seen", 4, 4, 1)).unwrap();
        let id = map.info().unwrap().id;
        assert!(read_ids(&mut Iter::of_link(&link).unwrap()).contains(&id));
        let second = Map::create(&MapSpec::new(MapKind::ARRAY, "seen", 4, 4, 1)).unwrap();
        let found = read_ids(&mut Iter::of_link(&link).unwrap());
        assert!(found.contains(&id) && found.contains(&second.info().unwrap().id));
    }

    #[test]
    fn an_iterator_of_a_wrong_map_and_a_program_that_is_not_an_iterator_are_rejected() {
        let program = map_ids();
        assert!(Iter::new(&program, None).is_ok());
        let filter = crate::fixture::load(ProgKind::SOCKET_FILTER, &[mov(0, 0), EXIT]);
        assert!(Iter::new(&filter, None).is_err());
    }
}
