//! A sink that writes rows one after another: regular tables, `convert` and `sanitize`; into one
//! file, or into parts of limited size.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::digest::{Digests, FileDigest, FileState};
use super::journal::{Journal, JournalPlace};
use super::progress::Mark;
use super::{Packet, RunEnd, Sink};
use crate::error::{Error, ErrorKind, Result};
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
    frame: FileFrame,
    parts: Option<Parts>,
    /// Parts that are full.
    full: Vec<FileDigest>,
}

/// What stands around the rows of a file.
#[derive(Debug, Clone, Default)]
pub struct FileFrame {
    /// Before the first row.
    pub start: Vec<u8>,
    /// Behind the last row.
    pub end: &'static [u8],
    /// Each row begins with a byte that separates it from the one before.
    pub rows_begin_with_separator: bool,
}

/// How a stream is cut into files.
pub struct Parts {
    /// Bytes that a file has at most.
    pub limit: u64,
    /// Opens file number so-and-so; the first, number 0, is open already.
    pub open: Box<dyn FnMut(usize) -> Result<Box<dyn Write + Send>> + Send>,
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
                frame: FileFrame::default(),
                parts: None,
                full: Vec::new(),
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
            Some(record) => FileDigest::restore(staged, &record.file, Digests::Both)?,
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
            frame: FileFrame::default(),
            parts: None,
            full: Vec::new(),
        };
        let sink = Self {
            name,
            state: Mutex::new(state),
        };
        Ok((sink, mark))
    }

    /// Puts `frame` around the rows of each file; what stands before the first row is written now,
    /// unless an earlier run has done that.
    ///
    /// # Errors
    /// The stream can't be written.
    pub fn framed(self, frame: FileFrame, parts: Option<Parts>) -> Result<Self> {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.frame = frame;
            state.parts = parts;
            if state.digest.bytes() == 0 {
                state.begin(&self.name)?;
            }
        }
        Ok(self)
    }

    /// Flushes the stream, closes it, and returns what went through: of each part.
    ///
    /// # Errors
    /// The last bytes can't be written.
    pub fn finish(self) -> Result<Vec<FileDigest>> {
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        state.end(&self.name)?;
        let mut parts = state.full;
        parts.push(state.digest);
        Ok(parts)
    }
}

impl State {
    fn begin(&mut self, name: &Path) -> Result<()> {
        let start = std::mem::take(&mut self.frame.start);
        let written = self.write(&start, name);
        self.frame.start = start;
        written
    }

    fn end(&mut self, name: &Path) -> Result<()> {
        self.write(self.frame.end, name)?;
        self.out
            .flush()
            .map_err(|error| Error::writing(name, error))
    }

    /// Writes whole rows, whose text this is, into the file that is open.
    fn write_rows(&mut self, text: &[u8], rows: u64, name: &Path) -> Result<()> {
        let is_first = self.digest.rows() == 0;
        let separator = usize::from(is_first && self.frame.rows_begin_with_separator);
        self.write(text.get(separator..).unwrap_or_default(), name)?;
        self.digest.add_rows(rows);
        Ok(())
    }

    /// Writes the rows of a packet into as many files as they need.
    fn write_parts(&mut self, packet: &Packet, limit: u64, name: &Path) -> Result<()> {
        let limit = limit.saturating_sub(self.frame.end.len() as u64);
        let (mut start, mut from) = (0usize, 0usize);
        for (row, end) in packet.row_ends().iter().enumerate() {
            let (end, begin) = (*end as usize, packet.start_of(row));
            if self.digest.bytes() + (end - start) as u64 <= limit {
                continue;
            }
            self.write_rows(&packet.text()[start..begin], (row - from) as u64, name)?;
            (start, from) = (begin, row);
            if self.digest.rows() > 0 {
                self.next_part(name)?;
            }
            if self.digest.bytes() + (end - start) as u64 > limit {
                let rows: u64 = self.full.iter().map(FileDigest::rows).sum();
                let message = format!(
                    "output row {} has {} bytes, too many for files of {limit} bytes",
                    rows + 1,
                    end - start
                );
                let error = Error::new(ErrorKind::DataRefused, message);
                return Err(error.hint("allow larger files: --split-size"));
            }
        }
        self.write_rows(&packet.text()[start..], (packet.rows() - from) as u64, name)
    }

    fn next_part(&mut self, name: &Path) -> Result<()> {
        self.end(name)?;
        self.full.push(std::mem::take(&mut self.digest));
        if let Some(parts) = &mut self.parts {
            self.out = (parts.open)(self.full.len())?;
        }
        self.begin(name)
    }
}

impl Sink for StreamSink {
    fn is_stream(&self) -> bool {
        true
    }

    fn write_run(&self, packets: &[Packet], end: RunEnd<'_>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = state.parts.as_ref().map(|parts| parts.limit);
        for packet in packets.iter().filter(|packet| packet.rows() > 0) {
            match limit {
                Some(limit) => state.write_parts(packet, limit, &self.name)?,
                None => state.write_rows(packet.text(), packet.rows() as u64, &self.name)?,
            }
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
