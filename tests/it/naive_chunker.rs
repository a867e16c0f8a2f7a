//! A slow chunker that the fast one must match, made from the definition alone.
//!
//! It asks every sub-chunk of the sphere in turn whether a position is in it or in its overlap.
//! Nothing is shared with the library and nothing is computed ahead. The conditions are written
//! with the quotients of the definition (lsst/qserv `src/partition`, `Chunker`), since those, not
//! the borders they stand for, say where a position within a rounding error of a border belongs.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;

/// Radians in a degree and degrees in a radian, as the definition has them.
const RAD: f64 = 0.017_453_292_519_943_295;
const DEG: f64 = 57.295_779_513_082_32;
const ARC_SECOND: f64 = 1.0 / 3600.0;

/// Numbers of a chunk and of a sub-chunk in it.
pub(crate) type Pair = (i64, i64);

pub(crate) struct NaiveChunker {
    pub(crate) stripes: i64,
    pub(crate) sub_stripes: i64,
    pub(crate) overlap: f64,
}

/// One sub-chunk, by its place.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// Sub-stripe, counted over the whole sphere.
    pub(crate) row: i64,
    /// Sub-chunk, counted around the sphere.
    pub(crate) column: i64,
}

impl NaiveChunker {
    fn rows(&self) -> i64 {
        self.stripes * self.sub_stripes
    }

    fn height(&self) -> f64 {
        180.0 / self.rows() as f64
    }

    pub(crate) fn chunks_in_stripe(&self, stripe: i64) -> i64 {
        how_many_around(180.0 / self.stripes as f64, stripe)
    }

    fn sub_chunks_in_chunk(&self, row: i64) -> i64 {
        how_many_around(self.height(), row) / self.chunks_in_stripe(row / self.sub_stripes)
    }

    pub(crate) fn columns(&self, row: i64) -> i64 {
        self.sub_chunks_in_chunk(row) * self.chunks_in_stripe(row / self.sub_stripes)
    }

    pub(crate) fn width(&self, row: i64) -> f64 {
        360.0 / self.columns(row) as f64
    }

    /// Southern border; the northern border of a row is the southern one of the next.
    pub(crate) fn south(&self, row: i64) -> f64 {
        (row as f64 * self.height() - 90.0).clamp(-90.0, 90.0)
    }

    /// How far in longitude the overlap of a row's sub-chunks reaches.
    pub(crate) fn reach(&self, row: i64) -> f64 {
        let latitude = self.south(row).abs().max(self.south(row + 1).abs());
        if self.overlap == 0.0 {
            0.0
        } else if latitude + self.overlap > 90.0 - ARC_SECOND {
            180.0
        } else {
            let (r, l) = (self.overlap * RAD, latitude * RAD);
            (r.sin() / ((l - r).cos() * (l + r).cos()).sqrt()).atan() * DEG
        }
    }

    pub(crate) fn number(&self, place: Place) -> Pair {
        let (stripe, band) = (place.row / self.sub_stripes, place.row % self.sub_stripes);
        let sub_chunks = self.sub_chunks_in_chunk(place.row);
        let most = (0..self.rows())
            .map(|row| self.sub_chunks_in_chunk(row))
            .max()
            .unwrap();

        (
            stripe * 2 * self.stripes + place.column / sub_chunks,
            band * most + place.column % sub_chunks,
        )
    }

    /// Every sub-chunk of the sphere.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        (0..self.rows())
            .flat_map(|row| (0..self.columns(row)).map(move |column| Place { row, column }))
    }

    /// Whether the sub-chunk holds the position.
    fn holds(&self, place: Place, ra: f64, dec: f64) -> bool {
        let row = ((dec + 90.0) / self.height()).floor();
        let column = (ra / self.width(place.row)).floor();

        let in_row =
            row == place.row as f64 || (place.row == self.rows() - 1 && row >= self.rows() as f64);
        let columns = self.columns(place.row);
        let in_column = column == place.column as f64
            || (place.column == columns - 1 && column >= columns as f64);
        in_row && in_column
    }

    /// Whether the position is an overlap row of the sub-chunk `place`, being in `own`.
    fn is_overlap(&self, place: Place, own: Place, ra: f64, dec: f64) -> bool {
        if self.overlap == 0.0 || place == own {
            return false;
        }
        let (width, reach) = (self.width(place.row), self.reach(place.row));

        if place.row == own.row {
            let west = own.column as f64 * width;
            let east = if own.column == self.columns(own.row) - 1 {
                360.0
            } else {
                (own.column + 1) as f64 * width
            };
            let columns = self.columns(own.row);
            let is_left = place.column == (own.column - 1).rem_euclid(columns);
            let is_right = place.column == (own.column + 1).rem_euclid(columns);
            return (is_left && ra < west + reach) || (is_right && ra > east - reach);
        }

        let is_in_latitude = (place.row == own.row - 1 && dec < self.south(own.row) + self.overlap)
            || (place.row == own.row + 1 && dec >= self.south(own.row + 1) - self.overlap);
        let from = ((ra - reach) / width).floor() as i64;
        let to = ((ra + reach) / width).floor() as i64;
        // The same sub-chunk one turn to the west, here, and one turn to the east.
        let is_in_longitude = (-1..=1)
            .map(|turn| place.column + turn * self.columns(place.row))
            .any(|column| (from..=to).contains(&column));
        is_in_latitude && is_in_longitude
    }

    /// The sub-chunk that holds the position; there must be exactly one.
    pub(crate) fn find(&self, ra: f64, dec: f64) -> Place {
        let holders: Vec<Place> = self
            .places()
            .filter(|place| self.holds(*place, ra, dec))
            .collect();
        assert_eq!(holders.len(), 1, "sub-chunks that hold {ra} {dec}");
        holders[0]
    }

    /// The sub-chunks that the position is an overlap row of.
    pub(crate) fn overlaps(&self, ra: f64, dec: f64) -> BTreeSet<Pair> {
        let own = self.find(ra, dec);
        self.places()
            .filter(|place| self.is_overlap(*place, own, ra, dec))
            .map(|place| self.number(place))
            .collect()
    }
}

/// How many pieces of a height fit side by side around the band of that height.
fn how_many_around(height: f64, band: i64) -> i64 {
    let south = band as f64 * height - 90.0;
    let north = (band + 1) as f64 * height - 90.0;
    let latitude = south.abs().max(north.abs());
    if latitude > 90.0 - ARC_SECOND || height >= 180.0 {
        return 1;
    }

    let x = (height * RAD).cos() - (latitude * RAD).sin().powi(2);
    let u = (latitude * RAD).cos().powi(2);
    let y = (u * u - x * x).abs().sqrt();
    (360.0 / (DEG * y.atan2(x)).abs()).floor() as i64
}
