//! Merging: out of many folders of chunk files one, with one file for each chunk.
//!
//! Tools that take one output folder for each process leave many: each has a part of a chunk's rows. Here
//! the files of a chunk are put one behind the other, in the order in which the folders are named;
//! so are the director's indexes, and what the indexes of chunks count is added up. Nothing is parsed.
//! What a record says of a file is checked on the way.

mod find;
mod folders;
mod indexes;
mod joining;
mod known;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rayon::prelude::*;
use serde_json::{Value, json};

use self::folders::{Part, Role, Sources};
use self::joining::{check_sizes, join};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{ChunkNames, Digests, FileSummary};
use crate::partition::Partitioning;
use crate::pipeline::{Events, PassLimits, Replace, TableReport, different};
use crate::publish::{
    FolderOptions, InputStamp, OutputFolder, Publication, Record, SetRecord, SetState, Staging,
    StandingFiles, TableIdentity,
};
use crate::schema::TableKind;
use crate::values::Charset;

/// Folders without a record that are named one by one.
const SHOWN_WARNINGS: usize = 5;

/// What is to be merged.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// Folders of chunk files, or folders of such folders, in the order of their rows.
    pub sources: Vec<PathBuf>,
    /// What is known of the table besides the records.
    pub known: KnownTable,
    /// What the names of chunk files begin with, in folders without a record and in the output.
    pub prefix: String,
}

/// What a user says of the table. What a record says must be the same.
#[derive(Debug, Clone, Default)]
pub struct KnownTable {
    /// Its name; chooses one where a folder has several.
    pub table: Option<String>,
    /// What it is to Qserv.
    pub kind: Option<TableKind>,
    /// How the sky is divided.
    pub partitioning: Option<Partitioning>,
    /// Dialect of the text.
    pub dialect: Option<Dialect>,
    /// Encoding of the text.
    pub charset: Option<Charset>,
}

/// Folders that were looked at and fit together.
#[derive(Debug)]
pub struct Merge {
    sources: Sources,
    options: Value,
    prefix: String,
}

/// How the output folder stands before any work.
#[derive(Debug)]
pub enum MergeStanding {
    /// All is there; what was reported when it was made.
    Done(Box<TableReport>),
    /// The folder is taken for writing.
    Open(Box<OutputFolder>),
}

impl Merge {
    /// Looks at all folders.
    ///
    /// # Errors
    /// There are no chunk files, files are not what their record says, or tables differ: in kind,
    /// columns, division of the sky, dialect or encoding.
    pub fn plan(options: &MergeOptions) -> Result<Self> {
        let mut sources = Sources::find(options)?;
        check_sizes(&sources)?;
        sources.check_chunks()?;
        // Files of one name come together; those of one folder, and the folders, keep their order.
        sources.parts.par_sort_by_key(Part::order);
        let identity = &sources.identity;
        let mut fingerprint = json!({
            "command": "merge",
            "identity": identity,
            "prefix": options.prefix,
        });
        if let (Some(only), Some(options)) = (&sources.only_chunks, fingerprint.as_object_mut()) {
            options.insert("only_chunks".to_owned(), only.clone());
        }
        Ok(Self {
            options: fingerprint,
            prefix: options.prefix.clone(),
            sources,
        })
    }

    /// Returns the name of the table.
    pub fn table(&self) -> &str {
        &self.sources.identity.table
    }

    /// Returns the stamps of what is read: of records, and of files that no record knows.
    pub fn stamps(&self) -> &[InputStamp] {
        &self.sources.stamps
    }

    /// Returns the number of folders, of their files, and of their bytes.
    pub fn extent(&self) -> (usize, usize, u64) {
        let parts = &self.sources.parts;
        let bytes = parts.iter().map(|part| part.file.bytes).sum();
        (self.sources.roots.len(), parts.len(), bytes)
    }

    /// Returns the columns of the table, if records tell.
    pub fn columns(&self) -> &[String] {
        &self.sources.columns
    }

    /// Returns what the user should know: folders without a record, indexes that are left out.
    pub fn warnings(&self) -> Vec<String> {
        let mut all = self.sources.warnings.clone();
        if all.len() > SHOWN_WARNINGS {
            let more = all.len() - SHOWN_WARNINGS;
            all.truncate(SHOWN_WARNINGS);
            all.push(format!("and {more} more folders have none"));
        }
        all.extend(indexes::left_out(&self.sources));
        all
    }

