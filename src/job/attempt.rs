//! Attempts at a task: each has names of its own, says that it lives, and leaves word of its end.
//!
//! Any number of attempts may be at work on one task, on any machines. Whoever is done first names the
//! record; what the others have made is removed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::folder::{JobFolder, names_in, read_json};
use super::name::{JobId, TaskName};
use super::plan::VERSION;
use super::record::{FORMAT, TableRecord, TaskRecord};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::publish::{
    Heartbeat, Owner, publish_new, remove_optional, remove_tree, write_atomically,
};
use crate::resources::process_peak_bytes;

/// What an attempt writes of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttemptNote {
    owner: Owner,
    /// When it began: seconds since 1970.
    pub started: u64,
    /// What the batch system says of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub batch: BTreeMap<String, String>,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<AttemptEnd>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// Its exit code.
    pub exit: u8,
    /// What it had to say, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Seconds that it took.
    pub seconds: f64,
    /// The most memory that its process had, in bytes.
    pub memory_peak: u64,
}

impl AttemptNote {
    /// Returns machine and process.
    pub fn who(&self) -> String {
        format!("process {} on {}", self.owner.pid, self.owner.host)
    }
}

/// An attempt as others see it.
#[derive(Debug, Clone)]
pub struct SeenAttempt {
    /// The task.
    pub task: TaskName,
    /// Its name.
    pub name: String,
    /// What it wrote.
    pub note: AttemptNote,
    /// When it gave its last sign of life.
    pub touched: SystemTime,
    /// Whether it is alive, if it has not ended.
    pub is_alive: bool,
}

/// Reads the attempts at all tasks, or at one, in the order in which they began.
///
/// # Errors
/// The folder can't be read.
pub fn attempts(folder: &JobFolder, only: Option<TaskName>) -> Result<Vec<SeenAttempt>> {
    let me = Owner::this_process();
    let now = SystemTime::now();
    let mut all = Vec::new();
    for file in names_in(&folder.attempts())? {
        let name = file.strip_suffix(".json").unwrap_or_default();
        let Some((task, attempt)) = name.split_once('.') else {
            continue;
        };
        let Ok(task) = task.parse::<TaskName>() else {
            continue;
        };
        if only.is_some_and(|only| only != task) {
            continue;
        }
        let path = folder.attempts().join(&file);
        // One that is being written, or was not finished by a kill, tells nothing.
        let Ok(Some(note)) = read_json::<AttemptNote>(&path) else {
            continue;
        };
        let touched = std::fs::metadata(&path).and_then(|found| found.modified());
        let touched = touched.unwrap_or(UNIX_EPOCH);
        all.push(SeenAttempt {
            task,
            name: attempt.to_owned(),
            is_alive: note.end.is_none() && note.owner.lives(&me, touched, now),
            touched,
            note,
        });
    }
    all.sort_by(|a, b| (a.note.started, &a.name).cmp(&(b.note.started, &b.name)));
    Ok(all)
}

/// Says whether an attempt has ended, or was one of this machine and is gone. One of which less is known
/// may live: it may only have been silent.
pub(super) fn is_dead(folder: &JobFolder, task: TaskName, attempt: &str) -> bool {
    let note = read_json::<AttemptNote>(&folder.attempt_path(task, attempt));
    let is_gone =
        |note: AttemptNote| note.end.is_some() || note.owner.is_gone_here(&Owner::this_process());
    note.is_ok_and(|note| note.is_some_and(is_gone))
}

/// An attempt at work.
pub(super) struct Attempt<'f> {
    folder: &'f JobFolder,
    pub(super) task: TaskName,
    pub(super) name: String,
    note: AttemptNote,
    begun: Instant,
    heartbeat: Option<Heartbeat>,
    /// What is removed if this attempt does not count.
    made: Vec<PathBuf>,
}

