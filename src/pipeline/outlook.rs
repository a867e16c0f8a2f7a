//! What a command would do, found out without touching anything.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::folder_run::{PassJob, Replace};
use super::pass::PassInput;
use super::prepared::PreparedInputs;
use super::table::TableJob;
use crate::convert::RowTarget;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::publish::{OutputFolder, Record, SetState};
use crate::source::Input;

/// What a command would do to an output folder.
#[derive(Debug)]
pub struct Outlook {
    /// The passes in order.
    pub passes: Vec<PassOutlook>,
    /// Why the command would end without doing it, as far as that can be known.
    pub refusal: Option<Error>,
}

/// What a pass would read and make.
#[derive(Debug)]
pub struct PassOutlook {
    /// The inputs.
    pub inputs: Vec<Input>,
    /// The tables.
    pub tables: Vec<TableOutlook>,
}

/// What would become of a table.
#[derive(Debug)]
pub struct TableOutlook {
    /// Its name.
    pub table: String,
    /// How its output stands.
    pub state: OutputState,
    /// Its columns; none if only a pipe could tell.
    pub columns: Vec<String>,
}

/// How an output stands before a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputState {
    /// There is none.
    Absent,
    /// It is there, made by the same options from the same inputs.
    Complete,
    /// Files are missing, or a run was interrupted while it published.
    Partial,
    /// It is there, made with other options or from other inputs.
    Different,
}

impl From<SetState> for OutputState {
    fn from(state: SetState) -> Self {
        match state {
            SetState::Absent => Self::Absent,
            SetState::Complete => Self::Complete,
            SetState::Damaged => Self::Partial,
            SetState::Different => Self::Different,
        }
    }
}

impl OutputState {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Different => "different",
        }
    }
}

/// Looks at an output folder and at all inputs of what is left to do.
///
/// # Errors
/// An input is missing, damaged or lacks a column. What speaks against the output is no error
/// here but the outlook's refusal.
pub fn outlook(root: &Path, jobs: &[PassJob], replace: Replace) -> Result<Outlook> {
    let mut refusal = None;
    let record = match OutputFolder::peek(root) {
        Ok(record) => record,
        Err(error) => {
            refusal.get_or_insert(error);
            None
        }
    };
    let is_interrupted = OutputFolder::is_interrupted(root);
    let record = record.unwrap_or_default();
    let mut is_work_left = false;
    let mut passes = Vec::with_capacity(jobs.len());
    for job in jobs {
        match job.already_done(root, &record, replace) {
            Ok(done) => is_work_left |= done.is_none(),
            Err(error) => {
                refusal.get_or_insert(error);
            }
        }
        let targets: Vec<&RowTarget> = job.tables.iter().map(|table| &table.target).collect();
        let columns = columns_of(&job.inputs, &targets)?;
        let mut tables = Vec::with_capacity(job.tables.len());
        for (number, (table, columns)) in job.tables.iter().zip(columns).enumerate() {
            // Only a pipe's columns are not known by now.
            if !columns.is_empty() {
                table.check_sort(&columns)?;
            }
            let state = match job.state_of(number, root, &record) {
                _ if is_interrupted => OutputState::Partial,
                state => state.into(),
            };
            if let Some(path) = taken_name(table, root, &record) {
                refusal.get_or_insert(already_there(&path));
            }
            tables.push(TableOutlook {
                table: table.target.name.clone(),
                state,
                columns,
            });
        }
        passes.push(PassOutlook {
            inputs: job.inputs.iter().map(|fed| fed.input.clone()).collect(),
            tables,
        });
    }
    if is_work_left && refusal.is_none() {
        refusal = check_writable(root)
            .and_then(|()| OutputFolder::check_free(root))
            .err();
    }
    Ok(Outlook { passes, refusal })
}

/// Returns the columns of the outputs that `inputs` would give, having opened all of them; none
/// where a pipe would have to be looked at, for that would use it up.
///
/// # Errors
/// An input is missing, damaged or lacks a column.
pub fn columns_of(inputs: &[PassInput], targets: &[&RowTarget]) -> Result<Vec<Vec<String>>> {
    if inputs.iter().any(|fed| fed.input.stamp.is_none()) {
        return Ok(vec![Vec::new(); targets.len()]);
    }
    let inputs = PreparedInputs::new(inputs.to_vec(), targets)?;
    for number in 0..inputs.len() {
        inputs.open(number, targets)?;
    }
    let names = |number| {
        let columns = inputs.columns(number).iter();
        columns.map(|column| column.name.clone()).collect()
    };
    Ok((0..targets.len()).map(names).collect())
}

/// Returns the final name of a table of one file, if somebody else's file has it.
fn taken_name(table: &TableJob, root: &Path, record: &Record) -> Option<PathBuf> {
    if table.target.routing.is_some() {
        return None;
    }
    let name = format!("{}{}", table.folder, table.file_name);
    let set = record.sets.get(&table.target.name);
    let is_own = set.is_some_and(|set| set.files.iter().any(|file| file.path() == name));
    let path = root.join(name);
    (!is_own && path.symlink_metadata().is_ok()).then_some(path)
}

fn already_there(path: &Path) -> Error {
    let message = "exists already and was not made by this command";
    Error::new(ErrorKind::OutputRefused, message)
        .at(Place::file(path.display().to_string()))
        .hint("move it away or choose another output")
}

/// Says whether a file or folder `path` could be made, by looking at the folder that is there.
///
/// # Errors
/// The folder may not be written.
pub fn check_writable(path: &Path) -> Result<()> {
    let path = std::path::absolute(path).map_err(|error| Error::writing(path, error))?;
    let there = path.ancestors().find(|folder| folder.exists());
    let there = there.unwrap_or(Path::new("/"));
    let may = rustix::fs::access(there, Access::WRITE_OK);
    may.map_err(|error| Error::writing(there, error.into()))
}
