//! The file system that holds pinned programs, maps and links.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::Error;
use super::mount_table::{self, Mount};

/// Where every distribution and every BPF tool expects it.
pub const STANDARD: &str = "/sys/fs/bpf";

/// The bpffs to use, mounting one at [`STANDARD`] if none is there.
///
/// A bpffs elsewhere is used only when mounting is refused: it belongs to somebody who may take it
/// away, pins included.
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

/// The bpffs that is mounted: at [`STANDARD`] if there is one, else the latest anywhere.
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
    fn the_standard_place_is_preferred_and_a_covered_mount_is_not_seen() {
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
    fn one_is_mounted_where_there_is_none_and_then_found() {
        // In a mount namespace of a thread's own: the machine keeps what it has.
        std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)
                .expect("make a mount namespace (as root)");
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .expect("keep mounts to this thread");
            while find()
                .expect("read the mount table")
                .is_some_and(|path| path == Path::new(STANDARD))
            {
                umount2(STANDARD, MntFlags::MNT_DETACH).expect("take the bpffs away");
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
