//! Staging to a server or bucket: what is missing is sent, then the manifest says what is there.
//!
//! Objects show under their names as they arrive; the set counts only once the manifest names
//! them, which is written last. Where another version of a table stands, the manifest first loses
//! that table, so it never names what is being replaced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};
use rayon::prelude::*;

use super::collect::SourceFile;
use super::options::{FetchUrls, ServerOptions};
use super::placed_manifest::Publicity;
use super::server_run::ServerRun;
use super::standing::{Standing, key_at};
use super::upload_journal::{DoneFile, Known, UploadJournal};
use super::when::Retention;
use crate::error::{Error, ErrorKind, Place as ErrorPlace, Result};
use crate::exchange::FileSummary;
use crate::manifest::{Contribution, IngestDialect, MANIFEST_FILE};
use crate::pipeline::Replace;
use crate::place::{Network, Place, PlaceUrl, RowDigest};
use crate::publish::{FolderLock, InputStamp, SetState, TableIdentity, create_folders};
use crate::source::each_block;

const JOURNAL_FILE: &str = "uploads.jsonl";
/// Objects that are asked for or removed at once.
pub(super) const ASKED_AT_ONCE: usize = 32;

/// A table that is to stand at a server.
#[derive(Debug)]
pub(crate) struct PlacedTable {
    pub(crate) identity: TableIdentity,
    /// Its files; no indexes.
    pub(crate) files: Vec<PlacedFile>,
}

/// A file that is to stand at a server.
#[derive(Debug)]
pub(crate) struct PlacedFile {
    pub(crate) file: SourceFile,
    /// What it was when it was looked at; nothing if it was sent by an earlier run and is no longer
    /// here, so that only its record tells of it.
    pub(crate) stamp: Option<InputStamp>,
}

impl PlacedFile {
    fn bytes(&self) -> u64 {
        let recorded = self.file.recorded.as_ref();
        let stamp = self.stamp.as_ref().map(|stamp| stamp.bytes);
        stamp
            .or(recorded.map(|recorded| recorded.bytes))
            .unwrap_or(0)
    }

    /// Says whether the journal's entry is about this very file.
    fn is_of(&self, done: &DoneFile) -> bool {
        match (&self.stamp, &self.file.recorded) {
            (Some(stamp), _) => done.source == *stamp,
            (None, Some(recorded)) => {
                recorded.sha256.is_some() && recorded.sha256 == done.file.sha256
            }
            (None, None) => false,
        }
    }
}

impl PlacedTable {
    pub(super) fn database(&self) -> &str {
        self.identity.database.as_deref().unwrap_or_default()
    }

    pub(super) fn key(&self, file: &SourceFile) -> String {
        format!("{}/{}/{}", self.database(), self.identity.table, file.name)
    }

    /// Says whether a line of a manifest is about a table of this kind and form.
    fn is_like(&self, line: &Contribution) -> bool {
        line.kind == self.identity.kind
            && line.dialect == IngestDialect::from(&self.identity.dialect)
            && line.charset == self.identity.charset.name()
    }
}

/// How a file stands at the place.
#[derive(Debug)]
pub(super) enum Whereabouts {
    /// The manifest names it, and it is the same.
    Listed(FileSummary),
    /// It was sent, as the journal says.
    Sent(FileSummary),
    Missing,
}

/// How a table stands at the place.
#[derive(Debug)]
pub(super) struct TablePlan {
    pub(super) state: SetState,
    pub(super) files: Vec<Whereabouts>,
    /// Keys that the manifest names for the table, and that will no longer be its.
    pub(super) stale: Vec<String>,
}

/// What to do where another version of a table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Others {
    /// Refuse.
    Refuse,
    /// Replace it if this machine has put it there; else refuse.
    ReplaceOwn,
    /// Replace it.
    Replace,
}

impl From<Replace> for Others {
    fn from(replace: Replace) -> Self {
        match replace {
            Replace::No => Self::Refuse,
            Replace::Yes => Self::Replace,
        }
    }
}

/// What came of staging.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) new_files: u64,
    pub(crate) sent: u64,
    pub(crate) is_changed: bool,
    pub(crate) manifests: Vec<String>,
    pub(crate) urls_expire: Option<SystemTime>,
}

