//! The BPF file system (bpffs), which holds pinned programs, maps and links.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::Error;
use super::mount_table::{self, Mount};

/// The standard mount point.
pub const STANDARD: &str = "/sys/fs/bpf";

/// Returns the bpffs to use, mounting one at [`STANDARD`] if there is none.
///
/// A bpffs elsewhere is used only when mounting is refused: its owner may unmount it, pins
/// included.
pub fn find_or_mount() -> Result<PathBuf, Error> {
    let elsewhere = match find()? {
        Some(path) if path == Path::new(STANDARD) => return Ok(path),
        elsewhere => elsewhere,
    };
    match mount(Some("bpf"), STANDARD, Some("bpf"), MsFlags::empty(), Some("mode=0700")) {
        Ok(()) => Ok(STANDARD.into()),
        Err(cause) => elsewhere.ok_or(Error::MountBpffs { path: STANDARD.into(), cause }),
    }
}

/// Finds a mounted bpffs: at [`STANDARD`] if possible, else the latest anywhere.
pub fn find() -> Result<Option<PathBuf>, Error> {
    Ok(choose(&mount_table::read()?))
}

fn choose(mounts: &[Mount]) -> Option<PathBuf> {
    let all = mount_table::visible(mounts, "bpf");
    all.iter()
        .find(|mount| mount.mount_point == Path::new(STANDARD))
        .or(all.last())
        .map(|mount| mount.mount_point.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::mount::{MntFlags, umount2};
    use nix::sched::{CloneFlags, unshare};

    #[test]
    fn the_standard_mount_point_is_preferred_and_a_covered_mount_is_ignored() {
        let standard = "1 2 0:3 / /sys/fs/bpf rw - bpf bpf rw\n";
        let other = "3 2 0:4 / /run/bpf rw - bpf none rw\n";
        let cover = "4 1 0:5 / /sys/fs/bpf rw - tmpfs none rw\n";
        let again = "5 4 0:6 / /sys/fs/bpf rw - bpf bpf rw\n";
        let cases = [
            (vec![], None),
            (vec![cover], None),
            (vec![standard], Some(STANDARD)),
            (vec![other], Some("/run/bpf")),
            (vec![standard, other], Some(STANDARD)),
            (vec![other, standard], Some(STANDARD)),
            (vec![standard, cover], None),
            (vec![standard, cover, other], Some("/run/bpf")),
            (vec![standard, cover, again], Some(STANDARD)),
        ];
        for (lines, expected) in cases {
            let table = lines.concat();
            assert_eq!(
                choose(&mount_table::parse(table.as_bytes())).as_deref(),
                expected.map(Path::new),
                "{table}"
            );
        }
    }

    #[test]
    fn a_missing_bpffs_is_mounted_and_then_found() {
        // In a thread's own mount namespace, so that the machine's mounts stay.
        std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)
                .expect("create a mount namespace (as root)");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .expect("keep mounts to this thread");
            while find()
                .expect("read the mount table")
                .is_some_and(|path| path == Path::new(STANDARD))
            {
                umount2(STANDARD, MntFlags::MNT_DETACH).expect("unmount the bpffs");
            }
            assert_eq!(find_or_mount().expect("mount one"), Path::new(STANDARD));
            assert_eq!(find().expect("read the mount table").as_deref(), Some(Path::new(STANDARD)));
            let before = mount_table::read().expect("read the mount table");
            find_or_mount().expect("find it");
            assert_eq!(
                mount_table::read().expect("read the mount table"),
                before,
                "a second one was mounted"
            );
        })
        .join()
        .expect("the thread");
    }
}
