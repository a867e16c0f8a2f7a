//! How what was written is made to last.
#![allow(
    clippy::disallowed_methods,
    reason = "folders and files are opened here to be synced"
)]

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::str::FromStr;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::exchange::FileSummary;

/// Up to so many files are synced one by one, in parallel; more by one `syncfs`.
const SYNC_SINGLY: usize = 16;

/// How files are made to last before they get their names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// One by one for a few files, else the file system at once.
    #[default]
    Auto,
    /// The whole file system at once (`syncfs`), which waits for what others write there, too.
    Fs,
    /// Each file and folder by itself, in parallel.
    File,
    /// Not at all: after a power cut files may be empty or lost. For scratch space.
    None,
}

impl SyncMode {
    /// The names of all modes.
    pub const NAMES: [&'static str; 4] = ["auto", "fs", "file", "none"];

    /// Makes a folder's entries last.
    ///
    /// # Errors
    /// The folder can't be synced.
    pub(super) fn sync_folder(self, path: &Path) -> Result<()> {
        if self == Self::None {
            return Ok(());
        }
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        File::open(path)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| Error::writing(path, error))
    }

    /// Makes an open file last.
    ///
    /// # Errors
    /// The file can't be synced.
    pub(super) fn sync_open_file(self, file: &File, path: &Path) -> Result<()> {
        if self == Self::None {
            return Ok(());
        }
        file.sync_all().map_err(|error| Error::writing(path, error))
    }

    /// Makes files below the folder `root`, which are all on its file system, last.
    ///
    /// # Errors
    /// One of them can't be synced.
    pub(crate) fn sync_files<'a>(
        self,
        root: &Path,
        lists: impl Iterator<Item = &'a [FileSummary]> + Clone,
    ) -> Result<()> {
        let files: usize = lists.clone().map(<[FileSummary]>::len).sum();
        let is_whole = match self {
            Self::None => return Ok(()),
            Self::Auto => files > SYNC_SINGLY,
            Self::Fs => true,
            Self::File => false,
        };
        if files == 0 {
            return Ok(());
        }
        if is_whole {
            let folder = File::open(root).map_err(|error| Error::writing(root, error))?;
            return rustix::fs::syncfs(&folder).map_err(|error| Error::writing(root, error.into()));
        }
        for list in lists {
            list.par_iter().try_for_each(|file| {
                let path = root.join(&*file.path());
                File::open(&path)
                    .and_then(|file| file.sync_all())
                    .map_err(|error| Error::writing(&path, error))
            })?;
        }
        Ok(())
    }
}

impl fmt::Display for SyncMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Fs => "fs",
            Self::File => "file",
            Self::None => "none",
        })
    }
}

impl FromStr for SyncMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "fs" => Ok(Self::Fs),
            "file" => Ok(Self::File),
            "none" => Ok(Self::None),
            _ => Err(format!("expected one of {}", Self::NAMES.join(", "))),
        }
    }
}
