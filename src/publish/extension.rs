//! Files that stand are extended: what stands and what is staged come together in a new file, which
//! takes the staged one's place.
//!
//! So a file under a final name is never written: it is as it was until the whole new one is renamed
//! over it. The new files are digested as they are written, for the record tells of whole files.
#![allow(
    clippy::disallowed_methods,
    reason = "staged files are read, written and renamed here"
)]

use std::fs::{self, File};
use std::io;
use std::path::Path;

use rayon::prelude::*;

use super::crash_point::crash_point;
use super::files::{create_spill, rename};
use super::folder::OutputFolder;
use super::joined::{Joined, RowEnds};
use crate::error::{Error, Result};
use crate::exchange::{FileDigest, FileSummary};
use crate::partition::CHUNK_INDEX_RECORD;
use crate::sph::{HTM_INDEX, HTM_INDEX_RECORD, ID_BYTES};

/// Puts what stands under the final names of staged files before what is staged; their summaries
/// then tell of both. Other staged files stay as they are.
///
/// If this is interrupted, staged files may or may not hold what stood: they are of no use then.
///
/// # Errors
/// A file can't be read or written, or one that stands does not end with a whole record.
pub fn extend_standing(folder: &OutputFolder, files: &mut [FileSummary]) -> Result<()> {
    files
        .par_iter_mut()
        .try_for_each(|file| extend(folder, file))
}

fn extend(folder: &OutputFolder, file: &mut FileSummary) -> Result<()> {
    let path = file.path().into_owned();
    let standing = folder.root().join(&path);
    let old = match File::open(&standing) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::reading(&standing, error)),
    };
    let record = match Path::new(&path)
        .extension()
        .and_then(|ending| ending.to_str())
    {
        Some("bin") if path == HTM_INDEX => Some(HTM_INDEX_RECORD),
        Some("bin") => Some(CHUNK_INDEX_RECORD),
        Some("ids") => Some(ID_BYTES),
        _ => None,
    };
    let ends = record.map_or(RowEnds::Lines, |record| RowEnds::Fixed(record as u64));
    let staged = folder.staged(&path)?;
    // Not hidden, so that a run that begins anew removes it.
    let joined = folder.staged(&format!("{path}.joined"))?;
    let mut out = Joined::new(create_spill(&joined)?, &joined, FileDigest::default());
    let copied = out.copy(old, &standing, |_| Ok(()))?;
    copied.check_end(ends, &standing).map_err(|error| {
        error.hint(
            "nothing was appended; remove what a killed run has left, or choose another folder",
        )
    })?;
    let rows = match ends {
        RowEnds::Lines => copied.lines,
        // The rows of an index of chunks are those of the table, and not told again.
        RowEnds::Fixed(_) => 0,
    };
    let new = File::open(&staged).map_err(|error| Error::reading(&staged, error))?;
    out.copy(new, &staged, |_| Ok(()))?;
    let mut digest = out.digest;
    digest.add_rows(rows + file.rows);
    copy_mode(&standing, &joined)?;
    rename(&joined, &staged)?;
    crash_point("extended");
    *file = digest.finish(path, file.chunk(), file.is_overlap());
    Ok(())
}

/// Lets the new file be read by whom the old one could be read.
fn copy_mode(from: &Path, to: &Path) -> Result<()> {
    let mode = fs::metadata(from).map_err(|error| Error::reading(from, error))?;
    fs::set_permissions(to, mode.permissions()).map_err(|error| Error::writing(to, error))
}
