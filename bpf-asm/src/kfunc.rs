//! Functions of the kernel that programs may call by their BTF id (kfuncs).
//!
//! Which there are changes from kernel to kernel, and so do their ids: whoever assembles asks the BTF of the kernel that is to
//! run the program. Any of them can be called by [`Call::kernel`].

use crate::helper::{Arg, Call};
use crate::value::Ptr;

/// Any value seen as the address of a kernel structure, whose members can then be loaded with
/// [`Ptr::member`]: zeroes where no memory is.
///
/// `id` is that of `bpf_rdonly_cast`, `structure` that of the structure, both in the kernel's own BTF. The verifier makes a
/// move of it and checks the loads by that BTF; what it finds to be a pointer stays one. It takes CAP_PERFMON and a
/// GPL-compatible licence. Since 6.2.
pub fn rdonly_cast<T>(id: u32, object: impl Into<Arg>, structure: u32) -> Call<Ptr<T>> {
    Call::kernel(id, vec![object.into(), i64::from(structure).into()])
}
