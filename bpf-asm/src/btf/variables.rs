//! Section variables, by which objects declare maps.

use super::blob::{Blob, Linkage};
use super::kind;

/// Bytes of a pointer.
const POINTER: u32 = 8;

impl Blob {
    /// An anonymous structure whose members are pointers. The last one may be an array without
    /// elements, which has no size.
    pub(crate) fn pointers(&mut self, members: &[(&str, u32)]) -> u32 {
        let fields = (0..)
            .zip(members)
            .flat_map(|(n, (name, ty))| [self.string(name), *ty, n * POINTER * 8]);
        let fields: Vec<u32> = fields.collect();
        let sized = members.iter().filter(|(name, _)| *name != "values").count() as u32;
        self.add(0, kind::STRUCT << 24 | members.len() as u32, sized * POINTER, &fields)
    }

    /// A global variable.
    pub(crate) fn variable(&mut self, name: &str, ty: u32) -> u32 {
        let name = self.string(name);
        self.add(name, kind::VAR << 24, ty, &[Linkage::Global as u32])
    }

    /// The variables of a section, each with its type id, offset and size.
    pub(crate) fn section(&mut self, name: &str, size: u32, variables: &[[u32; 3]]) -> u32 {
        let name = self.string(name);
        self.add(name, kind::DATASEC << 24 | variables.len() as u32, size, variables.as_flattened())
    }
}
