//! What memory can't hold: one file without a name, written at its end and read anywhere.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::publish::{create_spill, remove_optional};

/// A file that is gone when it is dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub(super) struct Spill {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Spill {
    /// Makes a file on the file system of `path`, which must not be in use.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = create_spill(path)?;
        // Open it lives on without its name.
        remove_optional(path)?;
        Ok(Self {
            file,
            path: path.to_owned(),
            len: 0,
        })
    }

    /// Returns the bytes written.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Writes at the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| Error::writing(&self.path, error))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Fills `bytes` with what was written at `at`.
    pub(super) fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.file
            .read_exact_at(bytes, at)
            .map_err(|error| Error::reading(&self.path, error))
    }
}

/// Returns `path` with `ending` added to its name.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
