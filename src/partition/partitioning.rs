//! The numbers that all partitioned tables of a database share.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::geometry::Chunker;
use crate::error::{Error, Result};

/// The division of the sky.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Partitioning {
    /// Number of stripes.
    pub stripes: u32,
    /// Sub-stripes per stripe.
    pub sub_stripes: u32,
    /// Overlap in degrees.
    pub overlap: f64,
}

impl Partitioning {
    /// Lays out the sky.
    ///
    /// # Errors
    /// The numbers are out of range, or the overlap is wider than a sub-chunk.
    pub fn chunker(self) -> Result<Arc<Chunker>> {
        Chunker::new(self.stripes, self.sub_stripes, self.overlap)
            .map(Arc::new)
            .map_err(|fault| Error::usage(fault.to_string()))
    }
}
