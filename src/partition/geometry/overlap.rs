//! What happens per row: the own sub-chunk of a position, and those it is an overlap row of.
//!
//! Most rows lie well inside their sub-chunk. Two divisions find it, and four comparisons with
//! numbers that wait in the sub-stripe's record tell that nothing else is near.

use super::{ChunkId, Chunker, Location, SubChunkId};

/// An upper longitude that is nearer than this to 360 degrees is 360: one milli-arcsecond.
const EDGE_DEG: f64 = 0.001 / 3600.0;

/// What is known about one sub-stripe, in 64 bytes.
#[derive(Debug)]
pub(super) struct SubStripe {
    /// Width of a sub-chunk in longitude.
    pub(super) width_deg: f64,
    /// How far the overlap radius reaches in longitude.
    pub(super) alpha_deg: f64,
    /// Positions south of it overlap the sub-stripe below; minus infinity if none can.
    pub(super) low_edge_deg: f64,
    /// Positions at it or north of it overlap the sub-stripe above; infinity if none can.
    pub(super) high_edge_deg: f64,
    /// The reach into the neighbours at the sides; minus infinity if there are none.
    pub(super) side_reach_deg: f64,
    /// Number of sub-chunks around the sphere, at least one.
    pub(super) columns: i32,
    /// Number of sub-chunks of each chunk, at least one.
    pub(super) sub_chunks_per_chunk: i32,
    /// Number of the stripe's first chunk.
    pub(super) chunk_base: i32,
    /// Number of the first sub-chunk of each chunk.
    pub(super) sub_chunk_base: i32,
    /// Dense index of the stripe's first chunk.
    pub(super) dense_base: u32,
}

impl SubStripe {
    /// Returns the numbers of a sub-chunk.
    #[inline]
    fn location(&self, column: i32) -> Location {
        let chunk = column / self.sub_chunks_per_chunk;
        let sub_chunk = column - chunk * self.sub_chunks_per_chunk;

        Location {
            chunk: ChunkId(self.chunk_base + chunk),
            sub_chunk: SubChunkId(self.sub_chunk_base + sub_chunk),
        }
    }

    /// Returns the number of the chunk that a sub-chunk is in.
    #[inline]
    fn chunk(&self, column: i32) -> ChunkId {
        ChunkId(self.chunk_base + column / self.sub_chunks_per_chunk)
    }

    /// Returns the dense index of the chunk that a sub-chunk is in.
    #[inline]
    fn dense_chunk(&self, column: i32) -> u32 {
        self.dense_base + (column / self.sub_chunks_per_chunk).unsigned_abs()
    }

    /// Returns the least and greatest longitude of a sub-chunk.
    #[inline]
    pub(super) fn lon_bounds_deg(&self, column: i32) -> (f64, f64) {
        lon_bounds_deg(column, self.width_deg)
    }
}

/// Returns the longitudes of one of the pieces of equal width of a stripe or sub-stripe.
#[inline]
pub(super) fn lon_bounds_deg(piece: i32, width_deg: f64) -> (f64, f64) {
    let lon_min_deg = f64::from(piece) * width_deg;
    let lon_max_deg = f64::from(piece + 1) * width_deg;

    // Rounding may leave the last piece just short of a full turn, or just above it.
    let is_last = lon_max_deg > 360.0 - EDGE_DEG;
    (lon_min_deg, if is_last { 360.0 } else { lon_max_deg })
}

/// The sub-chunk that a position is in, with the position.
///
/// It is made for the moment: take the location and the overlaps out of it and drop it.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'c> {
    chunker: &'c Chunker,
    row: &'c SubStripe,
    /// Of the sub-stripe, counted from the south pole.
    index: usize,
    /// Of the sub-chunk in the sub-stripe, counted from RA 0.
    column: i32,
    ra_deg: f64,
    dec_deg: f64,
}

