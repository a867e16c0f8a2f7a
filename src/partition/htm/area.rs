//! Areas of triangles and of what they share with ranges of longitude and latitude.
//!
//! Estimates are areas times rows, cut down to whole rows. A triangle that lies in the range as a
//! whole has a share of 1 but for rounding, which decides between all of its rows and one less. So
//! that estimates equal those of the reference, the area of what is bounded by great circles is
//! taken from the angles by which its border turns, with the same sums in the same order: for the
//! triangle `2 pi - a - b - c`, for what a range leaves of it `2 pi - (a + b + c + ...)`.
//!
//! Where a parallel cuts the border, rounding does not matter, and `between_parallels` is more
//! exact. Source: the theorem of Gauss and Bonnet; `SphericalTriangle` in lsst/qserv
//! `src/partition` for the order of sums.
//!
//! All areas are in steradians.

use std::f64::consts::TAU;

use super::id::Corners;
use super::parallels::{between_parallels, crosses_parallels};
use super::polygon::SphericalPolygon;
use super::sky_box::SkyBox;
use super::vector::{RAD_PER_DEG, Vector, angle, steady_cross};

/// A border nearer than this to another one counts as the same: one milli-arcsecond.
const SAME_DEG: f64 = 0.001 / 3600.0;

/// Returns the area of a triangle with counter-clockwise corners, 0 to 2 pi.
///
/// It is exact to some 1e-15, which is one part in 10^10 of a triangle of level 8 and one in 10^7
/// of level 13.
#[must_use]
pub fn triangle_area(corners: &Corners) -> f64 {
    let [a, b, c] = *corners;
    let [ab, bc, ca] = [steady_cross(a, b), steady_cross(b, c), steady_cross(c, a)];

    TAU - angle(ca, ab) - angle(ab, bc) - angle(bc, ca)
}

/// Returns the area that a triangle with counter-clockwise corners shares with a range.
///
/// The triangle lies in one hemisphere, north or south. Rounding may make the area of a triangle
/// that lies in the range smaller or greater than [`triangle_area`].
///
/// # Examples
/// ```
/// use skyprep::partition::htm::{shared_area, triangle_area};
/// use skyprep::partition::htm::HtmId;
/// use skyprep::partition::htm::SkyBox;
///
/// let octant = HtmId::roots()[7].corners();
/// let half = SkyBox::new(0.0, 45.0, -90.0, 90.0)?;
/// let share = shared_area(&octant, &half) / triangle_area(&octant);
/// assert!((share - 0.5).abs() < 1e-15);
/// # Ok::<(), skyprep::partition::htm::SkyBoxFault>(())
/// ```
#[must_use]
pub fn shared_area(corners: &Corners, region: &SkyBox) -> f64 {
    if *region == SkyBox::WHOLE {
        return triangle_area(corners);
    }
    if is_nothing(region) {
        return 0.0;
    }

    let triangle = SphericalPolygon::triangle(corners);
    if region.is_around() {
        return area_within_latitudes(&triangle, region);
    }
    let extent_deg = region.lon_extent_deg();
    if extent_deg <= 180.0 + SAME_DEG {
        return shared_with_sector(&triangle, region, extent_deg);
    }
    // The reference gives up here: more than half a turn is not convex.
    let halves = region.halves();
    halves
        .iter()
        .map(|half| shared_with_sector(&triangle, half, 0.5 * extent_deg))
        .sum()
}

fn is_nothing(region: &SkyBox) -> bool {
    region.lon_min_deg() == region.lon_max_deg()
        || region.lat_min_deg() >= 90.0 - SAME_DEG
        || region.lat_max_deg() <= -90.0 + SAME_DEG
}

