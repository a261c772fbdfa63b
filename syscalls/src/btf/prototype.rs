//! Arguments of kernel functions, and the positions of functions in operations structures.

use super::layout::Kind;
use super::{Btf, BtfError, BtfResult, PathProblem};

/// An argument of a kernel function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Its size in bytes; a tracing program's context has 8 bytes for each of up to 8.
    pub size: u32,
    /// The structure or union that it points to; none if it is no such pointer.
    pub points_to: Option<String>,
}

impl Btf {
    /// The arguments of a function, as the context of a tracing or LSM program has them.
    ///
    /// ```no_run
    /// let btf = syscalls::Btf::vmlinux()?;
    /// let arguments = btf.arguments("tcp_sendmsg")?;
    /// assert_eq!(arguments[0].points_to.as_deref(), Some("sock"));
    /// # Ok::<(), syscalls::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BtfError::NoType`] if there is no such function; others for malformed BTF.
    pub fn arguments(&self, function: &str) -> BtfResult<Vec<Argument>> {
        let id = self.function(function)?;
        let prototype = self.ty(self.ty(id)?.size_or_type)?;
        if prototype.kind() != Some(Kind::FuncProto) {
            return Err(BtfError::TypeId { id });
        }
        let mut arguments = Vec::new();
        for [name, ty] in self.records::<2>(&prototype, prototype.count()) {
            // Variable arguments have no type.
            if ty == 0 {
                continue;
            }
            let pointer = self.ty(self.resolve_aliases(ty)?)?;
            let points_to = match pointer.kind() {
                Some(Kind::Ptr) => self.structure(pointer.size_or_type)?,
                _ => None,
            };
            let (name, size) = (self.string(name)?.to_owned(), self.size_of_id(ty)?);
            arguments.push(Argument { name, size, points_to });
        }
        Ok(arguments)
    }

    /// The name of a structure or union, without its qualifiers.
    fn structure(&self, id: u32) -> BtfResult<Option<String>> {
        match self.resolve_aliases(id)? {
            0 => Ok(None),
            id => match self.describe(id)? {
                (Kind::Struct | Kind::Union, name) => Ok(Some(name.to_owned())),
                _ => Ok(None),
            },
        }
    }

    /// The position of a member among those of a structure, from 0: what `BPF_PROG_LOAD` takes as
    /// `expected_attach_type` of a program that implements a function of an operations structure
    /// (`struct_ops`).
    ///
    /// # Errors
    /// [`BtfError::NoType`] for the structure, [`BtfError::Path`] for the member.
    pub fn member_index(&self, structure: &str, member: &str) -> BtfResult<u32> {
        let ty = self.ty(self.find(Kind::Struct, structure)?)?;
        let mut members = self.records::<3>(&ty, ty.count());
        let position = members.position(|[name, ..]| self.string_is(name, member));
        position.map(|position| position as u32).ok_or_else(|| BtfError::Path {
            root: structure.into(),
            path: member.into(),
            problem: PathProblem::NoMember {
                member: member.into(),
                parent: format!("struct `{structure}`"),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::blob::Blob;

    const PTR: u32 = 2 << 24;
    const STRUCT: u32 = 4 << 24;
    const CONST: u32 = 10 << 24;
    const FUNC: u32 = 12 << 24;
    const PROTO: u32 = 13 << 24;

    fn types() -> Btf {
        let mut b = Blob::new();
        let int = b.int("int", 4);
        let (first, second) = (b.string("first"), b.string("second"));
        let sock = b.add("sock", STRUCT | 2, 8, &[first, int, 0, second, int, 32]);
        let constant = b.add("", CONST, sock, &[]);
        let pointer = b.add("", PTR, constant, &[]);
        let (sk, size) = (b.string("sk"), b.string("size"));
        let any = b.add("", PTR, 0, &[]);
        let data = b.string("data");
        let prototype = b.add("", PROTO | 4, int, &[sk, pointer, size, int, data, any, 0, 0]);
        b.add("send", FUNC, prototype, &[]);
        Btf::parse(b.bytes()).unwrap()
    }

    #[test]
    fn arguments_have_names_sizes_and_structures() {
        let argument = |name: &str, size, points_to: Option<&str>| Argument {
            name: name.to_owned(),
            size,
            points_to: points_to.map(str::to_owned),
        };
        assert_eq!(
            types().arguments("send").unwrap(),
            [argument("sk", 8, Some("sock")), argument("size", 4, None), argument("data", 8, None)]
        );
        assert!(matches!(types().arguments("receive"), Err(BtfError::NoType { .. })));
    }

    #[test]
    fn members_have_positions() {
        assert_eq!(types().member_index("sock", "second"), Ok(1));
        assert!(matches!(types().member_index("sock", "third"), Err(BtfError::Path { .. })));
        assert!(matches!(types().member_index("none", "third"), Err(BtfError::NoType { .. })));
    }
}
