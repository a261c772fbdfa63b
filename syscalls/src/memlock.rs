//! Kernels before 5.11 charge BPF memory to `RLIMIT_MEMLOCK` and answer `EPERM` when it is used up;
//! later ones charge the memory cgroup. Asked by trying, so that a later kernel's limit stays as
//! the operator set it.

use crate::error::Errno;

/// Does `request`; if the answer is `EPERM` and the limit can be lifted, lifts it and does it once
/// more.
pub(crate) fn lifted<T>(mut request: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match request() {
        Err(Errno::PERM) if lift() => request(),
        answer => answer,
    }
}

/// Lifts the limit entirely, or without `CAP_SYS_RESOURCE` up to the hard limit; whether that
/// changed it.
fn lift() -> bool {
    let Some(now) = limit() else { return false };
    [libc::RLIM_INFINITY, now.rlim_max].into_iter().any(|to| now.rlim_cur != to && set(to, to))
}

fn limit() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is valid for the length of the call, which keeps no pointer.
    let answer = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    (answer == 0).then_some(limit)
}

fn set(soft: libc::rlim_t, hard: libc::rlim_t) -> bool {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure is valid for the length of the call, which keeps no pointer.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, because the limit belongs to the whole process.
    #[test]
    fn the_limit_is_lifted_on_eperm_alone_and_the_request_made_once_more() {
        let soft = || limit().unwrap().rlim_cur;
        let low = 64 << 10;
        let hard = limit().unwrap().rlim_max;
        assert!(hard > low, "the hard limit of {hard} leaves nothing to lift");
        assert!(set(low, hard));

        assert_eq!(lifted(|| Err::<(), _>(Errno::INVAL)), Err(Errno::INVAL));
        assert_eq!(soft(), low);

        let mut asked = 0;
        let answer = lifted(|| {
            asked += 1;
            if soft() > low { Ok(asked) } else { Err(Errno::PERM) }
        });
        assert_eq!(answer, Ok(2));

        let mut asked = 0;
        let refused = lifted(|| {
            asked += 1;
            Err::<(), _>(Errno::PERM)
        });
        assert_eq!((refused, asked), (Err(Errno::PERM), 1));
    }
}
