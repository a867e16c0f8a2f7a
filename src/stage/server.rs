//! Staging to a server or bucket: what is missing is sent, then the manifest says what is there.
//!
//! Objects show under their names as they arrive; the set counts only once the manifest names
//! them, which is written last. Where another version of a table stands, the manifest first loses
//! that table, so it never names what is being replaced.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::{StreamExt, TryStreamExt, stream};
use rayon::prelude::*;

use super::collect::SourceFile;
use super::options::{FetchUrls, ServerOptions};
use super::placed_manifest::{Publicity, write_manifest};
use super::standing::{Standing, key_at};
use super::upload_journal::{DoneFile, Known, UploadJournal};
use super::when::Retention;
use crate::error::{Error, ErrorKind, Place as ErrorPlace, Result};
use crate::exchange::FileSummary;
use crate::manifest::{Contribution, IngestDialect, MANIFEST_FILE};
use crate::pipeline::{Events, Replace};
use crate::place::{FileUpload, Network, Place, PlaceUrl, RowDigest, UploadLog};
use crate::publish::{FolderLock, InputStamp, SetState, TableIdentity, create_folders};

const READ_BYTES: usize = 1 << 20;
const JOURNAL_FILE: &str = "uploads.jsonl";
/// Objects that are asked for or removed at once.
const ASKED_AT_ONCE: usize = 32;

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
    fn database(&self) -> &str {
        self.identity.database.as_deref().unwrap_or_default()
    }

    fn key(&self, file: &SourceFile) -> String {
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
enum Whereabouts {
    /// The manifest names it, and it is the same.
    Listed(FileSummary),
    /// It was sent, as the journal says.
    Sent(FileSummary),
    Missing,
}

/// How a table stands at the place.
#[derive(Debug)]
struct TablePlan {
    state: SetState,
    files: Vec<Whereabouts>,
    /// Keys that the manifest names for the table, and that will no longer be its.
    stale: Vec<String>,
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
    network: &'a Network,
    dest: &'a PlaceUrl,
    place: Arc<dyn Place>,
    state: PathBuf,
    uploads: usize,
    publicity: Publicity<'a>,
}

/// Manifests that stand, by database.
type AllStanding = BTreeMap<String, Option<Standing>>;

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
        let digest = xxhash_rust::xxh3::xxh3_64(dest.to_string().as_bytes());
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
        let known = UploadJournal::read(&self.journal(), &self.dest.to_string())?;
        let standing = self.standing(tables.iter().map(PlacedTable::database))?;
        let plans = self.plans(tables, &known, &standing)?;
        Ok(plans.into_iter().map(|plan| plan.state).collect())
    }

    /// Takes the place for writing, as far as this machine is concerned.
    ///
    /// # Errors
    /// Another process writes it; the place does not answer.
    pub(crate) fn begin<'d>(
        &'a self,
        databases: impl Iterator<Item = &'d str>,
    ) -> Result<ServerRun<'a>> {
        create_folders(&self.state)?;
        let lock = FolderLock::take(&self.state)?;
        let (journal, known) = UploadJournal::open(&self.journal(), &self.dest.to_string())?;
        Ok(ServerRun {
            stage: self,
            standing: self.standing(databases)?,
            stale: known.stale.clone(),
            journal,
            known,
            placed: Placed::default(),
            lock,
        })
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

    fn plans(
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
        let is_missing = |file: &Whereabouts| matches!(file, Whereabouts::Missing);
        let has_all = |plan: TablePlan| !plan.files.iter().any(is_missing);
        Ok(plans.into_iter().map(has_all).collect())
    }

    fn tag(&self, key: &str) -> Result<Option<String>> {
        let info = self.network.wait(self.place.head(key))?;
        Ok(info.and_then(|info| info.tag))
    }

    /// Refuses to go on if somebody else has written the manifest meanwhile.
    fn check_nobody_else(&self, key: &str, standing: Option<&Standing>) -> Result<()> {
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

/// A place being written.
pub(crate) struct ServerRun<'a> {
    stage: &'a ServerStage<'a>,
    standing: AllStanding,
    /// Keys of objects that go when the next manifest stands.
    stale: BTreeSet<String>,
    journal: UploadJournal,
    known: Known,
    placed: Placed,
    // Freed last.
    lock: FolderLock,
}

