//! The journal of an output: how far each of its runs has brought it.
//!
//! After every run a record is appended. A killed process leaves the journal beside the staged
//! files; the next one takes both up where the last whole record says. Nothing is synced: what the
//! records say of files is compared with the files themselves, so a power cut can't deceive.
//!
//! A record is its length (u64), the XXH3-64 of its body, and the body: a line of JSON, then
//! binary lists. The first record says what the output is made from.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::publish::{create_spill, open_spill, remove_optional};

const FORMAT: &str = "skyprep-journal";
const VERSION: u32 = 3;
const FRAME: usize = 16;

/// Where a journal is, and what it must be about.
#[derive(Debug, Clone)]
pub struct JournalPlace {
    /// Path of the journal.
    pub path: PathBuf,
    /// Digest of everything that decides the bytes of the output: options and inputs.
    pub identity: String,
    /// Path of the exchange file that may belong to it.
    pub spill: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct Heading {
    format: String,
    version: u32,
    skyprep: String,
    identity: String,
    spill: Option<PathBuf>,
}

impl Heading {
    /// Says whether a journal is about the output that this one is about.
    fn is_of(&self, other: &Self) -> bool {
        self.format == other.format
            && self.version == other.version
            && self.skyprep == other.skyprep
            && self.identity == other.identity
    }

    /// Removes an exchange file of this output that lies elsewhere: in another `--tmpdir`.
    fn remove_stranger(&self, own: Option<&Path>) -> Result<()> {
        match &self.spill {
            // Only a file that is called as ours would be is ours.
            Some(path)
                if own.is_some_and(|own| path != own && path.file_name() == own.file_name()) =>
            {
                remove_optional(path)
            }
            _ => Ok(()),
        }
    }
}

/// A journal being written.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Begins a journal; an earlier one is forgotten.
    ///
    /// # Errors
    /// The place may not be written.
    pub(super) fn begin(place: &JournalPlace) -> Result<Self> {
        let mut journal = Self {
            path: place.path.clone(),
            file: create_spill(&place.path)?,
        };
        journal.append(&heading(place), &[])?;
        Ok(journal)
    }

    /// Reads the journal of an earlier run and gives each record to `each`, which says whether the
    /// record makes sense; goes on with it behind the last that does.
    ///
    /// Returns nothing if there is no journal about the same output.
    ///
    /// # Errors
    /// The journal can't be read.
    pub(super) fn reopen(
        place: &JournalPlace,
        mut each: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Self>> {
        let Some(file) = open_spill(&place.path)? else {
            return Ok(None);
        };
        let reading = |error| Error::reading(&place.path, error);
        let mut reader = BufReader::new(&file);
        let mut good = 0u64;
        let mut is_ours = false;
        while let Some(body) = next_body(&mut reader).map_err(reading)? {
            let line = memchr::memchr(b'\n', &body).unwrap_or(body.len());
            let (json, lists) = (&body[..line], body.get(line + 1..).unwrap_or_default());
            if !is_ours {
                let Ok(found) = serde_json::from_slice::<Heading>(json) else {
                    return Ok(None);
                };
                found.remove_stranger(place.spill.as_deref())?;
                if !found.is_of(&heading(place)) {
                    return Ok(None);
                }
                is_ours = true;
            } else if !each(json, lists) {
                break;
            }
            good += (FRAME + body.len()) as u64;
        }
        if !is_ours {
            return Ok(None);
        }
        let writing = |error| Error::writing(&place.path, error);
        file.set_len(good).map_err(writing)?;
        let mut journal = Self {
            path: place.path.clone(),
            file,
        };
        std::io::Seek::seek(&mut journal.file, std::io::SeekFrom::Start(good)).map_err(writing)?;
        Ok(Some(journal))
    }

    /// Appends a record.
    ///
    /// # Errors
    /// The disk refuses.
    pub(super) fn append(&mut self, json: &impl Serialize, lists: &[u8]) -> Result<()> {
        let mut frame = vec![0; FRAME];
        serde_json::to_writer(&mut frame, json)
            .map_err(|error| Error::writing(&self.path, error.into()))?;
        frame.push(b'\n');
        frame.extend_from_slice(lists);
        let length = (frame.len() - FRAME) as u64;
        let checksum = xxh3_64(&frame[FRAME..]);
        frame[..8].copy_from_slice(&length.to_le_bytes());
        frame[8..FRAME].copy_from_slice(&checksum.to_le_bytes());
        self.file
            .write_all(&frame)
            .map_err(|error| Error::writing(&self.path, error))
    }
}

fn heading(place: &JournalPlace) -> Heading {
    Heading {
        format: FORMAT.into(),
        version: VERSION,
        skyprep: env!("CARGO_PKG_VERSION").into(),
        identity: place.identity.clone(),
        spill: place.spill.clone(),
    }
}

/// Reads the next body; nothing at the end or where the last writer was interrupted.
fn next_body(reader: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut frame = [0; FRAME];
    if !read_all(reader, &mut frame)? {
        return Ok(None);
    }
    let number = |at: usize| {
        let bytes = frame
            .get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u64::from_le_bytes)
    };
    let mut body = Vec::new();
    reader.take(number(0)).read_to_end(&mut body)?;
    let is_whole = body.len() as u64 == number(0) && xxh3_64(&body) == number(8);
    Ok(is_whole.then_some(body))
}

fn read_all(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests damage files")]
mod tests {
    use super::*;

    #[test]
    fn a_torn_end_is_cut_off_and_another_output_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let place = JournalPlace {
            path: folder.path().join("journal"),
            identity: "a".into(),
            spill: None,
        };
        let mut journal = Journal::begin(&place).unwrap();
        journal.append(&1, b"one").unwrap();
        journal.append(&2, b"two\n").unwrap();
        drop(journal);
        let whole = std::fs::read(&place.path).unwrap();
        let first = whole.len() - (FRAME + 2 + 4);
        for cut in first..=whole.len() {
            std::fs::write(&place.path, &whole[..cut]).unwrap();
            let mut seen = Vec::new();
            let journal = Journal::reopen(&place, |json, lists| {
                seen.push((json.to_vec(), lists.to_vec()));
                true
            });
            let mut journal = journal.unwrap().unwrap();
            let both = cut == whole.len();
            assert_eq!(seen.len(), if both { 2 } else { 1 }, "cut at {cut}");
            assert_eq!(seen[0], (b"1".to_vec(), b"one".to_vec()));
            journal.append(&2, b"two\n").unwrap();
            let expected = if both {
                whole.len() + (whole.len() - first)
            } else {
                whole.len()
            };
            assert_eq!(
                std::fs::metadata(&place.path).unwrap().len(),
                expected as u64
            );
        }
        let other = JournalPlace {
            identity: "b".into(),
            ..place
        };
        assert!(Journal::reopen(&other, |_, _| true).unwrap().is_none());
    }
}