fn shared_with_sector(triangle: &SphericalPolygon, region: &SkyBox, extent_deg: f64) -> f64 {
    let (west_sine, west_cosine) = (region.lon_min_deg() * RAD_PER_DEG).sin_cos();
    let mut polygon = triangle.clipped([-west_sine, west_cosine, 0.0]);
    // At half a turn both borders are one great circle.
    if extent_deg < 180.0 - SAME_DEG {
        let (east_sine, east_cosine) = (region.lon_max_deg() * RAD_PER_DEG).sin_cos();
        polygon = polygon.clipped([east_sine, -east_cosine, 0.0]);
    }

    area_within_latitudes(&polygon, region)
}

fn area_within_latitudes(polygon: &SphericalPolygon, region: &SkyBox) -> f64 {
    let z_min = (region.lat_min_deg() * RAD_PER_DEG).sin();
    let z_max = (region.lat_max_deg() * RAD_PER_DEG).sin();
    let area = if polygon.sides().is_empty() || z_min >= z_max {
        0.0
    } else if crosses_parallels(polygon, z_min, z_max) {
        between_parallels(polygon, z_min, z_max)
    } else {
        TAU - turning_angle(polygon)
    };

    area.max(0.0)
}

/// Returns the sum of the angles by which the border turns at the corners.
fn turning_angle(polygon: &SphericalPolygon) -> f64 {
    let sides = polygon.sides();
    let mut before: Option<Vector> = sides.last().map(|side| side.normal);
    let mut sum = 0.0;
    for side in sides {
        sum += before.map_or(0.0, |before| angle(before, side.normal));
        before = Some(side.normal);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::cover::HtmCover;
    use crate::partition::htm::id::HtmId;
    use crate::partition::htm::lcg::Lcg;

    fn id(number: u32) -> HtmId {
        HtmId::new(number).unwrap()
    }

    #[test]
    fn rounding_as_in_the_reference() {
        // From the C++ tools: triangles that lie in a sub-chunk as a whole, and whether the
        // estimate has all of their rows or one less.
        let all = [
            533_602, 533_764, 533_779, 533_782, 533_830, 533_864, 533_896, 533_927, 534_185,
            534_192, 534_322, 534_331, 534_420, 534_503, 535_732, 535_744, 535_760, 538_128,
            538_337,
        ];
        let one_less = [
            533_611, 533_827, 533_868, 534_152, 534_156, 534_449, 534_472, 535_607, 535_622,
            535_674, 535_773, 535_781, 536_411, 538_183, 538_355,
        ];
        let around = SkyBox::new(1.0, 60.0, -20.0, 20.0).unwrap();
        let is_less = |number: &u32| {
            let corners = id(*number).corners();
            shared_area(&corners, &around) < triangle_area(&corners)
        };
        assert!(!all.iter().any(is_less));
        assert!(one_less.iter().all(is_less));
    }

    #[test]
    fn levels_sum_up_to_the_sphere() {
        for level in 0..7 {
            let sum: f64 = (8 << (2 * level)..16 << (2 * level))
                .map(|number| triangle_area(&id(number).corners()))
                .sum();
            assert!((sum - 2.0 * TAU).abs() < 1e-10, "{level} {sum}");
        }
        for root in HtmId::roots() {
            assert!((triangle_area(&root.corners()) - TAU / 4.0).abs() < 1e-15);
        }
    }

    #[test]
    fn a_grid_of_boxes_sums_up_to_the_triangle() {
        let mut random = Lcg::new(9);
        for _ in 0..60 {
            let (lon, lat) = random.position_deg();
            let id = HtmId::at_position(lon, lat, random.below(9));
            let (columns, rows) = (1 + random.below(9), 1 + random.below(9));
            let (width, height) = (360.0 / f64::from(columns), 180.0 / f64::from(rows));
            let shift = random.within(0.0, 360.0);
            let mut sum = 0.0;
            for column in 0..columns {
                let west = shift + f64::from(column) * width;
                for row in 0..rows {
                    let south = f64::from(row) * height - 90.0;
                    let cell = SkyBox::new(west, west + width, south, south + height).unwrap();
                    sum += shared_area(&id.corners(), &cell);
                }
            }
            let area = triangle_area(&id.corners());
            assert!((sum - area).abs() < 2e-14, "{id} {columns} {rows} {shift}");
        }
    }

    #[test]
    fn triangles_sum_up_to_the_box() {
        let mut random = Lcg::new(10);
        for _ in 0..100 {
            let (lon, lat) = random.position_deg();
            let (width, height) = (random.within(0.1, 300.0), random.within(0.1, 60.0));
            let region = SkyBox::new(lon, lon + width, lat, lat + height).unwrap();
            let cover = HtmCover::new(random.below(6), &region);
            let sum: f64 = cover
                .triangles()
                .map(|(_, corners)| shared_area(corners, &region))
                .sum();
            assert!((sum - region.area()).abs() < 1e-12, "{region:?} {sum}");
        }
    }

    #[test]
    fn the_sky_in_borders_that_are_edges() {
        // Edges of triangles along longitudes 0, 90, ... and along the equator.
        for level in [0, 1, 4] {
            let mut sum = 0.0;
            for quarter in 0..4 {
                let west = 90.0 * f64::from(quarter);
                for south in [-90.0, 0.0] {
                    let octant = SkyBox::new(west, west + 90.0, south, south + 90.0).unwrap();
                    let cover = HtmCover::new(level, &octant);
                    let areas = cover.triangles().map(|(_, c)| shared_area(c, &octant));
                    let area: f64 = areas.sum();
                    assert!(
                        (area - TAU / 4.0).abs() < 1e-12,
                        "{level} {octant:?} {area}"
                    );
                    sum += area;
                }
            }
            assert!((sum - 2.0 * TAU).abs() < 1e-11);
        }
    }

    #[test]
    fn below_an_arched_edge_are_two_pieces() {
        // The lower edge of this triangle goes from longitude 0 to 90, both ends at latitude 45,
        // and reaches latitude 54.7 between them.
        let corners = id(61).corners();
        let share = |lons: (f64, f64), lats: (f64, f64)| {
            let region = SkyBox::new(lons.0, lons.1, lats.0, lats.1).unwrap();
            shared_area(&corners, &region)
        };
        let pieces = share((0.0, 90.0), (45.0, 50.0));
        assert!((pieces - 2.0 * share((0.0, 45.0), (45.0, 50.0))).abs() < 1e-15);
        assert!(
            (pieces + share((0.0, 90.0), (50.0, 90.0)) - triangle_area(&corners)).abs() < 1e-14
        );
        assert_eq!(share((44.0, 46.0), (45.0, 50.0)), 0.0);
        // By summing up thin slices of longitude.
        let tan_45_at_ends = |lon: f64| lon.to_radians().cos() + lon.to_radians().sin();
        let slices = 100_000;
        let width = 90.0 / f64::from(slices);
        let sum: f64 = (0..slices)
            .map(|slice| (f64::from(slice) + 0.5) * width)
            .map(|lon| 50.0_f64.to_radians().sin() - tan_45_at_ends(lon).atan().sin())
            .map(|height| height.max(0.0) * width.to_radians())
            .sum();
        assert!((pieces - sum).abs() < 1e-8, "{pieces} {sum}");
    }

    #[test]
    fn ranges_of_nothing() {
        let corners = id(15).corners();
        for (lons, lats) in [
            ((10.0, 10.0), (0.0, 1.0)),
            ((10.0, 20.0), (90.0, 90.0)),
            ((10.0, 20.0), (-90.0, -90.0)),
            ((10.0, 20.0), (5.0, 5.0)),
            ((190.0, 200.0), (10.0, 20.0)),
            ((10.0, 20.0), (-20.0, -10.0)),
        ] {
            let region = SkyBox::new(lons.0, lons.1, lats.0, lats.1).unwrap();
            assert_eq!(shared_area(&corners, &region), 0.0, "{region:?}");
        }
    }
}
