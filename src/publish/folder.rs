//! An output folder with its hidden state: staging, intent, record, lock.
#![allow(
    clippy::disallowed_methods,
    reason = "renaming staged files is this file's business"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::files::{
    create_folders, read_optional, remove_optional, rename, sync_file, sync_file_system,
    sync_folder, write_atomically,
};
use super::lock::FolderLock;
use super::record::{InputStamp, Record, SetRecord};
use crate::error::{Error, ErrorKind, Place, Result};

/// Name of the hidden folder that holds the tool's own state.
pub const STATE_FOLDER: &str = ".skyprep";

/// Up to so many files are synced one by one, in parallel; more by one `syncfs`.
const SYNC_SINGLY: usize = 16;

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

/// What is about to be published; rolled forward if the run ends before the record is written.
#[derive(Serialize, Deserialize)]
struct Intent {
    format: String,
    version: u32,
    sets: BTreeMap<String, SetRecord>,
    /// Files that go: those of replaced sets that the new ones do not have, and what is outdated.
    stale: Vec<String>,
    /// Sets that go without being replaced.
    dropped: Vec<String>,
}

const INTENT_FORMAT: &str = "skyprep-intent";
const INTENT_VERSION: u32 = 1;

/// What is to be published together.
#[derive(Debug, Default)]
pub struct Publication {
    /// The sets by name; their files are staged.
    pub sets: BTreeMap<String, SetRecord>,
    /// Files that are no longer true then, such as a manifest of what is replaced.
    pub outdated: Vec<String>,
    /// Sets that go, with their files.
    pub dropped: Vec<String>,
}

/// Whether an intent is carried out for the first time, or again after a kill.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Again,
}

