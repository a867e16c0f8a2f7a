//! Moving positions from one triangle to another.
//!
//! The matrix takes the corners of the source to those of the target. It is no true rotation, for
//! triangles of one level differ a little in shape: what lies in the source lies in the target
//! afterwards, but distances change by some percent. The moved positions are printed with all
//! their digits, so the order of all sums counts. Source: `SphericalTriangle` in lsst/qserv
//! `src/partition`.

use crate::partition::htm::{Corners, HtmId};
use crate::partition::htm::{Vector, dot, lon_lat_deg, unit_vector};

/// A matrix by its rows.
type Matrix = [Vector; 3];

/// The way from one triangle to another.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rotation {
    rows: Matrix,
}

impl Rotation {
    /// Finds the way from a triangle to another one of the same level.
    ///
    /// # Examples
    /// ```
    /// use skyprep::partition::htm::HtmId;
    /// use skyprep::sph::Rotation;
    ///
    /// let [source, target] = [534_450, 535_645].map(|number| HtmId::new(number).unwrap());
    /// let rotation = Rotation::new(source, target);
    /// let moved = rotation.moved_deg(25.52135564580124, -4.943810228564215);
    /// assert_eq!(moved, (29.5898066143221, -10.10735157627188));
    /// assert_eq!(HtmId::at_position(moved.0, moved.1, 8), target);
    /// ```
    #[must_use]
    pub fn new(source: HtmId, target: HtmId) -> Self {
        Self::between(&source.corners(), &target.corners())
    }

    /// Finds the way between triangles that are given by their corners.
    #[must_use]
    pub fn between(source: &Corners, target: &Corners) -> Self {
        let columns = transposed(inverse(&transposed(*source)));
        let rows = transposed(*target).map(|row| columns.map(|column| dot(row, column)));
        Self { rows }
    }

    /// Moves a vector; its length may change a little.
    #[inline]
    #[must_use]
    pub fn moved(&self, point: Vector) -> Vector {
        self.rows.map(|row| dot(row, point))
    }

    /// Moves a position, in degrees: longitude (0 to 360) and latitude (-90 to 90).
    #[inline]
    #[must_use]
    pub fn moved_deg(&self, lon_deg: f64, lat_deg: f64) -> (f64, f64) {
        lon_lat_deg(self.moved(unit_vector(lon_deg, lat_deg)))
    }
}

fn transposed([[a, b, c], [d, e, f], [g, h, i]]: Matrix) -> Matrix {
    [[a, d, g], [b, e, h], [c, f, i]]
}

/// Returns the inverse, by way of minors; the determinant is taken along the first row.
///
/// Triangles have corners that are no multiples of each other, thus a determinant above 0: some
/// 1e-8 at level 13.
fn inverse(&[[a, b, c], [d, e, f], [g, h, i]]: &Matrix) -> Matrix {
    let minors = [
        [e * i - f * h, f * g - d * i, d * h - e * g],
        [h * c - i * b, i * a - g * c, g * b - h * a],
        [b * f - c * e, c * d - a * f, a * e - b * d],
    ];
    let [first, ..] = minors;
    let factor = 1.0 / dot(first, [a, b, c]);
    transposed(minors.map(|row| row.map(|minor| minor * factor)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::Lcg;
    use crate::partition::htm::{angle, normalized};

    #[allow(clippy::excessive_precision, reason = "digits as the tools print them")]
    #[test]
    fn golden_positions() {
        // From the C++ tools: source, target, before and after.
        for (source, target, before, after) in [
            (
                534450,
                535645,
                (25.52135564580124, -4.943810228564215),
                (29.5898066143221, -10.10735157627188),
            ),
            (
                534008,
                535590,
                (25.310186990620217, -7.568930529499205),
                (26.240936156359801, -10.023864633474131),
            ),
            (
                533949,
                538313,
                (24.500913067055944, -7.296589149353168),
                (21.711461319238786, -9.1047944987633169),
            ),
            (
                537812,
                534146,
                (21.632203987742272, -3.119723679657234),
                (29.22643757514038, -5.4540629665557514),
            ),
            (
                534422,
                534521,
                (25.997659161292674, -5.276162772707884),
                (26.581817329492637, -4.5217196589957158),
            ),
        ] {
            let [source, target] = [source, target].map(|number| HtmId::new(number).unwrap());
            let moved = Rotation::new(source, target).moved_deg(before.0, before.1);
            assert_eq!(moved, after);
        }
    }

    #[test]
    fn corners_go_to_corners_and_back() {
        let mut random = Lcg::new(13);
        for _ in 0..1000 {
            let level = random.below(14);
            let [source, target] = [0, 1].map(|_| {
                let (lon, lat) = random.position_deg();
                HtmId::at_position(lon, lat, level)
            });
            let rotation = Rotation::new(source, target);
            let back = Rotation::new(target, source);
            // The smaller the triangle, the less it says of the rest of space.
            let tolerance = 1e-14 * f64::from(1 << (2 * level));
            for (from, to) in source.corners().into_iter().zip(target.corners()) {
                assert!(angle(rotation.moved(from), to) < tolerance);
                assert!(angle(back.moved(rotation.moved(from)), from) < tolerance);
            }
        }
    }

    #[test]
    fn points_stay_within() {
        let mut random = Lcg::new(14);
        for _ in 0..2000 {
            let (lon, lat) = random.position_deg();
            let target = HtmId::at_position(lon, lat, 8);
            let (lon, lat) = random.position_deg();
            let source = HtmId::at_position(lon, lat, 8);
            // Not at the very edge.
            let [a, b, c] = source.corners();
            let (s, t) = (random.within(0.01, 0.49), random.within(0.01, 0.49));
            let mix = |a: f64, b: f64, c: f64| a * s + b * t + c * (1.0 - s - t);
            let [[ax, ay, az], [bx, by, bz], [cx, cy, cz]] = [a, b, c];
            let point = normalized([mix(ax, bx, cx), mix(ay, by, cy), mix(az, bz, cz)]);
            assert_eq!(HtmId::at(point, 8), source);
            let moved = Rotation::new(source, target).moved(point);
            assert_eq!(HtmId::at(normalized(moved), 8), target);
        }
    }
}
