//! Batch commands on many elements.

use super::Map;
use crate::error::{Errno, Error, Result};
use crate::uapi::{self, Command};
use bytemuck::Zeroable;
use std::os::fd::AsFd;

/// The result of a batch command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch<T> {
    /// It was executed.
    Done(T),
    /// This kernel or map does not support batches, so the caller has to access single elements.
    Unsupported,
}

impl Map {
    /// `bpf(BPF_MAP_LOOKUP_BATCH)`, repeated with about `at_once` elements each: all entries, as
    /// concatenated keys and concatenated values, values in the format of [`Map::lookup`]. For hash
    /// maps and arrays since Linux 5.6.
    ///
    /// # Errors
    /// [`Error::Command`] for failures other than missing support.
    pub fn lookup_batch(&self, at_once: u32) -> Result<Batch<(Vec<u8>, Vec<u8>)>> {
        self.read_batches(uapi::MAP_LOOKUP_BATCH, at_once)
    }

    /// `bpf(BPF_MAP_LOOKUP_AND_DELETE_BATCH)`: the same, and deletes the entries.
    ///
    /// # Errors
    /// As [`Map::lookup_batch`].
    pub fn drain_batch(&self, at_once: u32) -> Result<Batch<(Vec<u8>, Vec<u8>)>> {
        self.read_batches(uapi::MAP_LOOKUP_AND_DELETE_BATCH, at_once)
    }

    fn read_batches(
        &self,
        command: Command<uapi::Batch>,
        at_once: u32,
    ) -> Result<Batch<(Vec<u8>, Vec<u8>)>> {
        let value_size = self.exchanged_value_size()?;
        let mut at_once = at_once.clamp(1, self.max_entries.max(1)) as usize;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        // The kernel's position in the map: a bucket number for hash maps, a key for arrays.
        let mut place = vec![0u8; self.key_size.max(size_of::<u32>())];
        let mut started = false;
        loop {
            let mut some_keys = vec![0; at_once * self.key_size];
            let mut some_values = vec![0; at_once * value_size];
            let mut attr = uapi::Batch::zeroed();
            attr.map_fd = uapi::fd(self.as_fd());
            attr.count = at_once as u32;
            attr.in_batch = if started { uapi::addr(&place) } else { 0 };
            attr.out_batch = uapi::addr_mut(&mut place);
            attr.keys = uapi::addr_mut(&mut some_keys);
            attr.values = uapi::addr_mut(&mut some_values);
            // SAFETY: there is room for `count` keys and values of the kernel's sizes, and for a
            // position.
            let answer = unsafe { command.call(&mut attr) };
            match answer {
                // ENOENT marks the end, with `count` last elements.
                Ok(_) | Err(Errno::NOENT) => {
                    let count = (attr.count as usize).min(at_once);
                    keys.extend_from_slice(&some_keys[..count * self.key_size]);
                    values.extend_from_slice(&some_values[..count * value_size]);
                    started = true;
                    if answer.is_err() {
                        return Ok(Batch::Done((keys, values)));
                    }
                }
                // One bucket has more than `at_once` elements; nothing was read.
                Err(Errno::NOSPC) if at_once < self.max_entries as usize => {
                    at_once = (at_once * 2).min(self.max_entries as usize);
                }
                Err(errno) if !started && errno.says_unsupported() => {
                    return Ok(Batch::Unsupported);
                }
                Err(errno) => return Err(command.failed(self.object())(errno)),
            }
        }
    }

    /// `bpf(BPF_MAP_UPDATE_BATCH)`: sets the values of these keys, new or existing; the kernel
    /// supports no conditions here.
    ///
    /// # Errors
    /// As [`Map::update`]; elements before the failing one are set.
    pub fn update_batch(&self, keys: &[u8], values: &[u8]) -> Result<Batch<()>> {
        let value_size = self.exchanged_value_size()?;
        let count = self.count_keys(keys)?;
        self.check("list of values", values.len(), count as usize * value_size)?;
        let mut attr = uapi::Batch::zeroed();
        attr.keys = uapi::addr(keys);
        attr.values = uapi::addr(values);
        attr.count = count;
        // SAFETY: `count` keys and values of the kernel's sizes.
        unsafe { self.write_batch(uapi::MAP_UPDATE_BATCH, &mut attr) }
    }

    /// `bpf(BPF_MAP_DELETE_BATCH)`: removes these keys.
    ///
    /// # Errors
    /// `ENOENT` at the first missing key; the keys before it are removed, those after it are not.
    pub fn delete_batch(&self, keys: &[u8]) -> Result<Batch<()>> {
        let mut attr = uapi::Batch::zeroed();
        attr.count = self.count_keys(keys)?;
        attr.keys = uapi::addr(keys);
        // SAFETY: `count` keys of the map's size.
        unsafe { self.write_batch(uapi::MAP_DELETE_BATCH, &mut attr) }
    }

    /// # Safety
    /// As for [`Command::call`].
    unsafe fn write_batch(
        &self,
        command: Command<uapi::Batch>,
        attr: &mut uapi::Batch,
    ) -> Result<Batch<()>> {
        attr.map_fd = uapi::fd(self.as_fd());
        let asked = attr.count;
        // SAFETY: passed on to the caller.
        match unsafe { command.call(attr) } {
            Ok(_) => Ok(Batch::Done(())),
            // A kernel with the command sets `count` to its progress; one without it does not.
            Err(errno) if errno.says_unsupported() && attr.count == asked => Ok(Batch::Unsupported),
            Err(errno) => Err(command.failed(self.object())(errno)),
        }
    }

    fn count_keys(&self, keys: &[u8]) -> Result<u32> {
        let whole = self.key_size != 0 && keys.len().is_multiple_of(self.key_size);
        match u32::try_from(keys.len() / self.key_size.max(1)) {
            Ok(count) if whole => Ok(count),
            _ => Err(Error::invalid(
                self.object(),
                format!(
                    "{} bytes are not a multiple of the key size {}",
                    keys.len(),
                    self.key_size
                ),
            )),
        }
    }
}