impl ServerRun<'_> {
    /// Says whether anything was sent so far.
    pub(crate) fn is_changed(&self) -> bool {
        self.placed.is_changed
    }

    /// Puts a small object that no manifest names.
    ///
    /// # Errors
    /// The place refuses or fails.
    pub(crate) fn put_beside(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        let place = self.stage.place.as_ref();
        self.stage.network.wait(place.put_bytes(key, bytes.into()))
    }

    /// Brings tables to the place and returns their files as they stand there. No manifest names
    /// them yet, unless it did before.
    ///
    /// # Errors
    /// Another version of a table stands there and is not to be replaced; a file is not what its
    /// record says; the place refuses or fails.
    pub(crate) fn send(
        &mut self,
        tables: &[PlacedTable],
        others: Others,
        events: &dyn Events,
    ) -> Result<Vec<Vec<FileSummary>>> {
        let plans = self.stage.plans(tables, &self.known, &self.standing)?;
        for (table, plan) in tables.iter().zip(&plans) {
            let may_go = match others {
                Others::Refuse => false,
                Others::ReplaceOwn => self.was_put_here(table),
                Others::Replace => true,
            };
            if plan.state == SetState::Different && !may_go {
                return Err(self.other_stands(table));
            }
        }
        for (table, plan) in tables.iter().zip(&plans) {
            for key in &plan.stale {
                self.journal.stale(key)?;
                self.stale.insert(key.clone());
            }
            if plan.state == SetState::Different {
                self.unlist(table)?;
            }
        }
        self.bring_all(tables, plans, events)
    }

    /// Writes the manifests that name tables that were sent, and removes what no longer counts.
    ///
    /// # Errors
    /// Somebody else has written a manifest meanwhile; the place refuses or fails.
    pub(crate) fn finish(
        mut self,
        tables: &[(&TableIdentity, Vec<FileSummary>)],
    ) -> Result<Placed> {
        self.lock.check()?;
        let stage = self.stage;
        let mut placed = self.placed;
        for (_, files) in tables {
            placed.files += files.len() as u64;
            placed.bytes += files.iter().map(|file| file.bytes).sum::<u64>();
            for file in files {
                self.stale.remove(&*file.path());
            }
        }
        for (database, standing) in &self.standing {
            let own: Vec<(&TableIdentity, &[FileSummary])> = tables
                .iter()
                .filter(|(identity, _)| identity.database.as_ref() == Some(database))
                .map(|(identity, files)| (*identity, files.as_slice()))
                .collect();
            let key = manifest_key(database);
            stage.check_nobody_else(&key, standing.as_ref())?;
            let written = write_manifest(
                stage.network,
                stage.place.as_ref(),
                &stage.publicity,
                (&stage.state, &self.journal),
                standing.as_ref(),
                database,
                &own,
            )?;
            placed.is_changed |= written.is_new;
            placed.manifests.push(stage.place.url(&key));
            let expires = placed.urls_expire.into_iter().chain(written.urls_expire);
            placed.urls_expire = expires.min();
        }
        placed.is_changed |= !self.stale.is_empty();
        remove(stage, &self.stale, &self.journal)?;
        forget_others(stage, &self.journal)?;
        self.journal.tidy()?;
        Ok(placed)
    }

    /// Says whether the version of a table that the manifest names was put there by this machine.
    fn was_put_here(&self, table: &PlacedTable) -> bool {
        let standing = self.standing.get(table.database()).and_then(Option::as_ref);
        let lines = standing.map(|standing| standing.lines(&table.identity.table));
        lines.into_iter().flatten().all(|line| {
            let key = key_at(self.stage.dest, &line);
            let done = key.and_then(|key| self.known.done.get(&key));
            done.is_some_and(|done| done.file.sha256 == line.sha256)
        })
    }

    fn other_stands(&self, table: &PlacedTable) -> Error {
        let key = manifest_key(table.database());
        Error::new(
            ErrorKind::OutputRefused,
            format!(
                "{}.{} stands here already, staged from other files",
                table.database(),
                table.identity.table
            ),
        )
        .at(ErrorPlace::file(self.stage.place.url(&key)))
        .hint("choose another destination, or replace it with --force")
    }

    /// Takes a table out of the standing manifest, before its files change.
    fn unlist(&mut self, table: &PlacedTable) -> Result<()> {
        let stage = self.stage;
        let database = table.database();
        let Some(slot) = self.standing.get_mut(database) else {
            return Ok(());
        };
        let Some(standing) = slot else { return Ok(()) };
        let rest = standing
            .listing
            .only(|line| line.table != table.identity.table);
        if rest.len() == standing.listing.len() {
            return Ok(());
        }
        standing.listing = rest;
        let key = manifest_key(database);
        stage.check_nobody_else(&key, Some(standing))?;
        let to = stage.place.as_ref();
        let through: (&Path, &dyn UploadLog) = (&stage.state, &self.journal);
        let (network, publicity) = (stage.network, &stage.publicity);
        write_manifest(
            network,
            to,
            publicity,
            through,
            Some(standing),
            database,
            &[],
        )?;
        if standing.listing.is_empty() {
            *slot = None;
        } else {
            standing.tag = stage.tag(&key)?;
        }
        Ok(())
    }

    /// Sends what is missing, and returns all files as they stand there.
    fn bring_all(
        &mut self,
        tables: &[PlacedTable],
        plans: Vec<TablePlan>,
        events: &dyn Events,
    ) -> Result<Vec<Vec<FileSummary>>> {
        let mut work = Vec::new();
        let mut all = Vec::with_capacity(tables.len());
        for (number, (table, plan)) in tables.iter().zip(plans).enumerate() {
            let mut files = Vec::with_capacity(table.files.len());
            for (place, (file, state)) in table.files.iter().zip(plan.files).enumerate() {
                let earlier = match state {
                    Whereabouts::Listed(summary) => {
                        events.advance(summary.bytes, 0);
                        files.push(Some(summary));
                        continue;
                    }
                    Whereabouts::Sent(summary) => Some(summary),
                    Whereabouts::Missing => None,
                };
                let key = table.key(&file.file);
                work.push(((number, place), Task { key, file, earlier }));
                files.push(None);
            }
            all.push(files);
        }
        let own = &*self;
        let bring =
            |(at, task)| async move { Ok::<_, Error>((at, own.bring(task, events).await?)) };
        let brought =
            stream::iter(work.into_iter().map(bring)).buffer_unordered(self.stage.uploads);
        let brought: Vec<((usize, usize), Brought)> =
            self.stage.network.wait(brought.try_collect())?;
        for ((number, place), brought) in brought {
            self.placed.sent += brought.sent;
            self.placed.new_files += u64::from(brought.is_new);
            if let Some(slot) = all.get_mut(number).and_then(|files| files.get_mut(place)) {
                *slot = Some(brought.file);
            }
        }
        self.placed.is_changed |= self.placed.new_files > 0;
        let whole = |files: Vec<Option<FileSummary>>| files.into_iter().flatten().collect();
        Ok(all.into_iter().map(whole).collect())
    }

    /// Makes sure that a file is there.
    async fn bring(&self, task: Task<'_>, events: &dyn Events) -> Result<Brought> {
        let place = self.stage.place.as_ref();
        if let Some(earlier) = task.earlier {
            let found = place.head(&task.key).await?;
            if found.is_some_and(|found| found.bytes == earlier.bytes) {
                events.advance(earlier.bytes, earlier.rows);
                return Ok(Brought {
                    file: earlier,
                    sent: 0,
                    is_new: false,
                });
            }
        }
        let (source, Some(stamp)) = (&task.file.file, &task.file.stamp) else {
            return Err(Error::new(
                ErrorKind::Integrity,
                "was sent by an earlier run, and is not there any more",
            )
            .at(ErrorPlace::file(place.url(&task.key)))
            .hint("make the tables again with --force"));
        };
        let advance = |bytes| events.advance(bytes, 0);
        let upload = FileUpload {
            key: &task.key,
            path: &source.path,
            bytes: stamp.bytes,
            recorded: source.recorded.as_ref(),
            open: self.known.open.get(&task.key),
            log: &self.journal,
            advance: &advance,
        };
        let stored = place.put_file(upload).await?;
        let file = match &source.recorded {
            Some(_) => stored.summary,
            None => stored.summary.of_chunk(source.chunk, source.is_overlap),
        };
        if file.bytes != stamp.bytes {
            return Err(Error::new(
                ErrorKind::Integrity,
                format!(
                    "had {} bytes at first, and {} when it was read",
                    stamp.bytes, file.bytes
                ),
            )
            .at(ErrorPlace::file(source.path.display().to_string()))
            .hint("wait until the file is finished, then run the same command again"));
        }
        events.advance(0, file.rows);
        self.journal.done(&DoneFile {
            source: stamp.clone(),
            file: file.clone(),
        })?;
        Ok(Brought {
            file,
            sent: stored.sent,
            is_new: true,
        })
    }
}

