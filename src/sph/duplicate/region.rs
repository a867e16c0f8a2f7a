//! Which chunks a duplication fills, and which sub-chunks they have.
//!
//! Source: `Chunker` in lsst/qserv `src/partition`.

use crate::partition::geometry::{ChunkId, Chunker, Location, SubChunkId};
use crate::partition::htm::SkyBox;

/// Returns the chunks that have a point in common with a region, ascending.
///
/// A common border is enough, but for the southern border of the region: the chunks that end there
/// are not among them, for positions on a border lie in the north of it.
///
/// # Examples
/// ```
/// use skyprep::partition::geometry::Chunker;
/// use skyprep::sph::chunks_in;
/// use skyprep::partition::htm::SkyBox;
///
/// let chunker = Chunker::new(60, 6, 0.05)?;
/// let region = SkyBox::new(24.0, 30.0, -10.0, -5.0)?;
/// let numbers: Vec<i32> = chunks_in(&chunker, &region).map(|chunk| chunk.0).collect();
/// assert_eq!(numbers, [3127, 3128, 3129, 3247, 3248, 3249, 3367, 3368, 3369]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn chunks_in(chunker: &Chunker, region: &SkyBox) -> impl Iterator<Item = ChunkId> {
    let [first, last] = [region.lat_min_deg(), region.lat_max_deg()]
        .map(|lat_deg| stripe(chunker, chunker.locate(0.0, lat_deg).chunk));
    let region = *region;

    chunker.chunks().filter(move |chunk| {
        let stripe = stripe(chunker, *chunk);
        let bounds = chunker.chunk_bounds(*chunk).map(SkyBox::of);
        first <= stripe && stripe <= last && bounds.is_some_and(|bounds| bounds.meets(&region))
    })
}

/// Returns the sub-chunks of a chunk, ascending; none if there is no such chunk.
pub fn sub_chunks(chunker: &Chunker, chunk: ChunkId) -> impl Iterator<Item = Location> {
    let per_band = chunker.max_sub_chunks_per_chunk();
    let bands = chunker.sub_stripes_per_stripe();
    let first = stripe(chunker, chunk).saturating_mul(bands);
    let is_chunk = chunker.dense_index(chunk).is_some();

    let counts = chunker
        .sub_chunks_per_chunk()
        .skip(usize::try_from(first).unwrap_or(usize::MAX))
        .take(if is_chunk {
            usize::try_from(bands).unwrap_or_default()
        } else {
            0
        });
    (0..)
        .zip(counts)
        .flat_map(move |(band, count): (u32, u32)| {
            let base = band * per_band;
            (base..base + count).filter_map(move |number| {
                let sub_chunk = SubChunkId(i32::try_from(number).ok()?);
                Some(Location { chunk, sub_chunk })
            })
        })
}

/// Returns the stripe of a chunk, from the south pole; that of no chunk is beyond the last one.
fn stripe(chunker: &Chunker, chunk: ChunkId) -> u32 {
    u32::try_from(chunk.0).map_or(u32::MAX, |number| number / (2 * chunker.stripes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(lons: (f64, f64), lats: (f64, f64)) -> Vec<i32> {
        let chunker = Chunker::new(18, 10, 0.0).unwrap();
        let region = SkyBox::new(lons.0, lons.1, lats.0, lats.1).unwrap();
        chunks_in(&chunker, &region).map(|chunk| chunk.0).collect()
    }

    #[test]
    fn the_whole_sky() {
        let chunker = Chunker::new(18, 10, 0.0).unwrap();
        let all: Vec<i32> = chunker.chunks().map(|chunk| chunk.0).collect();
        assert_eq!(numbers((0.0, 360.0), (-90.0, 90.0)), all);
    }

    #[test]
    fn borders() {
        // Stripes 9 and 10 begin at latitudes 0 and 10, the first with 35 chunks, all at RA 0.
        assert_eq!(numbers((3.0, 4.0), (1.0, 2.0)), [324]);
        assert_eq!(numbers((3.0, 4.0), (0.0, 2.0)), [324]);
        assert_eq!(numbers((3.0, 4.0), (1.0, 10.0)), [324, 360]);
        // The last chunk ends where the first one begins.
        assert_eq!(numbers((0.0, 1.0), (1.0, 2.0)), [324, 324 + 34]);
        assert_eq!(numbers((359.0, 361.0), (1.0, 2.0)), [324, 324 + 34]);
        assert_eq!(numbers((50.0, 60.0), (85.0, 90.0)), [612]);
    }

    #[test]
    fn sub_chunks_have_bounds() {
        let chunker = Chunker::new(18, 10, 0.0).unwrap();
        for chunk in chunker.chunks() {
            let all: Vec<Location> = sub_chunks(&chunker, chunk).collect();
            assert!(all.is_sorted() && !all.is_empty());
            let mut area = 0.0;
            for location in &all {
                let bounds = chunker.sub_chunk_bounds(*location).unwrap();
                area += SkyBox::of(bounds).area();
            }
            let whole = SkyBox::of(chunker.chunk_bounds(chunk).unwrap()).area();
            assert!((area - whole).abs() < 1e-14, "{chunk}");
        }
        assert_eq!(sub_chunks(&chunker, ChunkId(-1)).count(), 0);
        assert_eq!(sub_chunks(&chunker, ChunkId(35)).count(), 0);
        assert_eq!(sub_chunks(&chunker, ChunkId(i32::MAX)).count(), 0);
    }
}
