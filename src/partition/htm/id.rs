//! Triangles of the Hierarchical Triangular Mesh: their numbers, corners, and who lies in which.
//!
//! The sphere is cut into eight triangles, an octahedron's faces; each is cut into four by the
//! midpoints of its edges, and so on. A triangle's number is that of its parent with two more
//! bits. Source: Szalay and others, "Indexing the Sphere with the Hierarchical Triangular Mesh",
//! and `Geometry` in lsst/qserv `src/partition`.

use std::fmt;

use super::vector::{Vector, cross, dot, normalized, sum, unit_vector};

/// Greatest level: triangles of some 40 seconds of arc, with numbers below 2^30.
pub const MAX_LEVEL: u32 = 13;

/// Number of the first of the eight triangles of level 0.
const FIRST_ROOT: u32 = 8;

/// Number of a triangle, whose level it tells too.
///
/// Level 0 has the numbers 8 (S0) to 15 (N3), level `n` has `8 << 2 n` to `(16 << 2 n) - 1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HtmId(u32);

/// The corners of a triangle, counter-clockwise as seen from outside the sphere.
pub type Corners = [Vector; 3];

impl HtmId {
    /// Takes a number; `None` if no triangle up to [`MAX_LEVEL`] has it.
    #[must_use]
    pub fn new(number: u32) -> Option<Self> {
        let bits = u32::BITS - number.leading_zeros();
        let is_number = bits >= 4 && bits.is_multiple_of(2) && bits <= 4 + 2 * MAX_LEVEL;
        is_number.then_some(Self(number))
    }

    /// Reads a number in hexadecimal, in small or capital letters, as names of files have it.
    ///
    /// `None` if it is not just digits, or no triangle has that number.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u32::from_str_radix(text, 16).ok().filter(|_| is_plain);
        number.and_then(Self::new)
    }

    /// Returns the number.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// Returns how often an octahedron's face was cut in four, 0 to [`MAX_LEVEL`].
    #[must_use]
    pub fn level(self) -> u32 {
        (u32::BITS - 4 - self.0.leading_zeros()) / 2
    }

    /// Returns the eight triangles of level 0, ascending.
    #[must_use]
    pub fn roots() -> [Self; 8] {
        [0, 1, 2, 3, 4, 5, 6, 7].map(|root| Self(FIRST_ROOT + root))
    }

    /// Returns the four triangles of the next level; `None` at [`MAX_LEVEL`].
    #[must_use]
    pub fn children(self) -> Option<[Self; 4]> {
        let is_parent = self.level() < MAX_LEVEL;
        is_parent.then(|| [0, 1, 2, 3].map(|child| Self(4 * self.0 + child)))
    }

    /// Returns the triangle that a unit vector lies in, at a level of at most [`MAX_LEVEL`].
    ///
    /// Of the triangles of one parent, the first that the point is inside of or on the border of.
    /// Higher levels are taken for the greatest.
    #[must_use]
    pub fn at(point: Vector, level: u32) -> Self {
        let mut triangle = Triangle::root_at(point);
        for _ in 0..level.min(MAX_LEVEL) {
            triangle = triangle.child_at(point);
        }
        triangle.id
    }

    /// Returns the triangle at a longitude and a latitude, in degrees.
    ///
    /// # Examples
    /// ```
    /// use skyprep::partition::htm::HtmId;
    ///
    /// assert_eq!(HtmId::at_position(96.564091, -24.535413, 2).number(), 145);
    /// ```
    #[must_use]
    pub fn at_position(lon_deg: f64, lat_deg: f64, level: u32) -> Self {
        Self::at(unit_vector(lon_deg, lat_deg), level)
    }

    /// Returns the corners, unit vectors.
    #[must_use]
    pub fn corners(self) -> Corners {
        let level = self.level();
        let mut triangle = Triangle::root(self.0 >> (2 * level));
        for step in (0..level).rev() {
            triangle = triangle.child(self.0 >> (2 * step));
        }
        triangle.corners
    }
}

/// In hexadecimal, as names of files have it.
impl fmt::LowerHex for HtmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// In decimal.
impl fmt::Display for HtmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A triangle with its corners, on the way down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Triangle {
    pub(crate) id: HtmId,
    pub(crate) corners: Corners,
}

impl Triangle {
    /// Returns one of the eight; of the number, the last three bits count.
    pub(crate) fn root(number: u32) -> Self {
        const EAST: [Vector; 4] = [
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [-1.0, 0.0, 0.0],
            [0.0, -1.0, 0.0],
        ];
        const SOUTH: Vector = [0.0, 0.0, -1.0];
        const NORTH: Vector = [0.0, 0.0, 1.0];
        let [lon0, lon90, lon180, lon270] = EAST;

        let number = number % 8;
        let corners = match number {
            0 => [lon0, SOUTH, lon90],
            1 => [lon90, SOUTH, lon180],
            2 => [lon180, SOUTH, lon270],
            3 => [lon270, SOUTH, lon0],
            4 => [lon0, NORTH, lon270],
            5 => [lon270, NORTH, lon180],
            6 => [lon180, NORTH, lon90],
            _ => [lon90, NORTH, lon0],
        };
        Self {
            id: HtmId(FIRST_ROOT + number),
            corners,
        }
    }

    /// Returns the one of the eight that a point is in; the equator belongs to the north, and the
    /// meridians between them to the triangle in the east.
    fn root_at([x, y, z]: Vector) -> Self {
        let quarter = match (x, y) {
            (x, y) if x > 0.0 && y >= 0.0 => 0,
            (x, y) if x <= 0.0 && y > 0.0 => 1,
            (x, y) if x < 0.0 && y <= 0.0 => 2,
            (_, y) if y < 0.0 => 3,
            // The poles themselves.
            _ => 0,
        };
        Self::root(if z < 0.0 { quarter } else { 7 - quarter })
    }

