//! The record on disk: a log that only grows, a line for each set that is published.
//!
//! A publication is a block of lines: its sets, then its *intent*, which ends the block. Once the
//! block is durable the files get their names, and a *done* line follows. So one file serves as
//! record and as intent, is written once, and grows with what is published, not with what stands.
//!
//! A kill can leave a torn block, which means nothing, for no file has its name yet: it is cut
//! off. A whole block without a *done* line is carried out by the next run.
#![allow(
    clippy::disallowed_methods,
    reason = "the record is opened here and nowhere else"
)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::crash_point::crash_point;
use super::files::stream_atomically;
use super::record::{Record, SetRecord};
use super::sync::SyncMode;
use crate::error::{Error, ErrorKind, Place, Result};

/// Name of the file in the state folder.
pub const RECORD_FILE: &str = "record.jsonl";

const FORMAT: &str = "skyprep-record";
const VERSION: u32 = 2;

/// The line that ends a publication.
const DONE: &[u8] = b"{\"done\":true}\n";

/// Dead bytes below this are not worth writing the file anew.
const LEAST_DEAD: u64 = 64 << 10;

/// What ends the block of a publication: what goes with it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Intent {
    /// Version of skyprep that published.
    pub(super) skyprep: String,
    /// Files that are no longer true, such as a manifest of what is replaced.
    pub(super) outdated: Vec<String>,
    /// Sets that go without being replaced, with their files.
    pub(super) dropped: Vec<String>,
    /// Whether files of sets that are replaced stay, for an earlier manifest names them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) keeps_replaced: bool,
}

/// A publication that is not known to be done.
#[derive(Debug, PartialEq)]
pub(super) struct Pending {
    pub(super) sets: BTreeMap<String, SetRecord>,
    pub(super) intent: Intent,
}

/// What a log says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) record: Record,
    pub(super) pending: Option<Pending>,
    /// Where the last publication ends that counts; what follows is torn.
    end: u64,
    /// Bytes of the lines of the sets that stand.
    live: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct HeaderLine {
    format: &'static str,
    version: u32,
}

#[derive(Serialize)]
struct SetLine<'a> {
    name: &'a str,
    set: &'a SetRecord,
}

#[derive(Serialize)]
struct IntentLine<'a> {
    publish: &'a Intent,
}

/// Any line. Not an enum, for serde would hold a whole set's text in memory to choose a variant.
#[derive(Deserialize)]
struct Line {
    format: Option<String>,
    version: Option<u32>,
    name: Option<String>,
    set: Option<SetRecord>,
    publish: Option<Intent>,
    done: Option<bool>,
}

/// Says whether the last publication in the log `path` is not known to be done.
pub(super) fn is_pending(path: &Path) -> bool {
    // Without a log nothing was published; one that can't be read is for its reader to refuse.
    File::open(path).is_ok_and(|mut file| !ends_done(&mut file).unwrap_or(true))
}

fn ends_done(file: &mut File) -> io::Result<bool> {
    let end = file.seek(SeekFrom::End(0))?;
    let Some(start) = end.checked_sub(DONE.len() as u64) else {
        return Ok(false);
    };
    file.seek(SeekFrom::Start(start))?;
    let mut last = Vec::with_capacity(DONE.len());
    file.take(DONE.len() as u64).read_to_end(&mut last)?;
    Ok(last == DONE)
}

