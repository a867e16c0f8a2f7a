//! Which files of the folder are served: none that is hidden, none that a link leads out to.
//!
//! A path is resolved before it is opened, and what it comes to must lie below the folder and may
//! not be hidden, by whatever name it was asked for.

use std::future::Future;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use tower_http::services::fs::{Backend, TokioBackend, TokioFile};

/// Opens files of one folder.
#[derive(Debug, Clone)]
pub(super) struct FolderFiles {
    root: Arc<Path>,
}

type Coming<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl FolderFiles {
    /// Serves the folder `root`, whose path has no links.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    async fn resolve(self, path: PathBuf) -> io::Result<PathBuf> {
        let resolved = tokio::fs::canonicalize(&path).await?;
        let below = resolved.strip_prefix(&self.root);
        if !below.is_ok_and(|below| !is_hidden(below)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let found = tokio::fs::metadata(&resolved).await?;
        // To open a pipe would take until somebody writes to it.
        match found.is_file() || found.is_dir() {
            true => Ok(resolved),
            false => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Says whether a part of the path begins with a point, as `.skyprep` does.
fn is_hidden(path: &Path) -> bool {
    path.components().any(|part| match part {
        Component::Normal(name) => name.as_bytes().first() == Some(&b'.'),
        _ => true,
    })
}

impl Backend for FolderFiles {
    type File = TokioFile;
    type Metadata = std::fs::Metadata;
    type OpenFuture = Coming<TokioFile>;
    type MetadataFuture = Coming<std::fs::Metadata>;

    fn open(&self, path: PathBuf) -> Self::OpenFuture {
        let files = self.clone();
        Box::pin(async move { TokioBackend.open(files.resolve(path).await?).await })
    }

    fn metadata(&self, path: PathBuf) -> Self::MetadataFuture {
        let files = self.clone();
        Box::pin(async move { TokioBackend.metadata(files.resolve(path).await?).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_parts_anywhere() {
        for (path, hidden) in [
            ("", false),
            ("a/b.txt", false),
            (".skyprep/record.jsonl", true),
            ("a/.b", true),
            ("../a", true),
            ("a..b/c.", false),
        ] {
            assert_eq!(is_hidden(Path::new(path)), hidden, "{path}");
        }
    }
}
