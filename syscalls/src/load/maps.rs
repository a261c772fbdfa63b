//! Maps from their definitions.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use bpf_asm::{MapDef, MapRef, Program, READ_ONLY, btf};
use bytemuck::Pod;

use super::LoadError;
use crate::{BtfObject, Errno, Map, MapBtf, MapKind, MapSpec, PerCpuMap, TypedMap};

/// The maps of programs, by name. A map that several programs use is the same in all of them.
/// Read-only data is not among them: each program has its own, which is created with it.
#[derive(Debug, Default)]
pub struct Maps {
    maps: Vec<(MapDef, Map)>,
}

impl Maps {
    /// Creates the maps of these programs, with the types of their keys and values, so that
    /// `bpftool map dump` shows fields by name.
    ///
    /// # Errors
    /// [`LoadError::Ambiguous`]; [`LoadError::System`] as [`Map::create`] and [`BtfObject::load`].
    pub fn create<'p>(programs: impl IntoIterator<Item = &'p Program>) -> Result<Self, LoadError> {
        let mut maps = Self::default();
        maps.add(programs)?;
        Ok(maps)
    }

    /// The same for maps that outlive the process: those that are pinned in `folder`, which is on a
    /// bpffs, under their names are used as they are, the others created and pinned there.
    ///
    /// # Errors
    /// As [`Maps::create`]; [`LoadError::Differs`] if a pinned map is not as its definition.
    pub fn create_pinned<'p>(
        programs: impl IntoIterator<Item = &'p Program>,
        folder: &Path,
    ) -> Result<Self, LoadError> {
        let (mut maps, mut pinned) = (Self::default(), Vec::new());
        let programs: Vec<&Program> = programs.into_iter().collect();
        for def in definitions(programs.iter().copied())? {
            let path = folder.join(def.name);
            match Map::open_pinned(&path) {
                Ok(map) => {
                    check(&def, &map, Some(&path))?;
                    maps.maps.push((def, map));
                }
                Err(error) if error.errno() == Some(Errno::NOENT) => pinned.push(def.name),
                Err(error) => return Err(error.into()),
            }
        }
        maps.add(programs)?;
        for name in pinned {
            if let Some(map) = maps.get(name) {
                map.pin(&folder.join(name))?;
            }
        }
        Ok(maps)
    }

    /// Creates what these programs use and is not here yet, such as after [`Maps::insert`].
    ///
    /// # Errors
    /// As [`Maps::create`].
    pub fn add<'p>(
        &mut self,
        programs: impl IntoIterator<Item = &'p Program>,
    ) -> Result<(), LoadError> {
        let mut missing = Vec::new();
        for def in definitions(programs)? {
            match self.maps.iter().find(|(known, _)| known.name == def.name) {
                Some((known, _)) if *known == def => {}
                Some(_) => return Err(LoadError::Ambiguous { map: def.name.to_owned() }),
                None => missing.push(def),
            }
        }
        let created = maps(&missing.iter().collect::<Vec<_>>())?;
        self.maps.extend(missing.into_iter().zip(created));
        Ok(())
    }

    /// Uses `map` for this definition, such as a map that another process has pinned.
    ///
    /// # Errors
    /// [`LoadError::Differs`] if it is not as its definition, [`LoadError::Ambiguous`] if there is
    /// one of this name.
    pub fn insert(&mut self, def: &MapDef, map: Map) -> Result<(), LoadError> {
        check(def, &map, None)?;
        if self.get(def.name).is_some() {
            return Err(LoadError::Ambiguous { map: def.name.to_owned() });
        }
        self.maps.push((*def, map));
        Ok(())
    }

    /// The map of this name.
    pub fn get(&self, name: &str) -> Option<&Map> {
        self.maps.iter().find(|(def, _)| def.name == name).map(|(_, map)| map)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Map> {
        self.maps.iter().map(|(_, map)| map)
    }

    /// The map that programs call `map`, as they see it.
    ///
    /// # Errors
    /// [`LoadError::NoMap`]; [`LoadError::System`] for a map with a value for each CPU.
    pub fn typed<K: Pod, V: Pod>(&self, map: &MapRef<K, V>) -> Result<TypedMap<K, V>, LoadError> {
        Ok(TypedMap::new(self.named(map.def())?.try_clone()?)?)
    }

    /// The same for a map with a value for each CPU.
    ///
    /// # Errors
    /// [`LoadError::NoMap`]; [`LoadError::System`] for another map.
    pub fn per_cpu<K: Pod, V: Pod>(
        &self,
        map: &MapRef<K, V>,
    ) -> Result<PerCpuMap<K, V>, LoadError> {
        Ok(PerCpuMap::new(self.named(map.def())?.try_clone()?)?)
    }

    fn named(&self, def: &MapDef) -> Result<&Map, LoadError> {
        let none = || LoadError::NoMap { program: None, map: def.name.to_owned() };
        self.get(def.name).ok_or_else(none)
    }

    pub(super) fn descriptor(&self, def: &MapDef) -> Option<BorrowedFd<'_>> {
        self.get(def.name).map(Map::as_fd)
    }
}