impl Contents {
    /// Reads the log `path`; nothing if there is none.
    ///
    /// # Errors
    /// It can't be read, is damaged, or was written by a newer skyprep.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::reading(path, error)),
        };
        let at = |error| Error::reading(path, error);
        let is_settled = ends_done(&mut file).map_err(at)?;
        file.seek(SeekFrom::Start(0)).map_err(at)?;
        let reader = BufReader::with_capacity(1 << 16, file);
        let mut lines = serde_json::Deserializer::from_reader(reader).into_iter::<Line>();
        check_header(path, lines.next())?;
        let mut contents = Self::default();
        let mut block = BTreeMap::new();
        let mut sizes = BTreeMap::new();
        let mut start = lines.byte_offset() as u64;
        contents.end = start;
        while let Some(line) = lines.next() {
            let line = match line {
                Ok(line) => line,
                Err(error) if error.is_io() => return Err(at(error.into())),
                // The end is whole, so this is no torn block but damage.
                Err(error) if is_settled => {
                    return Err(refuse(path, format!("not a record of skyprep: {error}")));
                }
                Err(_) => break,
            };
            let end = lines.byte_offset() as u64;
            if let (Some(name), Some(set)) = (line.name, line.set) {
                sizes.insert(name.clone(), end - start);
                block.insert(name, set);
            } else if let Some(intent) = line.publish {
                let sets = std::mem::take(&mut block);
                contents.pending = Some(Pending { sets, intent });
                contents.end = end;
            } else if let Some(pending) = contents.pending.take_if(|_| line.done == Some(true)) {
                contents.live.append(&mut sizes);
                for name in &pending.intent.dropped {
                    contents.live.remove(name);
                }
                contents.record.settle(pending);
                contents.end = end;
            }
            start = end;
        }
        Ok(Some(contents))
    }

    fn is_mostly_dead(&self) -> bool {
        let live: u64 = self.live.values().sum();
        self.pending.is_none() && self.end > live * 2 + LEAST_DEAD
    }
}

impl Record {
    /// Takes up what was published.
    pub(super) fn settle(&mut self, pending: Pending) {
        for name in &pending.intent.dropped {
            self.sets.remove(name);
        }
        self.sets.extend(pending.sets);
    }
}

fn check_header(path: &Path, header: Option<serde_json::Result<Line>>) -> Result<()> {
    let line = match header {
        Some(Ok(line)) => line,
        Some(Err(error)) => {
            return Err(refuse(path, format!("not a record of skyprep: {error}")));
        }
        None => return Err(refuse(path, "not a record of skyprep: it is empty".into())),
    };
    let (format, version) = (line.format.unwrap_or_default(), line.version.unwrap_or(0));
    if format == FORMAT && version == VERSION {
        return Ok(());
    }
    let message = format!("a record of format '{format}' {version}, expected '{FORMAT}' {VERSION}");
    Err(refuse(path, message))
}

fn refuse(path: &Path, message: String) -> Error {
    Error::new(ErrorKind::OutputRefused, message)
        .at(Place::file(path.display().to_string()))
        .hint("choose another output folder, or remove this one")
}

/// The log of a folder that this process may write.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    sync: SyncMode,
    /// Nothing until the first publication, so that a run that fails leaves no record.
    file: Option<File>,
    /// Where the next block goes.
    end: u64,
}

impl Log {
    /// Opens the log `path` and reads it, or makes ready to begin one. One that holds little but
    /// what was replaced is written anew.
    ///
    /// # Errors
    /// It can't be read or written.
    pub(super) fn open(path: PathBuf, sync: SyncMode) -> Result<(Self, Contents)> {
        let mut log = Self {
            path,
            sync,
            file: None,
            end: 0,
        };
        let Some(mut contents) = Contents::read(&log.path)? else {
            return Ok((log, Contents::default()));
        };
        if contents.is_mostly_dead() {
            log.write_anew(&contents.record)?;
            contents = Contents::read(&log.path)?.unwrap_or_default();
        }
        log.reopen(contents.end)?;
        Ok((log, contents))
    }

    /// Writes a publication down and makes that last: from now on it will be carried out.
    ///
    /// # Errors
    /// The log can't be written; the publication then does not count.
    pub(super) fn begin(&mut self, pending: &Pending) -> Result<()> {
        if self.file.is_none() {
            self.write_anew(&Record::default())?;
            let end = Contents::read(&self.path)?.map_or(0, |contents| contents.end);
            self.reopen(end)?;
            crash_point("log-made");
        }
        self.add(
            |out| {
                for (name, set) in &pending.sets {
                    write_line(out, &SetLine { name, set })?;
                }
                let publish = &pending.intent;
                write_line(out, &IntentLine { publish })
            },
            "intent-written",
        )?;
        crash_point("intent-synced");
        Ok(())
    }

