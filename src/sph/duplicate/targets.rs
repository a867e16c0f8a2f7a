//! The triangles near a chunk, and where their rows come from.

use std::collections::BTreeMap;

use super::index::HtmSources;
use super::rotation::Rotation;
use crate::partition::geometry::{ChunkId, Chunker};
use crate::partition::htm::{ARC_SECOND_DEG, HtmCover, HtmId, SkyBox};

/// A triangle that is to be filled.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Target {
    /// The triangle.
    pub triangle: HtmId,
    /// Takes positions of the source to it; nothing if it is its own source.
    pub rotation: Option<Rotation>,
}

/// Returns the triangles whose rows may lie in a chunk or its overlap, by the triangles that they take
/// their rows from; nothing if there is no such chunk.
///
/// Source: `sph-duplicate` in lsst/qserv `src/partition`.
#[must_use]
pub fn targets_of_chunk(
    chunker: &Chunker,
    chunk: ChunkId,
    level: u32,
    sources: &HtmSources,
) -> Option<BTreeMap<HtmId, Vec<Target>>> {
    let bounds = SkyBox::of(chunker.chunk_bounds(chunk)?);
    let reach_deg = chunker.overlap_deg() + ARC_SECOND_DEG;
    let cover = HtmCover::new(level, &bounds.expanded(reach_deg));
    let mut targets: BTreeMap<HtmId, Vec<Target>> = BTreeMap::new();
    for (triangle, corners) in cover.triangles() {
        if let Some(source) = sources.source_of(triangle) {
            let is_moved = source != triangle;
            let rotation = is_moved.then(|| Rotation::between(&source.corners(), corners));
            let of_source = targets.entry(source).or_default();
            of_source.push(Target { triangle, rotation });
        }
    }
    Some(targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::Lcg;
    use crate::sph::duplicate::index::HtmIndex;

    fn one_triangle(lon: f64, lat: f64) -> (HtmIndex, HtmId) {
        let mut index = HtmIndex::new(8).unwrap();
        let triangle = HtmId::at_position(lon, lat, 8);
        index.add(triangle, 1).unwrap();
        (index, triangle)
    }

    #[test]
    fn one_row_fills_the_sky_evenly() {
        let chunker = Chunker::new(10, 10, 0.5).unwrap();
        let (index, source) = one_triangle(100.0, 30.0);
        let sources = index.sources();
        let (mut own, mut overlap) = (0, 0);
        for chunk in chunker.chunks() {
            let targets = targets_of_chunk(&chunker, chunk, 8, &sources).unwrap();
            assert_eq!(targets.keys().collect::<Vec<_>>(), [&source]);
            for target in targets.values().flatten() {
                let position = (100.0, 30.0);
                let moved = |rotation: &Rotation| rotation.moved_deg(position.0, position.1);
                let (lon, lat) = target.rotation.as_ref().map_or(position, moved);
                assert_eq!(HtmId::at_position(lon, lat, 8), target.triangle);
                let cell = chunker.cell_at(lon, lat);
                own += u32::from(cell.location().chunk == chunk);
                cell.overlaps(&mut |place| overlap += u32::from(place.chunk == chunk));
            }
        }
        // One row for each triangle of the level.
        assert_eq!(own, 8 << 16);
        assert!(overlap > own / 3);
        assert_eq!(targets_of_chunk(&chunker, ChunkId(1), 8, &sources), None);
    }

    #[test]
    fn the_triangle_of_a_row_is_near_all_chunks_that_it_is_written_to() {
        let chunker = Chunker::new(18, 10, 0.1).unwrap();
        let mut random = Lcg::new(16);
        for _ in 0..300 {
            let (lon, lat) = random.position_deg();
            let (index, source) = one_triangle(lon, lat);
            let cell = chunker.cell_at(lon, lat);
            let mut chunks = vec![cell.location().chunk];
            cell.overlaps(&mut |place| chunks.push(place.chunk));
            for chunk in chunks {
                let targets = targets_of_chunk(&chunker, chunk, 8, &index.sources()).unwrap();
                let home = targets[&source].iter().find(|it| it.triangle == source);
                assert!(home.is_some_and(|target| target.rotation.is_none()));
            }
        }
    }
}
