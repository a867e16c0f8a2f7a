//! Where a position lies: Qserv's stripes, chunks, sub-chunks and their overlap.
//!
//! The sky is cut into stripes of equal height, each stripe into sub-stripes, each stripe into
//! chunks of equal width, and each chunk into sub-chunks, so that every piece is about as wide as
//! it is high at its pole-ward edge. Qserv computes the same numbers when it plans a query, thus
//! each of them must agree with `Chunker` and `Geometry` of lsst/qserv `src/partition` to the last
//! bit; the arithmetic here keeps the order of operations of that definition and never fuses or
//! rearranges them. All trigonometry happens once, when a [`Chunker`] is built.
//!
//! All angles are in degrees.

mod chunker;
mod overlap;
mod segments;

use std::fmt;

pub use chunker::{Chunker, MAX_OVERLAP_DEG, MAX_STRIPES, MAX_SUB_STRIPES};
pub use overlap::Cell;
pub use segments::{AngleFault, angular_separation_deg, are_surely_within, max_alpha, segments};

/// Number of a chunk, the same as in Qserv.
///
/// The numbers are sparse: stripe `i` of `S` starts at `2 * S * i`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChunkId(pub i32);

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a sub-chunk within its chunk, the same as in Qserv.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubChunkId(pub i32);

impl fmt::Display for SubChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One sub-chunk of the sky.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Location {
    /// The chunk.
    pub chunk: ChunkId,
    /// The sub-chunk in it.
    pub sub_chunk: SubChunkId,
}

/// A range of longitudes and latitudes, in degrees; longitudes do not wrap.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SphericalBox {
    /// Western edge, 0 to 360.
    pub lon_min_deg: f64,
    /// Eastern edge, 0 to 360.
    pub lon_max_deg: f64,
    /// Southern edge, -90 to 90.
    pub lat_min_deg: f64,
    /// Northern edge, -90 to 90.
    pub lat_max_deg: f64,
}

/// Why there can't be a chunker.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum ChunkerError {
    /// The number of stripes is zero or too large.
    Stripes(u32),
    /// There are no sub-stripes.
    NoSubStripes,
    /// The overlap radius, in degrees, is negative, too large or not a number.
    OverlapOutOfRange(f64),
    /// The sub-stripes would be less than one second of arc high.
    TooManySubStripes {
        /// Number of stripes.
        stripes: u32,
        /// Number of sub-stripes in each.
        sub_stripes: u32,
    },
    /// The overlap radius is greater than the height of a sub-stripe.
    OverlapAboveHeight {
        /// The overlap radius.
        overlap_deg: f64,
        /// The height of a sub-stripe.
        height_deg: f64,
    },
    /// The numbers of sub-chunks don't fit into 32 bits.
    TooManySubChunks {
        /// Number of sub-stripes per stripe.
        sub_stripes: u32,
        /// Greatest number of sub-chunks that a chunk has in one of them.
        sub_chunks: u32,
    },
    /// The overlap radius is greater than the width of a sub-chunk.
    OverlapAboveWidth {
        /// The overlap radius.
        overlap_deg: f64,
        /// The greatest difference in longitude within that radius.
        alpha_deg: f64,
        /// The width of the sub-chunk, as a difference in longitude.
        width_deg: f64,
        /// Southern edge of the first sub-stripe where it is so.
        lat_min_deg: f64,
    },
}

impl fmt::Display for ChunkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stripes(stripes) => {
                write!(
                    f,
                    "number of stripes is {stripes}, expected 1 to {MAX_STRIPES}"
                )
            }
            Self::NoSubStripes => {
                write!(
                    f,
                    "number of sub-stripes per stripe is 0, expected at least 1"
                )
            }
            Self::OverlapOutOfRange(overlap) => {
                write!(
                    f,
                    "overlap is {overlap}, expected 0 to {MAX_OVERLAP_DEG} degrees"
                )
            }
            Self::TooManySubStripes {
                stripes,
                sub_stripes,
            } => write!(
                f,
                "{stripes} stripes with {sub_stripes} sub-stripes each are too many, expected at \
                 most {MAX_SUB_STRIPES} sub-stripes on the sphere, one second of arc high"
            ),
            Self::OverlapAboveHeight {
                overlap_deg,
                height_deg,
            } => write!(
                f,
                "overlap is {overlap_deg} degrees, expected at most the height of a sub-stripe, \
                 {height_deg} degrees\nhint: lower the overlap, the stripes or the sub-stripes"
            ),
            Self::TooManySubChunks {
                sub_stripes,
                sub_chunks,
            } => write!(
                f,
                "{sub_stripes} sub-stripes with up to {sub_chunks} sub-chunks each are too many, \
                 expected their numbers to fit into 32 bits\nhint: raise the stripes and lower \
                 the sub-stripes"
            ),
            Self::OverlapAboveWidth {
                overlap_deg,
                alpha_deg,
                width_deg,
                lat_min_deg,
            } => write!(
                f,
                "overlap of {overlap_deg} degrees reaches over {alpha_deg} degrees of longitude \
                 in the sub-stripe above latitude {lat_min_deg}, expected at most the width of a \
                 sub-chunk, {width_deg} degrees\nhint: lower the overlap, the stripes or the \
                 sub-stripes"
            ),
        }
    }
}

