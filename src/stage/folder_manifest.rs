//! The manifest of a folder: what stands there, and by which URLs it is fetched.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::options::FetchUrls;
use super::placed_manifest::public_url;
use super::when::Retention;
use crate::error::{Error, Result};
use crate::manifest::{Lines, Manifest, PlacedUrl, UtcTime};
use crate::place::PlaceUrl;
use crate::publish::{STATE_FOLDER, read_optional, remove_optional, write_atomically};

/// Returns until when a manifest says that files are kept, if it stands and says so.
fn retention_at(path: &Path) -> Option<UtcTime> {
    let file = File::open(path).ok()?;
    let lines = Lines::new(BufReader::new(file), "").ok()?;
    lines.header().retain_until
}

/// By which URLs files of a folder are fetched, and until when they are kept.
#[derive(Debug)]
pub(crate) struct FolderPublicity {
    /// The folder as it was named.
    root: PathBuf,
    place: PlaceUrl,
    base: Option<String>,
    retain: Option<Retention>,
}

impl FolderPublicity {
    /// Tells what is said about files below the folder `root`.
    ///
    /// # Errors
    /// The folder's absolute path can't be found.
    pub(crate) fn new(root: &Path, urls: &FetchUrls, retain: Option<Retention>) -> Result<Self> {
        let absolute = std::path::absolute(root).map_err(|error| Error::writing(root, error))?;
        Ok(Self {
            root: root.to_owned(),
            place: PlaceUrl::Folder(absolute),
            base: match urls {
                FetchUrls::Base(base) => Some(base.clone()),
                FetchUrls::Own | FetchUrls::Signed(_) => None,
            },
            retain,
        })
    }

    /// Notes until when the manifest `path` says that files are kept: it goes while others take the
    /// place of what it names, and whoever writes the next has to know, after a kill as well.
    ///
    /// # Errors
    /// The folder may not be written.
    pub(crate) fn note_retention(&self, path: &Path) -> Result<()> {
        match retention_at(path) {
            Some(until) => write_atomically(&self.note_of(path), until.to_string().as_bytes()),
            None if path.exists() => self.forget_retention(path),
            None => Ok(()),
        }
    }

    /// Forgets what was noted: the manifest `path` stands.
    ///
    /// # Errors
    /// The folder may not be written.
    pub(crate) fn forget_retention(&self, path: &Path) -> Result<()> {
        let note = self.note_of(path);
        // Mostly there is none, and the folder may be one that is only read.
        match note.exists() {
            true => remove_optional(&note),
            false => Ok(()),
        }
    }

    fn noted(&self, path: &Path) -> Result<Option<UtcTime>> {
        let noted = read_optional(&self.note_of(path))?;
        Ok(noted.and_then(|noted| String::from_utf8_lossy(&noted).parse().ok()))
    }

    /// Returns where the retention of a manifest is noted: in the tool's own folder.
    fn note_of(&self, manifest: &Path) -> PathBuf {
        let below = manifest.strip_prefix(&self.root).unwrap_or(manifest);
        let name = xxh3_64(below.as_os_str().as_encoded_bytes());
        let state = self.root.join(STATE_FOLDER);
        state.join(format!("retain-until-{name:016x}"))
    }

    /// Returns the URLs of the file of a path below the folder.
    pub(crate) fn url_of(&self, path: &str) -> PlacedUrl {
        let object = self.place.object(path);
        match &self.base {
            None => PlacedUrl {
                url: object,
                stored_at: None,
            },
            Some(base) => PlacedUrl {
                url: public_url(base, path),
                stored_at: Some(object),
            },
        }
    }

    /// Says whether the file `path` holds just this manifest, as it would be written.
    ///
    /// # Errors
    /// The file can't be read.
    pub(crate) fn stands(&self, manifest: &mut Manifest<'_>, path: &Path) -> Result<bool> {
        manifest.public_url(self.base.clone());
        let kept = match path.exists() {
            true => {
                self.forget_retention(path)?;
                retention_at(path)
            }
            false => self.noted(path)?,
        };
        // Nobody tells which of the tables were staged before, so none is kept for less.
        let until = self.retain.map(|retain| retain.after(kept, true));
        manifest.retain_until(until.or(kept));
        manifest.stands_at(path)
    }
}
