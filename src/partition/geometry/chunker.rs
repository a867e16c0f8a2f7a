//! The layout of the chunks over the sphere: how many there are, where they are, their numbers.

use super::overlap::{SubStripe, lon_bounds_deg};
use super::segments::{ARC_SECOND_DEG, longitude_reach_deg, segment_count};
use super::{ChunkId, ChunkerError, Location, SphericalBox};

/// Greatest number of stripes: with more, chunk numbers would not fit into 32 bits.
pub const MAX_STRIPES: u32 = 32_767;

/// Greatest number of sub-stripes on the whole sphere: they are at least one second of arc high.
///
/// The reference has the same limit, but reports it as an overlap that is too large.
pub const MAX_SUB_STRIPES: u32 = 180 * 3600;

/// Greatest overlap radius, in degrees.
pub const MAX_OVERLAP_DEG: f64 = 10.0;

/// The layout of stripes, chunks and sub-chunks, and the way from a position to them.
///
/// With `S` stripes of `T` sub-stripes, and `K` the greatest number of sub-chunks that a chunk has
/// in any sub-stripe:
///
/// | what | is |
/// |---|---|
/// | height of a stripe, of a sub-stripe | `180 / S`, `180 / (S * T)` |
/// | chunks of a stripe | as many of the stripe's height as fit around it |
/// | sub-chunks of a sub-stripe | as many of its height as fit around it, the same for each chunk |
/// | number of chunk `c` of stripe `i` | `2 * S * i + c` |
/// | number of sub-chunk `k` of sub-stripe `j` | `K * j + k` |
///
/// Stripes count from the south pole, chunks and sub-chunks eastwards from RA 0. `K` is one number
/// for the whole sphere, so that the sub-chunk of a place depends on `S` and `T` only.
///
/// Source: `Chunker` of lsst/qserv `src/partition`.
///
/// # Examples
/// ```
/// use skyprep::partition::geometry::{ChunkId, Chunker, SubChunkId};
///
/// let chunker = Chunker::new(85, 12, 0.01)?;
/// let cell = chunker.cell_at(358.164161, 43.898693);
/// assert_eq!(cell.location().chunk, ChunkId(10828));
/// assert_eq!(cell.location().sub_chunk, SubChunkId(142));
///
/// let mut overlaps = Vec::new();
/// cell.overlaps(&mut |location| overlaps.push(location));
/// assert!(overlaps.is_empty());
/// # Ok::<(), skyprep::partition::geometry::ChunkerError>(())
/// ```
#[derive(Debug)]
pub struct Chunker {
    stripes: u32,
    sub_stripes_per_stripe: u32,
    overlap_deg: f64,
    sub_stripe_height_deg: f64,
    max_sub_chunks_per_chunk: u32,
    chunk_count: u32,
    chunks_per_stripe: Vec<u32>,
    /// Dense index of each stripe's first chunk.
    dense_bases: Vec<u32>,
    sub_stripes: Vec<SubStripe>,
}

impl Chunker {
    /// Lays out the sphere.
    ///
    /// # Errors
    /// A [`ChunkerError`] when a number is out of range, or when the overlap radius, in degrees,
    /// is greater than the smallest sub-chunk is high or wide.
    pub fn new(
        stripes: u32,
        sub_stripes_per_stripe: u32,
        overlap_deg: f64,
    ) -> Result<Self, ChunkerError> {
        let count = check_settings(stripes, sub_stripes_per_stripe, overlap_deg)?;
        let stripe_height_deg = 180.0 / f64::from(stripes);
        let sub_stripe_height_deg = 180.0 / f64::from(count);
        if sub_stripe_height_deg < overlap_deg {
            let height_deg = sub_stripe_height_deg;
            return Err(ChunkerError::OverlapAboveHeight {
                overlap_deg,
                height_deg,
            });
        }

        let chunks_per_stripe: Vec<u32> = (0..stripes)
            .map(|stripe| pieces(stripe, stripe_height_deg))
            .collect();
        let mut chunk_count = 0;
        let mut dense_bases = Vec::with_capacity(chunks_per_stripe.len());
        for chunks in &chunks_per_stripe {
            dense_bases.push(chunk_count);
            chunk_count += chunks;
        }

        let mut chunker = Self {
            stripes,
            sub_stripes_per_stripe,
            overlap_deg,
            sub_stripe_height_deg,
            max_sub_chunks_per_chunk: 0,
            chunk_count,
            chunks_per_stripe,
            dense_bases,
            sub_stripes: Vec::new(),
        };
        chunker.lay_out_sub_stripes()?;
        Ok(chunker)
    }

