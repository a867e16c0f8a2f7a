//! Ids of copied rows: the target triangle in the upper half, the place of the old id among those
//! of the source triangle in the lower half.
//!
//! Thus ids are unique as long as those of the source are, and a child table, copied with the same
//! index, keeps naming the right rows. Source: `sph-duplicate` in lsst/qserv `src/partition`.

use std::fmt;

use crate::partition::htm::HtmId;

/// Bytes of an id in a file `htm_<id>.ids`.
pub const ID_BYTES: usize = 8;

/// The ids of the rows of one triangle.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SourceIds {
    /// Ascending; one that several rows have is there as often.
    sorted: Vec<i64>,
}

/// Why ids can't be read or made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NewIdFault {
    /// A file of ids has another length than the index says.
    Length {
        /// Bytes of the file.
        bytes: usize,
        /// Rows of the triangle in the index.
        rows: u64,
    },
    /// The triangle has no row with that id.
    Unknown(i64),
    /// There are 2^32 smaller ids or more, so that their number does not fit.
    TooMany(i64),
}

impl fmt::Display for NewIdFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { bytes, rows } => write!(
                f,
                "the ids have {bytes} bytes, expected {ID_BYTES} for each of the {rows} rows that \
                 the HTM index counts"
            ),
            Self::Unknown(id) => write!(f, "id {id} is not among the ids of its triangle"),
            Self::TooMany(id) => write!(
                f,
                "id {id} has too many smaller ones in its triangle, expected less than 2^32"
            ),
        }
    }
}

impl std::error::Error for NewIdFault {}

impl SourceIds {
    /// Takes ids in any order.
    #[must_use]
    pub fn new(mut ids: Vec<i64>) -> Self {
        ids.sort_unstable();
        Self { sorted: ids }
    }

    /// Reads a file `htm_<id>.ids`: little-endian i64, as many as the index counts rows.
    ///
    /// # Errors
    /// [`NewIdFault::Length`].
    pub fn from_bytes(bytes: &[u8], rows: u64) -> Result<Self, NewIdFault> {
        let (ids, rest) = bytes.as_chunks::<ID_BYTES>();
        let is_whole = rest.is_empty() && u64::try_from(ids.len()) == Ok(rows);
        match is_whole {
            true => Ok(Self::new(
                ids.iter().map(|id| i64::from_le_bytes(*id)).collect(),
            )),
            false => Err(NewIdFault::Length {
                bytes: bytes.len(),
                rows,
            }),
        }
    }

    /// Returns the number of rows with a smaller id.
    ///
    /// Rows of the same id share it, and the next greater id has as much more as they are rows.
    ///
    /// # Errors
    /// [`NewIdFault::Unknown`] or [`NewIdFault::TooMany`].
    ///
    /// # Examples
    /// ```
    /// use skyprep::sph::SourceIds;
    ///
    /// let ids = SourceIds::new(vec![12, -3, 7, 7]);
    /// assert_eq!([-3, 7, 12].map(|id| ids.rank(id).unwrap()), [0, 1, 3]);
    /// assert!(ids.rank(8).is_err());
    /// ```
    pub fn rank(&self, id: i64) -> Result<u32, NewIdFault> {
        let smaller = self.sorted.partition_point(|other| *other < id);
        match self.sorted.get(smaller) {
            Some(found) if *found == id => {
                u32::try_from(smaller).map_err(|_| NewIdFault::TooMany(id))
            }
            _ => Err(NewIdFault::Unknown(id)),
        }
    }
}

/// Returns the id of a copy in a target triangle, of the row with that [`rank`](SourceIds::rank).
///
/// # Examples
/// ```
/// use skyprep::partition::htm::HtmId;
/// use skyprep::sph::new_id;
///
/// let target = HtmId::new(533_760).unwrap();
/// assert_eq!(new_id(target, 0), 2_292_481_743_912_960);
/// ```
#[must_use]
pub fn new_id(target: HtmId, rank: u32) -> i64 {
    (i64::from(target.number()) << 32) + i64::from(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_ids() {
        let bytes: Vec<u8> = [3_i64, -1, i64::MAX, i64::MIN]
            .iter()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        let ids = SourceIds::from_bytes(&bytes, 4).unwrap();
        let ranks = [i64::MIN, -1, 3, i64::MAX].map(|id| ids.rank(id).unwrap());
        assert_eq!(ranks, [0, 1, 2, 3]);
        assert_eq!(ids.rank(0), Err(NewIdFault::Unknown(0)));
        for (bytes, rows) in [(&bytes[..], 3), (&bytes[..], 5), (&bytes[1..], 4)] {
            let fault = SourceIds::from_bytes(bytes, rows).unwrap_err();
            let bytes = bytes.len();
            assert_eq!(fault, NewIdFault::Length { bytes, rows });
        }
        assert_eq!(SourceIds::from_bytes(&[], 0), Ok(SourceIds::default()));
    }

    #[test]
    fn the_greatest_new_id_fits() {
        let last = HtmId::new((1 << 30) - 1).unwrap();
        assert_eq!(new_id(last, u32::MAX), (1 << 62) - 1);
    }
}
