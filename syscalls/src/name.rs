//! Names of kernel objects: `BPF_OBJ_NAME_LEN` is 16 with its NUL, and only `[A-Za-z0-9_.]` is
//! allowed (`bpf_obj_name_cpy`, kernel/bpf/syscall.c).

const LEN: usize = 16;

/// `name` as the kernel accepts it: truncated to 15 bytes, other bytes replaced by `_`, padded with
/// NUL.
pub(crate) fn object_name(name: &str) -> [u8; LEN] {
    let mut out = [0; LEN];
    for (to, from) in out[..LEN - 1].iter_mut().zip(name.bytes()) {
        let allowed = from.is_ascii_alphanumeric() || from == b'_' || from == b'.';
        *to = if allowed { from } else { b'_' };
    }
    out
}

/// The text of a NUL-padded name from the kernel.
pub(crate) fn text(name: &[u8]) -> String {
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_truncated_and_sanitised() {
        for (given, kept) in [
            ("", ""),
            ("lanes.v4", "lanes.v4"),
            ("a b/c-d", "a_b_c_d"),
            ("exactly_15_byte", "exactly_15_byte"),
            ("one_more_than_15", "one_more_than_1"),
            ("größe", "gr____e"),
        ] {
            assert_eq!(text(&object_name(given)), kept);
        }
    }
}
