//! Assembles text into an object.

use super::{LICENSE, WriteError, relocatable, section_names, write};
use crate::text::gas;
use crate::text::{self, TextErrors, TextWarnings, Unit};

/// The result of assembling a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assembled {
    /// The object.
    pub object: Vec<u8>,
    /// Warnings about the text.
    pub warnings: TextWarnings,
}

/// Assembles a text into an object by [`text::assemble`] and [`write()`], with all errors located
/// in the text. `file` is its name.
///
/// A text with directives of GNU as and LLVM, such as clang writes by `-S` and
/// [`disassemble`](super::disassemble()) for objects that [`Unit`] cannot represent, becomes
/// exactly the object that it describes.
///
/// # Errors
/// All errors in the text, or the first reason why libbpf could not load the object.
pub fn assemble(file: &str, source: &str) -> Result<Assembled, TextErrors> {
    if gas::is_gas(source) {
        let (object, warnings) = gas::assemble(file, source)?;
        let object =
            relocatable::write(&object).map_err(|error| shown(file, source, &error.into()))?;
        return Ok(Assembled { object, warnings });
    }
    let (unit, mut warnings) = text::assemble_with_warnings(file, source)?;
    let object = write(&unit).map_err(|error| shown(file, source, &error))?;
    for section in &unit.sections {
        if let Some((message, hint)) = section_names::warning(&section.name) {
            warnings.add(source, line_of(source, ".section", &section.name), message, Some(hint));
        }
    }
    if unit.license.is_none() && calls_helpers(&unit) {
        let message = "there is no licence, and many helpers require a GPL-compatible one";
        warnings.add(
            source,
            None,
            message.to_owned(),
            Some(format!("write `.{LICENSE} \"GPL\"` if that applies")),
        );
    }
    Ok(Assembled { object, warnings })
}

fn calls_helpers(unit: &Unit) -> bool {
    use crate::insn::{Call, Decoded, Insn};
    let mut code = unit.sections.iter().flat_map(|section| &section.code);
    code.any(|part| {
        matches!(part, Decoded::Insn(Insn::Call(Call::Helper { .. } | Call::Kernel { .. })))
    })
}

/// The line, from 1, of the directive that declares a name.
fn line_of(source: &str, directive: &str, name: &str) -> Option<usize> {
    let declares = |line: &str| {
        let mut words = line.trim().split([' ', '\t']).filter(|word| !word.is_empty());
        words.next() == Some(directive)
            && words.next().is_some_and(|word| word.trim_matches('"') == name)
    };
    source.lines().position(declares).map(|line| line + 1)
}

/// A write error, located in the text.
fn shown(file: &str, source: &str, error: &WriteError) -> TextErrors {
    let message = error.to_string();
    let (line, message) = match (error.at(), error.named()) {
        (Some(at), _) => {
            let line = at.line.as_ref().map(|(_, line)| *line as usize);
            (line, message.strip_prefix(&format!("{at}: ")).unwrap_or(&message))
        }
        (None, Some(name)) => {
            let line = [".map", ".function", ".section"]
                .iter()
                .find_map(|word| line_of(source, word, name));
            (line, message.as_str())
        }
        (None, None) => (None, message.as_str()),
    };
    // The hint follows a semicolon or colon.
    let (message, hint) = match message.split_once("; ") {
        Some((message, hint)) => (message, Some(hint.to_owned())),
        None => (message, None),
    };
    TextErrors::one(file, source, line, message.to_owned(), hint)
}
