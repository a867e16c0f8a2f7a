//! skyprep gets astronomical catalogues ready for Qserv: convert, sanitize, partition, stage.

pub mod convert;
pub mod dialect;
pub mod error;
pub mod exchange;
pub mod manifest;
pub mod partition;
pub mod pipeline;
pub mod publish;
pub mod resources;
pub mod sanitize;
pub mod schema;
pub mod source;
pub mod stage;
pub mod values;
