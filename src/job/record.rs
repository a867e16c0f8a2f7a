//! What a task leaves behind when it is done: its record. The first one counts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::name::JobId;
use crate::exchange::{FileSummary, Section, deserialize_summaries};
use crate::pipeline::PassedOver;
use crate::publish::InputStamp;

/// What a record calls itself.
pub(super) const FORMAT: &str = "skyprep-task";

/// The record of a task that is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TaskRecord {
    pub(super) format: String,
    pub(super) version: u32,
    /// The job.
    pub job: JobId,
    /// The task, such as `map-7`.
    pub task: String,
    /// The attempt that has made it.
    pub attempt: String,
    /// The machine.
    pub host: String,
    /// When the attempt began: seconds since 1970.
    pub started: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// The most memory that its process had, in bytes.
    pub memory_peak: u64,
    /// What a map task has read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<InputStamp>,
    /// The tables.
    pub tables: Vec<TableRecord>,
    /// The exchange file of a map or merge task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedRecord>,
    /// The file that lists rows that were set aside, relative to the job's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejects: Option<PathBuf>,
    /// Folder of the files that a reduce task has made, relative to the job's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_in: Option<PathBuf>,
}

impl TaskRecord {
    /// Returns what the task has made, relative to the job's folder or elsewhere.
    pub(super) fn made(&self) -> impl Iterator<Item = &PathBuf> {
        let own = [
            self.sealed.as_ref().map(|sealed| &sealed.path),
            self.rejects.as_ref(),
            self.made_in.as_ref(),
        ];
        own.into_iter().flatten()
    }
}

/// What a task has done for a table.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TableRecord {
    /// Name of the table.
    pub table: String,
    /// Rows that a map task has read.
    #[serde(default)]
    pub rows_in: u64,
    /// Rows that it has set aside.
    #[serde(default)]
    pub rejected: u64,
    /// Rows of matches that it has written a second time.
    #[serde(default)]
    pub second_rows: u64,
    /// Rows that the task has written, without overlap.
    pub rows: u64,
    /// Overlap rows.
    #[serde(default)]
    pub overlap_rows: u64,
    /// The most bytes that the table's buffers held at once.
    #[serde(default)]
    pub memory_peak: u64,
    /// Changes of values by column and rule.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Inputs that were passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// Files that a reduce task has made.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "deserialize_summaries"
    )]
    pub files: Vec<FileSummary>,
    /// Names of files that may have had rows in the generation before and have none now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emptied: Vec<String>,
    /// The part of `chunk_index.bin` that tells of these chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_index: Option<FileSummary>,
    /// The compact index of a director, relative to the job's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact_index: Option<PathBuf>,
}

/// An exchange file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SealedRecord {
    /// Where it is, relative to the job's folder.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: u64,
    /// What it holds.
    pub sections: Vec<Section>,
}
