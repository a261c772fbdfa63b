//! The number of CPUs with per-CPU values.

use crate::error::{Error, Result};
use std::sync::OnceLock;

const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// The number of possible CPUs, from `/sys/devices/system/cpu/possible`: the highest number in it
/// plus one, which equals `num_possible_cpus()` unless the list has holes.
///
/// Never less than the number of per-CPU values that the kernel writes; memory safety depends on
/// it.
///
/// # Errors
/// [`Error::KernelFile`] if sysfs is not mounted or the list is malformed.
pub fn possible() -> Result<usize> {
    static COUNT: OnceLock<usize> = OnceLock::new();
    if let Some(&count) = COUNT.get() {
        return Ok(count);
    }
    let failed = |reason: String| Error::KernelFile { path: POSSIBLE.into(), reason };
    let list = std::fs::read_to_string(POSSIBLE).map_err(|e| failed(e.to_string()))?;
    let count = count(&list).ok_or_else(|| failed(format!("`{list}` is not a list of CPUs")))?;
    Ok(*COUNT.get_or_init(|| count))
}

/// `0-3,8-11` → 12.
fn count(list: &str) -> Option<usize> {
    let mut highest = 0;
    for range in list.trim_end().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        if first > last {
            return None;
        }
        highest = highest.max(usize::from(last));
    }
    Some(highest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_the_highest_cpu_plus_one() {
        for (list, expected) in [
            ("0\n", Some(1)),
            ("0-3\n", Some(4)),
            ("0-3,8-11\n", Some(12)),
            ("", None),
            ("3-1", None),
            ("0-x", None),
            ("0-99999999999", None),
        ] {
            assert_eq!(count(list), expected, "{list:?}");
        }
    }

    #[test]
    fn there_are_at_least_as_many_possible_cpus_as_online() {
        let online = std::thread::available_parallelism().unwrap().get();
        assert!(possible().unwrap() >= online);
    }
}
