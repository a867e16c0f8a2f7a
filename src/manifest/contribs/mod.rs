//! What the ingest service says of its work, compared with the manifest.
//!
//! The service keeps a descriptor for each file that it was told to load. Only all of them together
//! tell whether the database is whole: files may be missing or loaded twice, rows may be lost with
//! nothing but a warning, and a file that failed while it was loaded spoils its whole transaction.

mod comparison;
mod descriptors;
mod report;
#[cfg(test)]
mod tests;

pub use descriptors::{Descriptor, Descriptors, Status};
pub use report::{Attempt, ContribReport, Finding, Remedy};