    /// Refuses a file to be written that lies in what is merged.
    ///
    /// # Errors
    /// It does.
    pub fn check_outside(&self, file: &Path) -> Result<()> {
        self.sources.check_outside(file)
    }

    /// Says what would be done, and touches nothing; nothing if all is there.
    ///
    /// # Errors
    /// Those that [`standing`](Self::standing) would end with, as far as that can be known.
    pub fn foresee(&self, root: &Path, replace: Replace) -> Result<Option<SetState>> {
        self.sources.check_apart(root)?;
        let record = OutputFolder::peek(root)?.unwrap_or_default();
        if self.done(root, &record, replace)?.is_some() && !OutputFolder::is_interrupted(root) {
            return Ok(None);
        }
        OutputFolder::check_free(root)?;
        let state = record.state_of(root, self.table(), &self.options, self.stamps());
        Ok(Some(state))
    }

    /// Looks at the output folder, and takes it for writing if anything is left to do.
    ///
    /// # Errors
    /// Something else stands there and may not be replaced; the folder lies among what is merged, is
    /// in use, or may not be written.
    pub fn standing(
        &self,
        root: &Path,
        replace: Replace,
        options: FolderOptions,
    ) -> Result<MergeStanding> {
        self.sources.check_apart(root)?;
        // A killed run is not gone on with.
        let staging = Staging::Clear;
        let options = FolderOptions { staging, ..options };
        if let Some(record) = OutputFolder::peek(root)?
            && let Some(report) = self.done(root, &record, replace)?
        {
            OutputFolder::tidy(root, options);
            return Ok(MergeStanding::Done(Box::new(report)));
        }
        // Opening finishes what an interrupted run had begun to publish, so look once more.
        let folder = OutputFolder::open(root, options)?;
        match self.done(root, folder.record(), replace)? {
            Some(report) => Ok(MergeStanding::Done(Box::new(report))),
            None => Ok(MergeStanding::Open(Box::new(folder))),
        }
    }

    /// Returns what was reported if the table stands complete.
    fn done(&self, root: &Path, record: &Record, replace: Replace) -> Result<Option<TableReport>> {
        if let Some(other) = self.others_in(record).first() {
            return match replace {
                Replace::No => Err(different(root, other)),
                Replace::Yes => Ok(None),
            };
        }
        match record.state_of(root, self.table(), &self.options, self.stamps()) {
            SetState::Complete => {}
            SetState::Different if replace == Replace::No => {
                return Err(different(root, self.table()));
            }
            _ => return Ok(None),
        }
        let set = record.sets.get(self.table());
        Ok(set.and_then(|set| serde_json::from_value(set.report.clone()).ok()))
    }

    /// Returns the sets that must not stand beside the table.
    fn others_in(&self, record: &Record) -> Vec<String> {
        let names = record.sets.keys();
        let others = names.filter(|name| *name != self.table());
        others.cloned().collect()
    }