impl Cell<'_> {
    /// Returns the sub-chunk.
    #[inline]
    #[must_use]
    pub fn location(&self) -> Location {
        self.row.location(self.column)
    }

    /// Returns the chunk.
    #[inline]
    #[must_use]
    pub fn chunk(&self) -> ChunkId {
        self.row.chunk(self.column)
    }

    /// Returns the dense index of the chunk, the same as [`Chunker::dense_index`] gives.
    #[inline]
    #[must_use]
    pub fn dense_chunk(&self) -> u32 {
        self.row.dense_chunk(self.column)
    }

    /// Tells whether the position is an overlap row of at least one other sub-chunk.
    #[inline]
    #[must_use]
    pub fn has_overlaps(&self) -> bool {
        let (lon_min_deg, lon_max_deg) = self.row.lon_bounds_deg(self.column);

        self.dec_deg < self.row.low_edge_deg
            || self.dec_deg >= self.row.high_edge_deg
            || self.ra_deg < lon_min_deg + self.row.side_reach_deg
            || self.ra_deg > lon_max_deg - self.row.side_reach_deg
    }

    /// Passes on every other sub-chunk that the position is an overlap row of.
    ///
    /// They come in the order of the reference: sub-stripe below, sub-stripe above, left, right.
    /// The tests are made with boxes in longitude and latitude, so that they catch all positions
    /// within the overlap radius of a sub-chunk, and some that are farther away near its corners.
    /// No location comes twice: a sub-stripe has one sub-chunk or at least five, so that left and
    /// right neighbour are never the same.
    #[inline]
    pub fn overlaps(&self, sink: &mut impl FnMut(Location)) {
        if self.has_overlaps() {
            self.walk_neighbours(sink);
        }
    }

    /// Makes the tests one by one.
    fn walk_neighbours(&self, sink: &mut impl FnMut(Location)) {
        let row = self.row;

        if self.dec_deg < row.low_edge_deg {
            let below = self
                .index
                .checked_sub(1)
                .and_then(|index| self.chunker.sub_stripe(index));
            if let Some(below) = below {
                walk_columns(below, self.ra_deg, sink);
            }
        }
        if self.dec_deg >= row.high_edge_deg
            && let Some(above) = self.chunker.sub_stripe(self.index + 1)
        {
            walk_columns(above, self.ra_deg, sink);
        }

        let (lon_min_deg, lon_max_deg) = row.lon_bounds_deg(self.column);
        if self.ra_deg < lon_min_deg + row.side_reach_deg {
            let is_first = self.column == 0;
            let left = if is_first { row.columns } else { self.column } - 1;
            sink(row.location(left));
        }
        if self.ra_deg > lon_max_deg - row.side_reach_deg {
            let is_last = self.column + 1 == row.columns;
            let right = if is_last { 0 } else { self.column + 1 };
            sink(row.location(right));
        }
    }
}

/// Passes on the sub-chunks of a neighbouring sub-stripe that are within reach of a longitude.
fn walk_columns(row: &SubStripe, ra_deg: f64, sink: &mut impl FnMut(Location)) {
    let mut first = ((ra_deg - row.alpha_deg) / row.width_deg).floor() as i32;
    let mut last = ((ra_deg + row.alpha_deg) / row.width_deg).floor() as i32;
    // The reach is never greater than a sub-chunk's width, so one turn is enough.
    if first < 0 {
        first += row.columns;
    }
    if last >= row.columns {
        last -= row.columns;
    }
    // Changes nothing for positions on the sphere; others must not walk for ever.
    let (first, last) = (first.max(0), last.min(row.columns - 1));

    if first > last {
        (first..row.columns)
            .chain(0..=last)
            .for_each(|column| sink(row.location(column)));
    } else {
        (first..=last).for_each(|column| sink(row.location(column)));
    }
}

impl Chunker {
    /// Finds the sub-chunk of a position that [`check_position`](super::check_position) accepts.
    ///
    /// A position on a border belongs to the cell to the north or east of it, except that the
    /// north pole and RA 360 belong to the last one. Other positions get an arbitrary sub-chunk.
    #[inline]
    #[must_use]
    pub fn cell_at(&self, ra_deg: f64, dec_deg: f64) -> Cell<'_> {
        // A cast rounds towards zero, which is the floor here, as neither quotient is negative.
        let index = (((dec_deg + 90.0) / self.sub_stripe_height_deg()) as usize)
            .min(self.sub_stripes().len() - 1);
        let row = &self.sub_stripes()[index];
        let column = ((ra_deg / row.width_deg) as i32)
            .min(row.columns - 1)
            .max(0);

