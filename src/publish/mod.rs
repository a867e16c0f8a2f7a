//! Publishing: an output folder shows only complete files under their final names.
//!
//! Files grow in a hidden staging folder on the target's file system. When all of a set are
//! complete they are made durable, an *intent* is written that names them, they are renamed, and
//! the *record* says that the set stands. A kill at any moment leaves either no final name, or an
//! intent that the next run rolls forward. Renaming before syncing could leave empty files under
//! final names after a power cut.

mod crash_point;
mod extension;
mod files;
mod folder;
mod heartbeat;
mod joined;
mod lock;
mod log;
mod record;
mod restore;
mod sync;

#[cfg(debug_assertions)]
pub use crash_point::arm_crash_point;
pub use crash_point::{CRASH_POINTS, crash_point};
pub use extension::extend_standing;
pub(crate) use files::rename as rename_staged;
pub use files::{
    AtomicFile, Readers, append, create_folders, create_spill, link_or_copy, open_spill,
    publish_new, read_optional, remove_optional, remove_tree, remove_unknown, remove_written,
    rename_folder, stream_atomically, write_atomically,
};
pub use folder::{
    FolderOptions, OutputFolder, Publication, STATE_FOLDER, SetState, Staging, StagingPlace,
    StandingFiles,
};
pub(crate) use heartbeat::{Heartbeat, Owner};
pub(crate) use joined::{Joined, RowEnds};
pub use lock::FolderLock;
pub use log::RECORD_FILE;
pub use record::{InputStamp, Record, SetRecord, TableIdentity, physical_path};
pub use sync::SyncMode;
