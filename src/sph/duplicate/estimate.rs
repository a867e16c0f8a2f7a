//! How many rows a duplication will put into each sub-chunk, without doing it.
//!
//! Source: `sph-estimate-stats` in lsst/qserv `src/partition`.

use super::index::{HtmIndex, HtmSources};
use super::region::sub_chunks;
use crate::partition::geometry::{ChunkId, Chunker, Location};
use crate::partition::htm::Corners;
use crate::partition::htm::HtmCover;
use crate::partition::htm::SkyBox;
use crate::partition::htm::{shared_area, triangle_area};
use crate::sph::statistics::SubChunkRows;

/// Returns the rows of the sub-chunks of a chunk, ascending; those without any are left out.
///
/// `rows` is the index of the table to copy, `sources` the choice by the index of the table that
/// partitions it; they have the same level. `None` if there is no such chunk.
///
/// Each triangle near a sub-chunk counts with its rows times the share of its area that lies in
/// the sub-chunk, without the digits behind the point; so does the sub-chunk with its overlap. As
/// in the reference, a triangle that lies in the overlap only does not count if it is not near the
/// sub-chunk itself.
#[must_use]
pub fn estimated_rows(
    chunker: &Chunker,
    chunk: ChunkId,
    rows: &HtmIndex,
    sources: &HtmSources,
) -> Option<Vec<SubChunkRows>> {
    let bounds = SkyBox::of(chunker.chunk_bounds(chunk)?);
    // What is near a part is near the whole, if the whole is not smaller by rounding.
    let cover = HtmCover::new(rows.level(), &bounds.expanded(1e-9));
    let mut estimates = Vec::new();
    for location in sub_chunks(chunker, chunk) {
        let Some(bounds) = chunker.sub_chunk_bounds(location) else {
            continue;
        };
        let inner = SkyBox::of(bounds);
        let outer = inner.expanded(chunker.overlap_deg());
        let mut sum = (0, 0);
        for (triangle, corners) in cover.near(&inner) {
            let in_triangle = sources.source_of(triangle).map_or(0, |id| rows.rows(id));
            if in_triangle > 0 {
                let (own, overlap) = parts(corners, &inner, &outer, in_triangle);
                sum = sum_of(sum, (own, overlap));
            }
        }
        if sum != (0, 0) {
            estimates.push(estimate(location, sum));
        }
    }
    Some(estimates)
}

/// Counts that are beyond all are as good as the greatest.
fn sum_of(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0.saturating_add(other.0), one.1.saturating_add(other.1))
}

fn estimate(location: Location, (rows, overlap_rows): (u64, u64)) -> SubChunkRows {
    SubChunkRows {
        chunk: location.chunk.0,
        sub_chunk: location.sub_chunk.0,
        rows,
        overlap_rows,
    }
}

/// Returns the rows of a triangle in a range, and those in the wider range but not in it.
fn parts(corners: &Corners, inner: &SkyBox, outer: &SkyBox, rows: u64) -> (u64, u64) {
    let whole = triangle_area(corners);
    let inside = shared_area(corners, inner).min(whole);
    let around = match outer == inner {
        true => inside,
        false => shared_area(corners, outer).min(whole).max(inside),
    };

    // Shares are 0 to 1, and doubles hold counts up to 2^53 exactly. The cast leaves out the digits
    // behind the point.
    let count = |area: f64| (area / whole * rows as f64) as u64;
    let own = count(inside);
    (own, count(around).saturating_sub(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::HtmId;

    /// The same number of rows in all triangles of a level.
    fn even(level: u32, rows: u64) -> HtmIndex {
        let mut index = HtmIndex::new(level).unwrap();
        for number in 8 << (2 * level)..16 << (2 * level) {
            index.add(HtmId::new(number).unwrap(), rows).unwrap();
        }
        index
    }

    #[test]
    fn estimates_follow_areas() {
        let chunker = Chunker::new(6, 3, 2.0).unwrap();
        let index = even(3, 1_000_000_000);
        let sources = index.sources();
        let mut sum = 0;
        for chunk in chunker.chunks() {
            for part in estimated_rows(&chunker, chunk, &index, &sources).unwrap() {
                sum += part.rows;
                assert!(part.overlap_rows > 0);
            }
        }
        let all = index.total();
        // A row less per triangle and sub-chunk.
        assert!(sum <= all && all - sum < 20_000, "{sum} of {all}");
    }

    #[test]
    fn without_overlap_or_rows() {
        let chunker = Chunker::new(6, 3, 0.0).unwrap();
        let mut index = HtmIndex::new(3).unwrap();
        let chunk = chunker.chunks().nth(5).unwrap();
        let estimate = |index: &HtmIndex| {
            let rows = estimated_rows(&chunker, chunk, index, &index.sources());
            rows.unwrap()
                .iter()
                .map(|part| (part.rows, part.overlap_rows))
                .collect::<Vec<_>>()
        };
        assert_eq!(estimate(&index), []);
        index.add(HtmId::new(8 << 6).unwrap(), 1000).unwrap();
        let parts = estimate(&index);
        assert!(!parts.is_empty() && parts.iter().all(|part| part.1 == 0));
        let none = estimated_rows(&chunker, ChunkId(7), &index, &index.sources());
        assert_eq!(none, None);
    }
}