/// A place that tables are staged to.
pub(crate) struct ServerStage<'a> {
    pub(super) network: &'a Network,
    pub(super) dest: &'a PlaceUrl,
    pub(super) place: Arc<dyn Place>,
    pub(super) state: PathBuf,
    pub(super) uploads: usize,
    pub(super) publicity: Publicity<'a>,
}

/// Manifests that stand, by database.
pub(super) type AllStanding = BTreeMap<String, Option<Standing>>;

impl<'a> ServerStage<'a> {
    /// Opens the place; nothing is asked of it yet.
    ///
    /// # Errors
    /// Its settings contradict each other.
    pub(crate) fn new(
        network: &'a Network,
        dest: &'a PlaceUrl,
        options: &ServerOptions,
        urls: &'a FetchUrls,
        retain: Option<Retention>,
    ) -> Result<Self> {
        let identity = network.identity(dest);
        let digest = xxhash_rust::xxh3::xxh3_64(identity.as_bytes());
        Ok(Self {
            network,
            dest,
            place: network.open(dest)?,
            state: options.state.join(format!("{digest:016x}")),
            uploads: options.uploads.max(1),
            publicity: Publicity { urls, retain },
        })
    }

    fn journal(&self) -> PathBuf {
        self.state.join(JOURNAL_FILE)
    }

    /// Says how each table stands, and touches nothing.
    ///
    /// # Errors
    /// The place does not answer, or a local file can't be read.
    pub(crate) fn states(&self, tables: &[PlacedTable]) -> Result<Vec<SetState>> {
        self.check_presign()?;
        let known = UploadJournal::read(&self.journal(), &self.dest.to_string())?;
        let standing = self.standing(tables.iter().map(PlacedTable::database))?;
        let plans = self.plans(tables, &known, &standing)?;
        let state = |plan: TablePlan| match plan.state {
            SetState::Complete => Ok(match self.has_files(plan)? {
                true => SetState::Complete,
                false => SetState::Damaged,
            }),
            state => Ok(state),
        };
        plans.into_iter().map(state).collect()
    }

    /// Refuses a time that signatures can't be good for, before anything is sent.
    fn check_presign(&self) -> Result<()> {
        if let FetchUrls::Signed(valid) = self.publicity.urls {
            self.network
                .wait(self.place.presign("manifest.jsonl", *valid))?;
        }
        Ok(())
    }

