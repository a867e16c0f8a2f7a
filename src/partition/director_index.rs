//! The index of a director, opened when the pass that needs it begins.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::key_index::{
    DuplicateRule, IndexLimits, IndexOptions, IndexSource, Key, KeyIndex, KeyPlace,
};
use crate::error::Result;
use crate::publish::InputStamp;
use crate::resources::{Cancel, MemoryGate};

/// Name of a text index among a director's files, as sph-partition calls it.
pub const KEY_INDEX_TEXT: &str = "chunk_object_index.txt";
/// Name of an index in Parquet.
pub const KEY_INDEX_PARQUET: &str = "chunk_object_index.parquet";
/// Name of a compact index.
pub const KEY_INDEX_BINARY: &str = "chunk_object_index.bin";

/// Where the keys of a director lie. The index is named when a table is planned, but may be made
/// only later, by the pass over the director; so it is opened when the table's own pass begins.
#[derive(Debug)]
pub struct DirectorIndex {
    source: IndexSource,
    duplicates: DuplicateRule,
    may_be_absent: bool,
    opened: OnceLock<Option<KeyIndex>>,
}

impl DirectorIndex {
    /// Names an index: a file, or the folder that has it.
    pub fn new(source: IndexSource, duplicates: DuplicateRule) -> Self {
        Self {
            source,
            duplicates,
            may_be_absent: false,
            opened: OnceLock::new(),
        }
    }

    /// Names the index of a director that the same command makes: without any row it has none.
    pub fn of_sibling(source: IndexSource) -> Self {
        Self {
            may_be_absent: true,
            ..Self::new(source, DuplicateRule::Refuse)
        }
    }

    /// Returns where the index is, as it was named.
    pub fn source(&self) -> &IndexSource {
        &self.source
    }

    /// Returns the file that the index is in.
    pub fn file(&self) -> PathBuf {
        let path = &self.source.path;
        if !path.is_dir() {
            return path.clone();
        }
        let names = [KEY_INDEX_BINARY, KEY_INDEX_PARQUET, KEY_INDEX_TEXT];
        let files = names.map(|name| path.join(name));
        let found = files.iter().find(|file| file.exists());
        found.unwrap_or(path).clone()
    }

    /// Returns the stamp of the file.
    ///
    /// # Errors
    /// It can't be looked at.
    pub fn stamp(&self) -> Result<InputStamp> {
        let file = self.file();
        match self.is_absent(&file) {
            true => Ok(InputStamp::absent(&file)),
            false => InputStamp::of(&file),
        }
    }

    fn is_absent(&self, file: &Path) -> bool {
        self.may_be_absent && (!file.exists() || file.is_dir())
    }

    /// Returns the name that messages show.
    pub fn shown(&self) -> String {
        self.source.path.display().to_string()
    }

    /// Opens the index, unless it is open; `scratch` is where its compact form is made, if it is in
    /// another.
    ///
    /// # Errors
    /// It is missing, damaged, or places a key twice.
    pub fn open(&self, scratch: PathBuf, gate: &Arc<MemoryGate>, cancel: &Cancel) -> Result<()> {
        if self.opened.get().is_some() {
            return Ok(());
        }
        let options = IndexOptions {
            scratch,
            duplicates: self.duplicates,
            limits: IndexLimits {
                gate: Arc::clone(gate),
                cancel: cancel.clone(),
            },
        };
        let index = match self.is_absent(&self.file()) {
            true => None,
            false => Some(KeyIndex::open(&self.source, &options)?),
        };
        // Of two that open it at the same time, either's will do.
        let _ = self.opened.set(index);
        Ok(())
    }

    /// Returns the bytes that the opened index takes.
    pub fn bytes(&self) -> u64 {
        self.opened().map_or(0, KeyIndex::bytes)
    }

    /// Returns where the director of that key is; nothing if it is unknown.
    #[inline]
    pub fn find(&self, key: Key<'_>) -> Option<KeyPlace> {
        self.opened()?.find(key)
    }

    /// Looks many keys up at once, which is quicker than one by one.
    pub fn find_many(&self, keys: &[Option<Key<'_>>], places: &mut Vec<Option<KeyPlace>>) {
        match self.opened() {
            Some(index) => index.find_many(keys, places),
            None => {
                places.clear();
                places.resize(keys.len(), None);
            }
        }
    }

    /// Returns the opened index; nothing where there is none because there are no keys.
    pub fn index(&self) -> Option<&KeyIndex> {
        self.opened()
    }

    #[inline]
    fn opened(&self) -> Option<&KeyIndex> {
        self.opened.get()?.as_ref()
    }
}
