//! Labels: places in a program to jump to.

use crate::builder::Builder;
use crate::draft::LabelId;

/// A place in a function, jumped to before or after it is placed; made by [`Builder::label`].
#[derive(Debug)]
pub struct Label {
    pub(crate) builder: Builder,
    pub(crate) id: LabelId,
}