        Cell {
            chunker: self,
            row,
            index,
            column,
            ra_deg,
            dec_deg,
        }
    }

    /// Returns the sub-chunk of a position that [`check_position`](super::check_position) accepts.
    #[inline]
    #[must_use]
    pub fn locate(&self, ra_deg: f64, dec_deg: f64) -> Location {
        self.cell_at(ra_deg, dec_deg).location()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(chunk: i32, sub_chunk: i32) -> Location {
        Location {
            chunk: ChunkId(chunk),
            sub_chunk: SubChunkId(sub_chunk),
        }
    }

    fn overlaps(chunker: &Chunker, ra_deg: f64, dec_deg: f64) -> Vec<Location> {
        let mut found = Vec::new();
        chunker
            .cell_at(ra_deg, dec_deg)
            .overlaps(&mut |location| found.push(location));
        found
    }

    /// 18 stripes of 10 sub-stripes of 1 degree, overlap 0.1 degrees.
    fn one_degree() -> Chunker {
        Chunker::new(18, 10, 0.1).unwrap()
    }

    #[test]
    fn poles() {
        let chunker = one_degree();
        for ra in [0.0, 123.4, 360.0] {
            assert_eq!(chunker.locate(ra, -90.0), at(0, 0));
            assert_eq!(chunker.locate(ra, 90.0).chunk, ChunkId(17 * 36));
            assert_eq!(chunker.locate(ra, 90.0), chunker.locate(0.0, 89.5));
            assert!(overlaps(&chunker, ra, -90.0).is_empty());
            assert!(overlaps(&chunker, ra, 90.0).is_empty());
        }
    }

    #[test]
    fn polar_caps_have_no_sides() {
        let chunker = one_degree();
        assert!(overlaps(&chunker, 0.0, -89.5).is_empty());
        assert!(overlaps(&chunker, 360.0, 89.5).is_empty());
        // The whole cap is one sub-chunk, so whatever is near it overlaps it once.
        assert_eq!(overlaps(&chunker, 30.0, -88.95), [at(0, 0)]);
    }

    #[test]
    fn ra_0_and_360() {
        let chunker = one_degree();
        let first = chunker.locate(0.0, 0.5);
        let last = chunker.locate(360.0, 0.5);
        let stripe = 9 * 36;
        let columns = i32::try_from(chunker.chunks_per_stripe()[9]).unwrap();

        assert_eq!(first.chunk, ChunkId(stripe));
        assert_eq!(last.chunk, ChunkId(stripe + columns - 1));
        assert_eq!(chunker.locate(-0.0, 0.5), first);
        assert_eq!(chunker.locate(360.0f64.next_down(), 0.5), last);
        assert_eq!(overlaps(&chunker, 0.0, 0.5), [last]);
        assert_eq!(overlaps(&chunker, 360.0, 0.5), [first]);
    }

    #[test]
    fn exact_borders() {
        let chunker = one_degree();
        let north = chunker.locate(0.5, 10.0);
        let south = chunker.locate(0.5, 100.0f64.next_down() - 90.0);
        assert_eq!(north.chunk, ChunkId(10 * 36));
        assert_eq!(south.chunk, ChunkId(9 * 36));
        // The sum with 90 rounds up to the border, in the reference too.
        assert_eq!(chunker.locate(0.5, 10.0f64.next_down()), north);
        assert!(overlaps(&chunker, 0.5, 10.0).contains(&south));

        let bounds = chunker.sub_chunk_bounds(north).unwrap();
        assert_eq!((bounds.lat_min_deg, bounds.lon_min_deg), (10.0, 0.0));
        let east = chunker.locate(bounds.lon_max_deg, 10.5);
        assert_ne!(east, north);
        assert_eq!(overlaps(&chunker, bounds.lon_max_deg, 10.5), [north]);
    }

    #[test]
    fn next_up_next_down() {
        let chunker = one_degree();
        let own = chunker.locate(0.5, 0.5);
        let lat_max: f64 = 1.0 - 0.1;
        let lat_min: f64 = 0.1;

        // Upper edge closed, lower edge open, as in the reference.
        assert!(overlaps(&chunker, 0.5, lat_max.next_down()).is_empty());
        assert_eq!(overlaps(&chunker, 0.5, lat_max).len(), 1);
        assert!(overlaps(&chunker, 0.5, lat_min).is_empty());
        assert_eq!(overlaps(&chunker, 0.5, lat_min.next_down()).len(), 1);

        let lon_max = chunker.sub_chunk_bounds(own).unwrap().lon_max_deg;
        let alpha = chunker.alphas_deg().nth(90).unwrap();
        assert!(overlaps(&chunker, lon_max - alpha, 0.5).is_empty());
        assert_eq!(
            overlaps(&chunker, (lon_max - alpha).next_up(), 0.5).len(),
            1
        );
    }

    #[test]
    fn no_overlap_without_radius() {
        for overlap_deg in [0.0, -0.0] {
            let chunker = Chunker::new(18, 10, overlap_deg).unwrap();
            for ra in [0.0, 0.5, 1.0, 360.0] {
                for dec in [-90.0, -89.0, 0.0, 10.0, 90.0] {
                    assert!(overlaps(&chunker, ra, dec).is_empty());
                }
            }
        }
    }

    #[test]
    fn wild_positions_get_some_sub_chunk() {
        let chunker = one_degree();
        for wild in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            for (ra, dec) in [(wild, 0.0), (0.0, wild), (wild, wild)] {
                let cell = chunker.cell_at(ra, dec);
                assert_eq!(chunker.dense_index(cell.chunk()), Some(cell.dense_chunk()));
                assert!(overlaps(&chunker, ra, dec).len() < 2000);
            }
        }
    }
}
