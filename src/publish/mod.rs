//! Publishing: an output folder shows only complete files under their final names.
//!
//! Files grow in a hidden staging folder on the target's file system. When all of a set are
//! complete they are made durable, an *intent* is written that names them, they are renamed, and a
//! *record* says that the set stands. A kill at any moment leaves either no final name, or an
//! intent that the next run rolls forward. Renaming before syncing could leave empty files under
//! final names after a power cut.

mod files;
mod folder;
mod lock;
mod record;

pub use files::{
    AtomicFile, append, create_folders, create_spill, read_optional, remove_optional,
    write_atomically,
};

pub use folder::{OutputFolder, Publication, STATE_FOLDER, SetState};
pub use record::{InputStamp, Record, SetRecord, TableIdentity};