impl<'f> Attempt<'f> {
    /// Says that an attempt begins.
    ///
    /// # Errors
    /// The folder may not be written.
    pub(super) fn begin(
        folder: &'f JobFolder,
        task: TaskName,
        batch: BTreeMap<String, String>,
    ) -> Result<Self> {
        let owner = Owner::this_process();
        let host = owner.host.replace(['/', '.'], "_");
        let nanoseconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("{host}-{}-{:x}", owner.pid, nanoseconds.as_nanos());
        let note = AttemptNote {
            owner,
            started: nanoseconds.as_secs(),
            batch,
            end: None,
        };
        let mut attempt = Self {
            folder,
            task,
            name,
            note,
            begun: Instant::now(),
            heartbeat: None,
            made: Vec::new(),
        };
        attempt.write()?;
        let file = File::open(attempt.path()).ok();
        attempt.heartbeat = file.map(Heartbeat::of);
        Ok(attempt)
    }

    fn path(&self) -> PathBuf {
        self.folder.attempt_path(self.task, &self.name)
    }

    fn write(&self) -> Result<()> {
        let path = self.path();
        let bytes =
            serde_json::to_vec(&self.note).map_err(|error| Error::writing(&path, error.into()))?;
        write_atomically(&path, &bytes)
    }

    /// Names something that only this attempt makes, relative to the job's folder.
    pub(super) fn makes(&mut self, what: &str) -> PathBuf {
        let path = self.folder.data(self.task, &self.name, what);
        self.made.push(self.folder.file(&path));
        path
    }

    /// Names something elsewhere that only this attempt makes.
    pub(super) fn makes_at(&mut self, path: PathBuf) {
        self.made.push(path);
    }

    /// Begins the record.
    pub(super) fn record(&self, job: &JobId, tables: Vec<TableRecord>) -> TaskRecord {
        TaskRecord {
            format: FORMAT.to_owned(),
            version: VERSION,
            job: job.clone(),
            task: self.task.to_string(),
            attempt: self.name.clone(),
            host: self.note.owner.host.clone(),
            started: self.note.started,
            seconds: self.begun.elapsed().as_secs_f64(),
            memory_peak: process_peak_bytes().unwrap_or(0),
            inputs: Vec::new(),
            tables,
            sealed: None,
            rejects: None,
            made_in: None,
        }
    }

    /// Names the record; says whether it is the first.
    ///
    /// # Errors
    /// It can't be written.
    pub(super) fn publish(&self, record: &TaskRecord) -> Result<bool> {
        let path = self.folder.record_path(self.task);
        // One that was silent for long may have been taken for dead, and tidied up after.
        let mut own = record.made().map(|path| self.folder.file(path));
        if let Some(gone) = own.find(|path| !path.exists()) {
            let message = "what this attempt has made was removed by somebody";
            return Err(Error::new(ErrorKind::NotYet, message)
                .at(Place::file(gone.display().to_string()))
                .hint("run the task again"));
        }
        let bytes =
            serde_json::to_vec(record).map_err(|error| Error::writing(&path, error.into()))?;
        publish_new(&path, &bytes, &self.name)
    }

    /// Leaves word of the end; what was made goes unless it counts.
    pub(super) fn end(mut self, outcome: Result<bool, &Error>) {
        if !matches!(outcome, Ok(true)) {
            self.made.iter().for_each(|path| remove(path));
        }
        drop(self.heartbeat.take());
        self.note.end = Some(AttemptEnd {
            exit: outcome.err().map_or(0, exit_code),
            message: outcome.err().map(ToString::to_string),
            seconds: self.begun.elapsed().as_secs_f64(),
            memory_peak: process_peak_bytes().unwrap_or(0),
        });
        // Whoever looks sees that nobody lives; the task's own message has been told already.
        let _ = self.write();
    }
}

fn remove(path: &Path) {
    // What can't be removed is found by `job gc`.
    let _ = match path.is_dir() {
        true => remove_tree(path),
        false => remove_optional(path),
    };
}

/// Returns the exit code of a task: what may go better another time is told by one code.
pub fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Interrupted(_)
        | ErrorKind::NotYet
        | ErrorKind::DiskFull
        | ErrorKind::Network => ErrorKind::NotYet.exit_code(),
        kind => kind.exit_code(),
    }
}
