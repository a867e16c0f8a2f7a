//! Routes rows to chunks by their position.

use std::sync::Arc;

use super::geometry::{Chunker, PositionFault, check_position};
use crate::exchange::Packet;

/// Whether rows near a border are written once more for the neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlapRule {
    /// They are: directors.
    Write,
    /// They are not: children.
    Omit,
}

/// What right ascensions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RaRule {
    /// 0 to 360 degrees; others are faults.
    Checked,
    /// Any, modulo 360.
    Wrapped,
}

/// Routes rows of one table.
#[derive(Debug)]
pub struct Router {
    chunker: Arc<Chunker>,
    overlap: OverlapRule,
    ra: RaRule,
}

impl Router {
    /// Makes a router over a division of the sky.
    pub fn new(chunker: Arc<Chunker>, overlap: OverlapRule, ra: RaRule) -> Self {
        Self {
            chunker,
            overlap,
            ra,
        }
    }

    /// Returns the division of the sky.
    pub fn chunker(&self) -> &Chunker {
        &self.chunker
    }

    /// Returns the chunk number of each dense index.
    pub fn chunk_numbers(&self) -> Vec<i32> {
        self.chunker.chunks().map(|chunk| chunk.0).collect()
    }

    /// Routes the row that was written last into `packet`; positions are in degrees.
    ///
    /// # Errors
    /// The position does not lie on the sphere.
    #[inline]
    pub fn route(&self, ra: f64, dec: f64, packet: &mut Packet) -> Result<(), PositionFault> {
        let ra = match self.ra {
            RaRule::Checked => ra,
            RaRule::Wrapped => wrapped(ra),
        };
        check_position(ra, dec)?;
        let cell = self.chunker.cell_at(ra, dec);
        if self.overlap == OverlapRule::Write && cell.has_overlaps() {
            cell.overlaps(&mut |place| {
                // Neighbours are chunks of the same division, so each has an index.
                if let Some(dense) = self.chunker.dense_index(place.chunk) {
                    packet.route_overlap(dense, place.sub_chunk.0);
                }
            });
        }
        packet.route(cell.dense_chunk(), cell.location().sub_chunk.0);
        Ok(())
    }
}

/// Takes a right ascension modulo 360; 360 itself stays, for it is legal.
fn wrapped(ra: f64) -> f64 {
    if (0.0..=360.0).contains(&ra) {
        return ra;
    }
    let turned = ra.rem_euclid(360.0);
    // A tiny negative angle rounds up to a full turn, which means 0.
    if turned >= 360.0 { 0.0 } else { turned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_keeps_what_is_legal() {
        for (ra, expected) in [
            (0.0, 0.0),
            (360.0, 360.0),
            (-5.0, 355.0),
            (725.0, 5.0),
            (-1e-20, 0.0),
        ] {
            assert_eq!(wrapped(ra), expected, "{ra}");
        }
        assert!(wrapped(f64::INFINITY).is_nan());
    }
}
