//! An output folder with its hidden state: staging, record, lock.
#![allow(
    clippy::disallowed_methods,
    reason = "renaming staged files is this file's business"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use super::crash_point::crash_point;
use super::files::{create_folders, remove_optional, remove_tree, rename};
use super::lock::FolderLock;
use super::log::{Contents, Intent, Log, Pending, RECORD_FILE, is_pending};
use super::record::{InputStamp, Record, SetRecord};
use super::restore::put_back;
use super::sync::SyncMode;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::FileSummary;

/// Name of the hidden folder that holds the tool's own state.
pub const STATE_FOLDER: &str = ".skyprep";

/// What stays in the state folder between runs; anything else a killed run has left.
const LASTING: [&str; 5] = [RECORD_FILE, "report.json", "jobs", "generations", "checks"];
const STAGING_FOLDER: &str = "staging";

/// How a set of files stands in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetState {
    /// There is none of that name.
    Absent,
    /// Made with the same options from the same inputs, and all files are there.
    Complete,
    /// Made the same way, but files are missing or have another size.
    Damaged,
    /// Made with other options or from other inputs.
    Different,
}

/// What becomes of staged files that an earlier run has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Staging {
    /// They are removed.
    #[default]
    Clear,
    /// They stay, to be gone on with.
    Keep,
}

/// How an output folder is opened and written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FolderOptions {
    /// What becomes of staged files that an earlier run has left.
    pub staging: Staging,
    /// How files are made to last.
    pub sync: SyncMode,
}

/// What is to be published together.
#[derive(Debug, Default)]
pub struct Publication {
    /// The sets by name; their files are staged.
    pub sets: BTreeMap<String, SetRecord>,
    /// Files that are no longer true then, such as a manifest of what is replaced.
    pub outdated: Vec<String>,
    /// Sets that go, with their files.
    pub dropped: Vec<String>,
    /// What becomes of files that stand already.
    pub standing: StandingFiles,
}

/// What a publication does with files that stand under final names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StandingFiles {
    /// Those of the sets that it replaces go; any others must not be in its way.
    #[default]
    Replaced,
    /// They stay, though the sets of the same name no longer name all of them: an earlier manifest
    /// does. Files of the new sets that stand already need not be staged.
    Kept,
    /// They stay, and those of sets of the same name go on being theirs. Where a staged file has the
    /// name of one that stands, it takes its place: it holds what stood there, too.
    Extended,
    /// They are put back: staged files are those that the record tells of, and take the places of lost or
    /// damaged ones. The record stays as it is.
    Restored,
}

/// Whether an intent is carried out for the first time, or again after a kill or a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Again,
}

/// An output folder that this process may write.
#[derive(Debug)]
pub struct OutputFolder {
    root: PathBuf,
    options: FolderOptions,
    record: Record,
    /// A publication that failed halfway.
    pending: Option<Pending>,
    was_interrupted: bool,
    log: Log,
    // Freed last.
    lock: FolderLock,
}

/// Where the files of an output folder grow.
#[derive(Debug, Clone)]
pub struct StagingPlace {
    path: PathBuf,
    /// Where the files will stand.
    root: PathBuf,
}

