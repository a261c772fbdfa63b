//! Kernel functions (kfuncs), which programs call by their BTF id.
//!
//! The ids differ from kernel to kernel: look them up in the BTF of the kernel that will load the
//! program. [`Call::named`] calls any kfunc by its name, [`Call::kernel`] by its id.

use crate::helper::{Arg, Call};
use crate::value::Ptr;

/// `bpf_rdonly_cast` (kernel/bpf/helpers.c): casts any value to an untrusted pointer to a kernel
/// structure, whose members can then be loaded with [`Ptr::member`]. A load that faults gives 0.
///
/// `id` is the BTF id of the kfunc, `structure` that of the structure, both in vmlinux BTF. The
/// verifier replaces the call by a move and checks the loads against that BTF; a member that is a
/// pointer there is loaded as a pointer. Requires CAP_PERFMON and a GPL-compatible licence. Since
/// 6.2.
pub fn rdonly_cast<T>(id: u32, object: impl Into<Arg>, structure: u32) -> Call<Ptr<T>> {
    Call::kernel(id, vec![object.into(), i64::from(structure).into()])
}