/// The definitions of the maps of these programs, each once, without read-only data.
fn definitions<'p>(
    programs: impl IntoIterator<Item = &'p Program>,
) -> Result<Vec<MapDef>, LoadError> {
    let mut all: Vec<MapDef> = Vec::new();
    for def in programs.into_iter().flat_map(Program::maps).filter(|def| def.name != READ_ONLY) {
        match all.iter().find(|known| known.name == def.name) {
            Some(known) if known == def => {}
            Some(_) => return Err(LoadError::Ambiguous { map: def.name.to_owned() }),
            None => all.push(*def),
        }
    }
    Ok(all)
}

/// That a map is what its definition says.
fn check(def: &MapDef, map: &Map, path: Option<&Path>) -> Result<(), LoadError> {
    let info = map.info()?;
    for (attribute, found, wanted) in [
        ("type", info.kind.raw(), def.kind.number()),
        ("key size", info.key_size, def.key_size),
        ("value size", info.value_size, def.value_size),
        ("number of entries", info.max_entries, def.max_entries),
        // For maps of devices, the kernel adds the flag that programs cannot write to them.
        ("set of flags", info.flags & (def.flags | !MapSpec::RDONLY_PROG), def.flags),
    ] {
        if found != wanted {
            return Err(LoadError::Differs {
                map: def.name.to_owned(),
                path: path.map(Path::to_owned),
                attribute,
                found: found.into(),
                wanted: wanted.into(),
            });
        }
    }
    Ok(())
}

/// Creates a map by its definition, without the types of its keys and values: for the inner maps of
/// a map of maps, which [`Map::update`] takes as descriptors.
///
/// # Errors
/// As [`Map::create`].
pub fn map(def: &MapDef) -> crate::Result<Map> {
    create(def, None)
}

/// Creates maps by their definitions, in this order, with the types of their keys and values.
///
/// # Errors
/// As [`Map::create`] and [`BtfObject::load`].
pub fn maps(defs: &[&MapDef]) -> crate::Result<Vec<Map>> {
    let described = btf::maps(defs);
    // The kernel takes no BTF without types, and maps of sockets have none.
    let typed = described.types.iter().any(Option::is_some);
    let object = typed.then(|| BtfObject::load(&described.blob)).transpose()?;
    let make = |(def, types): (&&MapDef, &Option<btf::MapTypes>)| {
        let types = object.as_ref().zip(types.as_ref()).map(|(object, types)| MapBtf {
            fd: object.as_fd(),
            key_type_id: types.key,
            value_type_id: types.value,
        });
        create(def, types)
    };
    defs.iter().zip(&described.types).map(make).collect()
}

fn create(def: &MapDef, types: Option<MapBtf<'_>>) -> crate::Result<Map> {
    // The kernel reads the attributes of inner maps from it, and does not keep it.
    let template = def.inner.map(map).transpose()?;
    let kind = MapKind::from_raw(def.kind.number());
    let mut spec = MapSpec::new(kind, def.name, def.key_size, def.value_size, def.max_entries);
    (spec.flags, spec.numa_node, spec.extra) = (def.flags, def.numa_node, def.extra);
    spec.inner = template.as_ref().map(Map::as_fd);
    spec.btf = types;
    Map::create(&spec)
}