    fn lay_out_sub_stripes(&mut self) -> Result<(), ChunkerError> {
        let mut sub_chunks_per_chunk = Vec::new();
        for (stripe, chunks) in (0..self.stripes).zip(&self.chunks_per_stripe) {
            let first = stripe * self.sub_stripes_per_stripe;
            for index in first..first + self.sub_stripes_per_stripe {
                // The formula itself gives at least one, for sub-stripes are not higher than
                // stripes; but a zero would be divided by.
                let sub_chunks = (pieces(index, self.sub_stripe_height_deg) / chunks).max(1);
                self.max_sub_chunks_per_chunk = self.max_sub_chunks_per_chunk.max(sub_chunks);
                sub_chunks_per_chunk.push(sub_chunks);
            }
        }

        let too_many = ChunkerError::TooManySubChunks {
            sub_stripes: self.sub_stripes_per_stripe,
            sub_chunks: self.max_sub_chunks_per_chunk,
        };
        self.sub_stripes = (0..)
            .zip(sub_chunks_per_chunk)
            .map(|(index, sub_chunks)| self.sub_stripe_record(index, sub_chunks, too_many))
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    fn sub_stripe_record(
        &self,
        index: u32,
        sub_chunks_per_chunk: u32,
        too_many: ChunkerError,
    ) -> Result<SubStripe, ChunkerError> {
        let stripe = index / self.sub_stripes_per_stripe;
        let columns = self.chunks_per_stripe[stripe as usize] * sub_chunks_per_chunk;
        let width_deg = 360.0 / f64::from(columns);
        let (lat_min_deg, lat_max_deg) = lat_bounds_deg(index, self.sub_stripe_height_deg);
        let lat_deg = lat_min_deg.abs().max(lat_max_deg.abs());
        let overlap_deg = self.overlap_deg;
        let alpha_deg = longitude_reach_deg(overlap_deg, lat_deg);
        if alpha_deg > width_deg {
            return Err(ChunkerError::OverlapAboveWidth {
                overlap_deg,
                alpha_deg,
                width_deg,
                lat_min_deg,
            });
        }

        // Checked for the last sub-stripe's end, so that no sum of base and offset can overflow.
        let band = index % self.sub_stripes_per_stripe;
        let end = (band + 1)
            .checked_mul(self.max_sub_chunks_per_chunk)
            .ok_or(too_many)?;
        let end = i32::try_from(end).map_err(|_| too_many)?;
        let signed = |number: u32| i32::try_from(number).map_err(|_| too_many);
        let never = f64::NEG_INFINITY;
        let has_overlap = overlap_deg > 0.0;
        let has_below = has_overlap && index > 0;
        let has_above = has_overlap && index + 1 < self.stripes * self.sub_stripes_per_stripe;

        Ok(SubStripe {
            width_deg,
            alpha_deg,
            low_edge_deg: if has_below {
                lat_min_deg + overlap_deg
            } else {
                never
            },
            high_edge_deg: if has_above {
                lat_max_deg - overlap_deg
            } else {
                -never
            },
            side_reach_deg: if has_overlap && columns > 1 {
                alpha_deg
            } else {
                never
            },
            columns: signed(columns)?,
            sub_chunks_per_chunk: signed(sub_chunks_per_chunk)?,
            chunk_base: signed(2 * self.stripes * stripe)?,
            sub_chunk_base: end - signed(self.max_sub_chunks_per_chunk)?,
            dense_base: self.dense_bases[stripe as usize],
        })
    }

    /// Returns the number of stripes.
    #[must_use]
    pub fn stripes(&self) -> u32 {
        self.stripes
    }

    /// Returns the number of sub-stripes of each stripe.
    #[must_use]
    pub fn sub_stripes_per_stripe(&self) -> u32 {
        self.sub_stripes_per_stripe
    }

    /// Returns the overlap radius, in degrees.
    #[must_use]
    pub fn overlap_deg(&self) -> f64 {
        self.overlap_deg
    }

    /// Returns the height of a sub-stripe, in degrees.
    #[inline]
    #[must_use]
    pub fn sub_stripe_height_deg(&self) -> f64 {
        self.sub_stripe_height_deg
    }

    /// Returns the number of chunks on the sphere.
    #[must_use]
    pub fn chunk_count(&self) -> u32 {
        self.chunk_count
    }

    /// Returns the number of chunks of each stripe, from the south pole.
    #[must_use]
    pub fn chunks_per_stripe(&self) -> &[u32] {
        &self.chunks_per_stripe
    }

    /// Returns the number of sub-chunks of a chunk in each sub-stripe, from the south pole.
    #[must_use]
    pub fn sub_chunks_per_chunk(&self) -> impl ExactSizeIterator<Item = u32> {
        self.sub_stripes
            .iter()
            .map(|row| row.sub_chunks_per_chunk.unsigned_abs())
    }

    /// Returns the greatest number of sub-chunks that a chunk has in one sub-stripe.
    #[must_use]
    pub fn max_sub_chunks_per_chunk(&self) -> u32 {
        self.max_sub_chunks_per_chunk
    }

    /// Returns how far the overlap reaches in longitude in each sub-stripe, from the south pole.
    #[must_use]
    pub fn alphas_deg(&self) -> impl ExactSizeIterator<Item = f64> {
        self.sub_stripes.iter().map(|row| row.alpha_deg)
    }

    #[inline]
    pub(super) fn sub_stripes(&self) -> &[SubStripe] {
        &self.sub_stripes
    }

    pub(super) fn sub_stripe(&self, index: usize) -> Option<&SubStripe> {
        self.sub_stripes.get(index)
    }

    /// Returns the numbers of all chunks, ascending.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkId> {
        let bases = self
            .sub_stripes
            .iter()
            .step_by(self.sub_stripes_per_stripe as usize);
        bases
            .zip(&self.chunks_per_stripe)
            .flat_map(|(row, &chunks)| (row.chunk_base..).zip(0..chunks).map(|(id, _)| ChunkId(id)))
    }

