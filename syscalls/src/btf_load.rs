//! BTF objects: `BPF_BTF_LOAD`, and reading loaded BTF.

use crate::error::{Error, Result};
use crate::object::{self, BtfInfo};
use crate::prog::{rejected, with_growing_log};
use crate::{memlock, uapi};
use bytemuck::Zeroable;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A loaded BTF object.
#[derive(Debug)]
pub struct BtfObject {
    fd: OwnedFd,
}

impl BtfObject {
    /// `bpf(BPF_BTF_LOAD)`, without a log; if the kernel rejects it, repeated with a log.
    ///
    /// # Errors
    /// [`Error::LoadRejected`] with the whole log; [`Error::Invalid`] for more than 4 GiB.
    pub fn load(btf: &[u8]) -> Result<Self> {
        let object = || format!("BTF of {} bytes", btf.len());
        let mut attr = uapi::BtfLoad::zeroed();
        attr.btf = uapi::addr(btf);
        attr.btf_size = u32::try_from(btf.len())
            .map_err(|_| Error::invalid(object(), "the maximum is 4 GiB"))?;
        let load = |attr: &mut uapi::BtfLoad| {
            // SAFETY: the BTF is valid for `btf_size`, the log buffer for `btf_log_size`; the
            // command returns a new descriptor.
            memlock::lifted(|| unsafe { uapi::BTF_LOAD.call_fd(attr) })
        };
        let errno = match load(&mut attr) {
            Ok(fd) => return Ok(Self { fd }),
            Err(errno) => errno,
        };
        let (again, log) = with_growing_log(|buffer| {
            let mut attr = attr;
            attr.btf_log_level = 1;
            attr.btf_log_size = buffer.len() as u32;
            attr.btf_log_buf = uapi::addr_mut(buffer);
            load(&mut attr)
        });
        again.map(|fd| Self { fd }).map_err(|_| rejected(object(), errno, log))
    }

    /// `bpf(BPF_BTF_GET_FD_BY_ID)`: the BTF object with this id, as in a program's or map's info.
    ///
    /// # Errors
    /// `ENOENT` if there is none; `EPERM` without `CAP_SYS_ADMIN`.
    pub fn open_id(id: u32) -> Result<Self> {
        let fd = object::open_id(uapi::BTF_GET_FD_BY_ID, id)?;
        Ok(Self { fd })
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: its info.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn info(&self) -> Result<BtfInfo> {
        object::btf_info(self.as_fd())
    }

    /// `bpf(BPF_OBJ_GET_INFO_BY_FD)`: its bytes, for [`Btf::parse`](crate::Btf::parse).
    ///
    /// # Errors
    /// [`Error::Command`].
    pub fn data(&self) -> Result<Vec<u8>> {
        object::btf_data(self.as_fd())
    }
}

impl AsFd for BtfObject {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::blob::Blob;
    use crate::{Btf, Errno};

    #[test]
    fn loaded_btf_is_read_back_byte_for_byte() {
        let mut blob = Blob::new();
        blob.int("answer", 4);
        let bytes = blob.bytes();
        let btf = BtfObject::load(&bytes).unwrap();
        assert_eq!(btf.data().unwrap(), bytes);
        let info = btf.info().unwrap();
        assert_eq!((info.size as usize, info.is_kernel), (bytes.len(), false));
        let again = BtfObject::open_id(info.id).unwrap();
        assert_eq!(Btf::parse(again.data().unwrap()).unwrap().size_of_id(1), Ok(4));
    }

    #[test]
    fn rejected_btf_shows_the_kernels_log() {
        let mut blob = Blob::new();
        // A typedef of itself.
        blob.add("loop", 8 << 24, 1, &[]);
        let error = BtfObject::load(&blob.bytes()).unwrap_err();
        assert!(error.log().unwrap().contains("loop"), "{error}");
        let nothing = BtfObject::load(&[]).unwrap_err();
        assert_eq!(nothing.errno(), Some(Errno::INVAL));
    }
}
