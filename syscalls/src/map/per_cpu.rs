//! Typed per-CPU maps.

use super::{Map, TypedMap, Update};
use crate::cpu;
use crate::error::{Error, Result};
use bytemuck::Pod;
use std::marker::PhantomData;

/// The size of one CPU's value as the kernel copies it: rounded up to 8.
pub(super) fn stride(value_size: usize) -> usize {
    value_size.next_multiple_of(8)
}

/// A per-CPU map with keys `K` and a value `V` for each CPU.
#[derive(Debug)]
pub struct PerCpuMap<K, V> {
    map: Map,
    types: PhantomData<fn(K, V)>,
}

impl<K: Pod, V: Pod> PerCpuMap<K, V> {
    /// A typed view of the map.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is not per-CPU, or its sizes differ.
    pub fn new(map: Map) -> Result<Self> {
        if !map.kind().is_per_cpu() {
            return Err(Error::invalid(
                map.object(),
                format!("a {:?} has one value for all CPUs", map.kind()),
            ));
        }
        TypedMap::<K, V>::check_sizes(&map)?;
        Ok(Self { map, types: PhantomData })
    }

    /// The map itself.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// `bpf(BPF_MAP_LOOKUP_ELEM)`: the value of each possible CPU, CPU 0 first.
    ///
    /// # Errors
    /// As [`Map::lookup`].
    pub fn lookup(&self, key: &K) -> Result<Option<Vec<V>>> {
        let Some(bytes) = self.map.lookup(bytemuck::bytes_of(key))? else {
            return Ok(None);
        };
        let stride = stride(size_of::<V>()).max(1);
        let values = bytes
            .chunks_exact(stride)
            .map(|chunk| bytemuck::pod_read_unaligned(&chunk[..size_of::<V>()]));
        Ok(Some(values.collect()))
    }

    /// `bpf(BPF_MAP_UPDATE_ELEM)`: sets the value of every possible CPU to `value`.
    ///
    /// # Errors
    /// As [`Map::update`].
    pub fn fill(&self, key: &K, value: &V) -> Result<()> {
        let mut one = vec![0; stride(size_of::<V>())];
        one[..size_of::<V>()].copy_from_slice(bytemuck::bytes_of(value));
        let all = one.repeat(cpu::possible()?);
        self.map.update(bytemuck::bytes_of(key), &all, Update::ANY)
    }
}
