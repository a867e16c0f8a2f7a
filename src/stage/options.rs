//! What is staged, where to, and what came of it.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::when::Retention;
use crate::dialect::Dialect;
use crate::pipeline::Replace;
use crate::place::PlaceUrl;
use crate::publish::FolderOptions;
use crate::schema::TableKind;
use crate::source::Input;
use crate::values::Charset;

/// What is not known of files that no record describes.
#[derive(Debug, Clone)]
pub struct TableHints {
    /// Name of the database.
    pub database: Option<String>,
    /// Name of the table; it also renames a recorded one.
    pub table: Option<String>,
    /// What the table is to Qserv.
    pub kind: Option<TableKind>,
    /// Dialect of the text.
    pub dialect: Dialect,
    /// Encoding of the text.
    pub charset: Charset,
}

/// What is staged, and where.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// Output folders of `partition` and `run`, other folders, or files.
    pub sources: Vec<PathBuf>,
    /// Place below which the databases' folders are made.
    pub dest: PlaceUrl,
    /// What no record tells.
    pub hints: TableHints,
    /// What to do with tables that were staged from something else.
    pub replace: Replace,
    /// How a destination that is a folder is opened and written.
    pub folder: FolderOptions,
    /// How a destination that is no folder is written.
    pub server: ServerOptions,
    /// By which URLs the files are fetched.
    pub urls: FetchUrls,
    /// Until when the files are to be kept; without it, until they are released.
    pub retain: Option<Retention>,
}

/// How places that are no folders are written.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Folder where this machine keeps what it knows of places.
    pub state: PathBuf,
    /// Files that are sent at once.
    pub uploads: usize,
}

/// By which URLs Qserv fetches staged files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FetchUrls {
    /// Those that they were put to.
    #[default]
    Own,
    /// Those below another base: a server that shows the same files.
    Base(String),
    /// Signed ones, for so long.
    Signed(Duration),
}

/// What was staged.
#[derive(Debug)]
pub struct StageOutcome {
    /// Files that stand; indexes included where they are staged.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that had to be copied or sent.
    pub new_files: u64,
    /// Bytes that went over the network, those sent twice included.
    pub sent: u64,
    /// Whether there was anything to do.
    pub is_unchanged: bool,
    /// The manifests, one per database: paths or URLs.
    pub manifests: Vec<String>,
    /// When signed URLs end.
    pub urls_expire: Option<SystemTime>,
    /// Tables that were staged before and that manifests no longer name, for all their files are gone.
    pub left_out: Vec<String>,
    /// The files that were or had been copied.
    pub inputs: Vec<Input>,
}