    /// Splits the number of a chunk into stripe and place in the stripe.
    fn stripe_and_place(&self, chunk: ChunkId) -> Option<(u32, u32)> {
        let number = u32::try_from(chunk.0).ok()?;
        let (stripe, place) = (number / (2 * self.stripes), number % (2 * self.stripes));

        let chunks = self.chunks_per_stripe.get(stripe as usize)?;
        (place < *chunks).then_some((stripe, place))
    }

    /// Returns the place of a chunk among all chunks by ascending number; `None` if it isn't one.
    ///
    /// It takes constant time.
    #[inline]
    #[must_use]
    pub fn dense_index(&self, chunk: ChunkId) -> Option<u32> {
        let (stripe, place) = self.stripe_and_place(chunk)?;
        Some(self.dense_bases.get(stripe as usize)? + place)
    }

    /// Returns the chunk at a dense index; `None` from [`chunk_count`](Self::chunk_count) on.
    ///
    /// It takes a binary search over the stripes, for a table would outgrow everything else here.
    #[must_use]
    pub fn nth_chunk(&self, index: u32) -> Option<ChunkId> {
        if index >= self.chunk_count {
            return None;
        }

        let stripe = self
            .dense_bases
            .partition_point(|base| *base <= index)
            .checked_sub(1)?;
        let place = index - self.dense_bases.get(stripe)?;
        let number = 2 * self.stripes * u32::try_from(stripe).ok()? + place;
        i32::try_from(number).ok().map(ChunkId)
    }

