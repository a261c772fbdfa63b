//! cgroup v2: where it is mounted, and which one this process is in
//! (Documentation/admin-guide/cgroup-v2.rst).

use std::cmp::Reverse;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::Error;
use super::mount_table::{self, Mount};

/// The directory of the topmost cgroup this process can reach: the mount point of the v2 hierarchy,
/// which hybrid layouts have beside the v1 ones.
///
/// In a container with a cgroup namespace of its own this is the host's hierarchy, if that is
/// mounted beside the container's.
pub fn root() -> Result<PathBuf, Error> {
    Ok(hierarchy(&mount_table::read()?)?.mount_point.clone())
}

/// Whether a cgroup is the root of the hierarchy, of which a cgroup namespace may show a part only.
/// All others have this file (Documentation/admin-guide/cgroup-v2.rst, "Core Interface Files").
pub fn is_whole_node(cgroup: &Path) -> bool {
    !cgroup.join("cgroup.type").exists()
}

/// The directory of the cgroup that this process (its main thread) is in.
pub fn own() -> Result<PathBuf, Error> {
    let path = Path::new("/proc/self/cgroup");
    let membership = fs::read_to_string(path).map_err(|cause| Error::Cgroup {
        action: "read",
        path: path.into(),
        cause,
    })?;
    directory(&mount_table::read()?, &membership)
}

/// The mount that shows the most. Roots are told from the cgroup namespace of this process
/// (cgroup_namespaces(7)): `/` is that of the namespace, `/../..` is above it, and `/pods` a part.
fn hierarchy(mounts: &[Mount]) -> Result<&Mount, Error> {
    let extent = |mount: &&Mount| {
        let climbs = mount.root.components().filter(|part| *part == Component::ParentDir).count();
        let descends =
            mount.root.components().filter(|part| matches!(part, Component::Normal(_))).count();
        (descends, Reverse(climbs))
    };
    mount_table::visible(mounts, "cgroup2").into_iter().min_by_key(extent).ok_or(Error::NoCgroup2)
}

/// `membership` is `/proc/self/cgroup`, where v2 has the line `0::/path`; v1 hierarchies have other
/// numbers.
fn directory(mounts: &[Mount], membership: &str) -> Result<PathBuf, Error> {
    let top = hierarchy(mounts)?;
    let cgroup =
        membership.lines().find_map(|line| line.strip_prefix("0::")).ok_or(Error::NoCgroup2)?;
    let inside = |mount: &Mount| {
        let below = Path::new(cgroup).strip_prefix(&mount.root).ok()?;
        // A process outside its cgroup namespace has a path that climbs: "/../other".
        let climbs = below.components().any(|part| part == Component::ParentDir);
        (!climbs).then(|| mount.mount_point.join(below))
    };
    std::iter::once(top).chain(mount_table::visible(mounts, "cgroup2")).find_map(inside).ok_or_else(
        || Error::CgroupOutsideMount {
            cgroup: cgroup.into(),
            mount_point: top.mount_point.clone(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
        24 1 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
        25 24 0:23 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        26 24 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const PURE: &str =
        "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_ONLY: &str = "26 24 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
    const PART: &str = "30 24 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
    /// As podman mounts it for a container with a cgroup namespace of its own, with the host's as a
    /// volume.
    const PRIVATE: &str = "\
        30 24 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
        31 24 0:26 /../.. /host/cgroup ro - cgroup2 cgroup rw\n";

    #[test]
    fn the_v2_hierarchy_is_found_in_hybrid_and_pure_layouts_and_its_absence_is_an_error() {
        let cases = [
            (HYBRID.to_owned(), Some("/sys/fs/cgroup/unified")),
            (PURE.to_owned(), Some("/sys/fs/cgroup")),
            (V1_ONLY.to_owned(), None),
            (String::new(), None),
            (PART.to_owned(), Some("/sys/fs/cgroup")),
            (
                format!("{PART}31 24 0:26 / /host/cgroup rw - cgroup2 cgroup rw\n"),
                Some("/host/cgroup"),
            ),
            (PRIVATE.to_owned(), Some("/host/cgroup")),
            (
                format!("{PRIVATE}32 24 0:26 /.. /other rw - cgroup2 cgroup rw\n"),
                Some("/host/cgroup"),
            ),
            (PRIVATE.replace("/../..", "/../other"), Some("/sys/fs/cgroup")),
        ];
        for (table, expected) in cases {
            let mounts = mount_table::parse(table.as_bytes());
            match (hierarchy(&mounts), expected) {
                (Ok(mount), Some(expected)) => {
                    assert_eq!(mount.mount_point, Path::new(expected), "{table}")
                }
                (Err(Error::NoCgroup2), None) => {}
                (found, _) => panic!("{table}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_own_cgroup_is_a_directory_below_the_mount_or_an_error_that_says_it_is_outside() {
        let cases = [
            (HYBRID, "4:memory:/x\n0::/\n", Some("/sys/fs/cgroup/unified")),
            (
                PURE,
                "0::/user.slice/session.scope\n",
                Some("/sys/fs/cgroup/user.slice/session.scope"),
            ),
            (PART, "0::/docker/abc/inner\n", Some("/sys/fs/cgroup/inner")),
            (PART, "0::/docker/other\n", None),
            (PURE, "0::/../other\n", None),
            (PRIVATE, "0::/inner\n", Some("/sys/fs/cgroup/inner")),
            (PRIVATE, "0::/../../other\n", Some("/host/cgroup/other")),
        ];
        for (table, membership, expected) in cases {
            match (directory(&mount_table::parse(table.as_bytes()), membership), expected) {
                (Ok(found), Some(expected)) => {
                    assert_eq!(found, Path::new(expected), "{membership}")
                }
                (Err(Error::CgroupOutsideMount { .. }), None) => {}
                (found, _) => panic!("{membership}: {found:?}"),
            }
        }
    }
}