    /// Writes down that the last publication stands.
    ///
    /// # Errors
    /// The log can't be written; the publication will then be carried out again.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.add(|out| out.write_all(DONE), "done-written")?;
        crash_point("done-synced");
        Ok(())
    }

    /// Adds lines; if that fails, the next call writes over them.
    fn add(
        &mut self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
        written: &str,
    ) -> Result<()> {
        let at = |error| Error::writing(&self.path, error);
        let Some(file) = &mut self.file else {
            return Err(at(io::ErrorKind::NotFound.into()));
        };
        let begin = |file: &mut File, end| {
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))
        };
        begin(file, self.end).map_err(at)?;
        let mut out = BufWriter::with_capacity(1 << 16, &mut *file);
        let added = write(&mut out).and_then(|()| out.flush());
        // Not written again when it is dropped.
        let _ = out.into_parts();
        let added = added
            .map_err(at)
            .and_then(|()| {
                crash_point(written);
                self.sync.sync_open_file(file, &self.path)
            })
            .and_then(|()| file.stream_position().map_err(at));
        match added {
            Ok(end) => {
                self.end = end;
                Ok(())
            }
            Err(error) => {
                // A torn end would be cut off by the next run just as well.
                let _ = begin(file, self.end);
                Err(error)
            }
        }
    }

    fn write_anew(&self, record: &Record) -> Result<()> {
        stream_atomically(&self.path, self.sync, |out| {
            let header = HeaderLine {
                format: FORMAT,
                version: VERSION,
            };
            write_line(out, &header)?;
            for (name, set) in &record.sets {
                write_line(out, &SetLine { name, set })?;
            }
            let intent = Intent {
                skyprep: env!("CARGO_PKG_VERSION").into(),
                ..Intent::default()
            };
            write_line(out, &IntentLine { publish: &intent })?;
            out.write_all(DONE)
        })
    }

    /// Opens the file for writing after its first `end` bytes, and what ends their line.
    fn reopen(&mut self, end: u64) -> Result<()> {
        let at = |error| Error::writing(&self.path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(at)?;
        file.seek(SeekFrom::Start(end)).map_err(at)?;
        let mut next = [0];
        let is_ended = file.read(&mut next).map_err(at)? == 1 && next == *b"\n";
        if !is_ended {
            file.set_len(end).map_err(at)?;
            file.seek(SeekFrom::Start(end)).map_err(at)?;
            file.write_all(b"\n").map_err(at)?;
        }
        self.file = Some(file);
        self.end = end + 1;
        Ok(())
    }
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::exchange::FileDigest;

    fn pending(name: &str, files: i32, dropped: &[&str]) -> Pending {
        let files = (0..files)
            .map(|chunk| FileDigest::default().finish(format!("T/{chunk}.txt"), Some(chunk), false))
            .collect();
        let set = SetRecord {
            identity: None,
            options: serde_json::json!({"stripes": 18}),
            inputs: Vec::new(),
            files,
            report: serde_json::Value::Null,
            placed_at: None,
        };
        Pending {
            sets: BTreeMap::from([(name.to_owned(), set)]),
            intent: Intent {
                dropped: dropped.iter().map(|name| (*name).to_owned()).collect(),
                ..Intent::default()
            },
        }
    }

    fn names(contents: &Contents) -> Vec<&str> {
        contents.record.sets.keys().map(String::as_str).collect()
    }

    #[test]
    fn what_is_done_stands_and_what_is_begun_is_pending() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORD_FILE);
        let (mut log, contents) = Log::open(path.clone(), SyncMode::Auto).unwrap();
        assert!(contents.record.sets.is_empty() && !path.exists() && !is_pending(&path));
        log.begin(&pending("a", 1, &[])).unwrap();
        assert!(is_pending(&path));
        log.finish().unwrap();
        assert!(!is_pending(&path));
        log.begin(&pending("b", 2, &["a"])).unwrap();
        let contents = Contents::read(&path).unwrap().unwrap();
        assert_eq!(names(&contents), ["a"]);
        assert_eq!(contents.pending, Some(pending("b", 2, &["a"])));
        drop(log);
        let (mut log, _) = Log::open(path.clone(), SyncMode::None).unwrap();
        log.finish().unwrap();
        let contents = Contents::read(&path).unwrap().unwrap();
        assert_eq!(names(&contents), ["b"]);
        assert!(contents.pending.is_none());
    }

    #[test]
    fn a_log_torn_anywhere_is_cut_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORD_FILE);
        let (mut log, _) = Log::open(path.clone(), SyncMode::None).unwrap();
        log.begin(&pending("a", 1, &[])).unwrap();
        log.finish().unwrap();
        let first = fs::metadata(&path).unwrap().len() as usize;
        log.begin(&pending("b", 1, &["a"])).unwrap();
        let intent = fs::metadata(&path).unwrap().len() as usize;
        log.finish().unwrap();
        let whole = fs::read(&path).unwrap();
        let zeros = |length: usize| [&whole[..length], &[0; 50]].concat();
        for length in first..whole.len() {
            for bytes in [whole[..length].to_vec(), zeros(length)] {
                fs::write(&path, bytes).unwrap();
                let (mut log, contents) = Log::open(path.clone(), SyncMode::None).unwrap();
                // All of the line is there, but for its end.
                let is_done = length + 1 == whole.len();
                assert_eq!(
                    names(&contents),
                    if is_done { ["b"] } else { ["a"] },
                    "{length}"
                );
                let is_pending = length + 1 >= intent && !is_done;
                assert_eq!(contents.pending.is_some(), is_pending, "{length}");
                if !is_pending {
                    log.begin(&pending("c", 1, &[])).unwrap();
                }
                log.finish().unwrap();
                let again = Contents::read(&path).unwrap().unwrap();
                assert_eq!(again.record.sets.len(), if is_pending { 1 } else { 2 });
                let text = fs::read_to_string(&path).unwrap();
                assert!(
                    text.lines()
                        .all(|line| serde_json::from_str::<Line>(line).is_ok())
                );
            }
        }
    }

    #[test]
    fn damage_and_other_versions_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORD_FILE);
        let (mut log, _) = Log::open(path.clone(), SyncMode::None).unwrap();
        for name in ["a", "b"] {
            log.begin(&pending(name, 1, &[])).unwrap();
            log.finish().unwrap();
        }
        let good = fs::read_to_string(&path).unwrap();
        let damaged = [
            good.replacen("\"name\"", "name", 1),
            good.replace("\"version\":2", "\"version\":3"),
            "x".into(),
            String::new(),
        ];
        for bytes in damaged {
            fs::write(&path, bytes).unwrap();
            let refused = Contents::read(&path).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::OutputRefused);
        }
    }

    #[test]
    fn a_log_of_dead_lines_is_written_anew_and_a_live_one_only_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RECORD_FILE);
        let (mut log, _) = Log::open(path.clone(), SyncMode::None).unwrap();
        for _ in 0..4 {
            log.begin(&pending("a", 200, &[])).unwrap();
            log.finish().unwrap();
        }
        let before = fs::metadata(&path).unwrap().len();
        let (mut log, contents) = Log::open(path.clone(), SyncMode::None).unwrap();
        let after = fs::metadata(&path).unwrap().len();
        assert!(after < before / 3, "{after} of {before}");
        assert_eq!(contents.record.sets, pending("a", 200, &[]).sets);
        log.begin(&pending("b", 1, &[])).unwrap();
        log.finish().unwrap();
        let (_, contents) = Log::open(path.clone(), SyncMode::None).unwrap();
        assert_eq!(names(&contents), ["a", "b"]);
        assert!(fs::metadata(&path).unwrap().len() > after);
    }
}
