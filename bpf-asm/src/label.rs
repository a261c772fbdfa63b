//! Labels: places in a program to jump to.

use crate::builder::Builder;
use crate::error::Location;

pub(crate) type LabelId = usize;

/// A place in a function, jumped to before or after it is placed; made by [`Builder::label`].
#[derive(Debug)]
pub struct Label {
    pub(crate) builder: Builder,
    pub(crate) id: LabelId,
}

/// The state of a label.
pub(crate) struct LabelState {
    /// Where it was made.
    pub(crate) at: Location,
    /// The function it belongs to.
    pub(crate) function: usize,
    /// The line before which it is placed, and where that was done.
    pub(crate) placed: Option<(usize, Location)>,
    /// The values that every jump so far brings along, by register.
    pub(crate) holds: Option<[Option<usize>; 11]>,
}
