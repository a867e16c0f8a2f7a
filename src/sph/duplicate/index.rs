//! `htm_index.bin`: how many rows there are in each triangle, and which triangle stands in for an
//! empty one.
//!
//! The file is a row of records of 12 bytes: number of the triangle (u32) and rows (u64), both
//! little-endian. Records of one triangle are added up, for runs append to the file. Source:
//! `HtmIndex` in lsst/qserv `src/partition`.

use std::collections::BTreeMap;
use std::fmt;

use crate::partition::htm::{HtmId, MAX_LEVEL};

/// Name of the file.
pub const HTM_INDEX: &str = "htm_index.bin";

/// Returns the record of a triangle that has so many rows.
pub fn htm_index_record(triangle: u32, rows: u64) -> [u8; HTM_INDEX_RECORD] {
    let mut record = [0; HTM_INDEX_RECORD];
    record[..4].copy_from_slice(&triangle.to_le_bytes());
    record[4..].copy_from_slice(&rows.to_le_bytes());
    record
}

/// Bytes of a record.
pub const HTM_INDEX_RECORD: usize = 12;

/// Rows in each triangle of one level; triangles without rows are not in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HtmIndex {
    level: u32,
    rows: BTreeMap<HtmId, u64>,
    total: u64,
}

/// Why bytes or records are no index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HtmIndexFault {
    /// There is not one record.
    Empty,
    /// The number of bytes is not a multiple of [`HTM_INDEX_RECORD`].
    Torn(usize),
    /// The level is above [`MAX_LEVEL`].
    Level(u32),
    /// No triangle has the number of a record.
    NoTriangle {
        /// Place of the record, from 1.
        record: usize,
        /// The number.
        number: u32,
    },
    /// A triangle is of another level than the index.
    OtherLevel {
        /// The triangle.
        triangle: HtmId,
        /// The level of the index, which is that of its first record.
        expected: u32,
    },
    /// A triangle is said to have no rows.
    NoRows(HtmId),
    /// There are more rows than can be counted.
    TooManyRows,
}

impl fmt::Display for HtmIndexFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the HTM index is empty, expected at least one triangle"),
            Self::Torn(bytes) => write!(
                f,
                "the HTM index has {bytes} bytes, expected records of {HTM_INDEX_RECORD} bytes"
            ),
            Self::Level(level) => write!(f, "HTM level is {level}, expected 0 to {MAX_LEVEL}"),
            Self::NoTriangle { record, number } => write!(
                f,
                "record {record} of the HTM index is for triangle {number}, which is none up to \
                 level {MAX_LEVEL}"
            ),
            Self::OtherLevel { triangle, expected } => write!(
                f,
                "triangle {triangle} of the HTM index is of level {}, expected level {expected} \
                 as the first one",
                triangle.level()
            ),
            Self::NoRows(triangle) => write!(
                f,
                "triangle {triangle} of the HTM index has no rows, expected at least one"
            ),
            Self::TooManyRows => write!(f, "the HTM index counts more rows than fit into 64 bits"),
        }
    }
}

impl std::error::Error for HtmIndexFault {}

impl HtmIndex {
    /// Starts an index without rows.
    ///
    /// # Errors
    /// [`HtmIndexFault::Level`].
    pub fn new(level: u32) -> Result<Self, HtmIndexFault> {
        match level <= MAX_LEVEL {
            true => Ok(Self {
                level,
                rows: BTreeMap::new(),
                total: 0,
            }),
            false => Err(HtmIndexFault::Level(level)),
        }
    }

