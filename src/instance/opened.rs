//! An instance as its pins show it: whoever has the pins, the agent or any later command, works
//! with it through this.
//!
//! Also an instance that another version of shunt runs: the records that are read here only grow at
//! their ends.

use std::collections::HashSet;
use std::io::Read;

use anyhow::{Context, Result};
use bpf_asm::{MapDef, MapRef};
use bytemuck::{Pod, Zeroable};
use syscalls::object::LinkTarget;
use syscalls::{Iter, Link, Map, PerCpuMap, Prog, RingBuf, TypedMap, Update};

use super::{Generation, MAPS, Pins};
use crate::datapath::{
    ABI, About, Control, Counter, FlowEnd, Holder, Isns, ProgramName, RECORD_AT,
};

/// The maps and programs of one generation of an instance, open.
#[derive(Debug)]
pub struct Instance {
    pins: Pins,
    generation: Generation,
    /// Maps that are only counted from here.
    rendezvous: Map,
    socks: Map,
    counters: PerCpuMap<u32, u64>,
    control: Map,
    about: Map,
    look: Prog,
}

/// Room for the answer of whatever version's `look`, after the header.
const ANSWER: usize = 1024;
const _: () = assert!(size_of::<FlowEnd>() <= ANSWER);

impl Instance {
    /// Opens the generation that pairs flows.
    pub fn open(pins: Pins) -> Result<Instance> {
        of_newest(
            || pins.newest(),
            |generation| Instance::open_generation(pins.clone(), generation.clone()),
        )
    }

    /// Opens what is pinned.
    pub fn open_generation(pins: Pins, generation: Generation) -> Result<Instance> {
        let what = || {
            format!(
                "cannot open what instance '{}' has pinned in {}",
                pins.name(),
                generation.dir().display()
            )
        };
        let map = |def: &MapDef| generation.map(def)?.with_context(|| def.name).with_context(what);
        Ok(Instance {
            rendezvous: map(MAPS.rendezvous.def())?,
            socks: map(MAPS.socks.def())?,
            counters: PerCpuMap::new(map(MAPS.counters.def())?)?,
            control: map(MAPS.control.def())?,
            about: map(MAPS.about.def())?,
            look: generation.program(ProgramName::Look)?.context("look").with_context(what)?,
            pins,
            generation,
        })
    }

    /// The instance's folder.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Its own folder in there.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Who started it, and on what.
    pub fn about(&self) -> Result<About> {
        Ok(known_of(&only_entry(&self.about)?))
    }

    /// Tells whoever opens the pins something else.
    pub fn set_about(&self, about: About) -> Result<()> {
        replace(&self.about, about)
    }

    /// The identity of the cgroup that it is attached to, 0 if that is gone: the inode number of
    /// its folder.
    pub fn cgroup(&self) -> Result<u64> {
        self.generation.link(ProgramName::Establish)?.map_or(Ok(0), |link| cgroup_of(&link))
    }

    /// One of its maps, of [`MAPS`], by the types that it has there.
    pub fn map<K: Pod, V: Pod>(&self, map: MapRef<K, V>) -> Result<TypedMap<K, V>> {
        Ok(TypedMap::new(self.raw_map(map.def())?)?)
    }

    /// The ring buffer of this name.
    pub fn ring(&self, ring: MapRef<(), ()>) -> Result<RingBuf> {
        Ok(RingBuf::new(self.raw_map(ring.def())?)?)
    }

    fn raw_map(&self, def: &MapDef) -> Result<Map> {
        self.generation.map(def)?.with_context(|| {
            format!("there is no map '{}' in {}", def.name, self.generation.dir().display())
        })
    }

    /// The map of enrolled sockets.
    pub fn socks(&self) -> &Map {
        &self.socks
    }

    /// What the programs are told.
    pub fn control(&self) -> Result<Control> {
        Ok(known_of(&only_entry(&self.control)?))
    }

    /// Tells the programs something else.
    pub fn set_control(&self, control: Control) -> Result<()> {
        replace(&self.control, control)
    }

    /// One counter, summed over all CPUs.
    pub fn counter(&self, counter: impl Into<Counter>) -> Result<u64> {
        Ok(self.counters.lookup(&(counter.into() as u32))?.unwrap_or_default().iter().sum())
    }

    /// How many connections have an entry at the rendezvous.
    pub fn at_rendezvous(&self) -> Result<usize> {
        let mut entries = 0;
        for key in self.rendezvous.keys() {
            key?;
            entries += 1;
        }
        Ok(entries)
    }

    /// Every enrolled socket.
    pub fn ends(&self) -> Result<Vec<FlowEnd>> {
        if let Some(ends) = self.shown_ends()? {
            return Ok(ends);
        }
        let mut ends = Vec::new();
        for name in self.socks.keys() {
            // Sockets come and go while this goes on.
            ends.extend(self.end(&bytemuck::pod_read_unaligned(&name?))?);
        }
        Ok(ends)
    }

    /// The same in one go, if the kernel lets programs go over socket maps, and the records are of
    /// this version.
    fn shown_ends(&self) -> Result<Option<Vec<FlowEnd>>> {
        if self.about()?.abi != ABI {
            return Ok(None);
        }
        let Ok(Some(show)) = self.generation.program(ProgramName::Show) else { return Ok(None) };
        let Ok(link) = Link::to_iter(&show, Some(&self.socks)) else { return Ok(None) };
        let mut ends: Vec<FlowEnd> =
            shown_by(&link).context("cannot go over the enrolled sockets")?;
        // Whenever the kernel's buffer is full, the sockets of the bucket that it has come to are
        // shown again (`sock_hash_seq_start`).
        let mut seen = HashSet::with_capacity(ends.len());
        ends.retain(|end| seen.insert(end.own.cookie));
        Ok(Some(ends))
    }

