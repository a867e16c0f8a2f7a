//! Some chunks of a table alone: made for themselves, or made again where the whole table stands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::folder_run::PassJob;
use super::pass::PassLimits;
use super::table::{TableParts, TableReport};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::FileSummary;
use crate::partition::OnlyChunks;
use crate::publish::{FolderOptions, OutputFolder, Record, SetRecord, StandingFiles};

/// A job of some chunks of one table.
pub struct Redo {
    /// The job; as it is it makes the chunks for themselves, with the index of their own keys.
    pub job: PassJob,
    only: Arc<OnlyChunks>,
    /// Command and options of the whole table.
    whole: Value,
}

/// A whole table, some chunks of which are to be made again.
pub struct StandingTable {
    /// The list of its rejects.
    rejects: Option<String>,
}

impl StandingTable {
    /// Says whether `list` is the list of what was rejected when the table was made.
    pub fn has_rejects_in(&self, list: &Path) -> bool {
        let physical = |path: &Path| path.canonicalize().ok();
        let known = self.rejects.as_deref().map(Path::new).and_then(physical);
        known.is_some() && known == physical(list)
    }
}

impl Redo {
    /// Makes the job of a whole table one of the chunks `only`.
    ///
    /// # Errors
    /// The job is not of one partitioned table, which is a fault of ours.
    pub fn new(mut job: PassJob, only: OnlyChunks) -> Result<Self> {
        let only = Arc::new(only);
        let table = job.tables.first_mut();
        let routing = table.and_then(|table| table.target.routing.as_mut());
        let (Some(routing), Some(options)) = (routing, job.options.first_mut()) else {
            return Err(Error::of_ours("a table without chunks was to have some"));
        };
        routing.only = Some(Arc::clone(&only));
        let whole = options.clone();
        if let Some(options) = options.as_object_mut() {
            options.insert("only_chunks".to_owned(), json!(only.numbers()));
        }
        Ok(Self { job, only, whole })
    }

    /// Looks whether the whole table stands in the folder `root`, by the same options from the same
    /// inputs; then the chunks are made again there.
    ///
    /// # Errors
    /// The record can't be read; or the whole table stands, made from inputs that have changed since, and
    /// no part of it may take its place.
    pub fn standing(&self, root: &Path) -> Result<Option<StandingTable>> {
        let Some(record) = OutputFolder::peek(root)? else {
            return Ok(None);
        };
        if let Some(set) = self.recorded(&record) {
            let report: Option<TableReport> = serde_json::from_value(set.report.clone()).ok();
            let rejects = report.and_then(|report| report.reject_file);
            return Ok(Some(StandingTable { rejects }));
        }
        let name = self.job.tables.first().map(|table| &table.target.name);
        let set = name.and_then(|name| record.sets.get(name));
        match set.is_some_and(|set| set.options == self.whole) {
            false => Ok(None),
            true => {
                let message = "the whole table stands here, but its inputs have changed since";
                Err(Error::new(ErrorKind::OutputRefused, message)
                    .at(Place::file(root.display().to_string()))
                    .hint("make the whole table again, or its chunks in another folder"))
            }
        }
    }

    /// Makes it a job of making the chunks again where the whole table stands. Its indexes tell of all
    /// chunks and stay; keys are looked at all the same, for rows were refused by them.
    pub fn in_place(mut self) -> Self {
        self.job.standing = StandingFiles::Restored;
        for table in &mut self.job.tables {
            table.has_chunk_index = false;
            table.writes = TableParts::Chunks;
        }
        self
    }

    /// Takes the folder in which the whole table stands.
    ///
    /// # Errors
    /// It is in use or may not be written, something else stands there by now, or the memory limit
    /// can't be kept.
    pub fn open(
        &self,
        root: &Path,
        options: FolderOptions,
        limits: &PassLimits,
    ) -> Result<OutputFolder> {
        let folder = OutputFolder::open(root, options)?;
        if self.recorded(folder.record()).is_none() {
            let message = "the table that stood here has been replaced meanwhile";
            return Err(Error::new(ErrorKind::OutputRefused, message)
                .at(Place::file(root.display().to_string())));
        }
        self.job.check_memory(limits)?;
        Ok(folder)
    }

    /// Returns files of other chunks, and indexes, that are missing in the folder as well.
    pub fn lost_beside(&self, folder: &OutputFolder) -> Vec<String> {
        let recorded = self.recorded(folder.record());
        let files = recorded.iter().flat_map(|set| &set.files);
        let is_other = |chunk: Option<i32>| !chunk.is_some_and(|chunk| self.only.has_number(chunk));
        let is_lost = |path: &str, bytes| {
            let found = std::fs::metadata(folder.root().join(path));
            !found.is_ok_and(|found| found.len() == bytes)
        };
        files
            .filter(|file| is_other(file.chunk()) && is_lost(&file.path(), file.bytes))
            .map(|file| file.path().into_owned())
            .collect()
    }

    fn recorded<'r>(&self, record: &'r Record) -> Option<&'r SetRecord> {
        let name = &self.job.tables.first()?.target.name;
        let set = record.sets.get(name)?;
        let is_same = set.options == self.whole && Some(&set.inputs) == self.job.stamps(0).as_ref();
        is_same.then_some(set)
    }
}

impl PassJob {
    /// Refuses chunks that were made again and lack a file that the record tells of.
    pub(super) fn check_complete(
        &self,
        sets: &BTreeMap<String, SetRecord>,
        folder: &OutputFolder,
    ) -> Result<()> {
        for table in &self.tables {
            let name = &table.target.name;
            let only = table
                .target
                .routing
                .as_ref()
                .and_then(|it| it.only.as_ref());
            let (Some(only), Some(set)) = (only, sets.get(name)) else {
                continue;
            };
            let known = folder.record().sets.get(name);
            let known = known.iter().flat_map(|set| &set.files);
            let mut wanted =
                known.filter(|file| file.chunk().is_some_and(|chunk| only.has_number(chunk)));
            let which = |file: &FileSummary| (file.chunk(), file.is_overlap());
            let made: BTreeSet<_> = set.files.iter().map(which).collect();
            let is_missing = |file: &&FileSummary| !made.contains(&which(file));
            if let Some(file) = wanted.find(is_missing) {
                let path = folder.root().join(&*file.path());
                let message = "the record tells of rows of this file, but none came out";
                return Err(Error::new(ErrorKind::Integrity, message)
                    .at(Place::file(path.display().to_string()))
                    .hint("nothing was touched; make the whole table again with --force"));
            }
        }
        Ok(())
    }
}