impl std::error::Error for ChunkerError {}

/// Why a position has no chunk.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PositionFault {
    /// The right ascension is not a number, or infinite.
    RaNotFinite(f64),
    /// The declination is not a number, or infinite.
    DecNotFinite(f64),
    /// The right ascension, in degrees, is below 0 or above 360.
    RaOutOfRange(f64),
    /// The declination, in degrees, is below -90 or above 90.
    DecOutOfRange(f64),
}

impl fmt::Display for PositionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lead, degrees, rest) = self.parts();
        write!(f, "{lead}{degrees}{rest}")
    }
}

impl PositionFault {
    /// Says whether it is the declination that is at fault.
    pub fn is_of_dec(&self) -> bool {
        matches!(self, Self::DecNotFinite(_) | Self::DecOutOfRange(_))
    }

    /// Returns the coordinate at fault, in degrees, and the message before and behind it.
    pub fn parts(&self) -> (&'static str, f64, &'static str) {
        match *self {
            Self::RaNotFinite(ra) | Self::RaOutOfRange(ra) => {
                ("right ascension is ", ra, ", expected 0 to 360 degrees")
            }
            Self::DecNotFinite(dec) | Self::DecOutOfRange(dec) => {
                ("declination is ", dec, ", expected -90 to 90 degrees")
            }
        }
    }
}

impl std::error::Error for PositionFault {}

/// Tells whether a position lies on the sphere.
///
/// Right ascension 360 is allowed, as it is in Qserv's tools: it belongs to the last chunk of its
/// stripe, not to the first. Negative zeros are zeros.
///
/// # Errors
/// A [`PositionFault`] when a coordinate is not finite or out of range. The C++ tools crash or
/// make up a chunk then.
///
/// # Examples
/// ```
/// use skyprep::partition::geometry::{PositionFault, check_position};
///
/// assert_eq!(check_position(360.0, -90.0), Ok(()));
/// assert_eq!(check_position(-0.5, 0.0), Err(PositionFault::RaOutOfRange(-0.5)));
/// ```
#[inline]
pub fn check_position(ra_deg: f64, dec_deg: f64) -> Result<(), PositionFault> {
    if (0.0..=360.0).contains(&ra_deg) && (-90.0..=90.0).contains(&dec_deg) {
        return Ok(());
    }

    Err(diagnose(ra_deg, dec_deg))
}

/// Says what is wrong with a position that is not on the sphere.
#[cold]
fn diagnose(ra_deg: f64, dec_deg: f64) -> PositionFault {
    if !ra_deg.is_finite() {
        PositionFault::RaNotFinite(ra_deg)
    } else if !dec_deg.is_finite() {
        PositionFault::DecNotFinite(dec_deg)
    } else if (0.0..=360.0).contains(&ra_deg) {
        PositionFault::DecOutOfRange(dec_deg)
    } else {
        PositionFault::RaOutOfRange(ra_deg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_on_the_sphere() {
        for ra in [0.0, -0.0, 5e-324, 180.0, 360.0f64.next_down(), 360.0] {
            for dec in [-90.0, -0.0, 0.0, 5e-324, 90.0] {
                assert_eq!(check_position(ra, dec), Ok(()), "{ra} {dec}");
            }
        }
    }

    #[test]
    fn positions_off_the_sphere() {
        use PositionFault::*;

        let inf = f64::INFINITY;
        assert_eq!(check_position(inf, 0.0), Err(RaNotFinite(inf)));
        assert_eq!(check_position(0.0, -inf), Err(DecNotFinite(-inf)));
        assert!(matches!(check_position(f64::NAN, 0.0), Err(RaNotFinite(_))));
        assert!(matches!(
            check_position(0.0, f64::NAN),
            Err(DecNotFinite(_))
        ));

        let west = 0.0f64.next_down();
        let east = 360.0f64.next_up();
        assert_eq!(check_position(west, 0.0), Err(RaOutOfRange(west)));
        assert_eq!(check_position(east, 0.0), Err(RaOutOfRange(east)));

        let south = (-90.0f64).next_down();
        let north = 90.0f64.next_up();
        assert_eq!(check_position(0.0, south), Err(DecOutOfRange(south)));
        assert_eq!(check_position(0.0, north), Err(DecOutOfRange(north)));
    }
}
