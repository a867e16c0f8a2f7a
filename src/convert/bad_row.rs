//! A row that can't be taken: where it stands, and why.

use crate::error::{Error, ErrorKind, Place};
use crate::values::CellFault;

/// A row that can't be taken; either the run ends with it as its error, or it is set aside.
#[derive(Debug, Clone)]
pub struct BadRow {
    /// Where it stands: file, row or line, column.
    pub place: Place,
    /// What was found there.
    pub fault: CellFault,
}

impl BadRow {
    /// Returns the error that ends the run.
    pub fn to_error(&self) -> Error {
        let error = Error::new(ErrorKind::DataRefused, self.fault.message()).at(self.place.clone());
        match self.fault.hint() {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}
