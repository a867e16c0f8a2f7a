//! Convex polygons on the sphere with at most five corners, and cutting them at great circles.

use super::id::Corners;
use super::vector::{Vector, cross, difference, dot, normalized, steady_cross, sum};

/// A triangle has three; each half of the sphere that it is cut down to adds at most one.
const MOST_SIDES: usize = 5;

/// A corner, and the great circle of the border from there on.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Side {
    /// A unit vector.
    pub(crate) corner: Vector,
    /// Points to the inside; of any length.
    pub(crate) normal: Vector,
}

/// Sides in counter-clockwise order.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct SphericalPolygon {
    sides: [Side; MOST_SIDES],
    count: usize,
}

impl SphericalPolygon {
    /// Takes counter-clockwise corners.
    pub(crate) fn triangle(corners: &Corners) -> Self {
        let [a, b, c] = *corners;
        let mut triangle = Self::default();
        for (corner, next) in [(a, b), (b, c), (c, a)] {
            triangle.push(corner, steady_cross(corner, next));
        }
        triangle
    }

    /// Returns the sides; none if nothing was left by a cut.
    pub(crate) fn sides(&self) -> &[Side] {
        self.sides.get(..self.count).unwrap_or_default()
    }

    /// Returns each side with the corner where it ends.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (&Side, Vector)> {
        let sides = self.sides();
        let ends = sides.iter().skip(1).chain(sides.first());
        sides.iter().zip(ends.map(|side| side.corner))
    }

    fn push(&mut self, corner: Vector, normal: Vector) {
        if let Some(side) = self.sides.get_mut(self.count) {
            *side = Side { corner, normal };
            self.count += 1;
        }
    }

    /// Returns what lies in a half of the sphere, given by the unit vector of its middle.
    ///
    /// Points of its border are in it. Source: Sutherland and Hodgman, "Reentrant Polygon
    /// Clipping".
    pub(crate) fn clipped(&self, middle: Vector) -> Self {
        let mut rest = Self::default();
        let Some(mut before) = self.sides().last() else {
            return rest;
        };
        let is_inside = |side: &Side| dot(middle, side.corner) >= 0.0;
        for side in self.sides() {
            let edge = normalized(before.normal);
            match (is_inside(before), is_inside(side)) {
                (true, false) => rest.push(crossing(middle, edge), middle),
                (false, true) => rest.push(crossing(edge, middle), before.normal),
                _ => {}
            }
            if is_inside(side) {
                rest.push(side.corner, side.normal);
            }
            before = side;
        }
        rest
    }
}

/// Returns the point where two great circles cross, given by their unit normals.
fn crossing(a: Vector, b: Vector) -> Vector {
    normalized(cross(sum(a, b), difference(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::id::HtmId;
    use crate::partition::htm::lcg::Lcg;
    use crate::partition::htm::vector::unit_vector;

    #[test]
    fn cuts_of_an_octant() {
        let octant = SphericalPolygon::triangle(&HtmId::roots()[7].corners());
        let half = 0.5_f64.sqrt();
        for (middle, expected) in [
            // Nothing is cut off.
            ([half, half, 0.0], 3),
            // The pole lies on the cut: it is there twice, with a side of no length.
            ([half, -half, 0.0], 4),
            ([half, 0.0, -half], 4),
            // A corner is cut off.
            (normalized([2.0, 2.0, -1.0]), 4),
            // Nothing is left.
            (normalized([-1.0, -1.0, -1.0]), 0),
        ] {
            let polygon = octant.clipped(middle);
            assert_eq!(polygon.sides().len(), expected, "{middle:?} {polygon:?}");
            for side in polygon.sides() {
                assert!(dot(side.corner, middle) > -1e-15, "{middle:?} {polygon:?}");
            }
        }
        let nothing = SphericalPolygon::default();
        assert!(nothing.clipped([1.0, 0.0, 0.0]).sides().is_empty());
    }

    #[test]
    fn corners_lie_on_both_of_their_sides() {
        let mut random = Lcg::new(11);
        for _ in 0..2000 {
            let (lon, lat) = random.position_deg();
            let corners = HtmId::at_position(lon, lat, random.below(9)).corners();
            let mut polygon = SphericalPolygon::triangle(&corners);
            for _ in 0..2 {
                let (lon, lat) = (lon + random.within(80.0, 100.0), random.within(-9.0, 9.0));
                polygon = polygon.clipped(unit_vector(lon, lat));
            }
            assert!(polygon.sides().len() <= MOST_SIDES);
            for (side, end) in polygon.edges() {
                let normal = normalized(side.normal);
                // Rounding; edges of level 8 are 0.003 long.
                assert!(dot(normal, side.corner).abs() < 1e-12);
                assert!(dot(normal, end).abs() < 1e-12);
            }
        }
    }
}