    /// Reads an index; its level is that of its first record.
    ///
    /// # Errors
    /// See [`HtmIndexFault`].
    ///
    /// # Examples
    /// ```
    /// use skyprep::partition::htm::HtmId;
    /// use skyprep::sph::HtmIndex;
    ///
    /// let bytes = [
    ///     33, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, // 5 rows in triangle 33
    ///     40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, // 1 row in triangle 40
    ///     33, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, // 2 more in triangle 33
    /// ];
    /// let index = HtmIndex::from_bytes(&bytes)?;
    /// assert_eq!((index.level(), index.total()), (1, 8));
    /// let [filled, empty] = [33, 39].map(|number| HtmId::new(number).unwrap());
    /// assert_eq!(index.rows(filled), 7);
    /// assert_eq!(index.source_of(filled), Some(filled));
    /// assert_eq!(index.source_of(empty).map(HtmId::number), Some(40));
    /// # Ok::<(), skyprep::sph::HtmIndexFault>(())
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HtmIndexFault> {
        let (records, rest) = bytes.as_chunks::<HTM_INDEX_RECORD>();
        if !rest.is_empty() {
            return Err(HtmIndexFault::Torn(bytes.len()));
        }

        let mut index: Option<Self> = None;
        for (record, place) in records.iter().zip(1..) {
            let [a, b, c, d, rows @ ..] = *record;
            let number = u32::from_le_bytes([a, b, c, d]);
            let triangle = HtmId::new(number).ok_or(HtmIndexFault::NoTriangle {
                record: place,
                number,
            })?;
            let rows = u64::from_le_bytes(rows);
            if rows == 0 {
                return Err(HtmIndexFault::NoRows(triangle));
            }
            let mut grown = match index.take() {
                Some(index) => index,
                None => Self::new(triangle.level())?,
            };
            grown.add(triangle, rows)?;
            index = Some(grown);
        }
        index.ok_or(HtmIndexFault::Empty)
    }

    /// Returns the records, ascending by triangle.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.rows.len() * HTM_INDEX_RECORD);
        for (triangle, rows) in &self.rows {
            bytes.extend_from_slice(&htm_index_record(triangle.number(), *rows));
        }
        bytes
    }

    /// Adds rows of a triangle; none change nothing.
    ///
    /// # Errors
    /// [`HtmIndexFault::OtherLevel`] or [`HtmIndexFault::TooManyRows`]; the index is as before.
    pub fn add(&mut self, triangle: HtmId, rows: u64) -> Result<(), HtmIndexFault> {
        let expected = self.level;
        if triangle.level() != expected {
            return Err(HtmIndexFault::OtherLevel { triangle, expected });
        }
        if rows > 0 {
            let total = self.total.checked_add(rows);
            self.total = total.ok_or(HtmIndexFault::TooManyRows)?;
            // Not more than the total.
            *self.rows.entry(triangle).or_default() += rows;
        }
        Ok(())
    }

    /// Returns the level of all triangles.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level
    }

    /// Returns the number of all rows.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Returns the number of a triangle's rows; 0 if it isn't there.
    #[must_use]
    pub fn rows(&self, triangle: HtmId) -> u64 {
        self.rows.get(&triangle).copied().unwrap_or_default()
    }

    /// Returns the triangles and their rows, ascending.
    pub fn triangles(&self) -> impl ExactSizeIterator<Item = (HtmId, u64)> {
        self.rows.iter().map(|(triangle, rows)| (*triangle, *rows))
    }

    /// Returns the choice of triangles that stand in for empty ones.
    #[must_use]
    pub fn sources(&self) -> HtmSources {
        HtmSources {
            filled: self.rows.keys().copied().collect(),
        }
    }

    /// Returns the triangle that a triangle takes its rows from; for more than one, make
    /// [`sources`](Self::sources).
    ///
    /// `None` if there are no rows at all.
    #[must_use]
    pub fn source_of(&self, triangle: HtmId) -> Option<HtmId> {
        self.sources().source_of(triangle)
    }

    /// Returns the JSON that sph-htm-index prints when it is verbose, with a line end.
    #[must_use]
    pub fn json(&self) -> String {
        let triangles: Vec<String> = self
            .triangles()
            .map(|(id, rows)| format!("\t{{\"id\":{:>10}, \"nrec\":{rows:>8}}}", id.number()))
            .collect();
        format!(
            "{{\n\"nrec\":      {},\n\"triangles\": [\n{}\n]\n}}\n",
            self.total,
            triangles.join(",\n")
        )
    }
}

/// Which triangle a triangle takes its rows from.
#[derive(Clone, Debug)]
pub struct HtmSources {
    /// All that have rows, ascending.
    filled: Vec<HtmId>,
}

