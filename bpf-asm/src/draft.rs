//! The draft: what has been written of a program, before registers and distances are known.
//!
//! A line is an instruction whose registers may be stood for by values, and whose jumps lead to
//! labels. The builder writes a draft; checks, allocation, optimiser and layout read it, and know
//! nothing of the builder.

use crate::error::Location;
use crate::insn::{Insn, Minimum};
use crate::map::{MapDef, MapKind};
use crate::program::READ_ONLY;
use crate::record::Type;
use crate::stack::{Frame, Touch};
use crate::uapi::BPF_F_RDONLY_PROG;

/// A value by its number in its function.
pub(crate) type ValueId = usize;

/// A label by its number in the program.
pub(crate) type LabelId = usize;

/// What the data of one string of bytes begins at.
const ALIGNMENT: usize = 8;

/// A program as it was written.
pub(crate) struct Draft {
    pub(crate) name: String,
    /// The context's type, once it is taken.
    pub(crate) context: Option<Type>,
    /// The program itself first, then its functions.
    pub(crate) functions: Vec<Function>,
    /// The functions that have been written, in the order in which they ended.
    pub(crate) finished: Vec<usize>,
    pub(crate) labels: Vec<Label>,
    pub(crate) maps: Vec<MapDef>,
    /// The functions of the kernel that are called by name.
    pub(crate) kernel_functions: Vec<String>,
    /// The read-only data.
    pub(crate) data: Vec<u8>,
    /// What the program has to run on.
    pub(crate) minimum: Minimum,
}

/// One function.
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) at: Location,
    pub(crate) lines: Vec<Line>,
    /// How many arguments its caller hands it.
    pub(crate) arguments: usize,
    /// Whether some call leads here.
    pub(crate) called: bool,
    /// Where each value was made.
    pub(crate) values: Vec<Location>,
    /// Whether the next line can run.
    pub(crate) goes_on: bool,
    /// Whether the present stretch of lines that cannot run has been reported.
    pub(crate) dead_reported: bool,
    /// The line that the latest label stands before, and who placed it.
    pub(crate) latest_label: Option<(usize, Location)>,
    pub(crate) frame: Frame,
}

/// A place to jump to.
pub(crate) struct Label {
    /// Where it was made.
    pub(crate) at: Location,
    /// The function it belongs to.
    pub(crate) function: usize,
    /// The line it stands before, and who placed it.
    pub(crate) placed: Option<(usize, Location)>,
    /// Whether a line jumps there.
    pub(crate) reached: bool,
}

/// One instruction.
pub(crate) struct Line {
    pub(crate) insn: Insn,
    pub(crate) at: Location,
    pub(crate) operands: Operands,
    pub(crate) link: Link,
    /// What it does to slots.
    pub(crate) touches: Vec<Touch>,
}

/// The values that stand in the place of the registers that an instruction names: that of its
/// destination field, and that of its source field.
pub(crate) type Operands = [Option<ValueId>; 2];

/// What an instruction names that has its number only at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    None,
    /// A jump's target.
    Label(LabelId),
    /// A call of a helper.
    Helper {
        arguments: usize,
    },
    /// A call of a function of this program.
    Function(usize),
    /// A load of the address of a function of this program.
    Address(usize),
    /// A call of a function of the kernel by its name.
    Kernel {
        name: usize,
        arguments: usize,
    },
    /// The map that a wide load is about.
    Map(usize),
}

/// The map of the read-only data while its size is not known.
pub(crate) const DATA: MapDef = MapDef {
    name: READ_ONLY,
    kind: MapKind::Array,
    key: None,
    value: None,
    key_size: 4,
    value_size: 0,
    max_entries: 1,
    flags: BPF_F_RDONLY_PROG,
    numa_node: None,
    extra: 0,
    inner: None,
};

impl Draft {
    /// Nothing but a name.
    pub(crate) fn new(name: &str, at: Location) -> Draft {
        let mut main = Function::new(name, at);
        // The kernel calls it, with the context in r1.
        (main.called, main.arguments) = (true, 1);
        Draft {
            name: name.to_owned(),
            context: None,
            functions: vec![main],
            finished: Vec::new(),
            labels: Vec::new(),
            maps: Vec::new(),
            kernel_functions: Vec::new(),
            data: Vec::new(),
            minimum: Minimum::default(),
        }
    }

    /// The number of a function of the kernel by its name.
    pub(crate) fn kernel_function(&mut self, name: String) -> usize {
        self.kernel_functions.iter().position(|known| *known == name).unwrap_or_else(|| {
            self.kernel_functions.push(name);
            self.kernel_functions.len() - 1
        })
    }

    /// Where these bytes are in the data, to which they are added if need be.
    pub(crate) fn place_data(&mut self, bytes: &[u8]) -> usize {
        let starts = (0..self.data.len()).step_by(ALIGNMENT);
        let known = starts.into_iter().find(|start| self.data[*start..].starts_with(bytes));
        known.unwrap_or_else(|| {
            let start = self.data.len().next_multiple_of(ALIGNMENT);
            self.data.resize(start, 0);
            self.data.extend(bytes);
            if self.data.is_empty() {
                // No map has a value without bytes.
                self.data.push(0);
            }
            start
        })
    }

    /// A map as it is to be made.
    pub(crate) fn finished_map(&self, index: usize) -> MapDef {
        let map = self.maps[index];
        if map == DATA { MapDef { value_size: self.data.len() as u32, ..map } } else { map }
    }
}

impl Function {
    pub(crate) fn new(name: &str, at: Location) -> Self {
        Function {
            name: name.to_owned(),
            at,
            lines: Vec::new(),
            arguments: 0,
            called: false,
            values: Vec::new(),
            goes_on: true,
            dead_reported: false,
            latest_label: None,
            frame: Frame::default(),
        }
    }

    /// A new value.
    pub(crate) fn value(&mut self, at: Location) -> ValueId {
        self.values.push(at);
        self.values.len() - 1
    }

    /// Where the function runs past its last line, if it can.
    pub(crate) fn falls_off(&self) -> Option<Location> {
        let label = self.latest_label.filter(|(line, _)| *line == self.lines.len());
        let last = || self.lines.last().map(|line| line.at);
        self.goes_on.then(|| label.map(|(_, at)| at).or_else(last).unwrap_or(self.at))
    }
}

/// Whether the kernel takes a name.
pub(crate) fn is_name(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=127).contains(&name.len())
        && name.chars().all(word)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}
