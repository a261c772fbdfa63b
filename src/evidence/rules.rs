//! Judges how a process with a given file mapped can read.

use std::fmt;

use memchr::memmem;

use super::Reads;
use super::code::{self, Proof};
use super::image::{Error, Image, Import, ReadAt};

/// The evidence found in a file, displayed as the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Cannot splice; also libc, which only splices for its callers.
    Nothing,
    /// A strong import of `splice`.
    Imports,
    /// A weak import of `splice`.
    ImportsWeakly,
    /// Python, whose scripts can call `os.splice`, though hardly any does.
    Python,
    /// A Go program with the system call, which `io.Copy` between connections uses.
    Go,
    /// Other code with the system call.
    Calls,
    /// The name is passed to `dlsym`.
    LooksUp,
    /// The metadata of a .NET assembly contains the name.
    Names,
}

impl Evidence {
    /// How a process with this evidence can read.
    pub fn reads(self) -> Reads {
        match self {
            Self::Nothing => Reads::Receives,
            Self::Imports => Reads::Splices,
            Self::ImportsWeakly
            | Self::Python
            | Self::Go
            | Self::Calls
            | Self::LooksUp
            | Self::Names => Reads::MaySplice,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "cannot call splice",
            Self::Imports => "imports splice",
            Self::ImportsWeakly => "imports splice if there is one",
            Self::Python => "Python, which has os.splice",
            Self::Go => "a Go program that contains the system call splice",
            Self::Calls => "contains the system call splice",
            Self::LooksUp => "looks splice up by dlsym",
            Self::Names => "a .NET assembly that names splice",
        })
    }
}

/// Judges a file by its content, in this order:
///
/// 1. libc, which defines `splice` and the program entry, is no evidence.
/// 2. An import of `splice` means it is used, except in Python, which offers it to scripts, and if
///    it is weak.
/// 3. Code makes the system call itself or through libc's `syscall`. In an image without libraries
///    a load of the number into the system call register is enough.
/// 4. Code passes `splice` to `dlsym`.
pub fn judge(content: &dyn ReadAt) -> Result<Evidence, Error> {
    let image = match Image::read(content) {
        Err(Error::NotElf) if is_assembly(content)? => return judge_assembly(content),
        image => image?,
    };
    if image.libc {
        return Ok(Evidence::Nothing);
    }
    match image.splice {
        Some(_) if image.python => return Ok(Evidence::Python),
        Some(Import::Strong) => return Ok(Evidence::Imports),
        Some(Import::Weak) => return Ok(Evidence::ImportsWeakly),
        None => {}
    }
    let proof = if image.go || image.no_libraries { Proof::Load } else { Proof::Call };
    if code::makes_splice_call(&image, proof)? {
        return Ok(if image.go { Evidence::Go } else { Evidence::Calls });
    }
    if !image.dlsym.is_empty() {
        let names = image.addresses_of(NAME)?.into_iter();
        let names: Vec<_> = names.map(|address| address.wrapping_add(1)).collect();
        if !names.is_empty() && code::looks_up(&image, &names)? {
            return Ok(Evidence::LooksUp);
        }
    }
    Ok(Evidence::Nothing)
}

/// The name as a whole C string.
const NAME: &[u8] = b"\0splice\0";

/// Whether it is a portable executable: .NET maps ahead-of-time compiled assemblies as code.
fn is_assembly(content: &dyn ReadAt) -> Result<bool, Error> {
    let mut magic = [0; 2];
    Ok(content.size()? >= 64 && {
        content.read_exact_at(&mut magic, 0)?;
        magic == *b"MZ"
    })
}

/// Imports of an assembly (P/Invoke) are listed by name.
fn judge_assembly(content: &dyn ReadAt) -> Result<Evidence, Error> {
    const MAX_SIZE: u64 = 1 << 30;
    let size = content.size()?;
    if size > MAX_SIZE {
        return Err(Error::TooLarge);
    }
    let mut buffer = vec![0; (1 << 20) + NAME.len()];
    let mut at = 0;
    while at < size {
        let chunk = (size - at).min(buffer.len() as u64) as usize;
        content.read_exact_at(&mut buffer[..chunk], at)?;
        if memmem::find(&buffer[..chunk], NAME).is_some() {
            return Ok(Evidence::Names);
        }
        at += 1 << 20;
    }
    Ok(Evidence::Nothing)
}
