//! What a command has done, for people who keep books: one report for all commands.
//!
//! `run` keeps it as `report.json` in the database's folder, every output folder keeps the last
//! one in its `.skyprep`, and `--report` and `--json` hand it out. `docs/file-formats.md` tells
//! what the fields mean.

mod depfile;
mod digests;
mod words;

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value;

pub use depfile::depfile;
pub use digests::add_digests;
pub use words::grouped;

use crate::error::{Error, ErrorKind, Result};
use crate::pipeline::{PassLimits, PassedOver, TableReport};
use crate::publish::{InputStamp, STATE_FOLDER, write_atomically};
use crate::resources::process_peak_bytes;
use crate::source::Input;

/// Name of the report file in a database's folder and in the state folder.
pub const REPORT_FILE: &str = "report.json";

/// A report; begin it before the work, finish it behind.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    format: &'static str,
    version: u32,
    skyprep: &'static str,
    /// Name of the command.
    pub command: String,
    /// Name of the database, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The options as they were resolved, by their long names.
    pub options: Value,
    /// Threads in force.
    pub threads: usize,
    /// Bytes of memory in force.
    pub memory_limit: u64,
    /// Output files that may be open at once.
    pub max_open_files: usize,
    /// Where rows that memory can't hold wait; nothing if beside the output.
    pub spill_folder: Option<String>,
    /// Whether all was there already.
    pub unchanged: bool,
    /// The inputs in order; one that feeds several tables stands once.
    pub inputs: Vec<InputReport>,
    /// Inputs that were passed over; outputs lack their rows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// The tables, or the outputs of `convert` and `sanitize`.
    pub tables: Vec<TableEntry>,
    /// Files that stand, indexes included.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Seconds from beginning to end.
    pub seconds: f64,
    /// Largest resident size of the process in bytes, where the system tells.
    pub process_peak: Option<u64>,
    #[serde(skip)]
    start: Instant,
    #[serde(skip)]
    is_finished: bool,
}

/// An input as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputReport {
    /// Name as the user wrote it.
    pub path: String,
    /// Bytes; nothing for pipes.
    pub bytes: Option<u64>,
    /// Time of last change in nanoseconds since 1970; nothing for pipes.
    pub modified_ns: Option<u64>,
    /// SHA-256, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What stands of a table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableEntry {
    /// What was counted when it was made.
    #[serde(flatten)]
    pub counts: TableReport,
    /// Rows that went to the output; the others were rejected or belong to other chunks.
    pub rows_routed: u64,
    /// Whether this command made it; else it stood already.
    pub is_new: bool,
}

impl Report {
    /// Begins a report; the clock runs from here.
    pub fn begin(command: &str, options: Value, limits: &PassLimits) -> Self {
        let spill_folder = limits.spill_folder.as_deref();
        Self {
            format: "skyprep-report",
            version: 1,
            skyprep: env!("CARGO_PKG_VERSION"),
            command: command.to_owned(),
            database: None,
            options,
            threads: limits.threads,
            memory_limit: limits.gate.limit(),
            max_open_files: limits.max_open_files,
            spill_folder: spill_folder.map(|folder| folder.display().to_string()),
            unchanged: false,
            inputs: Vec::new(),
            passed_over: Vec::new(),
            tables: Vec::new(),
            files: 0,
            bytes: 0,
            seconds: 0.0,
            process_peak: None,
            start: Instant::now(),
            is_finished: false,
        }
    }

    /// Adds inputs; those that are there already are passed over.
    pub fn add_inputs<'i>(&mut self, inputs: impl IntoIterator<Item = &'i Input>) {
        let mut known: std::collections::BTreeSet<String> =
            self.inputs.iter().map(|input| input.path.clone()).collect();
        for input in inputs {
            let path = input.name.shown();
            if !known.insert(path.clone()) {
                continue;
            }
            let stamp = input.stamp.as_ref().filter(|stamp| !stamp.is_absent());
            self.inputs.push(InputReport {
                path,
                bytes: stamp.map(|stamp| stamp.bytes),
                modified_ns: stamp.map(|stamp| stamp.modified_ns),
                sha256: stamp.and_then(|stamp| stamp.sha256.clone()),
            });
        }
    }

    /// Adds inputs of which only the stamps are known; none of them may be there already.
    pub fn add_stamps<'i>(&mut self, stamps: impl IntoIterator<Item = &'i InputStamp>) {
        let inputs = stamps.into_iter().map(|stamp| {
            let is_there = !stamp.is_absent();
            InputReport {
                path: stamp.path.clone(),
                bytes: is_there.then_some(stamp.bytes),
                modified_ns: is_there.then_some(stamp.modified_ns),
                sha256: stamp.sha256.clone(),
            }
        });
        self.inputs.extend(inputs);
    }

    /// Adds a table, with its files and bytes.
    pub fn add_table(&mut self, counts: TableReport, is_new: bool) {
        self.files += counts.files;
        self.bytes += counts.bytes;
        for input in &counts.passed_over {
            if !self.passed_over.contains(input) {
                self.passed_over.push(input.clone());
            }
        }
        self.tables.push(TableEntry {
            rows_routed: counts
                .rows_in
                .saturating_sub(counts.rejected + counts.elsewhere),
            counts,
            is_new,
        });
    }

    /// Stops the clock and looks at the process; once, so that all copies say the same.
    pub fn finish(&mut self) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        self.seconds = self.start.elapsed().as_secs_f64();
        self.process_peak = process_peak_bytes();
    }

    /// Returns the bytes of the report as a file.
    ///
    /// # Errors
    /// The report can't be expressed, which is a fault of skyprep.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("report: {error}")))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Writes the report to `path`, whole or not at all.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, &self.to_bytes()?)
    }

    /// Keeps the report in the state folder of the output folder `root`, finished.
    ///
    /// Where nothing was done nothing is touched, unless an interrupted command left no report.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep_in(&mut self, root: &Path) -> Result<()> {
        self.finish();
        let state = root.join(STATE_FOLDER);
        let path = state.join(REPORT_FILE);
        if !self.unchanged {
            return self.write(&path);
        }
        if !path.exists() || state.join(format!(".{REPORT_FILE}.partial")).exists() {
            // A complete folder need not be writable.
            let _ = self.write(&path);
        }
        Ok(())
    }
}
