//! A sink that writes rows one after another: regular tables, `convert` and `sanitize`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::digest::FileDigest;
use super::{Packet, RunKind, Sink};
use crate::error::{Error, Result};

/// Writes packets to one stream, in the order they come.
pub struct StreamSink {
    name: PathBuf,
    state: Mutex<State>,
}

struct State {
    out: Box<dyn Write + Send>,
    digest: FileDigest,
}

impl StreamSink {
    /// Makes a sink for `out`, which messages call `name`.
    pub fn new(name: PathBuf, out: Box<dyn Write + Send>) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                out,
                digest: FileDigest::default(),
            }),
        }
    }

    /// Writes the line that names the columns, before any row.
    ///
    /// # Errors
    /// The stream can't be written.
    pub fn write_header(&self, line: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state
            .out
            .write_all(line)
            .map_err(|error| Error::writing(&self.name, error))?;
        state.digest.update(line);
        Ok(())
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

    fn write_run(&self, packets: &[Packet], _: RunKind) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in packets {
            let written = state.out.write_all(packet.text());
            written.map_err(|error| Error::writing(&self.name, error))?;
            state.digest.update(packet.text());
            state.digest.add_rows(packet.rows() as u64);
        }
        Ok(())
    }
}
