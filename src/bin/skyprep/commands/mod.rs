//! One file per subcommand.

pub mod check;
pub mod convert;
pub mod estimate;
pub mod init;
pub mod job;
pub mod load_plan;
pub mod locate;
pub mod manifest;
pub mod merge;
mod output;
pub mod pages;
pub mod partition;
mod redo;
pub mod release;
pub mod run;
pub mod sanitize;
pub mod schema;
pub mod serve;
pub mod sky;
mod sph_copies;
pub mod sph_tools;
pub mod stage;
mod statistics;
mod streams;
mod unknown_keys;
pub mod verify;
