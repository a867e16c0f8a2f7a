//! Text files that skyprep has written itself, gone through once more.

use std::fs::File;
use std::path::Path;

use super::{BlockReader, Dialect, Field, Fields, Records};
use crate::error::{Error, Place, Result};

/// Bytes of a block that is read at a time.
const BLOCK: usize = 1 << 20;

/// Whole records of such a file.
pub(crate) struct OwnBlock<'b> {
    path: &'b Path,
    dialect: &'b Dialect,
    pub(crate) text: &'b [u8],
    first_line: u64,
}

/// One record of such a file.
pub(crate) struct OwnRow<'r> {
    /// What it is made of, with its line end.
    pub(crate) text: &'r [u8],
    block: &'r OwnBlock<'r>,
    fields: &'r Fields,
    line: u64,
}

/// Gives the blocks of the file `path`, each about 1 MiB, to `each`.
///
/// # Errors
/// The file can't be read, or `each` fails.
pub(crate) fn each_own_block(
    path: &Path,
    dialect: &Dialect,
    each: &mut dyn FnMut(&OwnBlock<'_>) -> Result<()>,
) -> Result<()> {
    let file = File::open(path).map_err(|error| Error::reading(path, error))?;
    // Of ours, so what looks like a byte order mark is data.
    let mut blocks = BlockReader::new(file, dialect, BLOCK).starting_at(0, 1);
    let mut text = Vec::new();
    let at_file = |error: Error| error.at(Place::file(path.display().to_string()));
    while let Some(info) = blocks.next_block(&mut text).map_err(at_file)? {
        each(&OwnBlock {
            path,
            dialect,
            text: &text,
            first_line: info.first_line,
        })?;
    }
    Ok(())
}

impl OwnBlock<'_> {
    /// Gives the records of the block to `each`, in order.
    ///
    /// # Errors
    /// The block is damaged, or `each` fails.
    pub(crate) fn each_row(&self, each: &mut dyn FnMut(&OwnRow<'_>) -> Result<()>) -> Result<()> {
        let mut records = Records::new(self.dialect, self.text).at_line(self.first_line);
        let mut fields = Fields::new();
        let mut start = 0;
        let at_file = |fault| Error::from(fault).at(Place::file(self.path.display().to_string()));
        while let Some(record) = records.next(&mut fields).map_err(at_file)? {
            let end = records.position();
            each(&OwnRow {
                text: self.text.get(start..end).unwrap_or_default(),
                block: self,
                fields: &fields,
                line: record.line(),
            })?;
            start = end;
        }
        Ok(())
    }
}

impl OwnRow<'_> {
    /// Returns field number `index`, from 0.
    ///
    /// # Errors
    /// The row has fewer fields, which is a fault of ours.
    pub(crate) fn field(&self, index: usize) -> Result<Field<'_>> {
        self.fields.get(index, self.block.text).ok_or_else(|| {
            Error::of_ours(format!("the row has {} fields", self.fields.count())).at(Place {
                line: Some(self.line),
                ..Place::file(self.block.path.display().to_string())
            })
        })
    }
}
