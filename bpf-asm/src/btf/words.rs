//! Reads little-endian words from bytes.

use super::{BtfError, MAGIC, VERSION};

/// A cursor over little-endian words.
pub(super) struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Words { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that have not been read.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next `N` words; `None` if there are fewer.
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u32; N]> {
        let mut words = [0; N];
        for word in &mut words {
            let (bytes, rest) = self.rest.split_first_chunk()?;
            *word = u32::from_le_bytes(*bytes);
            self.rest = rest;
        }
        Some(words)
    }

    /// The next bytes, unread.
    pub(super) fn skip(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (skipped, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(skipped)
    }
}

/// The words of a header after its length, and what follows the header. `.BTF` and `.BTF.ext` start
/// the same way.
pub(super) fn header(bytes: &[u8]) -> Result<([u32; 4], &[u8]), BtfError> {
    let wrong = || BtfError::Header { len: bytes.len() };
    let mut words = Words::new(bytes);
    let [first, len] = words.take().ok_or_else(wrong)?;
    let rest = bytes.get(len as usize..).filter(|_| len >= 24).ok_or_else(wrong)?;
    if first & 0x00ff_ffff != u32::from(MAGIC) | u32::from(VERSION) << 16 {
        return Err(wrong());
    }
    Ok((words.take().ok_or_else(wrong)?, rest))
}
