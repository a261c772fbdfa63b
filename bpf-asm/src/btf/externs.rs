//! What an object takes from the kernel: functions and variables of the sections `.ksyms` and
//! `.kconfig`, which have no bytes.

use std::collections::HashMap;

use super::blob::Blob;
use super::types::{Type, Types};
use super::words::Words;
use super::{BtfError, kind};
use crate::text::{CType, Extern, ExternType};

/// Kfuncs and variables of the kernel.
const KSYMS: &str = ".ksyms";
/// Values of its configuration.
const KCONFIG: &str = ".kconfig";

/// `BTF_VAR_GLOBAL_EXTERN`, `BTF_FUNC_EXTERN`
const EXTERN: u32 = 2;

/// The longest chain of pointers, qualifiers and arrays.
const DEPTH: usize = 16;

impl Blob {
    /// Describes what an object takes from the kernel.
    pub(crate) fn externs(&mut self, externs: &[Extern]) {
        let mut known = HashMap::new();
        for section in [KCONFIG, KSYMS] {
            let config = section == KCONFIG;
            let mut variables = Vec::new();
            for of in externs.iter().filter(|of| matches!(of.ty, ExternType::Config(_)) == config) {
                let (ty, size) = match &of.ty {
                    ExternType::Function { result, parameters } => {
                        (self.extern_function(&of.name, result, parameters, &mut known), 0)
                    }
                    ExternType::Variable(ty) | ExternType::Config(ty) => {
                        let (size, ty) = (ty.size(), self.c_type(ty, &mut known));
                        let name = self.string(&of.name);
                        (self.add(name, kind::VAR << 24, ty, &[EXTERN]), size)
                    }
                };
                variables.push([ty, 0, size]);
            }
            if !variables.is_empty() {
                self.section(section, 0, &variables);
            }
        }
    }

    fn extern_function(
        &mut self,
        name: &str,
        result: &CType,
        parameters: &[CType],
        known: &mut HashMap<String, u32>,
    ) -> u32 {
        let result = self.c_type(result, known);
        let listed: Vec<u32> =
            parameters.iter().flat_map(|of| [0, self.c_type(of, known)]).collect();
        let prototype =
            self.add(0, kind::FUNC_PROTO << 24 | parameters.len() as u32, result, &listed);
        let name = self.string(name);
        self.add(name, kind::FUNC << 24 | EXTERN, prototype, &[])
    }

    /// The id of a type, which is written if it is new.
    fn c_type(&mut self, ty: &CType, known: &mut HashMap<String, u32>) -> u32 {
        let written = ty.to_string();
        if let Some(id) = known.get(&written) {
            return *id;
        }
        let id = match ty {
            CType::Void => return 0,
            CType::Int { name, size, encoding } => {
                let name = self.string(name);
                self.add(name, kind::INT << 24, *size, &[encoding << 24 | (size * 8)])
            }
            // libbpf compares kinds of types, so that a declaration alone (`BTF_KIND_FWD`) would
            // not do.
            CType::Struct(name) => {
                let name = self.string(name);
                self.add(name, kind::STRUCT << 24, 0, &[])
            }
            CType::Union(name) => {
                let name = self.string(name);
                self.add(name, kind::UNION << 24, 0, &[])
            }
            CType::Enum(name) => {
                let name = self.string(name);
                self.add(name, kind::ENUM << 24, 4, &[])
            }
            CType::Pointer(of) => {
                let of = self.c_type(of, known);
                self.pointer(of)
            }
            CType::Const(of) => {
                let of = self.c_type(of, known);
                self.add(0, kind::CONST << 24, of, &[])
            }
            CType::Array(of, length) => {
                let of = self.c_type(of, known);
                self.array(of, *length)
            }
        };
        known.insert(written, id);
        id
    }
}

impl Types<'_> {
    /// What the object takes from the kernel, as far as C's types without definitions say it.
    pub(crate) fn externs(&self) -> Result<Vec<Extern>, BtfError> {
        let mut found = Vec::new();
        for section in [KCONFIG, KSYMS] {
            for ty in self.types.iter().filter(|ty| ty.kind == kind::DATASEC) {
                if self.string(ty.name)? != section {
                    continue;
                }
                let mut words = Words::new(ty.rest);
                while let Some([id, _offset, _size]) = words.take() {
                    let of = self.get(id)?;
                    if let Some(ty) = self.extern_type(of, section)? {
                        found.push(Extern {
                            name: self.string(of.name)?.to_owned(),
                            ty,
                            weak: false,
                        });
                    }
                }
            }
        }
        Ok(found)
    }

    fn extern_type(&self, of: Type<'_>, section: &str) -> Result<Option<ExternType>, BtfError> {
        if of.kind == kind::VAR {
            let ty = self.read_c_type(of.size_or_type, DEPTH)?;
            return Ok(match section {
                KCONFIG => ty.map(ExternType::Config),
                _ => ty.map(ExternType::Variable),
            });
        }
        if of.kind != kind::FUNC {
            return Ok(None);
        }
        let prototype = self.get(of.size_or_type)?;
        let result = self.read_c_type(prototype.size_or_type, DEPTH)?;
        let mut parameters = Vec::new();
        let mut words = Words::new(prototype.rest);
        while let Some([_name, ty]) = words.take() {
            let Some(ty) = self.read_c_type(ty, DEPTH)? else { return Ok(None) };
            parameters.push(ty);
        }
        Ok(result.map(|result| ExternType::Function { result, parameters }))
    }

    /// A type as C declares it; `None` if it takes more to say it.
    fn read_c_type(&self, id: u32, depth: usize) -> Result<Option<CType>, BtfError> {
        let Some(depth) = depth.checked_sub(1) else { return Ok(None) };
        if id == 0 {
            return Ok(Some(CType::Void));
        }
        let ty = self.get(id)?;
        let name = self.string(ty.name)?;
        let inside = |id| self.read_c_type(id, depth).map(|of| of.map(Box::new));
        Ok(match ty.kind {
            kind::INT => CType::number(name),
            kind::STRUCT => Some(CType::Struct(name.to_owned())),
            kind::UNION => Some(CType::Union(name.to_owned())),
            kind::ENUM => Some(CType::Enum(name.to_owned())),
            kind::PTR => inside(ty.size_or_type)?.map(CType::Pointer),
            kind::CONST => inside(ty.size_or_type)?.map(CType::Const),
            kind::ARRAY => {
                let [element, _index, length] = Words::new(ty.rest).take().unwrap_or_default();
                inside(element)?.map(|of| CType::Array(of, length))
            }
            _ => None,
        })
    }
}
