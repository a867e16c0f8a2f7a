//! Files of a standing set that were lost or damaged are put back, byte for byte.
#![allow(
    clippy::disallowed_methods,
    reason = "renaming staged files is this file's business"
)]

use std::collections::BTreeSet;
use std::path::Path;

use rayon::prelude::*;

use super::crash_point::crash_point;
use super::files::{create_folders, rename};
use super::folder::OutputFolder;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::FileSummary;

/// Gives staged files of the set `name` their final names, over what stands there. The record tells of
/// these very files and stays as it is, so a kill between two of them leaves whole files and lost ones.
///
/// # Errors
/// The record tells otherwise of a file, and then nothing was touched; or one can't be renamed.
pub(super) fn put_back(folder: &OutputFolder, name: &str, files: &[FileSummary]) -> Result<()> {
    let known = folder.record().sets.get(name);
    let mut known: Vec<&FileSummary> = known.iter().flat_map(|set| &set.files).collect();
    known.sort_unstable_by(|a, b| a.cmp_place(b));
    for file in files {
        let found = known.binary_search_by(|other| other.cmp_place(file));
        let same = found.ok().and_then(|at| known.get(at));
        if !same.is_some_and(|same| same.has_same_content(file)) {
            return Err(otherwise(folder.root(), file, same.copied()));
        }
    }
    let (root, staging) = (folder.root(), folder.staging_place());
    let sync = folder.sync_mode();
    sync.sync_files(staging.path(), std::iter::once(files))?;
    crash_point("files-synced");
    // Before anything is replaced all must be there.
    for file in files {
        let staged = staging.path().join(&*file.path());
        if !std::fs::metadata(&staged).is_ok_and(|found| found.len() == file.bytes) {
            let message = "was staged, and is missing or of another size now";
            return Err(Error::new(ErrorKind::Integrity, message)
                .at(Place::file(staged.display().to_string()))
                .hint("nothing was touched; does another program work in this folder?"));
        }
    }
    let folders: BTreeSet<&str> = files.iter().map(FileSummary::folder).collect();
    for folder in &folders {
        create_folders(&root.join(folder))?;
    }
    files.par_iter().try_for_each(|file| -> Result<()> {
        let path = file.path();
        rename(&staging.path().join(&*path), &root.join(&*path))?;
        crash_point("rename-after");
        Ok(())
    })?;
    let mut folders = folders.into_iter();
    folders.try_for_each(|folder| sync.sync_folder(&root.join(folder)))
}

fn otherwise(root: &Path, file: &FileSummary, known: Option<&FileSummary>) -> Error {
    let known = known.map_or_else(
        || "no such file".to_owned(),
        |known| {
            format!(
                "{} rows, {} bytes and XXH3-128 {}",
                known.rows, known.bytes, known.xxh3
            )
        },
    );
    let message = format!(
        "came out with {} rows, {} bytes and XXH3-128 {}, but the record tells of {known}",
        file.rows, file.bytes, file.xxh3
    );
    Error::new(ErrorKind::Integrity, message)
        .at(Place::file(root.join(&*file.path()).display().to_string()))
        .hint(
            "nothing was touched; rows of a key that occurs twice can't be told from some chunks alone; make \
             the whole table again with --force",
        )
}
