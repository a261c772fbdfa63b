//! Kernels before 5.11 charge BPF memory to `RLIMIT_MEMLOCK` and return `EPERM` when it is
//! exhausted; later ones charge the memory cgroup. The limit is raised only on failure, so that on
//! later kernels it stays as the operator has set it.

use crate::error::Errno;

/// Executes `request`; on `EPERM`, raises the limit if possible and executes it again.
pub(crate) fn lifted<T>(mut request: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match request() {
        Err(Errno::PERM) if lift() => request(),
        answer => answer,
    }
}

/// Removes the limit, or raises it to the hard limit without `CAP_SYS_RESOURCE`; whether it
/// changed.
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

    // A single test, because the limit is process-wide.
    #[test]
    fn the_limit_is_raised_on_eperm_only_and_the_request_repeated() {
        let soft = || limit().unwrap().rlim_cur;
        let low = 64 << 10;
        let hard = limit().unwrap().rlim_max;
        assert!(hard > low, "the hard limit of {hard} is too low for this test");
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
