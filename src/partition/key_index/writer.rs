//! Writes the compact file from front to back.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::key::KeyPlace;
use super::layout::{Checksums, HEAD_BYTES, KeyKind, Layout, PlaceForm};
use super::spill::{Spill, beside};
use crate::error::{Error, Result};
use crate::resources::Cancel;

/// Bytes of a write, and of a read.
const BUFFER: usize = 256 << 10;

/// Memory that a writer takes.
pub(super) const WRITER_MEMORY: u64 = 4 * BUFFER as u64;

/// Takes entries in order of their hashes, and of their texts where hashes are equal.
pub(super) struct CompactWriter {
    file: File,
    path: PathBuf,
    kind: KeyKind,
    places: PlaceForm,
    out: Vec<u8>,
    entries: u64,
    /// Texts come behind all entries, so they wait beside the file.
    keys: Spill,
    keys_out: Vec<u8>,
    key_bytes: u64,
    checksum: Xxh3,
    cancel: Cancel,
}

impl CompactWriter {
    /// Begins in `file`, which is empty and called `path`.
    pub(super) fn new(
        mut file: File,
        path: &Path,
        kind: KeyKind,
        places: PlaceForm,
        cancel: &Cancel,
    ) -> Result<Self> {
        file.write_all(&Layout::head())
            .map_err(|error| Error::writing(path, error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            kind,
            places,
            out: Vec::with_capacity(BUFFER + 64),
            entries: 0,
            keys: Spill::create(&beside(path, ".keys"))?,
            keys_out: Vec::new(),
            key_bytes: 0,
            checksum: Xxh3::new(),
            cancel: cancel.clone(),
        })
    }

    /// Adds an entry; `text` counts only where keys are texts.
    pub(super) fn add(&mut self, hash: u64, place: KeyPlace, text: &[u8]) -> Result<()> {
        self.out.extend_from_slice(&hash.to_le_bytes());
        self.places.encode(place, &mut self.out);
        if self.kind == KeyKind::Text {
            self.out.extend_from_slice(&self.key_bytes.to_le_bytes());
            let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
            self.keys_out.extend_from_slice(&length.to_le_bytes());
            self.keys_out.extend_from_slice(text);
            self.key_bytes += text.len() as u64 + 2;
            if self.keys_out.len() >= BUFFER {
                self.keys.append(&self.keys_out)?;
                self.keys_out.clear();
            }
        }
        self.entries += 1;
        if self.out.len() >= BUFFER {
            self.cancel.check()?;
            self.write_entries()?;
        }
        Ok(())
    }

    fn write_entries(&mut self) -> Result<()> {
        self.checksum.update(&self.out);
        write(&mut self.file, &self.path, &self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<Layout> {
        self.write_entries()?;
        self.keys.append(&self.keys_out)?;
        let mut at = 0;
        while at < self.keys.len() {
            let bytes = (self.keys.len() - at).min(BUFFER as u64);
            self.out.resize(usize::try_from(bytes).unwrap_or(BUFFER), 0);
            self.keys.read_at(&mut self.out, at)?;
            self.write_entries()?;
            at += bytes;
        }
        let layout = Layout::new(self.kind, self.places, self.entries, self.key_bytes);
        let directory = self.write_directory(&layout)?;
        let checksums = Checksums {
            entries: self.checksum.digest(),
            directory,
        };
        write(&mut self.file, &self.path, &layout.encode(checksums))?;
        Ok(layout)
    }

    /// Reads the entries again, for how many places there are is known only now.
    fn write_directory(&mut self, layout: &Layout) -> Result<u64> {
        let reading = |error| Error::reading(&self.path, error);
        let entries = File::open(&self.path).map_err(reading)?;
        let width = usize::try_from(layout.directory_width()).unwrap_or(8);
        let entry = usize::try_from(layout.entry_bytes()).unwrap_or(1);
        let mut checksum = Xxh3::new();
        let (mut out, mut buffer) = (
            Vec::with_capacity(BUFFER + 8),
            vec![0; BUFFER / entry * entry],
        );
        let (mut bucket, mut number) = (0, 0u64);
        let mut flush = |out: &mut Vec<u8>, file: &mut File| {
            checksum.update(out);
            let written = write(file, &self.path, out);
            out.clear();
            written
        };
        while number < layout.entries {
            self.cancel.check()?;
            let left = (layout.entries - number).saturating_mul(entry as u64);
            let bytes = buffer
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = buffer.get_mut(..bytes).unwrap_or_default();
            let at = HEAD_BYTES + number * entry as u64;
            entries.read_exact_at(read, at).map_err(reading)?;
            for entry in read.chunks_exact(entry) {
                let hash = entry
                    .first_chunk()
                    .map_or(0, |hash| u64::from_le_bytes(*hash));
                while bucket <= layout.bucket(hash) {
                    out.extend_from_slice(number.to_le_bytes().get(..width).unwrap_or_default());
                    bucket += 1;
                    if out.len() >= BUFFER {
                        flush(&mut out, &mut self.file)?;
                    }
                }
                number += 1;
            }
        }
        while bucket <= layout.buckets() {
            out.extend_from_slice(number.to_le_bytes().get(..width).unwrap_or_default());
            bucket += 1;
            if out.len() >= BUFFER {
                flush(&mut out, &mut self.file)?;
            }
        }
        flush(&mut out, &mut self.file)?;
        Ok(checksum.digest())
    }
}

fn write(file: &mut File, path: &Path, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes)
        .map_err(|error| Error::writing(path, error))
}
