//! The limit of what one examination reads.
//!
//! Headers say how much of a file is to be read, and how often: one that maps itself many times, or
//! that follows a call at each of its bytes, would keep the agent busy for hours, and so would a
//! process that maps many files.

use std::cell::Cell;
use std::io;

use super::image::ReadAt;

/// Twice the largest code that is read at all, and as much for its data.
const BYTES: u64 = 4 << 30;
/// What a read costs at least: a system call takes about as long as the copy of a page.
const LEAST: u64 = 4096;

/// What may still be read.
#[derive(Debug)]
pub struct Budget {
    bytes: u64,
    left: Cell<u64>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(BYTES)
    }
}

impl Budget {
    fn new(bytes: u64) -> Self {
        Self { bytes, left: Cell::new(bytes) }
    }

    /// Whether nothing has been read.
    pub fn is_whole(&self) -> bool {
        self.left.get() == self.bytes
    }

    /// Whether a read was refused: what depends on it is not to be believed.
    pub fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    /// The content of a file, read at the cost of this budget.
    pub fn of<'a>(&'a self, file: &'a dyn ReadAt) -> impl ReadAt + 'a {
        Limited { file, left: &self.left }
    }
}

/// A file that is read at the cost of a budget.
struct Limited<'a> {
    file: &'a dyn ReadAt,
    left: &'a Cell<u64>,
}

impl ReadAt for Limited<'_> {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let left = self.left.get().saturating_sub(LEAST.max(buffer.len() as u64));
        self.left.set(left);
        match left {
            0 => Err(io::ErrorKind::QuotaExceeded.into()),
            _ => self.file.read_exact_at(buffer, offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::sync::Arc;

    use super::super::{Examiner, Identity, image, rules};
    use super::*;

    /// An executable that looks `dlsym` up, of so many segments with data, each of which is the
    /// whole file.
    fn crafted(segments: u16, size: u64) -> std::fs::File {
        let segment = |flags: u32, offset: u64, size: u64| {
            [
                [1, flags].map(u32::to_le_bytes).concat(),
                [offset, 0x1000, 0, size, size, 1].map(u64::to_le_bytes).concat(),
            ]
            .concat()
        };
        let programs: Vec<u8> = std::iter::once(segment(5, 0, 64))
            .chain((0..segments).map(|_| segment(4, 0, size)))
            .flatten()
            .collect();
        let (names, symbols) = (
            b"\0dlsym\0",
            [[0; 24], *b"\x01\0\0\0\x12\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"].concat(),
        );
        let relocations = [0x2000_u64, 1 << 32 | 6, 0].map(u64::to_le_bytes).concat();
        let mut content = vec![0; 64];
        let mut add = |bytes: &[u8]| {
            let at = content.len() as u64;
            content.extend_from_slice(bytes);
            (at, bytes.len() as u64)
        };
        let programs_at = add(&programs).0;
        let (names, symbols, relocations) = (add(names), add(&symbols), add(&relocations));
        let section = |kind: u32, (at, size): (u64, u64), link: u32, entry: u64| {
            [
                [0, kind].map(u32::to_le_bytes).concat(),
                [0, 0, at, size].map(u64::to_le_bytes).concat(),
                [link, 0].map(u32::to_le_bytes).concat(),
                [8, entry].map(u64::to_le_bytes).concat(),
            ]
            .concat()
        };
        let sections = [
            section(0, (0, 0), 0, 0),
            section(3, names, 0, 0),
            section(11, symbols, 1, 24),
            section(4, relocations, 2, 24),
        ];
        let sections_at = add(&sections.concat()).0;
        let header = [
            b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec(),
            [0, programs_at, sections_at].map(u64::to_le_bytes).concat(),
            vec![0; 4],
            [64, 56, segments + 1, 64, sections.len() as u16, 1].map(u16::to_le_bytes).concat(),
        ]
        .concat();
        content[..64].copy_from_slice(&header);
        let file = tempfile::tempfile().expect("make a file");
        file.set_len(size).expect("make it sparse");
        file.write_all_at(&content, 0).expect("write it");
        file
    }

    fn judge(
        examiner: &mut Examiner,
        file: &std::fs::File,
        budget: &Budget,
    ) -> Option<Result<rules::Evidence, Arc<image::Error>>> {
        let identity = Identity::of(&file.metadata().expect("look at it"));
        examiner.judge(file, identity, false, budget)
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_file_that_has_itself_read_often_is_too_large() {
        let file = crafted(60, MIB);
        let mut examiner = Examiner::default();
        let judged = judge(&mut examiner, &file, &Budget::new(80 * MIB));
        assert_eq!(judged.expect("enough").expect("judged"), rules::Evidence::Nothing);
        let judged = judge(&mut Examiner::default(), &file, &Budget::new(40 * MIB));
        assert!(matches!(*judged.expect("whole").expect_err("60 MiB"), image::Error::TooLarge));
    }

    #[test]
    fn a_file_of_many_segments_is_too_large() {
        let judged = judge(&mut Examiner::default(), &crafted(999, 64 * 1024), &Budget::default());
        assert!(matches!(*judged.expect("enough").expect_err("999"), image::Error::TooLarge));
    }

    #[test]
    fn a_process_that_maps_more_is_examined_in_parts() {
        let files = [crafted(10, MIB), crafted(11, MIB), crafted(12, MIB)];
        let mut examiner = Examiner::default();
        let mut examined = || {
            let budget = Budget::new(26 * MIB);
            files.iter().take_while(|file| judge(&mut examiner, file, &budget).is_some()).count()
        };
        assert_eq!([examined(), examined()], [2, 3]);
    }

    #[test]
    fn a_file_that_cannot_be_judged_is_not_read_again() {
        let file = tempfile::tempfile().expect("make a file");
        file.write_all_at(&[1; 99], 0).expect("write it");
        let mut examiner = Examiner::default();
        for is_read in [true, false] {
            let budget = Budget::default();
            let judged = judge(&mut examiner, &file, &budget).expect("enough");
            assert!(matches!(*judged.expect_err("no executable"), image::Error::NotElf));
            assert_eq!(budget.is_whole(), !is_read);
        }
    }
}
