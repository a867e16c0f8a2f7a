//! The exchange: encoded rows come in packets from any thread and leave in input order.
//!
//! Rows of one chunk come from many pieces of many inputs and must end in one file, in input
//! order, whatever the number of threads. Workers fill [`Packet`]s; the [`Collector`] puts them
//! in order of their pieces into *runs*, each as large as the memory limit allows; a [`Sink`]
//! writes a run: [`ChunkSink`] groups its rows by chunk and brings them into one staged file per
//! chunk, [`StreamSink`] writes rows as they come. Where packets and runs end never shows in
//! the bytes.

mod chunk_journal;
mod chunk_names;
mod chunk_rows;
mod chunk_sink;
mod collector;
mod digest;
mod early;
mod exchange_file;
mod fetch;
mod grouping;
mod journal;
mod memory_runs;
mod merge;
mod open_files;
mod packet;
mod progress;
mod room;
mod sealed;
mod sealed_merge;
mod segments;
mod stream_sink;
mod sub_chunk_fillings;
mod task_sinks;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests make files of their own")]
mod tests;
mod triangle_sink;

pub use chunk_names::{ChunkNames, chunk_of_name};
pub use chunk_rows::{ChunkRows, SubChunkCount};
pub use chunk_sink::{ChunkSink, ChunkSinkOptions, Finish};
pub use collector::{Collector, CollectorOptions, OutputTotals, Stop, first_piece};
pub use digest::{Digests, FileDigest, FileSummary, HexDigest, deserialize_summaries};
pub use journal::JournalPlace;
pub use merge::CountSink;
pub use packet::{FurtherPlace, MatchSides, Packet, PacketShape, SlotPart, SlotText};
pub use progress::{Mark, OutputCounts, PiecePosition};
pub use room::check_room;
pub use sealed::{SealedFile, SealedWriter, Section, SectionContent};
pub use sealed_merge::{MergeWork, SealedRuns, join_sealed};
pub use stream_sink::{FileFrame, Parts, StreamSink};
pub use task_sinks::{TaskChunkSink, TaskRowSink, TaskSinkOptions};
pub use triangle_sink::{TriangleSink, TriangleSinkOptions};

use crate::error::Result;

/// Which run of an output this is, and what it brings the output to.
#[derive(Debug, Clone, Copy)]
pub enum RunEnd<'m> {
    /// More rows are to come. The mark lies behind the run; there is none where the next piece has
    /// not been begun.
    Early(Option<&'m Mark>),
    /// These are all the rows that are left.
    Last(&'m Mark),
}

impl<'m> RunEnd<'m> {
    /// Returns the mark behind the run, if there is one.
    pub fn mark(self) -> Option<&'m Mark> {
        match self {
            Self::Early(mark) => mark,
            Self::Last(mark) => Some(mark),
        }
    }

    /// Says whether no rows follow.
    pub fn is_last(self) -> bool {
        matches!(self, Self::Last(_))
    }
}

/// Takes the rows of one output, run by run, in input order.
pub trait Sink: Send + Sync {
    /// Writes one run; calls never overlap.
    ///
    /// # Errors
    /// The output can't be written.
    fn write_run(&self, packets: &[Packet], end: RunEnd<'_>) -> Result<()>;

    /// Says whether runs are written as they come: a stream gains nothing from long ones.
    fn is_stream(&self) -> bool {
        false
    }

    /// Returns the bytes of packets from which on [`Self::is_worth_writing`] should be asked about
    /// a run.
    fn early_run(&self) -> u64 {
        u64::MAX
    }

    /// Says whether a run may be written though there is memory for more rows: short runs are
    /// still in the processor's cache when their rows are gathered.
    fn is_worth_writing(&self, _run: &[Packet]) -> bool {
        false
    }

    /// Gives back memory that holds rows of earlier runs, by writing them out; says whether there was
    /// any. It may be called while a run is being written.
    ///
    /// # Errors
    /// The rows can't be written.
    fn release(&self) -> Result<bool> {
        Ok(false)
    }
}
