//! Where an index comes from: a compact file, Parquet, or text, told apart by content.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::source::ParquetFile;

use super::formats::IndexFormat;
use super::key::{Canonical, KeyPlace, unmix};
use super::layout::MAGIC;
use super::texts::Texts;

/// The formats of an index in a folder of output, the one that is quickest to use first.
const FORMATS: [IndexFormat; 3] = [IndexFormat::Binary, IndexFormat::Parquet, IndexFormat::Text];

/// A director index that is to be looked up.
#[derive(Debug, Clone)]
pub struct IndexSource {
    /// A file, or a folder with one of the usual names in it.
    pub path: PathBuf,
    /// How text is to be read, if it is text.
    pub dialect: Dialect,
}

/// What a source turned out to be.
pub(super) enum Found {
    /// The compact file.
    Compact(PathBuf),
    /// Parquet, whose footer has been read.
    Parquet(ParquetFile),
    /// Text of so many bytes.
    Text(PathBuf, u64),
}

/// Bytes of the shortest line of a text index: three digits, two delimiters and a line end.
const LEAST_LINE: u64 = 6;

impl Found {
    /// Looks at a source.
    pub(super) fn of(source: &IndexSource) -> Result<Self> {
        let path = source.file()?;
        let reading = |error: io::Error| {
            Error::reading(&path, error)
                .hint("name the director index, or the folder that its table was partitioned into")
        };
        let file = File::open(&path).map_err(reading)?;
        let mut head = Vec::new();
        (&file)
            .take(MAGIC.len() as u64)
            .read_to_end(&mut head)
            .map_err(reading)?;
        match head.as_slice() {
            head if head == MAGIC => Ok(Self::Compact(path)),
            [b'P', b'A', b'R', b'1', ..] => ParquetFile::open(&path).map(Self::Parquet),
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                Err(Error::usage("a compressed index can't be read")
                    .at(Place::file(path.display().to_string()))
                    .hint("unpack it first"))
            }
            _ => {
                let bytes = file.metadata().map_err(reading)?.len();
                Ok(Self::Text(path, bytes))
            }
        }
    }

    /// Returns the name for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Compact(path) | Self::Text(path, _) => path.display().to_string(),
            Self::Parquet(file) => file.name(),
        }
    }

    /// Returns the number of keys, or one that is not below it.
    pub(super) fn most_keys(&self) -> u64 {
        match self {
            Self::Compact(_) => 0,
            Self::Parquet(file) => (0..file.row_groups()).map(|number| file.rows(number)).sum(),
            Self::Text(_, bytes) => bytes / LEAST_LINE + 1,
        }
    }
}

impl IndexSource {
    /// Returns the file that the index is in: of a folder the one that it holds.
    ///
    /// # Errors
    /// The folder holds none.
    pub fn file(&self) -> Result<PathBuf> {
        match self.path.is_dir() {
            true => in_folder(&self.path),
            false => Ok(self.path.clone()),
        }
    }
}

fn in_folder(folder: &Path) -> Result<PathBuf> {
    let names = FORMATS.map(IndexFormat::file_name);
    let found = names
        .iter()
        .map(|name| folder.join(name))
        .find(|path| path.exists());
    found.ok_or_else(|| {
        let message = format!("holds no director index: none of {}", names.join(", "));
        Error::new(ErrorKind::InputMissing, message)
            .at(Place::file(folder.display().to_string()))
            .hint("partition the director first, with its key (--id), or name the index file")
    })
}

/// The key of a row of an index.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexRow<'a> {
    pub(super) hash: u64,
    pub(super) text: KeyText<'a>,
    pub(super) place: KeyPlace,
    /// The line of a text, or the row of a Parquet file, from 1.
    pub(super) number: u64,
}

/// What of a key does not follow from its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyText<'a> {
    Signed,
    Large,
    Text(&'a [u8]),
}

impl<'a> KeyText<'a> {
    /// Returns the key of this hash.
    pub(super) fn key(self, hash: u64) -> Canonical<'a> {
        match self {
            Self::Signed => Canonical::Signed(unmix(hash).cast_signed()),
            Self::Large => Canonical::Large(unmix(hash)),
            Self::Text(text) => Canonical::Text(text),
        }
    }

    /// Puts a text among `texts`; what is returned tells all three apart.
    pub(super) fn store(self, texts: &mut Texts) -> u32 {
        match self {
            Self::Signed => SIGNED,
            Self::Large => LARGE,
            Self::Text(text) => texts.push(text),
        }
    }

    /// Gets back what was stored.
    pub(super) fn stored(address: u32, texts: &'a Texts) -> Self {
        match address {
            SIGNED => Self::Signed,
            LARGE => Self::Large,
            address => Self::Text(texts.get(address)),
        }
    }
}

impl<'a> From<Canonical<'a>> for KeyText<'a> {
    fn from(key: Canonical<'a>) -> Self {
        match key {
            Canonical::Signed(_) => Self::Signed,
            Canonical::Large(_) => Self::Large,
            Canonical::Text(text) => Self::Text(text),
        }
    }
}

// Addresses of texts are below.
const SIGNED: u32 = u32::MAX - 1;
const LARGE: u32 = u32::MAX;

/// The rows of a block, parsed.
#[derive(Default)]
pub(super) struct IndexRows {
    rows: Vec<StoredRow>,
    texts: Texts,
}

struct StoredRow {
    hash: u64,
    place: KeyPlace,
    number: u64,
    text: u32,
}

impl IndexRows {
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.texts.clear();
    }

    pub(super) fn push(&mut self, key: Canonical<'_>, place: KeyPlace, number: u64) {
        self.rows.push(StoredRow {
            hash: key.hash(),
            place,
            number,
            text: KeyText::from(key).store(&mut self.texts),
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = IndexRow<'_>> {
        self.rows.iter().map(|row| IndexRow {
            hash: row.hash,
            text: KeyText::stored(row.text, &self.texts),
            place: row.place,
            number: row.number,
        })
    }
}