impl StagingPlace {
    /// Takes the folder `path` for a place of staged files.
    pub fn at(path: PathBuf) -> Self {
        let root = path.clone();
        Self { path, root }
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns where the file that is called `path` will stand: messages name it so.
    pub fn published(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Returns the staged path of the file that will be called `path`, and makes its folder.
    ///
    /// # Errors
    /// The staging folder may not be written.
    pub fn staged(&self, path: &str) -> Result<PathBuf> {
        let staged = self.path.join(path);
        if let Some(parent) = staged.parent() {
            create_folders(parent)?;
        }
        Ok(staged)
    }
}

impl OutputFolder {
    /// Reads the record of the folder `root` without touching anything.
    ///
    /// Returns nothing if there is no record, or if an interrupted run has to be finished first.
    ///
    /// # Errors
    /// The record can't be read.
    pub fn peek(root: &Path) -> Result<Option<Record>> {
        if fs::metadata(root).is_ok_and(|found| !found.is_dir()) {
            return Err(
                Error::new(ErrorKind::OutputRefused, "is a file, expected a folder")
                    .at(Place::file(root.display().to_string()))
                    .hint("choose another output"),
            );
        }
        let contents = Contents::read(&root.join(STATE_FOLDER).join(RECORD_FILE))?;
        Ok(contents
            .filter(|contents| contents.pending.is_none())
            .map(|contents| contents.record))
    }

    /// Reads the record of the folder `root`, whose files are to be used, without touching anything.
    ///
    /// # Errors
    /// A run was interrupted while it published there, or the record can't be read.
    pub fn peek_settled(root: &Path) -> Result<Option<Record>> {
        if Self::is_interrupted(root) {
            return Err(Error::new(
                ErrorKind::Integrity,
                "the run that makes these files was interrupted",
            )
            .at(Place::file(root.display().to_string()))
            .hint("run the command that makes them again; it finishes the work"));
        }
        Self::peek(root)
    }

    /// Says whether the folder `root` could be taken for writing, and touches nothing.
    ///
    /// # Errors
    /// Another live process writes it.
    pub fn check_free(root: &Path) -> Result<()> {
        FolderLock::check_free(&root.join(STATE_FOLDER))
    }

    /// Takes the folder for writing: makes it, locks it, finishes what an earlier run had begun
    /// to publish, and clears the staging folder unless it is to be kept.
    ///
    /// # Errors
    /// The folder is in use or may not be written.
    pub fn open(root: &Path, options: FolderOptions) -> Result<Self> {
        let state = root.join(STATE_FOLDER);
        create_folders(&state)?;
        crash_point("folder-made");
        let lock = FolderLock::take(&state)?;
        let (log, contents) = Log::open(state.join(RECORD_FILE), options.sync)?;
        let mut folder = Self {
            root: root.to_owned(),
            options,
            record: contents.record,
            was_interrupted: contents.pending.is_some(),
            pending: contents.pending,
            log,
            lock,
        };
        folder.check_pending()?;
        folder.carry_out(Attempt::Again)?;
        if options.staging == Staging::Clear {
            folder.clear_staging()?;
        }
        Ok(folder)
    }

    /// Clears away what a killed run has left in a folder where nothing is to be done.
    ///
    /// A folder without such litter is not touched; nor is one that another run uses or that may
    /// not be written, where it does no harm.
    pub fn tidy(root: &Path, options: FolderOptions) {
        if Self::has_litter(root, options.staging) {
            drop(Self::open(root, options));
        }
    }

    /// Says whether a run that works now, or was killed, has anything in the folder `root` that does
    /// not last; staged files count if they are not to be kept.
    pub fn has_litter(root: &Path, staging: Staging) -> bool {
        let kept = (staging == Staging::Keep).then_some(STAGING_FOLDER);
        let is_litter = |entry: fs::DirEntry| {
            let mut lasting = LASTING.into_iter().chain(kept);
            !lasting.any(|name| entry.file_name() == name)
        };
        let entries = fs::read_dir(root.join(STATE_FOLDER));
        entries.is_ok_and(|entries| entries.filter_map(io::Result::ok).any(is_litter))
    }

    /// Returns the folder's path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Says whether an earlier run had ended while it published, so that it was finished first.
    pub fn was_interrupted(&self) -> bool {
        self.was_interrupted
    }

    /// Returns how files are made to last.
    pub(super) fn sync_mode(&self) -> SyncMode {
        self.options.sync
    }

    /// Returns the record as it stands.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Frees the folder and returns the record as it stands.
    pub fn into_record(mut self) -> Record {
        std::mem::take(&mut self.record)
    }

    /// Returns the staged path of the file that will be called `path`, and makes its folder.
    ///
    /// # Errors
    /// The staging folder may not be written.
    pub fn staged(&self, path: &str) -> Result<PathBuf> {
        self.staging_place().staged(path)
    }

    /// Returns the place of staged files, for those who find out later which ones there will be.
    pub fn staging_place(&self) -> StagingPlace {
        StagingPlace {
            path: self.staging(),
            root: self.root.clone(),
        }
    }

    /// Publishes staged files, all or nothing.
    ///
    /// Files that stand under a final name already are replaced if an old set that is replaced or
    /// dropped owns them; else none is published.
    ///
    /// # Errors
    /// A final name is taken by something else, or the disk refuses.
    pub fn publish(&mut self, publication: Publication) -> Result<()> {
        // An earlier publication that failed halfway comes first, or its files would be nobody's.
        self.carry_out(Attempt::Again)?;
        if publication.standing == StandingFiles::Restored {
            self.lock.check()?;
            let mut sets = publication.sets.iter();
            return sets.try_for_each(|(name, set)| put_back(self, name, &set.files));
        }
        let mut pending = Pending {
            sets: publication.sets,
            intent: Intent {
                skyprep: env!("CARGO_PKG_VERSION").into(),
                outdated: publication.outdated,
                dropped: publication.dropped,
                keeps_replaced: publication.standing == StandingFiles::Kept,
            },
        };
        self.check_inside(&pending)?;
        if publication.standing != StandingFiles::Extended {
            self.check_final_names(&pending)?;
        }
        self.check_staged(&pending)?;
        match publication.standing {
            // What stands already is not staged.
            StandingFiles::Kept => self.sync_staged(&pending)?,
            _ => self
                .options
                .sync
                .sync_files(&self.staging(), lists(&pending.sets))?,
        }
        crash_point("files-synced");
        let attempt = match publication.standing {
            StandingFiles::Replaced => Attempt::First,
            StandingFiles::Kept | StandingFiles::Restored => Attempt::Again,
            StandingFiles::Extended => {
                self.add_standing(&mut pending.sets);
                // What stands and stays is not staged.
                Attempt::Again
            }
        };
        self.lock.check()?;
        self.log.begin(&pending)?;
        self.pending = Some(pending);
        self.carry_out(attempt)
    }

    /// Writes down that the files to be loaded of sets were brought to another place, and removes
    /// them here.
    ///
    /// # Errors
    /// The record can't be written, or a file can't be removed.
    pub fn mark_placed<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n str>,
        place: &str,
    ) -> Result<()> {
        self.carry_out(Attempt::Again)?;
        let mut sets = BTreeMap::new();
        for name in names {
            if let Some(set) = self.record.sets.get(name) {
                let placed_at = Some(place.to_owned());
                let set = SetRecord {
                    placed_at,
                    ..set.clone()
                };
                sets.insert(name.to_owned(), set);
            }
        }
        let intent = Intent {
            skyprep: env!("CARGO_PKG_VERSION").into(),
            ..Intent::default()
        };
        let pending = Pending { sets, intent };
        self.check_inside(&pending)?;
        let names: Vec<String> = pending.sets.keys().cloned().collect();
        if names.is_empty() {
            return Ok(());
        }
        self.lock.check()?;
        self.log.begin(&pending)?;
        self.pending = Some(pending);
        // Nothing is staged and nothing goes, so this only takes note.
        self.carry_out(Attempt::Again)?;
        for name in names {
            self.clear_placed(&name)?;
        }
        Ok(())
    }

    /// Removes what is still here of files that were brought to another place.
    ///
    /// # Errors
    /// A file can't be removed.
    pub fn clear_placed(&self, name: &str) -> Result<()> {
        let Some(set) = self.record.sets.get(name) else {
            return Ok(());
        };
        if set.placed_at.is_none() {
            return Ok(());
        }
        let files: Vec<&FileSummary> = set.loaded().collect();
        files
            .par_iter()
            .try_for_each(|file| remove_optional(&self.root.join(&*file.path())))
    }

    /// Adds to each set the files of its forerunner that are still there.
    fn add_standing(&self, sets: &mut BTreeMap<String, SetRecord>) {
        for (name, set) in sets {
            let Some(earlier) = self.record.sets.get(name) else {
                continue;
            };
            let new = sorted(set.files.iter());
            let is_kept = |file: &&FileSummary| {
                !is_among(file, &new) && self.root.join(&*file.path()).exists()
            };
            let kept: Vec<FileSummary> =
                earlier.files.par_iter().filter(is_kept).cloned().collect();
            set.files.extend(kept);
        }
    }

    /// Says whether an earlier run ended while it was publishing into the folder `root`.
    pub fn is_interrupted(root: &Path) -> bool {
        is_pending(&root.join(STATE_FOLDER).join(RECORD_FILE))
    }

    /// Removes the staging folder when the work is done.
    ///
    /// # Errors
    /// The folder can't be removed.
    pub fn clear_staging(&self) -> Result<()> {
        if self.pending.is_some() {
            // What could not be renamed yet is still needed.
            return Ok(());
        }
        remove_tree(&self.staging())?;
        crash_point("staging-cleared");
        Ok(())
    }

    fn staging(&self) -> PathBuf {
        self.root.join(STATE_FOLDER).join(STAGING_FOLDER)
    }

    /// Returns the files of the sets that `pending` replaces or drops, sorted by place.
    fn replaced<'a>(&'a self, pending: &'a Pending) -> Vec<&'a FileSummary> {
        let names = pending.sets.keys().chain(&pending.intent.dropped);
        sorted(
            names
                .filter_map(|name| self.record.sets.get(name))
                .flat_map(|set| &set.files),
        )
    }

    /// Refuses final names that are taken by files that are not replaced.
    fn check_final_names(&self, pending: &Pending) -> Result<()> {
        let replaced = self.replaced(pending);
        for list in lists(&pending.sets) {
            let taken = list
                .par_iter()
                .filter(|file| !is_among(file, &replaced))
                .map(|file| self.root.join(&*file.path()))
                .find_first(|path| path.symlink_metadata().is_ok());
            if let Some(path) = taken {
                return Err(already_there(&path));
            }
        }
        Ok(())
    }

    /// Makes sure, before the intent is written, that all files can be renamed.
    fn check_staged(&self, pending: &Pending) -> Result<()> {
        let staging = self.staging();
        let standing = match pending.intent.keeps_replaced {
            true => self.replaced(pending),
            false => Vec::new(),
        };
        let check = |file: &FileSummary| {
            let mut staged = staging.join(&*file.path());
            if is_among(file, &standing) {
                staged = self.root.join(&*file.path());
            }
            let found = fs::metadata(&staged).map_err(|error| Error::writing(&staged, error))?;
            if found.len() == file.bytes {
                return Ok(());
            }
            Err(Error::new(
                ErrorKind::Integrity,
                format!("found {} bytes, expected {}", found.len(), file.bytes),
            )
            .at(Place::file(staged.display().to_string()))
            .hint("something else writes here; nothing was published"))
        };
        lists(&pending.sets).try_for_each(|list| list.par_iter().try_for_each(check))
    }

    /// Makes those files last that do not stand already.
    fn sync_staged(&self, pending: &Pending) -> Result<()> {
        let standing = self.replaced(pending);
        let new = lists(&pending.sets).flatten();
        let new: Vec<FileSummary> = new
            .filter(|file| !is_among(file, &standing))
            .cloned()
            .collect();
        let lists = std::iter::once(new.as_slice());
        self.options.sync.sync_files(&self.staging(), lists)
    }

    fn check_pending(&self) -> Result<()> {
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        let path = self.root.join(STATE_FOLDER).join(RECORD_FILE);
        self.check_inside(pending).map_err(|error| {
            error
                .at(Place::file(path.display().to_string()))
                .hint("remove the folder and make it again")
        })
    }

    /// Makes sure that no file is made or removed outside the folder, whatever the record says.
    fn check_inside(&self, pending: &Pending) -> Result<()> {
        let check = |name: &str| {
            let is_normal = |part| matches!(part, Component::Normal(_));
            if !name.is_empty() && Path::new(name).components().all(is_normal) {
                return Ok(());
            }
            Err(Error::new(
                ErrorKind::Integrity,
                format!(
                    "'{}' is not a path inside the output folder",
                    name.escape_debug()
                ),
            ))
        };
        let mut replaced = self.replaced(pending).into_iter();
        replaced.try_for_each(|file| check(&file.path()))?;
        let mut new = lists(&pending.sets).flatten();
        new.try_for_each(|file| check(&file.path()))?;
        let mut outdated = pending.intent.outdated.iter();
        outdated.try_for_each(|name| check(name))
    }

    /// Carries out what is pending; if that fails, it stays so.
    fn carry_out(&mut self, attempt: Attempt) -> Result<()> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let carried = self
            .name_files(&pending, attempt)
            .and_then(|()| self.log.finish());
        match carried {
            Ok(()) => self.record.settle(pending),
            Err(_) => self.pending = Some(pending),
        }
        carried
    }

