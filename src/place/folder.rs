//! A folder as a place: for manifests whose files lie on a local or shared file system.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;

use super::blocks::{RowDigest, check_recorded};
use super::network::Shared;
use super::url::PlaceUrl;
use super::{Answer, ByteStream, FileUpload, ObjectInfo, OpenUpload, Place, Stored};
use crate::error::{Error, ErrorKind, Place as ErrorPlace, Result};
use crate::publish::{AtomicFile, create_folders, remove_optional};

const COPY_BYTES: usize = 1 << 20;

/// A folder.
#[derive(Debug)]
pub(super) struct FolderPlace {
    root: PathBuf,
    shared: Arc<Shared>,
}

impl FolderPlace {
    pub(super) fn new(root: PathBuf, shared: Arc<Shared>) -> Self {
        Self { root, shared }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Starts a file of that name, and makes its folder.
    fn start(&self, key: &str) -> Result<AtomicFile> {
        let path = self.path(key);
        if let Some(parent) = path.parent() {
            create_folders(parent)?;
        }
        Ok(AtomicFile::create(&path)?.with_sync(self.shared.options.sync))
    }

    fn copy(&self, upload: &FileUpload<'_>) -> Result<Stored> {
        let reading = |error| Error::reading(upload.path, error);
        let target = self.path(upload.key);
        let mut from = File::open(upload.path).map_err(reading)?;
        let mut to = self.start(upload.key)?;
        let mut buffer = vec![0; COPY_BYTES];
        let mut digest = RowDigest::default();
        loop {
            self.shared.options.cancel.check()?;
            let read = from.read(&mut buffer).map_err(reading)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            to.write_all(bytes)
                .map_err(|error| Error::writing(&target, error))?;
            digest.update(bytes);
            (upload.advance)(read as u64);
        }
        let (chunk, is_overlap) = upload.recorded.map_or((None, false), |recorded| {
            (recorded.chunk(), recorded.is_overlap())
        });
        let mut summary = digest.finish().finish(upload.key, chunk, is_overlap);
        if let Some(recorded) = upload.recorded {
            check_recorded(upload.path, recorded, &summary)?;
            summary.rows = recorded.rows;
        }
        to.commit()?;
        let sent = summary.bytes;
        Ok(Stored { summary, sent })
    }
}

impl Place for FolderPlace {
    fn url(&self, key: &str) -> String {
        PlaceUrl::Folder(std::path::absolute(&self.root).unwrap_or_else(|_| self.root.clone()))
            .object(key)
    }

    fn put_file<'a>(&'a self, upload: FileUpload<'a>) -> Answer<'a, Stored> {
        Box::pin(async move { tokio::task::block_in_place(|| self.copy(&upload)) })
    }

    fn put_bytes<'a>(&'a self, key: &'a str, bytes: Bytes) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut file = self.start(key)?;
            file.write_all(&bytes)
                .map_err(|error| Error::writing(&self.path(key), error))?;
            file.commit()
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> Answer<'a, Option<ObjectInfo>> {
        Box::pin(async move {
            let path = self.path(key);
            match std::fs::metadata(&path) {
                Ok(found) if !found.is_file() => {
                    Err(Error::new(ErrorKind::InputMissing, "is no file".to_owned())
                        .at(ErrorPlace::file(path.display().to_string())))
                }
                Ok(found) => Ok(Some(ObjectInfo {
                    bytes: found.len(),
                    checksum: None,
                    tag: None,
                })),
                Err(error) if is_absent(&error) => Ok(None),
                Err(error) => Err(Error::reading(&path, error)),
            }
        })
    }

    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Option<ByteStream>> {
        Box::pin(async move {
            let path = self.path(key);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) => return Err(Error::reading(&path, error)),
            };
            let blocks = futures_util::stream::unfold(Some(file), move |file| {
                let path = path.clone();
                async move {
                    let file = file?;
                    let mut bytes = Vec::new();
                    let read = tokio::task::block_in_place(|| {
                        (&file).take(COPY_BYTES as u64).read_to_end(&mut bytes)
                    });
                    match read {
                        Ok(0) => None,
                        Ok(_) => Some((Ok(Bytes::from(bytes)), Some(file))),
                        Err(error) => Some((Err(Error::reading(&path, error)), None)),
                    }
                }
            });
            Ok(Some(blocks.boxed()))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Answer<'a, bool> {
        Box::pin(async move {
            let path = self.path(key);
            let is_there = path.symlink_metadata().is_ok();
            remove_optional(&path)?;
            Ok(is_there)
        })
    }

    fn forget<'a>(&'a self, _key: &'a str, _open: &'a OpenUpload) -> Answer<'a, ()> {
        // Nothing is ever there in parts.
        Box::pin(async { Ok(()) })
    }
}

fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind as Io;
    matches!(error.kind(), Io::NotFound | Io::NotADirectory)
}
