//! Stage: prepared files go to where Qserv can fetch them, proven to have arrived.

mod collect;
mod local;

pub use local::{StageOptions, StageOutcome, TableHints, foresee, stage};