    /// Removes and renames: each step may be repeated after a kill.
    fn name_files(&self, pending: &Pending, attempt: Attempt) -> Result<()> {
        let (root, staging) = (&self.root, self.staging());
        // First what is outdated goes: no manifest may name files that are being replaced.
        for path in &pending.intent.outdated {
            remove_optional(&root.join(path))?;
        }
        crash_point("outdated-removed");
        let mut folders = self.remove_stale(pending)?;
        crash_point("stale-removed");
        for file in lists(&pending.sets).flatten() {
            if !folders.contains(file.folder()) {
                create_folders(&root.join(file.folder()))?;
                folders.insert(file.folder().to_owned());
            }
        }
        crash_point("folders-made");
        for list in lists(&pending.sets) {
            list.par_iter().try_for_each(|file| {
                let path = file.path();
                finish_file(
                    &staging.join(&*path),
                    &root.join(&*path),
                    file.bytes,
                    attempt,
                )
            })?;
        }
        crash_point("all-renamed");
        // Each folder once, with those between it and the root.
        let folders: BTreeSet<&Path> = folders
            .iter()
            .flat_map(|folder| Path::new(folder).ancestors())
            .collect();
        for folder in folders {
            match self.options.sync.sync_folder(&root.join(folder)) {
                // One that held only files that went may be gone, too.
                Err(_) if !root.join(folder).exists() => {}
                synced => synced?,
            }
        }
        crash_point("folders-synced");
        Ok(())
    }