    /// Makes the files and publishes them.
    ///
    /// # Errors
    /// A file can't be read or is not what its record says, a director's key comes twice, or the
    /// disk refuses; nothing is published then.
    pub fn run(
        &self,
        folder: &mut OutputFolder,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<TableReport> {
        let start = Instant::now();
        let made = self.make(folder, limits, events);
        let made = made.and_then(|mut made| {
            made.1.seconds = start.elapsed().as_secs_f64();
            self.publish(made, folder)
        });
        // If that failed, what was staged is of no use, and the failure is what counts.
        let cleared = folder.clear_staging();
        made.and_then(|report| cleared.map(|()| report))
    }

    /// Makes all files in the staging folder.
    fn make(
        &self,
        folder: &OutputFolder,
        limits: &PassLimits,
        events: &dyn Events,
    ) -> Result<(Vec<FileSummary>, TableReport)> {
        let sources = &self.sources;
        let names = ChunkNames::new("", &self.prefix, 1);
        let digests = match sources.identity.database {
            Some(_) => Digests::Both,
            None => Digests::Xxh3,
        };
        let data: Vec<&[Part]> = sources
            .parts
            .chunk_by(|one, next| one.order() == next.order())
            .filter(|parts| parts.iter().any(|part| part.role.is_data()))
            .collect();
        let unrecorded = AtomicU64::new(0);
        let joined = data.par_iter().map(|parts| {
            let name = match parts.first().map(|part| part.role) {
                Some(Role::Chunk(chunk, is_overlap)) => names.file(chunk, is_overlap),
                _ => format!("{}.txt", sources.identity.table),
            };
            let joined = join(
                sources,
                parts,
                folder.staged(&name)?,
                digests,
                limits,
                events,
            )?;
            if !parts.iter().any(Part::is_overlap) {
                unrecorded.fetch_add(joined.unrecorded_rows, Ordering::Relaxed);
            }
            joined.file(name, parts)
        });
        let joined: Vec<Option<FileSummary>> = joined.collect::<Result<_>>()?;
        // Where there is no row there is no file.
        let mut files: Vec<FileSummary> = joined.into_iter().flatten().collect();
        let rows = |is_overlap: bool| {
            let chosen = files.iter().filter(|file| file.is_overlap() == is_overlap);
            chosen.map(|file| file.rows).sum::<u64>()
        };
        let mut report = TableReport::empty(self.table(), sources.identity.kind);
        (report.rows_out, report.overlap_rows) = (rows(false), rows(true));
        let reported = &sources.reported;
        let recorded = sources.recorded_rows() + reported.rejected + reported.elsewhere;
        report.rows_in = recorded.saturating_sub(reported.second_rows) + unrecorded.into_inner();
        (report.second_rows, report.elsewhere) = (reported.second_rows, reported.elsewhere);
        report.rejected = reported.rejected;
        report.passed_over.clone_from(&reported.passed_over);
        report.changes.clone_from(&reported.changes);
        report.columns.clone_from(&sources.columns);
        files.extend(indexes::merge(
            self,
            report.rows_out,
            folder,
            limits,
            events,
        )?);
        report.files = files.len() as u64;
        report.bytes = files.iter().map(|file| file.bytes).sum();
        report.memory_peak = limits.gate.peak();
        report.check_balance()?;
        Ok((files, report))
    }

    fn publish(
        &self,
        (files, report): (Vec<FileSummary>, TableReport),
        folder: &mut OutputFolder,
    ) -> Result<TableReport> {
        self.sources.check_unchanged()?;
        let recorded = serde_json::to_value(&report)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("report: {error}")))?;
        let set = SetRecord {
            identity: Some(self.sources.identity.clone()),
            options: self.options.clone(),
            inputs: self.sources.stamps.clone(),
            files,
            report: recorded,
            placed_at: None,
        };
        let dropped = self.others_in(folder.record());
        folder.publish(Publication {
            sets: [(self.table().to_owned(), set)].into(),
            outdated: Vec::new(),
            dropped,
            standing: StandingFiles::Replaced,
        })?;
        Ok(report)
    }
}

/// Makes the error for a table that is not what another folder or the user says.
fn differs(root: &Path, what: &str, found: &str, expected: &str) -> Error {
    Error::usage(format!(
        "the table's {what} is {found}, expected {expected}"
    ))
    .at(Place::file(root.display().to_string()))
    .hint("only parts of one table, made with the same options, can be merged")
}

/// Says what two identities differ in: what, and the one and the other.
fn difference(
    found: &TableIdentity,
    expected: &TableIdentity,
) -> Option<(&'static str, String, String)> {
    let shown = |value: Value| value.to_string();
    let pairs = [
        ("name", json!(found.table), json!(expected.table)),
        ("database", json!(found.database), json!(expected.database)),
        ("kind", json!(found.kind), json!(expected.kind)),
        (
            "division of the sky",
            json!(found.partitioning),
            json!(expected.partitioning),
        ),
        ("dialect", json!(found.dialect), json!(expected.dialect)),
        ("encoding", json!(found.charset), json!(expected.charset)),
    ];
    let mut pairs = pairs.into_iter();
    let (what, found, expected) = pairs.find(|(_, found, expected)| found != expected)?;
    Some((what, shown(found), shown(expected)))
}
