//! The sky as a picture: how many rows each chunk of a table has.
//!
//! [`Whereabouts`] tell of a single chunk. What stands in a folder or a manifest becomes
//! [`SkyTable`]s ([`read_tables`]); a [`Picture`] lays one of them out on paper, and is drawn as
//! SVG, as PNG, or within a page ([`page`]).

mod graticule;
mod locate;
mod page;
mod picture;
mod png;
mod projection;
mod shades;
mod svg;
mod tables;
#[cfg(test)]
mod tests;

pub use locate::{SkyBox, SubChunk, Whereabouts};
pub use page::page;
pub use picture::{Measure, Picture};
pub use tables::{ChunkLoad, SkyTable, SkyTables, read_tables};
