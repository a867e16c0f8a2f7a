//! A sink that writes rows one after another: regular tables, `convert` and `sanitize`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::digest::{FileDigest, FileState};
use super::journal::{Journal, JournalPlace};
use super::progress::Mark;
use super::{Packet, RunEnd, Sink};
use crate::error::{Error, Result};
use crate::publish::{append, crash_point, remove_optional};

/// Bytes between two records in the journal, about: so much is done again after a kill.
const RECORD_BYTES: u64 = 32 << 20;

/// Writes packets to one stream, in the order they come.
pub struct StreamSink {
    name: PathBuf,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    digest: FileDigest,
    is_digested: bool,
    keeper: Option<Keeper>,
}

impl State {
    /// Writes bytes and takes note of them.
    fn write(&mut self, bytes: &[u8], name: &Path) -> Result<()> {
        self.out
            .write_all(bytes)
            .map_err(|error| Error::writing(name, error))?;
        match self.is_digested {
            true => self.digest.update(bytes),
            false => self.digest.pass(bytes),
        }
        Ok(())
    }
}

/// Keeps the journal of a staged file.
struct Keeper {
    place: JournalPlace,
    journal: Option<Journal>,
    recorded: u64,
}

/// What the journal says of the file after a run.
#[derive(Serialize, Deserialize)]
struct Record {
    mark: Mark,
    file: FileState,
}

impl StreamSink {
    /// Makes a sink for `out`, which messages call `name`.
    pub fn new(name: PathBuf, out: Box<dyn Write + Send>) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                out,
                digest: FileDigest::default(),
                is_digested: true,
                keeper: None,
            }),
        }
    }

    /// Only counts rows and bytes: what [`Self::finish`] returns has no digests worth keeping.
    #[must_use]
    pub fn without_digests(mut self) -> Self {
        self.state
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .is_digested = false;
        self
    }

    /// Makes a sink for the staged file `staged`, which messages call `name`, with a journal; goes
    /// on where an earlier run was ended, and returns how far that one came.
    ///
    /// # Errors
    /// The file or its journal can't be opened.
    pub fn resumable(
        name: PathBuf,
        staged: &Path,
        place: JournalPlace,
    ) -> Result<(Self, Option<Mark>)> {
        let mut last: Option<Record> = None;
        let journal = Journal::reopen(&place, |json, _| match serde_json::from_slice(json) {
            Ok(record) => {
                last = Some(record);
                true
            }
            Err(_) => false,
        })?;
        let restored = match &last {
            Some(record) => FileDigest::restore(staged, &record.file)?,
            None => None,
        };
        let (journal, digest, mark) = match (restored, last) {
            (Some(digest), Some(record)) => (journal, digest, Some(record.mark)),
            _ => {
                remove_optional(staged)?;
                (None, FileDigest::default(), None)
            }
        };
        let keeper = Keeper {
            place,
            journal,
            recorded: digest.bytes(),
        };
        let state = State {
            out: Box::new(append(staged)?),
            digest,
            is_digested: true,
            keeper: Some(keeper),
        };
        let sink = Self {
            name,
            state: Mutex::new(state),
        };
        Ok((sink, mark))
    }

    /// Writes the line that names the columns, before any row.
    ///
    /// # Errors
    /// The stream can't be written.
    pub fn write_header(&self, line: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.write(line, &self.name)
    }

    /// Flushes the stream, closes it, and returns what went through.
    ///
    /// # Errors
    /// The last bytes can't be written.
    pub fn finish(self) -> Result<FileDigest> {
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        state
            .out
            .flush()
            .map_err(|error| Error::writing(&self.name, error))?;
        Ok(state.digest)
    }
}

impl Sink for StreamSink {
    fn is_stream(&self) -> bool {
        true
    }

    fn write_run(&self, packets: &[Packet], end: RunEnd<'_>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in packets {
            state.write(packet.text(), &self.name)?;
            state.digest.add_rows(packet.rows() as u64);
        }
        let State { digest, keeper, .. } = &mut *state;
        match (keeper, end.mark()) {
            (Some(keeper), Some(mark)) => keeper.record(mark, digest),
            _ => Ok(()),
        }
    }
}

impl Keeper {
    fn record(&mut self, mark: &Mark, digest: &FileDigest) -> Result<()> {
        if digest.bytes() - self.recorded < RECORD_BYTES {
            return Ok(());
        }
        self.recorded = digest.bytes();
        let journal = match &mut self.journal {
            Some(journal) => journal,
            None => self.journal.insert(Journal::begin(&self.place)?),
        };
        crash_point("run-written");
        let record = Record {
            mark: mark.clone(),
            file: digest.state(),
        };
        journal.append(&record, &[])?;
        crash_point("run-recorded");
        Ok(())
    }
}
