//! Typed maps.

use super::{Map, Update};
use crate::error::{Error, Result};
use bytemuck::Pod;
use std::marker::PhantomData;

/// A map with keys `K` and values `V`.
#[derive(Debug)]
pub struct TypedMap<K, V> {
    map: Map,
    types: PhantomData<fn(K, V)>,
}

impl<K: Pod, V: Pod> TypedMap<K, V> {
    /// A typed view of the map.
    ///
    /// # Errors
    /// [`Error::Invalid`] if its sizes differ, or if it is per-CPU: see
    /// [`PerCpuMap`](super::PerCpuMap).
    pub fn new(map: Map) -> Result<Self> {
        if map.kind().is_per_cpu() {
            return Err(Error::invalid(
                map.object(),
                format!("a {:?} has a value for each CPU", map.kind()),
            ));
        }
        Self::check_sizes(&map)?;
        Ok(Self { map, types: PhantomData })
    }

    pub(super) fn check_sizes(map: &Map) -> Result<()> {
        let given = (size_of::<K>(), size_of::<V>());
        let actual = (map.key_size(), map.value_size());
        if given == actual {
            return Ok(());
        }
        Err(Error::invalid(
            map.object(),
            format!(
                "expected keys of {} and values of {} bytes; it has keys of {} and values of {}",
                given.0, given.1, actual.0, actual.1
            ),
        ))
    }

    /// The map itself.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// `bpf(BPF_MAP_LOOKUP_ELEM)`: the value of `key`.
    ///
    /// # Errors
    /// As [`Map::lookup`].
    pub fn lookup(&self, key: &K) -> Result<Option<V>> {
        let bytes = self.map.lookup(bytemuck::bytes_of(key))?;
        Ok(bytes.map(|b| read(&b)))
    }

    /// `bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM)`: returns the value of `key` and deletes it.
    ///
    /// # Errors
    /// As [`Map::lookup_and_delete`].
    pub fn take(&self, key: &K) -> Result<Option<V>> {
        let bytes = self.map.lookup_and_delete(bytemuck::bytes_of(key))?;
        Ok(bytes.map(|b| read(&b)))
    }

    /// `bpf(BPF_MAP_UPDATE_ELEM)`: sets the value of `key`.
    ///
    /// # Errors
    /// As [`Map::update`].
    pub fn update(&self, key: &K, value: &V, update: Update) -> Result<()> {
        self.map.update(bytemuck::bytes_of(key), bytemuck::bytes_of(value), update)
    }

    /// `bpf(BPF_MAP_DELETE_ELEM)`: deletes `key`; whether it existed.
    ///
    /// # Errors
    /// As [`Map::delete`].
    pub fn delete(&self, key: &K) -> Result<bool> {
        self.map.delete(bytemuck::bytes_of(key))
    }

    /// The keys; see [`Map::keys`].
    pub fn keys(&self) -> impl Iterator<Item = Result<K>> {
        self.map.keys().map(|key| key.map(|k| read(&k)))
    }

    /// The entries: the keys as in [`Map::keys`], each with its value, except those deleted
    /// meanwhile.
    pub fn entries(&self) -> impl Iterator<Item = Result<(K, V)>> {
        self.keys().filter_map(|key| match key {
            Ok(key) => match self.lookup(&key) {
                Ok(Some(value)) => Some(Ok((key, value))),
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            },
            Err(error) => Some(Err(error)),
        })
    }
}

/// A record from bytes of its size, which `check_sizes` has checked.
fn read<T: Pod>(bytes: &[u8]) -> T {
    bytemuck::pod_read_unaligned(bytes)
}
