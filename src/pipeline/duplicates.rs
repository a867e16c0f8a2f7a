//! Keys of a director that occur twice.
//!
//! That some do shows when all rows are there, in the index. Then the inputs are read once more to
//! see which row has such a key first, and the pass is made anew, in which all others are refused.
//! So the row that is named, or set aside, is the same whatever the threads; and a catalogue with
//! good keys pays for a look at its index only.

use std::path::Path;
use std::sync::Arc;

use super::folder_run::PassJob;
use super::pass::{NoEvents, Pass, PassInput, PassLimits};
use super::prepared::PreparedInputs;
use super::table::TableJob;
use crate::convert::{BadRow, RowTarget};
use crate::dialect::each_own_block;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{Packet, RunEnd, Sink};
use crate::partition::key_index::{DuplicatedKeys, Key, duplicated};
use crate::partition::{KeyWatch, PieceOrigin, RowUnit};

/// Keys of table number so-and-so that occur more than once.
pub(super) type TableDuplicates = (usize, DuplicatedKeys);

/// Looks for keys that the staged index `index` of a director has more than once.
///
/// # Errors
/// The index can't be read.
pub(super) fn duplicates_of(
    job: &TableJob,
    index: &Path,
    scratch: &Path,
    limits: &PassLimits,
) -> Result<Option<DuplicatedKeys>> {
    let found = duplicated(index, &job.target.dialect, &limits.for_index(), scratch)?;
    Ok((!found.is_empty()).then_some(found))
}

/// Takes rows to nowhere.
struct Nowhere;

impl Sink for Nowhere {
    fn write_run(&self, _: &[Packet], _: RunEnd<'_>) -> Result<()> {
        Ok(())
    }

    fn is_stream(&self) -> bool {
        true
    }
}

impl PassJob {
    /// Finds out who has each of these keys first, and lets the next pass refuse all others.
    ///
    /// # Errors
    /// The inputs can't be read a second time; or the keys were watched already, which is a fault of
    /// skyprep.
    pub(super) fn watch_out(
        &mut self,
        found: Vec<TableDuplicates>,
        limits: &PassLimits,
    ) -> Result<()> {
        let mut watches = Vec::with_capacity(found.len());
        for (table, keys) in found {
            let Some(routing) = &mut self.tables[table].target.routing else {
                continue;
            };
            if routing.watch.is_some() {
                let message = "director keys occur twice though all but the first were refused";
                return Err(Error::new(ErrorKind::Internal, message).hint("please report this"));
            }
            let watch = Arc::new(KeyWatch::finding(keys));
            routing.watch = Some(Arc::clone(&watch));
            watches.push(watch);
        }
        self.read_through(limits)?;
        watches.iter().for_each(|watch| watch.refuse());
        Ok(())
    }
}

impl PassJob {
    /// Reads all inputs, and makes nothing of them.
    fn read_through(&self, limits: &PassLimits) -> Result<()> {
        let targets: Vec<&RowTarget> = self.tables.iter().map(|job| &job.target).collect();
        let inputs = PreparedInputs::new(self.readable().cloned().collect(), &targets)?;
        let pass = Pass {
            inputs: &inputs,
            sinks: targets.iter().map(|_| &Nowhere as &dyn Sink).collect(),
            starts: targets.iter().map(|_| None).collect(),
            targets,
        };
        pass.run(limits, &NoEvents).map(drop)
    }

    /// Reads the inputs of a job's pass to see who has a key of table number `table` a second time, and
    /// makes the error that names the first such row.
    pub(crate) fn duplicate_row(
        mut self,
        inputs: Vec<PassInput>,
        table: usize,
        keys: DuplicatedKeys,
        limits: &PassLimits,
    ) -> Error {
        self.inputs = inputs;
        let found = self.watch_out(vec![(table, keys)], limits);
        let found = found.and_then(|()| self.read_through(limits));
        match found {
            Err(error) => error
                .hint("put the input right; `skyprep run` can set such rows aside, a job can't"),
            Ok(()) => Error::new(ErrorKind::DataRefused, "director keys occur more than once"),
        }
    }
}

/// Makes the error for keys that occur twice in rows that can't be read a second time, with the
/// first of them by the index, whose rows are those of the input.
pub(super) fn first_in_index(job: &TableJob, keys: DuplicatedKeys, index: &Path) -> Error {
    let watch = KeyWatch::finding(keys);
    watch.refuse();
    let dialect = &job.target.dialect;
    let mut scratch = Vec::new();
    let origin = PieceOrigin {
        piece: 0,
        input: 0,
        offset: 0,
        file: "stdin",
        before: 0,
        unit: RowUnit::Row,
    };
    let mut number = 0;
    let found = each_own_block(index, dialect, &mut |block| {
        block.each_row(&mut |row| {
            number += 1;
            let key = Key::Text(dialect.value(row.field(0)?, &mut scratch));
            watch.check(key, origin, number, number).map_err(|fault| {
                let routing = job.target.routing.as_ref();
                let place = Place {
                    row: Some(number),
                    column: routing.and_then(|routing| routing.director_key.clone()),
                    ..Place::file("stdin")
                };
                BadRow { place, fault }.to_error()
            })
        })
    });
    found
        .err()
        .unwrap_or_else(|| Error::new(ErrorKind::DataRefused, "director keys occur more than once"))
}
