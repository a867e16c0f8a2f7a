//! What a run may use: threads and memory, and where each limit came from.

mod gate;
mod limits;

pub use gate::{Lease, MemoryGate};
pub use limits::{ByteSize, available_memory, available_threads, process_peak_bytes};
