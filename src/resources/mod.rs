//! What a run may use: threads, memory and time, and where each limit came from.

mod cancel;
mod gate;
mod limits;

pub use cancel::Cancel;
pub use gate::{Lease, MemoryGate};
pub use limits::{
    ByteSize, available_memory, available_threads, free_space, is_in_memory, open_files_limit,
    process_bytes, process_peak_bytes, raise_open_files,
};
