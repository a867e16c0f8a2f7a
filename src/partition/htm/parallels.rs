//! The part of a polygon between two parallels.
//!
//! Its area is a sum over the border: each piece of a side counts with the area between it and the
//! upper parallel, east-going pieces as they are, west-going ones less. Points above the upper
//! parallel count as if they were on it, points below the lower one likewise. This needs no
//! knowledge of how many pieces there are or which parallel cuts which side, and a pole at the
//! border does no harm, for what is near it counts as nothing.

use std::f64::consts::TAU;

use super::polygon::{Side, SphericalPolygon};
use super::vector::{RAD_PER_DEG, Vector, cross, dot, normalized};

/// A side that a parallel cuts twice within this angle, in radians, touches it: 0.1 seconds of
/// arc, as in the reference.
const TOUCH: f64 = RAD_PER_DEG / 36_000.0;

/// Tells whether a part of a polygon lies below `z_min` or above `z_max`.
///
/// A side that just touches a parallel from outside does not count.
pub(crate) fn crosses_parallels(polygon: &SphericalPolygon, z_min: f64, z_max: f64) -> bool {
    let is_outside = |z: f64| z < z_min || z > z_max;
    polygon.edges().any(|(side, end)| {
        is_outside(side.corner[2]) || Arc::new(side, end).cuts(z_min, z_max).len() > 2
    })
}

/// Returns the area of the part of a polygon with `z_min <= z <= z_max`, in steradians.
///
/// The polygon does not hold the pole of the other hemisphere than the one it mostly lies in.
/// Rounding may make a result of 0 some 1e-16 less.
pub(crate) fn between_parallels(polygon: &SphericalPolygon, z_min: f64, z_max: f64) -> f64 {
    let height: f64 = polygon.sides().iter().map(|side| side.corner[2]).sum();
    // In the south, all is seen in a mirror, where the border goes round the other way.
    let is_south = height < 0.0;
    let (low, high) = if is_south {
        (-z_max, -z_min)
    } else {
        (z_min, z_max)
    };
    let seen = |[x, y, z]: Vector| if is_south { [x, y, -z] } else { [x, y, z] };

    let mut area = 0.0;
    for (side, end) in polygon.edges() {
        let arc = Arc::new(side, end);
        let cuts = arc.cuts(z_min, z_max);
        for (from, to) in cuts.iter().zip(cuts.iter().skip(1)) {
            let [a, b] = [*from, *to].map(|angle| seen(arc.point(angle)));
            let [_, _, z] = seen(arc.point(0.5 * (from + to)));
            area += below_parallel(a, b, z, low, high);
        }
    }
    if is_south { -area } else { area }
}

/// Returns the area between a piece of a side and the parallel `high`, east-going positive.
///
/// The piece is wholly above, between or below the parallels, as its middle height `z` tells.
fn below_parallel(a: Vector, b: Vector, z: f64, low: f64, high: f64) -> f64 {
    if z >= high {
        return 0.0;
    }
    let [ax, ay, az] = a;
    let [bx, by, bz] = b;
    let turn = ax * by - ay * bx;
    let lon = turn.atan2(ax * bx + ay * by);
    if z <= low {
        return (high - low) * lon;
    }

    // The triangle of the piece and the pole; the formula is that of Van Oosterom and Strackee.
    let to_pole = 2.0 * turn.atan2(1.0 + az + bz + dot(a, b));
    to_pole - (1.0 - high) * lon
}

/// A side from its beginning to its end, by the angle from its beginning.
struct Arc {
    begin: Vector,
    /// The direction in which it begins.
    ahead: Vector,
    length: f64,
}

impl Arc {
    fn new(side: &Side, end: Vector) -> Self {
        let begin = side.corner;
        let ahead = normalized(cross(side.normal, begin));
        let length = dot(ahead, end).atan2(dot(begin, end)).max(0.0);
        Self {
            begin,
            ahead,
            length,
        }
    }

    fn point(&self, angle: f64) -> Vector {
        let (sine, cosine) = angle.sin_cos();
        let [bx, by, bz] = self.begin;
        let [ax, ay, az] = self.ahead;
        [
            bx * cosine + ax * sine,
            by * cosine + ay * sine,
            bz * cosine + az * sine,
        ]
    }

    /// Returns the angles of its beginning, of where it crosses a parallel, and of its end.
    fn cuts(&self, z_min: f64, z_max: f64) -> Cuts {
        let mut cuts = Cuts::default();
        cuts.push(0.0);
        // The height is `top` times the cosine of the angle from the highest point.
        let ([_, _, up], [_, _, z]) = (self.ahead, self.begin);
        let (top, highest) = (z.hypot(up), up.atan2(z));
        for parallel in [z_min, z_max] {
            // Not a number, and no cut, if the great circle does not get so far.
            let half = (parallel / top).acos();
            if 2.0 * half > TOUCH && TAU - 2.0 * half > TOUCH {
                for angle in [highest - half, highest + half] {
                    let angle = angle.rem_euclid(TAU);
                    if angle > 0.0 && angle < self.length {
                        cuts.push(angle);
                    }
                }
            }
        }
        cuts.push(self.length);
        cuts.sort();
        cuts
    }
}

/// Up to four angles where a side crosses parallels, and its ends.
#[derive(Default)]
struct Cuts {
    angles: [f64; 6],
    count: usize,
}

impl Cuts {
    fn push(&mut self, angle: f64) {
        if let Some(place) = self.angles.get_mut(self.count) {
            *place = angle;
            self.count += 1;
        }
    }

    fn sort(&mut self) {
        if let Some(angles) = self.angles.get_mut(..self.count) {
            angles.sort_by(f64::total_cmp);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &f64> {
        self.angles.iter().take(self.count)
    }

    fn len(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::id::HtmId;

    #[test]
    fn sides_that_touch_a_parallel_do_not_cross_it() {
        // The lower edge reaches latitude 54.7 at its middle, above its ends at 45.
        let corners = HtmId::new(61).unwrap().corners();
        let triangle = SphericalPolygon::triangle(&corners);
        let top = (2.0_f64 / 3.0).sqrt();
        let crosses = |z_min, z_max| crosses_parallels(&triangle, z_min, z_max);
        assert!(!crosses(0.7, 1.0));
        assert!(crosses(0.8, 1.0));
        assert!(crosses(0.7, 0.99));
        // The corners lie outside in any case; look at the sides.
        let cuts = |z: f64| {
            let edges = triangle.edges().map(|(side, end)| Arc::new(side, end));
            edges.map(|arc| arc.cuts(-1.0, z).len() - 2).sum::<usize>()
        };
        assert_eq!(cuts(top - 1e-9), 4);
        assert_eq!(cuts(top - 1e-14), 2);
        assert_eq!(cuts(top + 1e-9), 2);
    }

    #[test]
    fn an_edge_along_the_equator_is_not_cut() {
        let triangle = SphericalPolygon::triangle(&HtmId::roots()[7].corners());
        assert!(!crosses_parallels(&triangle, 0.0, 1.0));
        assert!(crosses_parallels(&triangle, 1e-9, 1.0));
        assert_eq!(between_parallels(&triangle, -1.0, 0.0), 0.0);
        let half = between_parallels(&triangle, 0.0, 0.5);
        assert!((half - TAU / 8.0).abs() < 1e-15);
    }
}
