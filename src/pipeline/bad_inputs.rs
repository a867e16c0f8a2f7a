//! Inputs that can't be read: passed over as a whole where the user says so.
//!
//! Rows of a damaged file may have gone to the exchange before the damage is seen. The simplest
//! sound way is to begin the pass anew without that file. As that costs a pass, the beginnings of
//! all inputs are looked at first, in parallel: most damage is a file cut short.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::pass::{PassInput, PassLimits};
use super::prepared::Opened;
use super::table::TableReport;
use crate::error::{Error, ErrorKind, Place, Result};

/// What a command does with an input that is missing, unreadable or damaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BadInputs {
    /// It ends.
    #[default]
    End,
    /// It passes the input over, does the rest, and says so at the end.
    PassOver,
}

/// An input that was passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedOver {
    /// Its name, as the user wrote it.
    pub file: String,
    /// Why.
    pub reason: String,
}

impl BadInputs {
    /// Checks that what is lacking in tables that stand already may be lacking.
    ///
    /// # Errors
    /// An input was passed over when a table was made.
    pub fn check_standing<'t>(
        self,
        tables: impl IntoIterator<Item = &'t TableReport>,
    ) -> Result<()> {
        let mut passed_over = tables.into_iter().flat_map(|table| &table.passed_over);
        match passed_over.next() {
            Some(input) if self == Self::End => Err(Error::new(
                ErrorKind::DataRefused,
                format!("was passed over when the output was made: {}", input.reason),
            )
            .at(Place::file(input.file.as_str()))
            .hint("say --keep-going if that will do, or put the file right and use --force")),
            _ => Ok(()),
        }
    }

    /// Looks at the beginnings of all inputs and marks those that can't be read.
    ///
    /// # Errors
    /// Something else is wrong, which passing over would not mend.
    pub fn look_at(self, inputs: &mut [PassInput]) -> Result<()> {
        if self == Self::End {
            return Ok(());
        }
        inputs.par_iter_mut().try_for_each(|fed| {
            // A pipe gives its bytes only once.
            if fed.input.stamp.is_none() || fed.input.unreadable.is_some() {
                return Ok(());
            }
            match Opened::open(fed) {
                Err(error) if is_of_input(&error) => {
                    fed.input.unreadable = Some(error.reason());
                    Ok(())
                }
                // Other faults are found again, in the order of the inputs.
                _ => Ok(()),
            }
        })
    }

    /// Marks the input that `error` is about, if that is what passing over mends.
    ///
    /// # Errors
    /// It is not; the same error.
    pub fn pass_over(self, inputs: &mut [PassInput], error: Error) -> Result<()> {
        if self == Self::End || !is_of_input(&error) {
            return Err(error);
        }
        let is_it = |fed: &&mut PassInput| {
            let input = &fed.input;
            input.stamp.is_some() && Some(input.name.shown()) == error.place().file
        };
        let mut found = 0;
        for fed in inputs.iter_mut().filter(is_it) {
            found += usize::from(fed.input.unreadable.is_none());
            fed.input.unreadable = Some(error.reason());
        }
        if found > 0 { Ok(()) } else { Err(error) }
    }
}

impl PassLimits {
    /// Checks that tables that stand already lack no more than this command may leave out.
    ///
    /// # Errors
    /// Too many rows were set aside, or an input was passed over.
    pub fn check_standing(&self, tables: &[&TableReport]) -> Result<()> {
        self.bad_inputs.check_standing(tables.iter().copied())?;
        self.rejects.add_standing(tables.iter().copied())
    }
}

/// Says whether a failure is one of an input that can't be read.
pub(super) fn is_of_input(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InputMissing | ErrorKind::Corrupt)
        && error.place().file.is_some()
}

/// Returns those of the inputs that were passed over.
pub(super) fn passed_over<'i>(inputs: impl IntoIterator<Item = &'i PassInput>) -> Vec<PassedOver> {
    let of_input = |fed: &PassInput| {
        let reason = fed.input.unreadable.clone()?;
        let file = fed.input.name.shown();
        Some(PassedOver { file, reason })
    };
    inputs.into_iter().filter_map(of_input).collect()
}