    /// Removes the files of old sets that the new ones do not have, and returns their folders.
    fn remove_stale(&self, pending: &Pending) -> Result<BTreeSet<String>> {
        let replaced = self.replaced(pending);
        if replaced.is_empty() || pending.intent.keeps_replaced {
            return Ok(BTreeSet::new());
        }
        let new = sorted(lists(&pending.sets).flatten());
        let stale: Vec<_> = replaced
            .into_iter()
            .filter(|file| !is_among(file, &new))
            .collect();
        stale
            .par_iter()
            .try_for_each(|file| remove_optional(&self.root.join(&*file.path())))?;
        // The folders of what is outdated are those of the sets, or above them.
        let mut folders = BTreeSet::new();
        for file in stale {
            if !folders.contains(file.folder()) && self.root.join(file.folder()).exists() {
                folders.insert(file.folder().to_owned());
            }
        }
        Ok(folders)
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        if self.options.staging == Staging::Clear {
            // After a failure: what was staged is of no use, and may fill the disk.
            let _ = self.clear_staging();
        }
    }
}

impl Record {
    /// Says how the set `name` stands in the folder `root`, for these options and inputs.
    pub fn state_of(
        &self,
        root: &Path,
        name: &str,
        options: &serde_json::Value,
        inputs: &[InputStamp],
    ) -> SetState {
        let Some(set) = self.sets.get(name) else {
            return SetState::Absent;
        };
        if set.options != *options || set.inputs != inputs {
            return SetState::Different;
        }
        let is_whole = set.here().all(|file| {
            fs::metadata(root.join(&*file.path())).is_ok_and(|found| found.len() == file.bytes)
        });
        if is_whole {
            SetState::Complete
        } else {
            SetState::Damaged
        }
    }
}

