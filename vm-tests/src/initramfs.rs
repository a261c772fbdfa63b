//! The guest's root file system: a cpio archive that the kernel unpacks into memory
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use cpio::newc::{Builder, ModeFileType, trailer};

/// An archive under construction. Directories come by themselves.
pub struct Initramfs<W: Write> {
    archive: W,
    directories: BTreeSet<PathBuf>,
    /// Inode numbers must differ: equal ones are hard links.
    inodes: u32,
}

impl<W: Write> Initramfs<W> {
    /// An archive that is written to `archive` as it grows.
    pub fn new(archive: W) -> Self {
        Self { archive, directories: BTreeSet::new(), inodes: 0 }
    }

    /// Adds an executable file of this machine at the absolute path `at`.
    ///
    /// # Errors
    /// When it cannot be read or the archive cannot be written.
    pub fn copy(&mut self, file: &Path, at: &Path) -> io::Result<()> {
        self.add(at, &fs::read(file)?)
    }

    /// Adds an executable file with these contents at the absolute path `at`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a path that is not absolute, climbs or is not UTF-8, and for 4 GiB or more;
    /// else when the archive cannot be written.
    pub fn add(&mut self, at: &Path, contents: &[u8]) -> io::Result<()> {
        let inside = relative(at)?;
        for directory in inside.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            if !directory.as_os_str().is_empty() && self.directories.insert(directory.to_owned()) {
                self.entry(directory, ModeFileType::Directory, &[])?;
            }
        }
        self.entry(inside, ModeFileType::Regular, contents)
    }

    /// Writes the end of the archive and returns what it was written to.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn finish(self) -> io::Result<W> {
        trailer(self.archive)
    }

    fn entry(&mut self, path: &Path, kind: ModeFileType, contents: &[u8]) -> io::Result<()> {
        let name = path.to_str().ok_or_else(|| unsuitable(path, "is not UTF-8"))?;
        let length = contents.len().try_into().map_err(|_| unsuitable(path, "is 4 GiB or more"))?;
        self.inodes += 1;
        let mut entry = Builder::new(name)
            .ino(self.inodes)
            .mode(0o755)
            .set_mode_file_type(kind)
            .nlink(1)
            .write(&mut self.archive, length);
        entry.write_all(contents)?;
        entry.finish()?;
        Ok(())
    }
}

fn relative(path: &Path) -> io::Result<&Path> {
    let inside = path.strip_prefix("/").map_err(|_| unsuitable(path, "is not absolute"))?;
    if inside.components().all(|part| matches!(part, Component::Normal(_))) {
        Ok(inside)
    } else {
        Err(unsuitable(path, "has . or .. in it"))
    }
}

fn unsuitable(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{} cannot be in an initramfs: it {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpio::newc::Reader;
    use std::io::Read;

    #[test]
    fn files_come_with_their_directories_before_them_and_only_once() {
        let mut archive = Initramfs::new(Vec::new());
        archive.add(Path::new("/a/b/one"), b"1").expect("add");
        archive.add(Path::new("/a/two"), b"22").expect("add");
        let bytes = archive.finish().expect("finish");

        let mut entries = Vec::new();
        let mut rest = bytes.as_slice();
        loop {
            let mut reader = Reader::new(rest).expect("an entry");
            if reader.entry().is_trailer() {
                break;
            }
            let (name, mode) = (reader.entry().name().to_owned(), reader.entry().mode());
            let mut contents = String::new();
            reader.read_to_string(&mut contents).expect("read");
            entries.push((name, mode, contents));
            rest = reader.finish().expect("the next");
        }
        let (directory, file) = (0o040_755, 0o100_755);
        let expected = [("a", directory, ""), ("a/b", directory, ""), ("a/b/one", file, "1"), ("a/two", file, "22")];
        assert_eq!(entries, expected.map(|(name, mode, contents)| (name.to_owned(), mode, contents.to_owned())));
    }

    #[test]
    fn a_path_that_leaves_the_root_is_refused() {
        for path in ["relative", "/a/../../b", "../x"] {
            let error = Initramfs::new(Vec::new()).add(Path::new(path), b"").expect_err(path);
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path}");
        }
    }
}