    /// Who holds the enrolled sockets, by PIDs of the initial namespace; `None` if the kernel or the
    /// version that runs the instance does not tell.
    pub fn holders(&self) -> Result<Option<Vec<Holder>>> {
        if self.about()?.abi != ABI {
            return Ok(None);
        }
        let Ok(Some(holders)) = self.generation.program(ProgramName::Holders) else {
            return Ok(None);
        };
        let Ok(link) = Link::to_iter(&holders, None) else { return Ok(None) };
        shown_by(&link).context("cannot go over the open files").map(Some)
    }

    /// The enrolled socket of this name, if there is one.
    pub fn end(&self, name: &Isns) -> Result<Option<FlowEnd>> {
        let mut packet = [0; RECORD_AT + ANSWER];
        packet[RECORD_AT..RECORD_AT + size_of::<Isns>()].copy_from_slice(bytemuck::bytes_of(name));
        let found =
            self.look.transform(&mut packet).context("cannot look at an enrolled socket")?.retval
                == 1;
        Ok(found.then(|| known_of(&packet[RECORD_AT..])))
    }

    /// Detaches the programs and removes the pins. Only when it is draining.
    pub fn remove(self) -> Result<()> {
        for link in self.generation.links()? {
            link.detach().context("cannot detach a program")?;
        }
        self.generation.remove()
    }
}

/// The identity of the cgroup that a link is attached to, 0 if that is gone.
pub fn cgroup_of(link: &Link) -> Result<u64> {
    Ok(match link.info()?.target {
        LinkTarget::Cgroup { id, .. } => id,
        _ => 0,
    })
}

/// The records that an iterator writes, in one reading of it.
pub fn shown_by<T: Pod>(link: &Link) -> Result<Vec<T>> {
    let mut shown = Vec::new();
    Iter::of_link(link)?.read_to_end(&mut shown)?;
    Ok(shown.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
}

/// Opens the newest generation. It may be drained and removed meanwhile, once another has taken its
/// place: then that one is opened.
fn of_newest<T>(
    newest: impl Fn() -> Result<Generation>,
    open: impl Fn(&Generation) -> Result<T>,
) -> Result<T> {
    loop {
        let generation = newest()?;
        let opened = open(&generation);
        if opened.is_ok() || newest().map_or(true, |newest| newest == generation) {
            return opened;
        }
    }
}

/// The value of a map's only entry.
fn only_entry(map: &Map) -> Result<Vec<u8>> {
    Ok(map.lookup(&0u32.to_ne_bytes())?.unwrap_or_default())
}

/// Sets as much of a map's only entry as is known here and is there.
fn replace<T: Pod>(map: &Map, record: T) -> Result<()> {
    let mut entry = only_entry(map)?;
    entry.iter_mut().zip(bytemuck::bytes_of(&record)).for_each(|(there, &here)| *there = here);
    Ok(map.update(&0u32.to_ne_bytes(), &entry, Update::ANY)?)
}

/// As much of another version's record as is known here; what that version does not know is zero.
fn known_of<T: Pod + Zeroable>(bytes: &[u8]) -> T {
    let mut record = T::zeroed();
    bytemuck::bytes_of_mut(&mut record)
        .iter_mut()
        .zip(bytes)
        .for_each(|(here, &there)| *here = there);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_record_of_another_version_is_known_what_both_versions_know() {
        let control = Control { draining: 1, refresh: 500, ..Control::zeroed() };
        let bytes = bytemuck::bytes_of(&control);
        assert_eq!(known_of::<Control>(&[bytes, &[7; 9]].concat()), control);
        assert_eq!(known_of::<Control>(&bytes[..4]), Control { draining: 1, ..Control::zeroed() });
        assert_eq!(known_of::<Control>(&[]), Control::zeroed());
    }

    #[test]
    fn what_another_version_reads_of_this_one_stands_where_it_always_stood() {
        use std::mem::offset_of;
        assert_eq!((offset_of!(About, abi), offset_of!(Control, draining)), (0, 0));
        assert_eq!((offset_of!(FlowEnd, own), offset_of!(FlowEnd, direct_unread)), (0, 128));
    }

    #[test]
    fn a_generation_that_goes_while_it_is_opened_is_let_go_for_the_one_in_its_place() {
        use std::cell::Cell;
        let newest = Cell::new(1);
        let asked = || Ok(Generation::new(std::path::Path::new("/instance"), newest.get()));
        // The first is removed while it is opened, the second opens.
        let opened = of_newest(asked, |generation| match generation.number() {
            1 => {
                newest.set(2);
                anyhow::bail!("its pins are gone")
            }
            number => Ok(number),
        });
        assert_eq!(opened.expect("the second"), 2);
        // One that is still the newest is broken, and one in whose place none has come is gone.
        let broken = of_newest(asked, |_| anyhow::Result::<()>::Err(anyhow::anyhow!("broken")));
        assert_eq!(broken.expect_err("the only one").to_string(), "broken");
    }
}
