//! What came out of the comparison, for people, for programs and to be sent again.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;

use super::descriptors::{Descriptor, Status};
use crate::error::quote_value;
use crate::manifest::line::Contribution;
use crate::manifest::listing::Listing;
use crate::place::shown;

/// So many findings of a kind are listed in words.
const LISTED: usize = 20;

/// What can be done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Try the same request again: `PUT /ingest/file-async/<id>` at its worker.
    Retry,
    /// Send the contribution in an open transaction.
    Send,
    /// Abort the transaction, and send all its contributions again.
    Abort,
    /// The transaction is committed: delete the table and load all of it again.
    Reload,
    /// Ask again when the service is done.
    Wait,
    /// Look at the rows: they were loaded, though maybe not as they are.
    Look,
}

/// A try of the ingest service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// Number of the request.
    pub id: u64,
    /// The worker.
    pub worker: String,
    /// Number of the transaction.
    pub transaction: u64,
    /// How far it got.
    pub status: Status,
    /// Rows read.
    pub rows: u64,
    /// Rows loaded.
    pub rows_loaded: u64,
    /// Number of warnings.
    pub warnings: u64,
}

impl From<&Descriptor> for Attempt {
    fn from(file: &Descriptor) -> Self {
        Self {
            id: file.id,
            worker: file.worker.clone(),
            transaction: file.transaction,
            status: file.status,
            rows: file.rows,
            rows_loaded: file.rows_loaded,
            warnings: file.warnings,
        }
    }
}

/// A contribution that is not just loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the table.
    pub table: String,
    /// Chunk; none for regular tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<i32>,
    /// Whether the rows are overlap rows.
    pub overlap: bool,
    /// URL of the file, without signature.
    pub url: String,
    /// What was found.
    pub message: String,
    /// What can be done.
    pub remedy: Remedy,
    /// The tries that it is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
}

impl Finding {
    pub(super) fn new(line: &Contribution, message: String, remedy: Remedy) -> Self {
        Self {
            table: line.table.clone(),
            chunk: line.chunk,
            overlap: line.overlap,
            url: line.shown_url(),
            message,
            remedy,
            attempts: Vec::new(),
        }
    }

    /// Makes a finding about what the manifest does not name.
    pub(super) fn unknown(file: &Descriptor, is_partitioned: bool, remedy: Remedy) -> Self {
        let chunk = i32::try_from(file.chunk).ok().filter(|_| is_partitioned);
        Self {
            table: file.table.clone(),
            chunk,
            overlap: file.overlap && is_partitioned,
            url: shown(&file.url),
            message: format!(
                "{} rows were loaded that the manifest does not name",
                file.rows_loaded
            ),
            remedy,
            attempts: vec![Attempt::from(file)],
        }
    }

    #[must_use]
    pub(super) fn with(mut self, files: &[&Descriptor]) -> Self {
        self.attempts = files.iter().map(|file| Attempt::from(*file)).collect();
        self
    }
}

/// How what the ingest service has done agrees with a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ContribReport {
    /// Contributions of the manifest.
    pub contributions: u64,
    /// Tries that the service tells of.
    pub attempts: u64,
    /// Tries whose transaction was aborted, which do not count.
    pub void: u64,
    /// Tries for other databases, and tables that are not in the manifest.
    pub elsewhere: u64,
    /// Contributions that are loaded just once, with all their rows, warnings or not.
    pub loaded: u64,
    /// Contributions that failed.
    pub failed: Vec<Finding>,
    /// Contributions that are being worked on.
    pub in_progress: Vec<Finding>,
    /// Contributions that nobody sent, or not to all workers.
    pub missing: Vec<Finding>,
    /// Contributions that were loaded more than once.
    pub twice: Vec<Finding>,
    /// Contributions of other rows or bytes than the manifest says.
    pub wrong_rows: Vec<Finding>,
    /// Contributions that are loaded with warnings.
    pub warnings: Vec<Finding>,
    /// What was loaded into the tables of the manifest and is not in it.
    pub unknown: Vec<Finding>,
    /// Numbers of transactions that must be aborted.
    pub abort: BTreeSet<u64>,
    /// Tables that must be deleted and loaded again, for a committed transaction is at fault.
    pub reload: BTreeSet<String>,
    /// Numbers of the contributions to be sent again, counted from 0 in the manifest.
    #[serde(skip)]
    pub again: BTreeSet<usize>,
}

