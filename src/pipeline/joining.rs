//! Keys that are looked up before the pass: for indexes that memory does not hold.
//!
//! The inputs are read once for their keys alone, which are sorted beside the index; the pass then
//! finds the places of its rows in order.

use std::path::Path;
use std::sync::Arc;

use super::folder_run::PassJob;
use super::pass::{PassLimits, shapes};
use super::prepared::{PreparedInputs, Ready};
use super::table::TableJob;
use crate::convert::{KeyValues, RowTarget};
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::check_room;
use crate::partition::key_index::{KeyIndex, LEAST_ROUTE_MEMORY, RouteTable, RouteTableBuilder};
use crate::partition::{JoinedKeys, KeyColumn, Routing, RowStarts};
use crate::publish::StagingPlace;
use crate::source::{DecodeBudget, SharedRowGroup};

/// Indexes may take so many eighths of the memory that there is; else they are not looked up.
const INDEX_EIGHTHS: u64 = 5;

impl PassJob {
    /// Opens the indexes in which keys are looked up, and returns the limits beside them. What does
    /// not fit is looked up now.
    ///
    /// # Errors
    /// An index can't be opened, or leaves too little memory.
    pub(super) fn with_indexes(
        &self,
        staging: &StagingPlace,
        limits: &PassLimits,
        inputs: &PreparedInputs,
        targets: &[&RowTarget],
    ) -> Result<PassLimits> {
        let most = limits.gate.room() / 8 * INDEX_EIGHTHS;
        let mut held: Vec<&KeyColumn> = Vec::new();
        let mut bytes = 0;
        let mut left = Vec::new();
        for (number, table) in self.tables.iter().enumerate() {
            for (at, key) in keys_of(table).into_iter().enumerate() {
                let scratch = table.scratch(staging, &format!("index{at}"))?;
                key.index.open(scratch, limits.for_index())?;
                let is_held = held
                    .iter()
                    .any(|other| Arc::ptr_eq(&other.index, &key.index));
                if is_held {
                    continue;
                }
                if bytes + key.index.bytes() <= most {
                    bytes += key.index.bytes();
                    held.push(key);
                } else {
                    left.push((number, at, key));
                }
            }
        }
        if bytes == 0 && left.is_empty() {
            return Ok(limits.clone());
        }
        let limits = limits.beside(bytes);
        for (number, at, key) in left {
            let Some(index) = key.index.index() else {
                continue;
            };
            if !inputs.can_be_read_again() {
                let needed = limits.gate.base() + key.index.bytes() * 8 / INDEX_EIGHTHS;
                return Err(Error::usage(format!(
                    "the index {} takes {} bytes, too many for the memory limit of {}",
                    key.index.shown(),
                    key.index.bytes(),
                    limits.gate.limit()
                ))
                .hint(format!(
                    "--memory-limit {}MiB will do; or read files, not a pipe: these can be read \
                     twice, and then keys are sorted",
                    needed.div_ceil(1 << 20) + 64
                )));
            }
            let scratch = self.tables[number].scratch(staging, &format!("join{at}"))?;
            let join = Join {
                index,
                table: number,
                key: at,
                limits: &limits,
            };
            key.join(join.run(inputs, targets, &scratch)?);
        }
        let shapes = shapes(inputs, targets, limits.gate.room());
        check_room(&limits.gate, &shapes, inputs.least_memory(targets)?)?;
        Ok(limits)
    }
}

fn keys_of(table: &TableJob) -> Vec<&KeyColumn> {
    let routing = table.target.routing.as_ref();
    routing.map(Routing::keys).unwrap_or_default()
}

/// Looks all values of one key up.
struct Join<'a> {
    index: &'a KeyIndex,
    /// Number of the table and of its key.
    table: usize,
    key: usize,
    limits: &'a PassLimits,
}

impl Join<'_> {
    fn run(
        &self,
        inputs: &PreparedInputs,
        targets: &[&RowTarget],
        scratch: &Path,
    ) -> Result<JoinedKeys> {
        let gate = &self.limits.gate;
        let memory = (gate.room() / 2).max(LEAST_ROUTE_MEMORY);
        let limits = self.limits.for_index();
        let mut builder = RouteTableBuilder::new(self.index, scratch, memory, &limits)?;
        let mut starts = RowStarts::default();
        let mut rows = 0;
        for input in 0..inputs.len() {
            self.limits.cancel.check()?;
            match inputs.open(input, targets)? {
                Ready::Columns { file, .. } => {
                    let plan = file.plans.iter().find(|(table, _)| *table == self.table);
                    let Some((root, charset)) = plan.and_then(|(_, plan)| plan.key_root(self.key))
                    else {
                        continue;
                    };
                    starts.add_file(input, rows);
                    for group in 0..file.file.row_groups() {
                        let budget = DecodeBudget::LEAST;
                        let planned = file.file.plan(group, &[root], budget)?;
                        let _memory = gate.charge(planned.memory());
                        let group = SharedRowGroup::new(planned, 0, None);
                        let mut span = group.span(0);
                        while !span.is_empty() {
                            self.limits.cancel.check()?;
                            let batch = group.read(&span)?;
                            let keys = KeyValues::bind(batch.column(0), charset)?;
                            for row in 0..keys.rows() {
                                let mut outcome = Ok(());
                                let seen = keys.with_key(row, |key| outcome = builder.push(key));
                                match seen {
                                    Ok(()) => outcome?,
                                    // That row is refused when it is read.
                                    Err(_) => builder.push(None)?,
                                }
                                rows += 1;
                            }
                            span = group.span(span.end);
                        }
                    }
                }
                Ready::Text { mut file, plans } => {
                    let plan = plans.plans.iter().find(|(table, _)| *table == self.table);
                    let mut buffer = Vec::new();
                    while let Some((_, plan)) = plan
                        && let Some(block) = file.next_block(buffer)?
                    {
                        self.limits.cancel.check()?;
                        let first = rows;
                        plan.for_each_key(block.records(), self.key, |key| {
                            rows += 1;
                            builder.push(key)
                        })?;
                        starts.add_block(input, block.offset(), first, rows - first);
                        buffer = block.into_buffer().unwrap_or_default();
                    }
                }
            }
        }
        let places: RouteTable = builder.finish()?;
        if places.rows() != rows {
            let message = format!("{rows} keys were read, {} looked up", places.rows());
            return Err(Error::new(ErrorKind::Integrity, message).hint("please report this"));
        }
        Ok(JoinedKeys::new(places, starts))
    }
}