/// An output folder that this process may write.
#[derive(Debug)]
pub struct OutputFolder {
    root: PathBuf,
    record: Record,
    _lock: FolderLock,
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
        if Self::is_interrupted(root) {
            return Ok(None);
        }
        let path = root.join(STATE_FOLDER).join("record.json");
        read_optional(&path)?
            .map(|bytes| Record::from_bytes(&path, &bytes))
            .transpose()
    }

    /// Takes the folder for writing: makes it, locks it, finishes what an earlier run had begun
    /// to publish, and clears the staging folder.
    ///
    /// # Errors
    /// The folder is in use or may not be written.
    pub fn open(root: &Path) -> Result<Self> {
        let state = root.join(STATE_FOLDER);
        create_folders(&state)?;
        let lock = FolderLock::take(&state.join("lock"))?;
        let path = state.join("record.json");
        let record = match read_optional(&path)? {
            Some(bytes) => Record::from_bytes(&path, &bytes)?,
            None => Record::default(),
        };
        let mut folder = Self {
            root: root.to_owned(),
            record,
            _lock: lock,
        };
        folder.roll_forward()?;
        folder.clear_staging()?;
        Ok(folder)
    }

    /// Returns the folder's path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the record as it stands.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Returns the staged path of the file that will be called `path`, and makes its folder.
    ///
    /// # Errors
    /// The staging folder may not be written.
    pub fn staged(&self, path: &str) -> Result<PathBuf> {
        let staged = self.staging().join(path);
        if let Some(parent) = staged.parent() {
            create_folders(parent)?;
        }
        Ok(staged)
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
        self.roll_forward()?;
        check_inside(&publication.sets, &publication.outdated)?;
        let mut stale = self.check_final_names(&publication)?;
        let Publication {
            sets,
            outdated,
            dropped,
        } = publication;
        stale.extend(outdated);
        self.make_durable(&sets)?;
        let intent = Intent {
            format: INTENT_FORMAT.into(),
            version: INTENT_VERSION,
            sets,
            stale,
            dropped,
        };
        let bytes = serde_json::to_vec(&intent)
            .map_err(|error| Error::new(ErrorKind::Internal, format!("intent: {error}")))?;
        write_atomically(&self.intent_path(), &bytes)?;
        self.carry_out(intent, Attempt::First)
    }

    /// Says whether an earlier run ended while it was publishing into the folder `root`.
    pub fn is_interrupted(root: &Path) -> bool {
        root.join(STATE_FOLDER).join("intent.json").exists()
    }

    /// Removes the staging folder when the work is done.
    ///
    /// # Errors
    /// The folder can't be removed.
    pub fn clear_staging(&self) -> Result<()> {
        if Self::is_interrupted(&self.root) {
            // What could not be renamed yet is still needed.
            return Ok(());
        }
        match fs::remove_dir_all(self.staging()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::writing(&self.staging(), error))
            }
            _ => Ok(()),
        }
    }

    fn staging(&self) -> PathBuf {
        self.root.join(STATE_FOLDER).join("staging")
    }

    fn intent_path(&self) -> PathBuf {
        self.root.join(STATE_FOLDER).join("intent.json")
    }

    /// Refuses final names that are taken, and returns the files that replaced sets leave behind.
    fn check_final_names(&self, publication: &Publication) -> Result<Vec<String>> {
        let sets = &publication.sets;
        let owned: BTreeSet<&str> = sets
            .keys()
            .chain(&publication.dropped)
            .filter_map(|name| self.record.sets.get(name))
            .flat_map(|set| set.files.iter().map(|file| file.path.as_str()))
            .collect();
        let new: BTreeSet<&str> = files_of(sets).map(|file| file.path.as_str()).collect();
        let taken = new
            .par_iter()
            .filter(|path| !owned.contains(**path))
            .find_first(|path| self.root.join(path).symlink_metadata().is_ok());
        if let Some(path) = taken {
            return Err(already_there(&self.root.join(path)));
        }
        Ok(owned
            .difference(&new)
            .map(|path| (*path).to_owned())
            .collect())
    }

    fn make_durable(&self, sets: &BTreeMap<String, SetRecord>) -> Result<()> {
        let staging = self.staging();
        let files: Vec<_> = files_of(sets).collect();
        if files.is_empty() {
            return Ok(());
        }
        if files.len() > SYNC_SINGLY {
            return sync_file_system(&staging);
        }
        files
            .par_iter()
            .try_for_each(|file| sync_file(&staging.join(&file.path)))
    }

    fn roll_forward(&mut self) -> Result<()> {
        let path = self.intent_path();
        let Some(bytes) = read_optional(&path)? else {
            return Ok(());
        };
        let refuse = |message: String| {
            Error::new(ErrorKind::Integrity, message)
                .at(Place::file(path.display().to_string()))
                .hint("finish with the version of skyprep that began, or remove the folder")
        };
        let intent: Intent = serde_json::from_slice(&bytes)
            .map_err(|error| refuse(format!("not an intent of skyprep: {error}")))?;
        if intent.format != INTENT_FORMAT || intent.version != INTENT_VERSION {
            return Err(refuse(format!(
                "an intent of format {} {}, expected {INTENT_FORMAT} {INTENT_VERSION}",
                intent.format, intent.version
            )));
        }
        check_inside(&intent.sets, &intent.stale)
            .map_err(|error| error.at(Place::file(path.display().to_string())))?;
        self.carry_out(intent, Attempt::Again)
    }

    /// Renames, removes, records: each step may be repeated after a kill.
    fn carry_out(&mut self, intent: Intent, attempt: Attempt) -> Result<()> {
        let (root, staging) = (&self.root, self.staging());
        // First what is outdated goes: no manifest may name files that are being replaced.
        intent
            .stale
            .iter()
            .try_for_each(|path| remove_optional(&root.join(path)))?;
        let folders: BTreeSet<PathBuf> = files_of(&intent.sets)
            .filter_map(|file| root.join(&file.path).parent().map(Path::to_owned))
            .collect();
        for folder in &folders {
            create_folders(folder)?;
        }
        let files: Vec<_> = files_of(&intent.sets).collect();
        files.par_iter().try_for_each(|file| {
            let (staged, target) = (staging.join(&file.path), root.join(&file.path));
            finish_file(&staged, &target, file.bytes, attempt)
        })?;
        for folder in folders.iter().flat_map(|folder| folder.ancestors()) {
            if folder.starts_with(root) {
                sync_folder(folder)?;
            }
        }
        self.record.skyprep = env!("CARGO_PKG_VERSION").into();
        self.record
            .sets
            .retain(|name, _| !intent.dropped.contains(name));
        self.record.sets.extend(intent.sets);
        let record = self.root.join(STATE_FOLDER).join("record.json");
        write_atomically(&record, &self.record.to_bytes()?)?;
        let intent = self.intent_path();
        fs::remove_file(&intent).map_err(|error| Error::writing(&intent, error))
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
        let is_whole = set.files.par_iter().all(|file| {
            fs::metadata(root.join(&file.path)).is_ok_and(|found| found.len() == file.bytes)
        });
        if is_whole {
            SetState::Complete
        } else {
            SetState::Damaged
        }
    }
}