impl ContribReport {
    /// Says whether all contributions are loaded once with all rows, and nothing else is.
    pub fn is_complete(&self) -> bool {
        self.classes()
            .iter()
            .all(|(name, findings)| *name == "warnings" || findings.is_empty())
    }

    /// Says whether all is well: complete, and without warnings.
    pub fn is_clean(&self) -> bool {
        self.is_complete() && self.warnings.is_empty()
    }

    /// Returns the manifest of what is to be sent again.
    pub fn send_again(&self, manifest: &Listing) -> Listing {
        let numbers = self.again.iter();
        let lines = numbers.filter_map(|number| manifest.contribution(*number));
        Listing::of(manifest.header(), lines)
    }

    fn classes(&self) -> [(&'static str, &[Finding]); 7] {
        [
            ("failed", &self.failed),
            ("in progress", &self.in_progress),
            ("missing", &self.missing),
            ("twice", &self.twice),
            ("wrong rows", &self.wrong_rows),
            ("warnings", &self.warnings),
            ("unknown", &self.unknown),
        ]
    }

    /// Returns the report in words: the first findings of each kind, counts, what is to be done.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        for (name, findings) in self.classes() {
            for finding in findings.iter().take(LISTED) {
                let _ = write!(text, "{name}: table {}", finding.table);
                if let Some(chunk) = finding.chunk {
                    let _ = write!(text, ", chunk {chunk}");
                }
                if finding.overlap {
                    text.push_str(", overlap");
                }
                let _ = writeln!(text, ", {}: {}", finding.url, finding.message);
            }
            if findings.len() > LISTED {
                let _ = writeln!(text, "{name}: and {} more", findings.len() - LISTED);
            }
        }
        let _ = write!(text, "{} of {} loaded", self.loaded, self.contributions);
        for (name, findings) in self.classes() {
            if !findings.is_empty() {
                let _ = write!(text, ", {} {name}", findings.len());
            }
        }
        text.push('\n');
        self.add_remedies(&mut text);
        text
    }

    fn add_remedies(&self, text: &mut String) {
        let retries: Vec<String> = self
            .failed
            .iter()
            .filter(|finding| finding.remedy == Remedy::Retry)
            .flat_map(|finding| &finding.attempts)
            .filter(|attempt| !self.abort.contains(&attempt.transaction))
            .map(|attempt| format!("{} at {}", attempt.id, attempt.worker))
            .collect();
        if !retries.is_empty() {
            let some: Vec<&str> = retries.iter().take(LISTED).map(String::as_str).collect();
            let more = match retries.len().saturating_sub(LISTED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let some = some.join(", ");
            let _ = writeln!(text, "retry (PUT /ingest/file-async/<id>): {some}{more}");
        }
        let numbers: Vec<String> = self.abort.iter().map(u64::to_string).collect();
        if !numbers.is_empty() {
            let _ = writeln!(text, "abort transactions: {}", numbers.join(", "));
        }
        let tables: Vec<&str> = self.reload.iter().map(String::as_str).collect();
        if !tables.is_empty() {
            let _ = writeln!(
                text,
                "delete and load again, for the transaction is committed: {}",
                tables.join(", ")
            );
        }
        if !self.again.is_empty() {
            let _ = writeln!(
                text,
                "{} contributions are to be sent again",
                self.again.len()
            );
        }
    }

    /// Returns the report as JSON, with all findings.
    pub fn as_json(&self) -> serde_json::Value {
        let mut value = serde_json::json!({
            "format": "skyprep-contribs",
            "version": 1,
            "complete": self.is_complete(),
            "clean": self.is_clean(),
            "send_again": self.again.len(),
        });
        if let (Some(all), Ok(serde_json::Value::Object(own))) =
            (value.as_object_mut(), serde_json::to_value(self))
        {
            all.extend(own);
        }
        value
    }
}

/// Says how a file failed.
pub(super) fn failure_of(file: &Descriptor) -> String {
    let status = match file.status {
        Status::CreateFailed => "the request was refused",
        Status::StartFailed => "the request could not be begun",
        Status::ReadFailed => "the file could not be read",
        Status::LoadFailed => "the rows could not be loaded",
        Status::Cancelled => "the request was cancelled",
        Status::InProgress => "the service is at work",
        Status::Finished => "the service is done",
    };
    // The service may quote the URL that it tried, signature and all.
    let error = match file.error.split_once('?') {
        Some((before, _)) if before.contains("://") => format!("{before}?..."),
        _ => file.error.clone(),
    };
    match error.is_empty() {
        true => status.to_owned(),
        false => format!("{status}: {}", quote_value(error.as_bytes())),
    }
}