    /// Returns the borders of a chunk; `None` if there is no such chunk.
    #[must_use]
    pub fn chunk_bounds(&self, chunk: ChunkId) -> Option<SphericalBox> {
        let (stripe, place) = self.stripe_and_place(chunk)?;
        let width_deg = 360.0 / f64::from(*self.chunks_per_stripe.get(stripe as usize)?);
        let (lon_min_deg, lon_max_deg) = lon_bounds_deg(i32::try_from(place).ok()?, width_deg);
        // The borders of sub-stripes, not of stripes: these may differ by a rounding error.
        let first = stripe * self.sub_stripes_per_stripe;
        let last = first + self.sub_stripes_per_stripe - 1;
        let (lat_min_deg, _) = lat_bounds_deg(first, self.sub_stripe_height_deg);
        let (_, lat_max_deg) = lat_bounds_deg(last, self.sub_stripe_height_deg);

        Some(SphericalBox {
            lon_min_deg,
            lon_max_deg,
            lat_min_deg,
            lat_max_deg,
        })
    }

    /// Returns the borders of a sub-chunk; `None` if there is no such sub-chunk.
    #[must_use]
    pub fn sub_chunk_bounds(&self, location: Location) -> Option<SphericalBox> {
        let (stripe, place) = self.stripe_and_place(location.chunk)?;
        let number = u32::try_from(location.sub_chunk.0).ok()?;
        let band = number / self.max_sub_chunks_per_chunk;
        if band >= self.sub_stripes_per_stripe {
            return None;
        }

        let index = stripe * self.sub_stripes_per_stripe + band;
        let row = self.sub_stripe(index as usize)?;
        let offset = location.sub_chunk.0 - row.sub_chunk_base;
        if offset >= row.sub_chunks_per_chunk {
            return None;
        }

        let column = i32::try_from(place).ok()? * row.sub_chunks_per_chunk + offset;
        let (lon_min_deg, lon_max_deg) = row.lon_bounds_deg(column);
        let (lat_min_deg, lat_max_deg) = lat_bounds_deg(index, self.sub_stripe_height_deg);

        Some(SphericalBox {
            lon_min_deg,
            lon_max_deg,
            lat_min_deg,
            lat_max_deg,
        })
    }
}

/// Checks what can be checked before anything is laid out; returns the number of sub-stripes.
fn check_settings(
    stripes: u32,
    sub_stripes_per_stripe: u32,
    overlap_deg: f64,
) -> Result<u32, ChunkerError> {
    if !(1..=MAX_STRIPES).contains(&stripes) {
        return Err(ChunkerError::Stripes(stripes));
    }
    if sub_stripes_per_stripe < 1 {
        return Err(ChunkerError::NoSubStripes);
    }
    if !(0.0..=MAX_OVERLAP_DEG).contains(&overlap_deg) {
        return Err(ChunkerError::OverlapOutOfRange(overlap_deg));
    }

    stripes
        .checked_mul(sub_stripes_per_stripe)
        .filter(|count| *count <= MAX_SUB_STRIPES)
        .ok_or(ChunkerError::TooManySubStripes {
            stripes,
            sub_stripes: sub_stripes_per_stripe,
        })
}

/// Returns the latitudes of one of the bands of equal height.
fn lat_bounds_deg(band: u32, height_deg: f64) -> (f64, f64) {
    let lat_min_deg = f64::from(band) * height_deg - 90.0;
    let lat_max_deg = (f64::from(band) + 1.0) * height_deg - 90.0;

    (
        lat_min_deg.clamp(-90.0, 90.0),
        lat_max_deg.clamp(-90.0, 90.0),
    )
}

/// Returns how many pieces as wide as they are high fit around one of the bands of equal height.
fn pieces(band: u32, height_deg: f64) -> u32 {
    debug_assert!(height_deg >= ARC_SECOND_DEG, "{height_deg}");
    let (lat_min_deg, lat_max_deg) = lat_bounds_deg(band, height_deg);

    segment_count(lat_min_deg, lat_max_deg, height_deg)
}
