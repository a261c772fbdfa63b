//! How many CPUs the kernel keeps per-CPU values for.

use crate::error::{Error, Result};
use std::sync::OnceLock;

const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// The number of possible CPUs, from `/sys/devices/system/cpu/possible`: the highest number in it
/// plus one, which is what `num_possible_cpus()` gives on every machine whose list has no holes.
///
/// Never smaller than what the kernel writes for a per-CPU value, which is what memory safety rests
/// on.
///
/// # Errors
/// [`Error::KernelFile`] if sysfs is not mounted or the list is not one.
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
    fn a_list_of_cpus_counts_to_its_highest() {
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
    fn this_machine_has_at_least_the_cpus_that_are_online() {
        let online = std::thread::available_parallelism().unwrap().get();
        assert!(possible().unwrap() >= online);
    }
}
