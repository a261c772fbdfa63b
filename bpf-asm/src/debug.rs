//! What the builder and its typed handles show of themselves, without asking anything of the types
//! that they are about.

use std::fmt::{Debug, Formatter, Result};

use crate::builder::Builder;
use crate::helper::Call;
use crate::place::{Place, Slot};
use crate::record::Field;
use crate::value::Ptr;

impl Debug for Builder {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut shown = f.debug_struct("Builder");
        // The builder may be borrowed while one of its values is formatted.
        if let Ok(core) = self.core.try_borrow() {
            shown.field("name", core.name());
        }
        shown.finish_non_exhaustive()
    }
}

impl<R> Debug for Call<R> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Call")
            .field("function", &self.function)
            .field("name", &self.name)
            .field("args", &self.args)
            .finish()
    }
}

impl<T> Debug for Place<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Place")
            .field("base", &self.base)
            .field("offset", &self.offset)
            .field("shape", &self.shape)
            .finish()
    }
}

impl<T> Debug for Slot<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_tuple("Slot").field(&self.place).finish()
    }
}

impl<R, T> Debug for Field<R, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_struct("Field").field("offset", &self.offset).finish()
    }
}

impl<R> Debug for Ptr<R> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.debug_tuple("Ptr").field(&self.value).finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Builder, ProgramType, helper, record};

    record! {
        struct Word {
            first: u32,
            second: u32,
        }
    }

    #[test]
    fn a_value_shows_its_number_and_whose_it_is() {
        let b = Builder::new("shown");
        let (word, slot) = (b.context::<Word>(), b.slot::<u64>());
        let condition = b.load(word.at(Word::second)).gt(b.value(7));
        let call = helper::ktime_get_ns();
        let shown = format!("{word:?} {slot:?} {condition:?} {call:?} {:?}", Word::second);
        for part in ["id: 0", "\"shown\"", "Slot(Place", "Compare", "Helper { id: 5 }", "offset: 4"]
        {
            assert!(shown.contains(part), "no {part} in {shown}");
        }
        drop((word, slot, condition, call));
        b.ret(0);
        assert!(b.finish(ProgramType::SocketFilter).is_ok());
    }
}