    /// Returns a triangle of the next level; of the number, the last two bits count.
    pub(crate) fn child(self, number: u32) -> Self {
        let [a, b, c] = self.corners;
        let [far_a, far_b, far_c] = self.midpoints();
        let corners = match number % 4 {
            0 => [a, far_c, far_b],
            1 => [b, far_a, far_c],
            2 => [c, far_b, far_a],
            _ => [far_a, far_b, far_c],
        };
        Self {
            id: HtmId((self.id.0 << 2) + number % 4),
            corners,
        }
    }

    /// Returns the midpoints of the edges, each opposite to its corner.
    fn midpoints(self) -> [Vector; 3] {
        let [a, b, c] = self.corners;
        [(b, c), (c, a), (a, b)].map(|(from, to)| normalized(sum(from, to)))
    }

    fn child_at(self, point: Vector) -> Self {
        let [far_a, far_b, far_c] = self.midpoints();
        // Each edge of the middle triangle cuts off the triangle at a corner.
        let cuts_off = |from, to| dot(cross(from, to), point) >= 0.0;
        let child = if cuts_off(far_c, far_b) {
            0
        } else if cuts_off(far_a, far_c) {
            1
        } else if cuts_off(far_b, far_a) {
            2
        } else {
            3
        };
        self.child(child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::lcg::Lcg;

    #[test]
    fn golden_ids() {
        // From the C++ tools; the last ones lie on edges or are their corners.
        for (lon, lat, level, expected) in [
            (96.564091, -24.535413, 2, 145),
            (284.49746, 32.823273, 7, 207_688),
            (119.456562, 4.17146, 12, 244_939_531),
            (275.837759, -23.094578, 13, 752_956_528),
            (0.0, -90.0, 8, 540_672),
            (0.0, 0.0, 13, 1_040_187_392),
            (90.0, 0.0, 0, 15),
            (90.0, 45.0, 13, 1_010_827_264),
            (180.0, 90.0, 1, 57),
            (270.0, -45.0, 13, 713_031_680),
            (270.0, 45.0, 1, 52),
            (360.0, 0.0, 0, 12),
            (360.0, -90.0, 13, 754_974_720),
            (45.0, 45.0, 13, 1_071_643_903),
            (45.0, -45.0, 8, 587_775),
        ] {
            let id = HtmId::at_position(lon, lat, level);
            assert_eq!(id.number(), expected, "{lon} {lat} {level}");
        }
    }

    #[test]
    fn numbers_have_levels() {
        for level in 0..=MAX_LEVEL {
            for number in [8 << (2 * level), (16 << (2 * level)) - 1] {
                assert_eq!(HtmId::new(number).unwrap().level(), level);
            }
            assert_eq!(HtmId::new((8 << (2 * level)) - 1), None);
            assert_eq!(HtmId::new(16 << (2 * level)), None);
        }
        for number in [0, 1, 7, 8 << 28, u32::MAX] {
            assert_eq!(HtmId::new(number), None, "{number}");
        }
    }

    #[test]
    fn hexadecimal_there_and_back() {
        let mut random = Lcg::new(3);
        for _ in 0..1000 {
            let (lon, lat) = random.position_deg();
            let id = HtmId::at_position(lon, lat, random.below(14));
            assert_eq!(HtmId::from_hex(&format!("{id:x}")), Some(id));
        }
        assert_eq!(HtmId::from_hex("8081F").unwrap().number(), 0x8081f);
        for text in ["", "+8", "0x8", "7", "8 ", "80820 ", "fffffffff"] {
            assert_eq!(HtmId::from_hex(text), None, "{text:?}");
        }
    }

    #[test]
    fn points_lie_in_their_triangle() {
        let mut random = Lcg::new(4);
        for _ in 0..2000 {
            let (lon, lat) = random.position_deg();
            let point = unit_vector(lon, lat);
            let id = HtmId::at(point, random.below(14));
            let [a, b, c] = id.corners();
            for (from, to) in [(a, b), (b, c), (c, a)] {
                // The midpoints' rounding.
                assert!(dot(cross(from, to), point) > -1e-15, "{id} {lon} {lat}");
            }
        }
    }

    #[test]
    fn parents_are_prefixes() {
        let mut random = Lcg::new(5);
        for _ in 0..500 {
            let (lon, lat) = random.position_deg();
            let deepest = HtmId::at_position(lon, lat, MAX_LEVEL);
            for level in 0..=MAX_LEVEL {
                let id = HtmId::at_position(lon, lat, level);
                assert_eq!(id.number(), deepest.number() >> (2 * (MAX_LEVEL - level)));
                let next = id.children().map(|four| four.map(HtmId::level));
                assert_eq!(next, (level < MAX_LEVEL).then_some([level + 1; 4]));
            }
        }
    }

    #[test]
    fn wild_vectors_get_some_triangle() {
        for wild in [[f64::NAN; 3], [0.0; 3], [f64::INFINITY, 0.0, -1.0]] {
            assert_eq!(HtmId::at(wild, 99).level(), MAX_LEVEL);
        }
        assert_eq!(HtmId::at([0.0, 0.0, 1.0], 0).number(), 15);
        assert_eq!(HtmId::at([0.0, 0.0, -1.0], 0).number(), 8);
    }
}
