//! Looks up kernel functions (kfuncs) of the kernel and its modules by name.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::layout::{Header, Kind, Type};
use super::{Btf, BtfError, BtfResult};
use crate::btf_load::BtfObject;
use crate::error::{Errno, Error, Result};
use crate::object;

/// A kfunc, as an instruction calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelFunction {
    /// Its BTF id.
    pub id: u32,
    /// Which BTF: 0 for vmlinux, else an index into [`KernelFunctions::fd_array`].
    pub btf: i16,
}

/// Looks functions up in vmlinux BTF, then in that of the modules.
///
/// A function with BTF is not necessarily callable by programs; the verifier decides.
///
/// ```no_run
/// let mut functions = syscalls::btf::KernelFunctions::new()?;
/// let lock = functions.find("bpf_rcu_read_lock")?;
/// println!("id {} in BTF {}", lock.id, lock.btf);
/// # Ok::<(), syscalls::Error>(())
/// ```
#[derive(Debug)]
pub struct KernelFunctions {
    kernel: Arc<Btf>,
    /// The BTF of all modules, read when a function is not in vmlinux.
    modules: Option<Vec<Module>>,
    /// The modules of found functions, by index in `modules`.
    used: Vec<usize>,
}

#[derive(Debug)]
struct Module {
    object: BtfObject,
    data: Vec<u8>,
}

impl KernelFunctions {
    /// Reads vmlinux BTF.
    ///
    /// # Errors
    /// As [`Btf::vmlinux`].
    pub fn new() -> Result<Self> {
        Ok(Self { kernel: Btf::vmlinux()?, modules: None, used: Vec::new() })
    }

    /// The function of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if neither the kernel nor a loaded module has it. Reading modules' BTF
    /// requires `CAP_SYS_ADMIN`.
    pub fn find(&mut self, name: &str) -> Result<KernelFunction> {
        if let Ok(id) = self.kernel.function(name) {
            return Ok(KernelFunction { id, btf: 0 });
        }
        let modules = match &mut self.modules {
            Some(modules) => modules,
            none => none.insert(modules()?),
        };
        for (place, module) in modules.iter().enumerate() {
            let Some(id) = self.kernel.function_of_module(&module.data, name)? else { continue };
            let used = self.used.iter().position(|used| *used == place).unwrap_or_else(|| {
                self.used.push(place);
                self.used.len() - 1
            });
            // Index 0 is not allowed for a module.
            let btf = i16::try_from(used + 1).map_err(|_| {
                Error::invalid(
                    format!("function `{name}`"),
                    "more modules than an instruction can index",
                )
            })?;
            return Ok(KernelFunction { id, btf });
        }
        let loaded = modules.len();
        Err(Error::invalid(
            format!("function `{name}`"),
            format!(
                "neither this kernel nor one of its {loaded} loaded modules with BTF has it: the kernel may be older, or built \
                 without it, or the module is not loaded"
            ),
        ))
    }

    /// The BTF objects by their index in calls, for
    /// [`ProgSpec::fd_array`](crate::ProgSpec::fd_array). Empty if all functions are in vmlinux.
    pub fn fd_array(&self) -> Vec<BorrowedFd<'_>> {
        let modules = self.modules.as_deref().unwrap_or_default();
        let mut fds: Vec<BorrowedFd<'_>> =
            self.used.iter().map(|used| modules[*used].object.as_fd()).collect();
        if let Some(first) = fds.first().copied() {
            // A placeholder at index 0, which means vmlinux.
            fds.insert(0, first);
        }
        fds
    }
}

/// The BTF of all loaded modules.
fn modules() -> Result<Vec<Module>> {
    let mut found = Vec::new();
    for id in object::btf_ids() {
        let object = match BtfObject::open_id(id?) {
            Ok(object) => object,
            // Unloaded meanwhile.
            Err(error) if error.errno() == Some(Errno::NOENT) => continue,
            Err(error) => return Err(error),
        };
        let info = object.info()?;
        if info.is_kernel && info.name != "vmlinux" {
            let data = object.data()?;
            found.push(Module { object, data });
        }
    }
    Ok(found)
}

impl Btf {
    /// The BTF id of a module's function. Its types and strings are numbered after those of vmlinux
    /// (`btf_parse_module`, kernel/bpf/btf.c).
    fn function_of_module(&self, module: &[u8], name: &str) -> BtfResult<Option<u32>> {
        let Header { types, strings } = Header::read(module)?;
        let (text, before) = (&module[strings], self.strings.len());
        let is_name = |offset: u32| match (offset as usize).checked_sub(before) {
            Some(offset) => text
                .get(offset..)
                .and_then(|rest| rest.strip_prefix(name.as_bytes()))
                .is_some_and(|rest| rest.first() == Some(&0)),
            None => self.string_is(offset, name),
        };
        let (mut at, mut id) = (types.start, self.type_count());
        while at < types.end {
            id = id.checked_add(1).ok_or(BtfError::TruncatedType { id })?;
            let ty = Type::read(&module[..types.end], at).ok_or(BtfError::TruncatedType { id })?;
            let kind = ty.kind().ok_or(BtfError::UnknownKind { id, kind: ty.raw_kind() })?;
            if kind == Kind::Func && is_name(ty.name) {
                return Ok(Some(id));
            }
            at += Type::LEN + kind.tail(ty.count());
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::blob::Blob;
    use super::*;

    #[test]
    fn ids_of_a_module_continue_those_of_the_kernel() {
        let mut blob = Blob::new();
        let int = blob.int("int", 4);
        blob.function("of_the_kernel", int);
        let kernel = Btf::parse(blob.bytes()).unwrap();

        // A module's strings do not start with an empty one; its first type has the id after
        // vmlinux's last.
        let strings = b"of_a_module\0last\0";
        let before = kernel.strings.len() as u32;
        let shared = kernel.ty(kernel.function("of_the_kernel").unwrap()).unwrap().name;
        let func = |name: u32| [name, 12 << 24, 2];
        let types = [func(before), func(before + 12), func(shared)].concat();
        let length = types.len() as u32 * 4;
        let header = [0x0001_eb9f, 24, 0, length, length, strings.len() as u32];
        let words = header.iter().chain(&types).flat_map(|word| word.to_ne_bytes());
        let module: Vec<u8> = words.chain(*strings).collect();

        let first = kernel.type_count() + 1;
        for (name, id) in [
            ("of_a_module", Some(0)),
            ("last", Some(1)),
            ("of_the_kernel", Some(2)),
            ("of_a", None),
        ] {
            assert_eq!(
                kernel.function_of_module(&module, name),
                Ok(id.map(|id| id + first)),
                "{name}"
            );
        }
        assert!(kernel.function_of_module(&module[..module.len() - 1], "last").is_err());
        assert!(kernel.function_of_module(&module[..30], "last").is_err());
    }

    #[test]
    fn functions_of_the_running_kernel_are_found_and_missing_ones_are_named() {
        let mut functions = KernelFunctions::new().unwrap();
        let found = functions.find("tcp_sendmsg").unwrap();
        assert_eq!(
            found,
            KernelFunction { id: Btf::vmlinux().unwrap().function("tcp_sendmsg").unwrap(), btf: 0 }
        );
        assert!(functions.fd_array().is_empty());
        let error = functions.find("no_such_function").unwrap_err().to_string();
        assert!(error.contains("`no_such_function`") && error.contains("modules"), "{error}");
    }
}
