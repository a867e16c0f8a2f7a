//! What staging to a server must remember beyond its own life: files that are there, uploads in
//! parts that were begun, objects that are to go.
//!
//! A line of JSON for each event, in a state folder of the destination that this machine keeps. It
//! is not synced: what it tells is asked of the server again before it is relied on, and what it
//! lacks is sent again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::exchange::FileSummary;
use crate::place::{DonePart, OpenUpload, UploadLog};
use crate::publish::{InputStamp, SyncMode, append, read_optional, stream_atomically};

const FORMAT: &str = "skyprep-uploads";
const VERSION: u32 = 1;

/// A file that is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DoneFile {
    /// The local file, as it was when it was sent.
    pub(super) source: InputStamp,
    /// What was sent; its path is the key.
    pub(super) file: FileSummary,
}

/// What a journal tells.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Files that are there, by key.
    pub(super) done: HashMap<String, DoneFile>,
    /// Uploads in parts that are not whole, by key.
    pub(super) open: BTreeMap<String, OpenUpload>,
    /// Keys of objects that go as soon as the next manifest stands.
    pub(super) stale: BTreeSet<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Heading {
        format: String,
        version: u32,
        dest: String,
    },
    Begun {
        key: String,
        id: String,
        part_bytes: u64,
    },
    Part {
        key: String,
        id: String,
        part: DonePart,
    },
    Ended {
        key: String,
        id: String,
    },
    Done(DoneFile),
    Stale {
        key: String,
    },
    Kept {
        key: String,
    },
    Removed {
        key: String,
    },
}

impl Known {
    fn take_up(&mut self, line: Line) {
        match line {
            Line::Heading { .. } => {}
            Line::Begun {
                key,
                id,
                part_bytes,
            } => {
                let open = OpenUpload {
                    id,
                    part_bytes,
                    parts: Vec::new(),
                };
                self.open.insert(key, open);
            }
            Line::Part { key, id, part } => {
                if let Some(open) = self.open.get_mut(&key).filter(|open| open.id == id) {
                    open.parts.retain(|known| known.number != part.number);
                    open.parts.push(part);
                }
            }
            Line::Ended { key, id } => {
                if self.open.get(&key).is_some_and(|open| open.id == id) {
                    self.open.remove(&key);
                }
            }
            Line::Done(done) => {
                let key = done.file.path().into_owned();
                self.stale.remove(&key);
                self.done.insert(key, done);
            }
            Line::Stale { key } => {
                self.stale.insert(key);
            }
            Line::Kept { key } => {
                self.stale.remove(&key);
            }
            Line::Removed { key } => {
                self.stale.remove(&key);
                self.done.remove(&key);
            }
        }
    }

    /// Returns the lines that tell all of it.
    fn lines(&self, dest: &str) -> impl Iterator<Item = Line> {
        let heading = Line::Heading {
            format: FORMAT.into(),
            version: VERSION,
            dest: dest.into(),
        };
        let mut done: Vec<&DoneFile> = self.done.values().collect();
        done.sort_unstable_by(|a, b| a.file.cmp_place(&b.file));
        let done = done.into_iter().cloned().map(Line::Done);
        let stale = self.stale.iter().cloned().map(|key| Line::Stale { key });
        let open = self.open.iter().flat_map(|(key, open)| {
            let begun = Line::Begun {
                key: key.clone(),
                id: open.id.clone(),
                part_bytes: open.part_bytes,
            };
            let part = |part: &DonePart| Line::Part {
                key: key.clone(),
                id: open.id.clone(),
                part: part.clone(),
            };
            std::iter::once(begun).chain(open.parts.iter().map(part))
        });
        std::iter::once(heading)
            .chain(done)
            .chain(open)
            .chain(stale)
    }
}

/// The journal of one destination, being written.
#[derive(Debug)]
pub(super) struct UploadJournal {
    path: PathBuf,
    dest: String,
    file: Mutex<File>,
}

impl UploadJournal {
    /// Takes up the journal `path` of the destination `dest`, or begins it.
    ///
    /// What an earlier version of the program has written, or a kill has torn, is left out.
    ///
    /// # Errors
    /// The journal can't be read or written.
    pub(super) fn open(path: &Path, dest: &str) -> Result<(Self, Known)> {
        let known = Self::read(path, dest)?;
        Self::write(path, dest, &known)?;
        let journal = Self {
            path: path.to_owned(),
            dest: dest.to_owned(),
            file: Mutex::new(append(path)?),
        };
        Ok((journal, known))
    }

