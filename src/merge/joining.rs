//! One file out of those of many folders.

use std::fs::{self, File};
use std::path::PathBuf;

use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::folders::{Part, Sources};
use crate::error::{Error, Result};
use crate::exchange::{Digests, FileDigest, FileSummary, HexDigest};
use crate::pipeline::{Events, PassLimits};
use crate::place::check_recorded;
use crate::publish::{Joined, RowEnds, append, remove_optional};
use crate::source::each_block;

/// A file that was put together in the staging folder.
pub(super) struct JoinedFile {
    digest: FileDigest,
    staged: PathBuf,
    /// Rows of files without a record.
    pub(super) unrecorded_rows: u64,
}

impl JoinedFile {
    /// Returns the file's summary under its final name; nothing if it has no bytes.
    pub(super) fn file(self, name: String, parts: &[Part]) -> Result<Option<FileSummary>> {
        if self.digest.bytes() == 0 {
            remove_optional(&self.staged)?;
            return Ok(None);
        }
        let chunk = parts.first().and_then(|part| part.file.chunk());
        let is_overlap = parts.iter().any(Part::is_overlap);
        Ok(Some(self.digest.finish(name, chunk, is_overlap)))
    }
}

/// Puts files of lines one behind the other into the new file `staged`.
///
/// # Errors
/// A file can't be read, is not what its record says, or has a torn last row.
pub(super) fn join(
    sources: &Sources,
    parts: &[Part],
    staged: PathBuf,
    digests: Digests,
    limits: &PassLimits,
    events: &dyn Events,
) -> Result<JoinedFile> {
    let _memory = limits.gate.charge(Joined::MEMORY);
    let mut unrecorded_rows = 0;
    let mut rows = 0;
    let mut out = Joined::new(append(&staged)?, &staged, FileDigest::new(digests));
    for part in parts {
        limits.cancel.check()?;
        let path = part.path(sources);
        let file = File::open(&path).map_err(|error| Error::reading(&path, error))?;
        let mut xxh3 = Xxh3::new();
        let copied = out.copy(file, &path, |bytes| {
            xxh3.update(bytes);
            limits.cancel.check()
        })?;
        let part_rows = match part.is_recorded {
            true => part.file.rows,
            false => copied.lines,
        };
        if part.is_recorded {
            let mut found = part.file.clone();
            found.bytes = copied.bytes;
            found.xxh3 = HexDigest(xxh3.digest128().to_be_bytes());
            check_recorded(&path, &part.file, &found)?;
        } else {
            unrecorded_rows += part_rows;
        }
        copied
            .check_end(RowEnds::Lines, &path)
            .map_err(|error| error.hint("nothing was merged; make the file again"))?;
        rows += part_rows;
        events.advance(copied.bytes, part_rows);
    }
    out.digest.add_rows(rows);
    Ok(JoinedFile {
        digest: out.digest,
        staged,
        unrecorded_rows,
    })
}

/// Reads a whole file, which is to be what its record says, and gives its blocks to `each`.
///
/// # Errors
/// It can't be read, or is another.
pub(super) fn read_checked(
    sources: &Sources,
    part: &Part,
    mut each: impl FnMut(&[u8]),
) -> Result<()> {
    let path = part.path(sources);
    let mut digest = FileDigest::new(Digests::Xxh3);
    each_block(&path, |bytes| {
        digest.update(bytes);
        each(bytes);
        Ok(())
    })?;
    match part.is_recorded {
        true => check_recorded(&path, &part.file, &digest.finish("", None, false)),
        false => Ok(()),
    }
}

/// Refuses files whose size is not what their record says, before any work.
///
/// # Errors
/// One is missing or has another size; the first in the order of the folders is named.
pub(super) fn check_sizes(sources: &Sources) -> Result<()> {
    let wrong = sources.parts.par_iter().find_map_first(|part| {
        let path = part.path(sources);
        let bytes = match fs::metadata(&path) {
            Ok(found) => found.len(),
            Err(error) => return Some(Error::reading(&path, error)),
        };
        let mut found = part.file.clone();
        found.bytes = bytes;
        let checked = match part.is_recorded {
            true => check_recorded(&path, &part.file, &found),
            false => Ok(()),
        };
        checked.err()
    });
    wrong.map_or(Ok(()), Err)
}
