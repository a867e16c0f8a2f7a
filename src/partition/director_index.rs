//! The index of a director, opened when the pass that needs it begins.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::key_index::{
    DuplicateRule, IndexLimits, IndexOptions, IndexSource, Key, KeyIndex, KeyPlace,
};
use crate::error::{Error, Place, Result};
use crate::publish::InputStamp;

/// Where the keys of a director lie. The index is named when a table is planned, but may be made
/// only later, by the pass over the director; so it is opened when the table's own pass begins.
#[derive(Debug)]
pub struct DirectorIndex {
    source: IndexSource,
    duplicates: DuplicateRule,
    /// The table of the same pipeline that it is the index of.
    sibling: Option<String>,
    /// What messages call it, if not by its path.
    called: Option<PathBuf>,
    opened: OnceLock<Option<KeyIndex>>,
}

impl DirectorIndex {
    /// Names an index: a file, or the folder that has it.
    pub fn new(source: IndexSource, duplicates: DuplicateRule) -> Self {
        Self {
            source,
            duplicates,
            sibling: None,
            called: None,
            opened: OnceLock::new(),
        }
    }

    /// Names the index of a director that the same command makes: without any row it has none.
    pub fn of_sibling(name: &str, source: IndexSource) -> Self {
        Self {
            sibling: Some(name.to_owned()),
            ..Self::new(source, DuplicateRule::Refuse)
        }
    }

    /// Says what messages call it: where users will find it.
    #[must_use]
    pub fn called(mut self, path: PathBuf) -> Self {
        self.called = Some(path);
        self
    }

    /// Returns the table of the same pipeline that it is the index of.
    pub fn sibling(&self) -> Option<&str> {
        self.sibling.as_deref()
    }

    /// Returns where the index is, as it was named.
    pub fn source(&self) -> &IndexSource {
        &self.source
    }

    /// Returns the stamp of the file.
    ///
    /// # Errors
    /// It can't be looked at, or is no file.
    pub fn stamp(&self) -> Result<InputStamp> {
        let file = self.source.file()?;
        if self.is_absent(&file) {
            return Ok(InputStamp::absent(&file));
        }
        let found = std::fs::metadata(&file).map_err(|error| Error::reading(&file, error))?;
        match found.is_file() {
            true => InputStamp::of(&file),
            false => Err(Error::usage("a director index must be a file")
                .at(Place::file(file.display().to_string()))
                .hint("it is looked at more than once, which a pipe does not allow")),
        }
    }

    fn is_absent(&self, file: &Path) -> bool {
        self.sibling.is_some() && !file.exists()
    }

    /// Returns the name that messages show.
    pub fn shown(&self) -> String {
        let path = self.called.as_ref().unwrap_or(&self.source.path);
        path.display().to_string()
    }

    /// Opens the index, unless it is open; `scratch` is where its compact form is made, if it is in
    /// another.
    ///
    /// # Errors
    /// It is missing, damaged, or places a key twice.
    pub fn open(&self, scratch: PathBuf, limits: IndexLimits) -> Result<()> {
        if self.opened.get().is_some() {
            return Ok(());
        }
        let options = IndexOptions {
            scratch,
            duplicates: self.duplicates,
            limits,
        };
        let index = match self.is_absent(&self.source.file()?) {
            true => None,
            false => {
                // Whoever looks up only sees that bounds are kept.
                let index = KeyIndex::open(&self.source, &options)?;
                index.verify(&options.limits)?;
                Some(index)
            }
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
