//! Where commands write a file that is no table: stdout, a pipe, or a file that is there whole.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use skyprep::error::{Error, Place};
use skyprep::publish::{AtomicFile, Readers, append};

use super::streams::hidden_name;
use crate::session::Session;

/// Where a file goes.
pub(super) enum Output {
    Stdout,
    /// A pipe or a device: it must not be replaced by a file.
    Special(PathBuf),
    File(PathBuf, bool),
}

impl Output {
    /// Reads `-` or the name of a file.
    pub(super) fn of(name: &str, is_forced: bool) -> Result<Self> {
        match name {
            "-" => Ok(Self::Stdout),
            name => Self::file(PathBuf::from(name), is_forced),
        }
    }

    /// Refuses what stands there, unless it may be replaced.
    pub(super) fn file(path: PathBuf, is_forced: bool) -> Result<Self> {
        if is_special(&path) {
            return Ok(Self::Special(path));
        }
        if path.is_dir() {
            return Err(Error::usage("this is a folder, expected a file")
                .at(Place::file(path.display().to_string()))
                .into());
        }
        if !is_forced {
            AtomicFile::check_new(&path)?;
        }
        Ok(Self::File(path, is_forced))
    }

    /// Returns the name for messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Stdout => "stdout".to_owned(),
            Self::Special(path) | Self::File(path, _) => path.display().to_string(),
        }
    }

    /// Writes it; a file is there whole or not at all, and for these readers only.
    pub(super) fn write(
        &self,
        session: &Session,
        readers: Readers,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let streamed = |out: &mut dyn Write| {
            let mut out = BufWriter::with_capacity(1 << 16, out);
            write(&mut out).and_then(|()| out.flush())
        };
        match self {
            Self::Stdout => {
                let written = streamed(&mut io::stdout().lock());
                Ok(written.map_err(|error| Error::writing(Path::new("stdout"), error))?)
            }
            Self::Special(path) => {
                let written = streamed(&mut append(path)?);
                Ok(written.map_err(|error| Error::writing(path, error))?)
            }
            Self::File(path, is_forced) => {
                // A link stays a link: what it points to is replaced.
                let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                let file = match is_forced {
                    true => AtomicFile::create_for(&resolved, readers)?,
                    false => AtomicFile::create_new_for(path, readers)?,
                };
                let mut file = file.with_sync(session.folder.sync);
                let unfinished = Some(hidden_name(&resolved));
                session.interruption.set_unfinished(unfinished);
                let written = streamed(&mut file);
                written.map_err(|error| Error::writing(path, error))?;
                file.commit()?;
                session.interruption.set_unfinished(None);
                Ok(())
            }
        }
    }
}

/// Says whether this is a pipe or a device.
pub(super) fn is_special(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}
