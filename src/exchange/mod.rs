//! The exchange: encoded rows come in packets from any thread and leave in input order.
//!
//! Rows of one chunk come from many pieces of many inputs and must end in one file, in input
//! order, whatever the number of threads. Workers fill [`Packet`]s; the [`Collector`] puts them
//! in order of their pieces into *runs*, each as large as the memory limit allows; a [`Sink`]
//! writes a run: [`ChunkSink`] groups its rows by chunk and brings them into one staged file per
//! chunk, [`StreamSink`] writes rows as they come. Where packets and runs end never shows in
//! the bytes.

mod chunk_rows;
mod chunk_sink;
mod collector;
mod digest;
mod exchange_file;
mod grouping;
mod merge;
mod open_files;
mod packet;
mod stream_sink;
#[cfg(test)]
mod tests;

pub use chunk_rows::{ChunkRows, SubChunkCount};
pub use chunk_sink::{ChunkSink, ChunkSinkOptions, Finish};
pub use collector::{Collector, CollectorOptions, Stop};
pub use digest::{FileDigest, FileSummary, HexDigest, deserialize_summaries};
pub use merge::CountSink;
pub use packet::{Overlap, Packet, PacketShape, SlotPart, SlotText};
pub use stream_sink::StreamSink;

use crate::error::Result;

/// Whether more runs of an output follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    /// Memory is short, and more rows are to come.
    Early,
    /// These are all the rows that are left.
    Last,
}

/// Takes the rows of one output, run by run, in input order.
pub trait Sink: Send + Sync {
    /// Writes one run; calls never overlap.
    ///
    /// # Errors
    /// The output can't be written.
    fn write_run(&self, packets: &[Packet], kind: RunKind) -> Result<()>;

    /// Says whether runs are written as they come: a stream gains nothing from long ones.
    fn is_stream(&self) -> bool {
        false
    }
}