impl HtmSources {
    /// Returns the triangle itself if it has rows, else the one at the place that its number
    /// modulo their count says, among those that have rows; `None` if there are none.
    #[must_use]
    pub fn source_of(&self, triangle: HtmId) -> Option<HtmId> {
        if self.filled.binary_search(&triangle).is_ok() {
            return Some(triangle);
        }
        let place = usize::try_from(triangle.number()).ok()?;
        let place = place.checked_rem(self.filled.len())?;
        self.filled.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::Lcg;

    fn record(number: u32, rows: u64) -> Vec<u8> {
        let mut bytes = number.to_le_bytes().to_vec();
        bytes.extend_from_slice(&rows.to_le_bytes());
        bytes
    }

    #[test]
    fn there_and_back() {
        let mut random = Lcg::new(12);
        let mut index = HtmIndex::new(8).unwrap();
        for _ in 0..1000 {
            let (lon, lat) = random.position_deg();
            let triangle = HtmId::at_position(lon, lat, 8);
            index.add(triangle, u64::from(random.below(9))).unwrap();
        }
        let bytes = index.to_bytes();
        assert_eq!(HtmIndex::from_bytes(&bytes), Ok(index.clone()));
        let twice = HtmIndex::from_bytes(&[bytes.clone(), bytes].concat()).unwrap();
        assert_eq!(twice.total(), 2 * index.total());
        assert_eq!(twice.triangles().len(), index.triangles().len());
        assert!(twice.triangles().is_sorted());
    }

    #[test]
    fn what_is_no_index() {
        use HtmIndexFault as F;

        let id = |number| HtmId::new(number).unwrap();
        for (bytes, expected) in [
            (vec![], F::Empty),
            (vec![0; 13], F::Torn(13)),
            (
                record(7, 1),
                F::NoTriangle {
                    record: 1,
                    number: 7,
                },
            ),
            (
                [record(8, 1), record(u32::MAX, 1)].concat(),
                F::NoTriangle {
                    record: 2,
                    number: u32::MAX,
                },
            ),
            (
                [record(33, 1), record(8, 1)].concat(),
                F::OtherLevel {
                    triangle: id(8),
                    expected: 1,
                },
            ),
            (record(8, 0), F::NoRows(id(8))),
            ([record(8, u64::MAX), record(8, 1)].concat(), F::TooManyRows),
        ] {
            let fault = HtmIndex::from_bytes(&bytes).unwrap_err();
            assert_eq!(fault, expected);
            assert!(fault.to_string().contains("HTM index"), "{fault}");
        }
        assert_eq!(HtmIndex::new(14), Err(F::Level(14)));
    }

    #[test]
    fn sources_of_empty_triangles() {
        let mut index = HtmIndex::new(0).unwrap();
        let id = |number| HtmId::new(number).unwrap();
        assert_eq!(index.source_of(id(8)), None);
        for number in [15, 9, 12] {
            index.add(id(number), 1).unwrap();
        }
        // 10 is 1 modulo 3, and so on.
        for (target, source) in [
            (9, 9),
            (12, 12),
            (8, 15),
            (10, 12),
            (11, 15),
            (13, 12),
            (14, 15),
        ] {
            assert_eq!(index.source_of(id(target)), Some(id(source)), "{target}");
        }
    }

    #[test]
    fn json_as_the_tool_prints_it() {
        let mut index = HtmIndex::new(8).unwrap();
        assert_eq!(
            index.json(),
            "{\n\"nrec\":      0,\n\"triangles\": [\n\n]\n}\n"
        );
        index.add(HtmId::new(526_368).unwrap(), 1).unwrap();
        index.add(HtmId::new(526_369).unwrap(), 16).unwrap();
        let expected = "{\n\"nrec\":      17,\n\"triangles\": [\n\t{\"id\":    526368, \"nrec\":       \
                        1},\n\t{\"id\":    526369, \"nrec\":      16}\n]\n}\n";
        assert_eq!(index.json(), expected);
    }
}
