//! Bringing tables to a server, and the manifests that name them.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::{StreamExt, TryStreamExt, stream};
use rayon::prelude::*;

use super::agreement::agrees;
use super::local::other_partitioning;
use super::placed_manifest::write_manifest;
use super::server::{
    ASKED_AT_ONCE, AllStanding, Others, Placed, PlacedFile, PlacedTable, ServerStage, TablePlan,
    Whereabouts, digest_of, manifest_key,
};
use super::standing::key_at;
use super::upload_journal::{DoneFile, Known, UploadJournal};
use crate::error::{Error, ErrorKind, Place as ErrorPlace, Result};
use crate::exchange::FileSummary;
use crate::pipeline::Events;
use crate::place::{FileUpload, UploadLog, check_recorded};
use crate::publish::{FolderLock, SetState, TableIdentity};

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

impl<'a> ServerRun<'a> {
    pub(super) fn new(
        stage: &'a ServerStage<'a>,
        standing: AllStanding,
        (journal, known): (UploadJournal, Known),
        lock: FolderLock,
    ) -> Self {
        Self {
            stage,
            standing,
            stale: known.stale.clone(),
            journal,
            known,
            placed: Placed::default(),
            lock,
        }
    }

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
        let mut plans = self.stage.plans(tables, &self.known, &self.standing)?;
        self.check_partitionings(tables)?;
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
        for (table, plan) in tables.iter().zip(&mut plans) {
            if others == Others::Replace {
                // Who forces it does not trust what is there.
                send_again(table, plan);
            }
            if plan.state == SetState::Different {
                // The version that stands is not given up for one that is damaged.
                check_sources(table)?;
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
        for (_, files) in tables {
            self.placed.files += files.len() as u64;
            self.placed.bytes += files.iter().map(|file| file.bytes).sum::<u64>();
        }
        let stale = self.settle_stale(tables)?;
        let mut placed = self.placed;
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
        placed.is_changed |= !stale.is_empty();
        remove(stage, &stale, &self.journal)?;
        forget_others(stage, &self.journal)?;
        self.journal.tidy()?;
        Ok(placed)
    }

    /// Returns the keys of objects that go: what was replaced or was sent for these tables, and that
    /// no manifest will name. Those of other databases wait for a command that knows their manifest.
    fn settle_stale(
        &mut self,
        tables: &[(&TableIdentity, Vec<FileSummary>)],
    ) -> Result<BTreeSet<String>> {
        let own = |name: &str, database: &str| {
            let is_it = |identity: &TableIdentity| {
                identity.table == name && identity.database.as_deref() == Some(database)
            };
            tables.iter().any(|(identity, _)| is_it(identity))
        };
        let mut named: BTreeSet<String> = BTreeSet::new();
        for (_, files) in tables {
            named.extend(files.iter().map(|file| file.path().into_owned()));
        }
        for (database, standing) in &self.standing {
            let lines = standing
                .iter()
                .flat_map(|standing| standing.listing.contributions());
            let others = lines.filter(|line| !own(&line.table, database));
            named.extend(others.filter_map(|line| key_at(self.stage.dest, &line)));
        }
        let known = self.journal.known()?;
        let mut stale = known.stale;
        for (identity, _) in tables {
            let database = identity.database.as_deref().unwrap_or_default();
            let folder = format!("{database}/{}/", identity.table);
            let sent = known.done.keys().filter(|key| key.starts_with(&folder));
            stale.extend(sent.cloned());
        }
        for key in stale.iter().filter(|key| named.contains(*key)) {
            if self.stale.contains(key) {
                self.journal.kept(key)?;
            }
        }
        let is_ours = |key: &String| {
            let database = key.split('/').next().unwrap_or_default();
            self.standing.contains_key(database) && !named.contains(key)
        };
        stale.retain(is_ours);
        Ok(stale)
    }

    /// Refuses tables of another division of the sky than those that stand beside them.
    fn check_partitionings(&self, tables: &[PlacedTable]) -> Result<()> {
        for table in tables {
            let standing = self.standing.get(table.database()).and_then(Option::as_ref);
            let Some(standing) = standing else { continue };
            let is_other = |name: &str| tables.iter().all(|table| table.identity.table != name);
            let beside = standing.listing.tables().into_iter();
            let mut beside = beside.filter(|other| other.kind.is_partitioned());
            let Some(other) = beside.find(|other| is_other(&other.name)) else {
                continue;
            };
            let (old, new) = (
                standing.listing.header().partitioning,
                table.identity.partitioning,
            );
            if old.is_some() && new.is_some() && old != new {
                return Err(other_partitioning(&other.name, &table.identity.table).at(
                    ErrorPlace::file(self.stage.place.url(&manifest_key(table.database()))),
                ));
            }
        }
        Ok(())
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
                    Whereabouts::Listed(summary) => Some((summary, Trust::Manifest)),
                    Whereabouts::Sent(summary) => Some((summary, Trust::Journal)),
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
        if let Some((earlier, trust)) = task.earlier {
            let local = task
                .file
                .stamp
                .as_ref()
                .map(|_| task.file.file.path.as_path());
            let found = place.head(&task.key).await?;
            let is_there = match (found, trust) {
                (None, _) => false,
                (Some(found), Trust::Manifest) => found.bytes == earlier.bytes,
                // Somebody else may have put something there since.
                (Some(found), Trust::Journal) => {
                    tokio::task::block_in_place(|| agrees(&found, &earlier, local))?
                }
            };
            if is_there {
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

/// Takes all files that are here for missing there.
fn send_again(table: &PlacedTable, plan: &mut TablePlan) {
    for (file, state) in table.files.iter().zip(&mut plan.files) {
        if file.stamp.is_some() {
            *state = Whereabouts::Missing;
        }
    }
}

/// Refuses files that are not what their record says.
fn check_sources(table: &PlacedTable) -> Result<()> {
    let check = |placed: &PlacedFile| {
        let (Some(_), Some(recorded)) = (&placed.stamp, &placed.file.recorded) else {
            return Ok(());
        };
        let found = digest_of(&placed.file, &recorded.path())?;
        check_recorded(&placed.file.path, recorded, &found)
    };
    table.files.par_iter().try_for_each(check)
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
    /// What an earlier run has sent.
    earlier: Option<(FileSummary, Trust)>,
}

/// Who says that a file is there.
#[derive(Clone, Copy)]
enum Trust {
    Manifest,
    Journal,
}

/// A file that is there.
struct Brought {
    file: FileSummary,
    sent: u64,
    is_new: bool,
}
