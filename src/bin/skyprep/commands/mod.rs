//! One file per subcommand.

pub mod convert;
pub mod pages;
pub mod partition;
pub mod run;
pub mod sanitize;
pub mod stage;
mod streams;