/// Makes sure that no file is made or removed outside the output folder.
fn check_inside(sets: &BTreeMap<String, SetRecord>, others: &[String]) -> Result<()> {
    let new = files_of(sets).map(|file| file.path.as_str());
    for name in new.chain(others.iter().map(String::as_str)) {
        let is_normal = |part| matches!(part, Component::Normal(_));
        if name.is_empty() || !Path::new(name).components().all(is_normal) {
            return Err(Error::new(
                ErrorKind::Integrity,
                format!(
                    "'{}' is not a path inside the output folder",
                    name.escape_debug()
                ),
            ));
        }
    }
    Ok(())
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

fn files_of(
    sets: &BTreeMap<String, SetRecord>,
) -> impl Iterator<Item = &crate::exchange::FileSummary> {
    sets.values().flat_map(|set| &set.files)
}

/// Gives a staged file its final name, unless an earlier run did.
///
/// What was lost since an interrupted run is left to the record: the set then counts as damaged,
/// and the next run makes it again.
fn finish_file(staged: &Path, target: &Path, bytes: u64, attempt: Attempt) -> Result<()> {
    match fs::metadata(staged) {
        Ok(found) if found.len() == bytes => rename(staged, target),
        _ if attempt == Attempt::Again => Ok(()),
        Ok(found) => Err(Error::new(
            ErrorKind::Integrity,
            format!("found {} bytes, expected {bytes}", found.len()),
        )
        .at(Place::file(staged.display().to_string()))
        .hint("something else writes here; nothing was published")),
        Err(error) => Err(Error::writing(target, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::FileDigest;

    fn set(paths: &[&str]) -> BTreeMap<String, SetRecord> {
        let files = paths
            .iter()
            .map(|path| {
                let mut digest = FileDigest::default();
                digest.update(b"row\n");
                digest.finish((*path).to_owned(), None, false)
            })
            .collect();
        let set = SetRecord {
            identity: None,
            options: serde_json::json!({"stripes": 18}),
            inputs: Vec::new(),
            files,
            report: serde_json::Value::Null,
        };
        BTreeMap::from([("T".to_owned(), set)])
    }

    fn stage(folder: &OutputFolder, paths: &[&str]) {
        for path in paths {
            fs::write(folder.staged(path).unwrap(), b"row\n").unwrap();
        }
    }

    #[test]
    fn a_published_set_stands_and_a_second_look_touches_nothing() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = OutputFolder::open(place.path()).unwrap();
        stage(&folder, &["db/T/a.txt", "db/T/b.txt"]);
        folder
            .publish(Publication {
                sets: set(&["db/T/a.txt", "db/T/b.txt"]),
                ..Publication::default()
            })
            .unwrap();
        let record = OutputFolder::peek(place.path()).unwrap().unwrap();
        let options = serde_json::json!({"stripes": 18});
        let state = |options: &_| record.state_of(place.path(), "T", options, &[]);
        assert_eq!(state(&options), SetState::Complete);
        assert_eq!(
            state(&serde_json::json!({"stripes": 19})),
            SetState::Different
        );
        assert_eq!(
            record.state_of(place.path(), "U", &options, &[]),
            SetState::Absent
        );
        fs::remove_file(place.path().join("db/T/b.txt")).unwrap();
        assert_eq!(state(&options), SetState::Damaged);
    }

    #[test]
    fn a_taken_name_is_refused_and_nothing_is_renamed() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("b.txt"), "mine").unwrap();
        let mut folder = OutputFolder::open(place.path()).unwrap();
        stage(&folder, &["a.txt", "b.txt"]);
        let refused = folder
            .publish(Publication {
                sets: set(&["a.txt", "b.txt"]),
                ..Publication::default()
            })
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OutputRefused);
        assert!(!place.path().join("a.txt").exists());
        assert_eq!(fs::read(place.path().join("b.txt")).unwrap(), b"mine");
    }

    #[test]
    fn an_intent_is_rolled_forward_from_any_point() {
        for renamed in 0..=2 {
            let place = tempfile::tempdir().unwrap();
            let folder = OutputFolder::open(place.path()).unwrap();
            stage(&folder, &["a.txt", "b.txt"]);
            let intent = Intent {
                format: INTENT_FORMAT.into(),
                version: INTENT_VERSION,
                sets: set(&["a.txt", "b.txt"]),
                stale: vec!["gone.txt".into()],
                dropped: Vec::new(),
            };
            fs::write(folder.intent_path(), serde_json::to_vec(&intent).unwrap()).unwrap();
            for path in ["a.txt", "b.txt"].iter().take(renamed) {
                fs::rename(folder.staging().join(path), place.path().join(path)).unwrap();
            }
            drop(folder);
            let folder = OutputFolder::open(place.path()).unwrap();
            assert!(place.path().join("a.txt").exists() && place.path().join("b.txt").exists());
            assert!(folder.record().sets.contains_key("T"));
            assert!(!folder.intent_path().exists() && !folder.staging().exists());
        }
    }

    #[test]
    fn what_was_lost_meanwhile_counts_as_damaged_and_is_made_again() {
        let place = tempfile::tempdir().unwrap();
        let folder = OutputFolder::open(place.path()).unwrap();
        stage(&folder, &["a.txt"]);
        let sets = set(&["a.txt", "b.txt"]);
        let options = sets["T"].options.clone();
        let intent = Intent {
            format: INTENT_FORMAT.into(),
            version: INTENT_VERSION,
            sets,
            stale: Vec::new(),
            dropped: Vec::new(),
        };
        fs::write(folder.intent_path(), serde_json::to_vec(&intent).unwrap()).unwrap();
        drop(folder);
        let mut folder = OutputFolder::open(place.path()).unwrap();
        let state = folder.record().state_of(place.path(), "T", &options, &[]);
        assert_eq!(state, SetState::Damaged);
        stage(&folder, &["a.txt", "b.txt"]);
        let sets = set(&["a.txt", "b.txt"]);
        folder
            .publish(Publication {
                sets,
                ..Publication::default()
            })
            .unwrap();
        assert!(place.path().join("b.txt").exists());
    }

    #[test]
    fn an_intent_never_reaches_outside() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("out");
        fs::write(place.path().join("victim.txt"), "mine").unwrap();
        let folder = OutputFolder::open(&root).unwrap();
        for (format, stale) in [(INTENT_FORMAT, "../victim.txt"), ("x", "a.txt")] {
            let intent = Intent {
                format: format.into(),
                version: INTENT_VERSION,
                sets: BTreeMap::new(),
                stale: vec![stale.into()],
                dropped: Vec::new(),
            };
            fs::write(folder.intent_path(), serde_json::to_vec(&intent).unwrap()).unwrap();
            let mut again = OutputFolder {
                root: root.clone(),
                record: Record::default(),
                _lock: FolderLock::take(&place.path().join("lock")).unwrap(),
            };
            assert_eq!(
                again.roll_forward().unwrap_err().kind(),
                ErrorKind::Integrity
            );
        }
        assert!(place.path().join("victim.txt").exists());
    }

    #[test]
    fn a_replaced_set_leaves_nothing_behind() {
        let place = tempfile::tempdir().unwrap();
        let mut folder = OutputFolder::open(place.path()).unwrap();
        stage(&folder, &["a.txt", "b.txt"]);
        folder
            .publish(Publication {
                sets: set(&["a.txt", "b.txt"]),
                ..Publication::default()
            })
            .unwrap();
        stage(&folder, &["b.txt", "c.txt"]);
        folder
            .publish(Publication {
                sets: set(&["b.txt", "c.txt"]),
                ..Publication::default()
            })
            .unwrap();
        let there = |name: &str| place.path().join(name).exists();
        assert!(!there("a.txt") && there("b.txt") && there("c.txt"));
    }
}