/// Returns the lists of files of the sets.
fn lists(sets: &BTreeMap<String, SetRecord>) -> impl Iterator<Item = &[FileSummary]> + Clone {
    sets.values().map(|set| set.files.as_slice())
}

fn sorted<'a>(files: impl Iterator<Item = &'a FileSummary>) -> Vec<&'a FileSummary> {
    let mut files: Vec<_> = files.collect();
    files.par_sort_unstable_by(|a, b| a.cmp_place(b));
    files
}

fn is_among(file: &FileSummary, sorted: &[&FileSummary]) -> bool {
    sorted
        .binary_search_by(|other| other.cmp_place(file))
        .is_ok()
}

/// Makes the error for a final name that is taken.
fn already_there(path: &Path) -> Error {
    Error::new(
        ErrorKind::OutputRefused,
        "exists already and was not made by this command",
    )
    .at(Place::file(path.display().to_string()))
    .hint("move it away or choose another output")
}

/// Gives a staged file its final name, unless an earlier run did.
///
/// What was lost since an interrupted run is left to the record: the set then counts as damaged,
/// and the next run makes it again.
fn finish_file(staged: &Path, target: &Path, bytes: u64, attempt: Attempt) -> Result<()> {
    crash_point("rename-before");
    if attempt == Attempt::Again && !fs::metadata(staged).is_ok_and(|found| found.len() == bytes) {
        return Ok(());
    }
    rename(staged, target)?;
    crash_point("rename-after");
    Ok(())
}

#[cfg(test)]
mod tests;