/// Gives up uploads in parts that nobody has gone on with.
fn forget_others(stage: &ServerStage<'_>, journal: &UploadJournal) -> Result<()> {
    for (key, open) in &journal.known()?.open {
        stage.network.wait(stage.place.forget(key, open))?;
        journal.ended(key, &open.id)?;
    }
    Ok(())
}

/// Removes objects that no manifest names any more.
fn remove(stage: &ServerStage<'_>, keys: &BTreeSet<String>, journal: &UploadJournal) -> Result<()> {
    let work = stream::iter(keys.iter().map(|key| async move {
        stage.place.delete(key).await?;
        journal.removed(key)
    }));
    let work = work.buffer_unordered(ASKED_AT_ONCE).try_collect();
    stage.network.wait(work)
}

/// A file on its way.
struct Task<'t> {
    key: String,
    file: &'t PlacedFile,
    /// What was sent by an earlier run.
    earlier: Option<FileSummary>,
}

/// A file that is there.
struct Brought {
    file: FileSummary,
    sent: u64,
    is_new: bool,
}

pub(super) fn manifest_key(database: &str) -> String {
    format!("{database}/{MANIFEST_FILE}")
}

/// Digests a local file.
fn digest_of(file: &SourceFile, key: &str) -> Result<FileSummary> {
    let reading = |error| Error::reading(&file.path, error);
    let mut from = File::open(&file.path).map_err(reading)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut digest = RowDigest::default();
    loop {
        match from.read(&mut buffer).map_err(reading)? {
            0 => break,
            read => digest.update(buffer.get(..read).unwrap_or_default()),
        }
    }
    let mut summary = digest.finish().finish(key, file.chunk, file.is_overlap);
    if let Some(recorded) = &file.recorded {
        summary.rows = recorded.rows;
    }
    Ok(summary)
}
