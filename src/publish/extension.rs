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
use std::io::{self, Read, Write};
use std::path::Path;

use rayon::prelude::*;

use super::crash_point::crash_point;
use super::files::{create_spill, rename};
use super::folder::OutputFolder;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{FileDigest, FileSummary};
use crate::partition::CHUNK_INDEX_RECORD;

/// Bytes that are copied at a time.
const BLOCK: usize = 128 << 10;

/// How the rows of a file are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Records {
    /// Each ends with LF.
    Lines,
    /// Each has so many bytes.
    Fixed(u64),
}

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
    let records = match path.ends_with(".bin") {
        true => Records::Fixed(CHUNK_INDEX_RECORD as u64),
        false => Records::Lines,
    };
    let staged = folder.staged(&path)?;
    // Not hidden, so that a run that begins anew removes it.
    let joined = folder.staged(&format!("{path}.joined"))?;
    let mut out = Joined {
        file: create_spill(&joined)?,
        path: &joined,
        digest: FileDigest::default(),
        lines: 0,
        last: None,
    };
    out.copy(old, &standing)?;
    check_end(&out, records, &standing)?;
    let rows = match records {
        Records::Lines => out.lines,
        // The rows of an index of chunks are those of the table, and not told again.
        Records::Fixed(_) => 0,
    };
    let new = File::open(&staged).map_err(|error| Error::reading(&staged, error))?;
    out.copy(new, &staged)?;
    out.digest.add_rows(rows + file.rows);
    let digest = out.digest;
    copy_mode(&standing, &joined)?;
    rename(&joined, &staged)?;
    crash_point("extended");
    *file = digest.finish(path, file.chunk(), file.is_overlap());
    Ok(())
}

/// A file that is put together.
struct Joined<'p> {
    file: File,
    path: &'p Path,
    digest: FileDigest,
    lines: u64,
    last: Option<u8>,
}

impl Joined<'_> {
    fn copy(&mut self, mut from: File, name: &Path) -> Result<()> {
        let mut buffer = vec![0; BLOCK];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Error::reading(name, error)),
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            self.file
                .write_all(bytes)
                .map_err(|error| Error::writing(self.path, error))?;
            self.digest.update(bytes);
            self.lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
            self.last = bytes.last().copied();
        }
    }
}

/// Refuses a file whose last record is torn: what would follow it could not be told from it.
fn check_end(standing: &Joined<'_>, records: Records, path: &Path) -> Result<()> {
    let message = match records {
        Records::Lines if matches!(standing.last, None | Some(b'\n')) => return Ok(()),
        Records::Lines => {
            "the file does not end with a line end, so its last row may be torn".into()
        }
        Records::Fixed(bytes) if standing.digest.bytes().is_multiple_of(bytes) => return Ok(()),
        Records::Fixed(bytes) => format!(
            "the file has {} bytes, expected records of {bytes} bytes",
            standing.digest.bytes()
        ),
    };
    Err(Error::new(ErrorKind::Integrity, message)
        .at(Place::file(path.display().to_string()))
        .hint("nothing was appended; remove what a killed run has left, or choose another folder"))
}

/// Lets the new file be read by whom the old one could be read.
fn copy_mode(from: &Path, to: &Path) -> Result<()> {
    let mode = fs::metadata(from).map_err(|error| Error::reading(from, error))?;
    fs::set_permissions(to, mode.permissions()).map_err(|error| Error::writing(to, error))
}