    /// Takes the place for writing, as far as this machine is concerned.
    ///
    /// # Errors
    /// Another process writes it; the place does not answer.
    pub(crate) fn begin<'d>(
        &'a self,
        databases: impl Iterator<Item = &'d str>,
    ) -> Result<ServerRun<'a>> {
        self.check_presign()?;
        create_folders(&self.state)?;
        let lock = FolderLock::take(&self.state)?;
        let (journal, known) = UploadJournal::open(&self.journal(), &self.dest.to_string())?;
        let standing = self.standing(databases)?;
        Ok(ServerRun::new(self, standing, (journal, known), lock))
    }

    fn standing<'d>(&self, databases: impl Iterator<Item = &'d str>) -> Result<AllStanding> {
        let mut all = AllStanding::new();
        for database in databases {
            if !all.contains_key(database) {
                let key = manifest_key(database);
                let standing = Standing::read(self.network, self.place.as_ref(), &key)?;
                all.insert(database.to_owned(), standing);
            }
        }
        Ok(all)
    }

    pub(super) fn plans(
        &self,
        tables: &[PlacedTable],
        known: &Known,
        standing: &AllStanding,
    ) -> Result<Vec<TablePlan>> {
        let plan = |table: &PlacedTable| {
            let standing = standing.get(table.database()).and_then(Option::as_ref);
            let lines = standing.map(|standing| standing.lines(&table.identity.table));
            self.plan(table, known, &lines.unwrap_or_default())
        };
        tables.iter().map(plan).collect()
    }

    fn plan(
        &self,
        table: &PlacedTable,
        known: &Known,
        lines: &[Contribution],
    ) -> Result<TablePlan> {
        let listed: HashMap<String, &Contribution> = lines
            .iter()
            .filter_map(|line| Some((key_at(self.dest, line)?, line)))
            .collect();
        let look = |placed: &PlacedFile| {
            let key = table.key(&placed.file);
            let done = known.done.get(&key).filter(|done| placed.is_of(done));
            let done = done.map(|done| done.file.clone());
            let Some(line) = listed.get(&key) else {
                return Ok(done.map_or(Whereabouts::Missing, Whereabouts::Sent));
            };
            if placed.bytes() != line.bytes || !table.is_like(line) {
                return Ok(Whereabouts::Missing);
            }
            let own = match (done, &placed.stamp, &placed.file.recorded) {
                (Some(done), _, _) => done,
                (None, None, Some(recorded)) => recorded.renamed(&key),
                // Without a journal the file itself tells.
                _ => digest_of(&placed.file, &key)?,
            };
            Ok(if own.sha256.is_some() && own.sha256 == line.sha256 {
                Whereabouts::Listed(own)
            } else {
                Whereabouts::Missing
            })
        };
        let files: Vec<Whereabouts> = table.files.par_iter().map(look).collect::<Result<_>>()?;
        let is_listed = |file: &Whereabouts| matches!(file, Whereabouts::Listed(_));
        let state = if !lines.is_empty() {
            match lines.len() == files.len() && files.iter().all(is_listed) {
                true => SetState::Complete,
                false => SetState::Different,
            }
        } else if files
            .iter()
            .any(|file| matches!(file, Whereabouts::Sent(_)))
        {
            SetState::Damaged
        } else {
            SetState::Absent
        };
        let own: BTreeSet<String> = table
            .files
            .iter()
            .map(|placed| table.key(&placed.file))
            .collect();
        let stale = listed
            .into_keys()
            .filter(|key| !own.contains(key))
            .collect();
        Ok(TablePlan {
            state,
            files,
            stale,
        })
    }

    /// Says of each table whether the place has all its files that are no longer here, and touches
    /// nothing.
    ///
    /// # Errors
    /// The place does not answer.
    pub(crate) fn has_all(&self, tables: &[PlacedTable]) -> Result<Vec<bool>> {
        let known = UploadJournal::read(&self.journal(), &self.dest.to_string())?;
        let standing = self.standing(tables.iter().map(PlacedTable::database))?;
        let plans = self.plans(tables, &known, &standing)?;
        plans.into_iter().map(|plan| self.has_files(plan)).collect()
    }

    /// Asks the place whether it has all files of a table.
    fn has_files(&self, plan: TablePlan) -> Result<bool> {
        let mut asked = Vec::with_capacity(plan.files.len());
        for file in plan.files {
            match file {
                Whereabouts::Listed(summary) | Whereabouts::Sent(summary) => asked.push(summary),
                Whereabouts::Missing => return Ok(false),
            }
        }
        let ask = |file: FileSummary| async move {
            let found = self.place.head(&file.path()).await?;
            Ok::<_, Error>(found.is_some_and(|found| found.bytes == file.bytes))
        };
        let answers = stream::iter(asked.into_iter().map(ask)).buffer_unordered(ASKED_AT_ONCE);
        let all = answers.try_fold(true, |all, one| async move { Ok(all && one) });
        self.network.wait(all)
    }

    pub(super) fn tag(&self, key: &str) -> Result<Option<String>> {
        let info = self.network.wait(self.place.head(key))?;
        Ok(info.and_then(|info| info.tag))
    }

    /// Refuses to go on if somebody else has written the manifest meanwhile.
    pub(super) fn check_nobody_else(&self, key: &str, standing: Option<&Standing>) -> Result<()> {
        let info = self.network.wait(self.place.head(key))?;
        let is_same = match (&info, standing) {
            (None, None) => true,
            (Some(info), Some(standing)) => info.tag == standing.tag,
            _ => false,
        };
        if is_same {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::OutputRefused,
            "somebody else has written or removed this manifest meanwhile",
        )
        .at(ErrorPlace::file(self.place.url(key)))
        .hint("run the same command again: what was sent is not sent twice"))
    }
}

pub(super) fn manifest_key(database: &str) -> String {
    format!("{database}/{MANIFEST_FILE}")
}

/// Digests a local file.
pub(super) fn digest_of(file: &SourceFile, key: &str) -> Result<FileSummary> {
    let mut digest = RowDigest::default();
    each_block(&file.path, |bytes| {
        digest.update(bytes);
        Ok(())
    })?;
    let mut summary = digest.finish().finish(key, file.chunk, file.is_overlap);
    if let Some(recorded) = &file.recorded {
        summary.rows = recorded.rows;
    }
    Ok(summary)
}
