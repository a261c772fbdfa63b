//! Reading what an iterator program writes.

use crate::error::Result;
use crate::uapi;
use crate::{Link, Map, Prog};
use bytemuck::Zeroable;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

/// One pass of an iterator program over its target. Reading drives the program; what it writes with `bpf_seq_write`
/// or `bpf_seq_printf` is what is read, until the end of the target. Since Linux 5.8.
#[derive(Debug)]
pub struct Iter {
    output: File,
}

impl Iter {
    /// `bpf(BPF_ITER_CREATE)` on a link made for this pass: see [`Link::to_iter`].
    ///
    /// # Errors
    /// As [`Link::to_iter`].
    pub fn new(prog: &Prog, map: Option<&Map>) -> Result<Self> {
        Self::of_link(&Link::to_iter(prog, map)?)
    }

    /// `bpf(BPF_ITER_CREATE)`: a pass of an iterator that is linked already.
    ///
    /// # Errors
    /// `EINVAL` if the link is no iterator.
    pub fn of_link(link: &Link) -> Result<Self> {
        let mut attr = uapi::IterCreate::zeroed();
        attr.link_fd = uapi::fd(link.as_fd());
        // SAFETY: no address in the attribute; the command answers with a new descriptor.
        let fd = unsafe { uapi::ITER_CREATE.call_fd(&mut attr) }.map_err(uapi::ITER_CREATE.failed("iterator link"))?;
        Ok(Self { output: File::from(fd) })
    }
}

impl Read for Iter {
    /// # Errors
    /// `E2BIG` if one element's output is larger than the kernel's buffer (8 pages).
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.output.read(buf)
    }
}
