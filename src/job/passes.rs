//! The passes of a job's pipeline, as its tasks see them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::folder::JobFolder;
use super::listing::table_names;
use super::plan::{PassPlan, Plan, damaged};
use super::waiting::needed;
use crate::error::{Error, Place, Result};
use crate::pipeline::{PlannedPass, RunEvents, configuration_of, job_passes};

/// Returns the folder of a table's files in a generation, relative to the output folder.
pub(super) fn table_folder(database: &str, generation: u32, table: &str) -> String {
    match generation {
        0 | 1 => format!("{database}/{table}/"),
        later => format!("{database}/gen-{later}/{table}/"),
    }
}

/// Returns the pass that a task works on, as the job's own copy of the pipeline file says.
///
/// # Errors
/// An index that is needed is not there yet; or table definitions have changed since the plan.
pub(super) fn pass_of(
    folder: &JobFolder,
    plan: &Plan,
    number: usize,
    events: &dyn RunEvents,
) -> Result<PlannedPass> {
    let own = plan.pass(number)?;
    let mut indexes: BTreeMap<String, PathBuf> = BTreeMap::new();
    let sources: Vec<_> = own.indexes.values().cloned().collect();
    let records = needed(folder, &sources)?;
    for ((director, source), record) in own.indexes.iter().zip(records) {
        let table = record.tables.iter().find(|table| table.table == *director);
        let compact = table.and_then(|table| table.compact_index.clone());
        let of = folder.of_source(source);
        // A director without rows has no index: a file that is not there says so.
        let path = compact.unwrap_or_else(|| PathBuf::from("none"));
        indexes.insert(director.clone(), of.file(path));
    }
    let file = folder.pipeline(plan)?;
    let passes = job_passes(&file, &indexes, events)?;
    let mut pass = find(passes, own)?;
    if configuration_of(&pass.job.options, &own.known) != plan.configuration(number)? {
        return Err(Error::usage(
            "a table definition is no longer what it was when the job was planned",
        )
        .at(Place::file(own.tables.join(", ")))
        .hint("put it back as it was, or plan a job anew"));
    }
    for table in &mut pass.job.tables {
        table.folder = table_folder(&plan.database, plan.generation, &table.target.name);
    }
    Ok(pass)
}

/// Finds the pass that makes the same tables as a planned one.
pub(super) fn find(passes: Vec<PlannedPass>, own: &PassPlan) -> Result<PlannedPass> {
    let mut passes = passes.into_iter();
    passes
        .find(|pass| table_names(&pass.job) == own.tables)
        .ok_or_else(|| damaged("no pass of the pipeline makes the same tables"))
}
