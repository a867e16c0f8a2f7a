//! The manifest of a folder: what stands there, and by which URLs it is fetched.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::options::FetchUrls;
use super::placed_manifest::public_url;
use super::when::Retention;
use crate::error::{Error, Result};
use crate::manifest::{Lines, Manifest, PlacedUrl};
use crate::place::PlaceUrl;

/// By which URLs files of a folder are fetched, and until when they are kept.
#[derive(Debug)]
pub(crate) struct FolderPublicity {
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
        let root: PathBuf =
            std::path::absolute(root).map_err(|error| Error::writing(root, error))?;
        Ok(Self {
            place: PlaceUrl::Folder(root),
            base: match urls {
                FetchUrls::Base(base) => Some(base.clone()),
                FetchUrls::Own | FetchUrls::Signed(_) => None,
            },
            retain,
        })
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
        let standing = File::open(path).ok();
        let standing = standing.and_then(|file| Lines::new(BufReader::new(file), "").ok());
        let kept = standing.and_then(|lines| lines.header().retain_until);
        // Nobody tells which of the tables were staged before, so none is kept for less.
        let until = self.retain.map(|retain| retain.after(kept, true));
        manifest.retain_until(until.or(kept));
        manifest.stands_at(path)
    }
}