    /// Reads the journal `path` of the destination `dest` without touching it.
    ///
    /// # Errors
    /// It is there and can't be read.
    pub(super) fn read(path: &Path, dest: &str) -> Result<Known> {
        let mut known = Known::default();
        let bytes = read_optional(path)?.unwrap_or_default();
        let mut is_ours = false;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let whole = line.strip_suffix(b"\n");
            let Some(Ok(line)) = whole.map(serde_json::from_slice::<Line>) else {
                break;
            };
            if let Line::Heading {
                format,
                version,
                dest: found,
            } = &line
            {
                is_ours = format == FORMAT && *version == VERSION && found == dest;
            }
            if !is_ours {
                break;
            }
            known.take_up(line);
        }
        Ok(known)
    }

    fn write(path: &Path, dest: &str, known: &Known) -> Result<()> {
        stream_atomically(path, SyncMode::None, |out| {
            for line in known.lines(dest) {
                serde_json::to_writer(&mut *out, &line)?;
                out.write_all(b"\n")?;
            }
            Ok(())
        })
    }

    fn add(&self, line: &Line) -> Result<()> {
        let at = |error| Error::writing(&self.path, error);
        let mut bytes = serde_json::to_vec(line).map_err(|error| at(error.into()))?;
        bytes.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // In one call, so that lines of several threads don't mix.
        file.write_all(&bytes).map_err(at)
    }

    /// A file has arrived.
    ///
    /// # Errors
    /// The journal can't be written.
    pub(super) fn done(&self, done: &DoneFile) -> Result<()> {
        self.add(&Line::Done(done.clone()))
    }

    /// An object is to go as soon as the next manifest stands.
    ///
    /// # Errors
    /// The journal can't be written.
    pub(super) fn stale(&self, key: &str) -> Result<()> {
        self.add(&Line::Stale { key: key.into() })
    }

    /// An object that was to go stays: the manifest names it again.
    ///
    /// # Errors
    /// The journal can't be written.
    pub(super) fn kept(&self, key: &str) -> Result<()> {
        self.add(&Line::Kept { key: key.into() })
    }

    /// An object is gone.
    ///
    /// # Errors
    /// The journal can't be written.
    pub(super) fn removed(&self, key: &str) -> Result<()> {
        self.add(&Line::Removed { key: key.into() })
    }

    /// Returns what the journal tells by now.
    ///
    /// # Errors
    /// The journal can't be read.
    pub(super) fn known(&self) -> Result<Known> {
        Self::read(&self.path, &self.dest)
    }

    /// Writes the journal anew, without what no longer matters.
    ///
    /// # Errors
    /// The journal can't be read or written.
    pub(super) fn tidy(self) -> Result<()> {
        let known = self.known()?;
        Self::write(&self.path, &self.dest, &known)
    }
}

impl UploadLog for UploadJournal {
    fn begun(&self, key: &str, id: &str, part_bytes: u64) -> Result<()> {
        self.add(&Line::Begun {
            key: key.into(),
            id: id.into(),
            part_bytes,
        })
    }

    fn part(&self, key: &str, id: &str, part: &DonePart) -> Result<()> {
        self.add(&Line::Part {
            key: key.into(),
            id: id.into(),
            part: part.clone(),
        })
    }

    fn ended(&self, key: &str, id: &str) -> Result<()> {
        self.add(&Line::Ended {
            key: key.into(),
            id: id.into(),
        })
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests tear files as a kill would"
)]
mod tests {
    use super::*;
    use crate::exchange::{FileDigest, HexDigest};

    fn done(key: &str) -> DoneFile {
        DoneFile {
            source: InputStamp::absent(Path::new("x")),
            file: FileDigest::default().finish(key, Some(7), false),
        }
    }

    fn part(number: u32) -> DonePart {
        DonePart {
            number,
            tag: format!("t{number}"),
            md5: HexDigest([3; 16]),
        }
    }

    #[test]
    fn a_journal_survives_kills_and_belongs_to_its_destination() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uploads.jsonl");
        let (journal, known) = UploadJournal::open(&path, "s3://b/").unwrap();
        assert!(known.done.is_empty() && known.open.is_empty());
        journal.begun("a", "u1", 5).unwrap();
        journal.part("a", "u1", &part(0)).unwrap();
        journal.begun("a", "u2", 5).unwrap();
        journal.part("a", "u1", &part(1)).unwrap();
        journal.part("a", "u2", &part(2)).unwrap();
        journal.begun("b", "u3", 5).unwrap();
        journal.ended("b", "u3").unwrap();
        journal.stale("d/T/chunk_7.txt").unwrap();
        journal.stale("old").unwrap();
        journal.stale("kept").unwrap();
        journal.kept("kept").unwrap();
        journal.done(&done("d/T/chunk_7.txt")).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"done\":"].concat()).unwrap();

        let (journal, known) = UploadJournal::open(&path, "s3://b/").unwrap();
        let open = OpenUpload {
            id: "u2".into(),
            part_bytes: 5,
            parts: vec![part(2)],
        };
        assert_eq!(known.open, BTreeMap::from([("a".into(), open)]));
        assert_eq!(known.stale, BTreeSet::from(["old".into()]));
        assert!(known.done.contains_key("d/T/chunk_7.txt"));
        journal.removed("old").unwrap();
        journal.tidy().unwrap();
        let known = UploadJournal::read(&path, "s3://b/").unwrap();
        assert!(known.stale.is_empty() && known.done.len() == 1);
        let other = UploadJournal::read(&path, "s3://c/").unwrap();
        assert!(other.done.is_empty());
    }
}
