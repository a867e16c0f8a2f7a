//! Which triangles of a level are near a range of longitudes and latitudes.
//!
//! A triangle counts as near when the box around its bounding circle meets the range. That is more
//! than need be, by a tenth for ranges of 3 degrees at level 8, but a triangle that is only nearly
//! there has no rows in the range, and the reference counts so. Source: `SphericalBox` in lsst/qserv `src/partition`.

use super::id::{Corners, HtmId, MAX_LEVEL, Triangle};
use super::sky_box::{ARC_SECOND_DEG, SkyBox};
use super::vector::{DEG_PER_RAD, angle, lon_lat_deg, sum};

/// Returns a range of longitudes and latitudes that a triangle lies in.
///
/// It is the box around the bounding circle, a second of arc wider; with a pole in the circle, all
/// longitudes are in it.
#[must_use]
pub(super) fn bounding_box(corners: &Corners) -> SkyBox {
    let [a, b, c] = *corners;
    let middle = sum(sum(a, b), c);
    let radius = corners
        .iter()
        .map(|corner| angle(middle, *corner))
        .fold(0.0, f64::max);

    SkyBox::of_circle(lon_lat_deg(middle), radius * DEG_PER_RAD + ARC_SECOND_DEG)
}

/// Triangles of one level that are near a range, to be asked for those near parts of the range.
///
/// The triangles above them are kept, so that a question takes time in the number of answers. They
/// are found from level 0 down, and what a triangle of a lower level is not near of, none of its
/// children are.
///
/// # Examples
/// ```
/// use skyprep::partition::htm::HtmCover;
/// use skyprep::partition::htm::SkyBox;
///
/// let region = SkyBox::new(357.4636, 360.0332, -7.5528, -4.8666)?;
/// let cover = HtmCover::new(3, &region);
/// let numbers: Vec<u32> = cover.near(&region).map(|(id, _)| id.number()).collect();
/// assert_eq!(numbers, [512, 513, 515, 736, 738, 739]);
/// # Ok::<(), skyprep::partition::htm::SkyBoxFault>(())
/// ```
#[derive(Debug)]
pub struct HtmCover {
    level: u32,
    /// Each triangle stands before those of its part, thus ids of a level ascend.
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    triangle: Triangle,
    bounds: SkyBox,
    /// Index of the next triangle that is not part of this one.
    end: usize,
}

impl HtmCover {
    /// Finds the triangles of a level, at most [`MAX_LEVEL`], that are near a range.
    #[must_use]
    pub fn new(level: u32, region: &SkyBox) -> Self {
        let mut cover = Self {
            level: level.min(MAX_LEVEL),
            nodes: Vec::new(),
        };
        for root in HtmId::roots() {
            cover.add(Triangle::root(root.number()), region);
        }
        cover
    }

    fn add(&mut self, triangle: Triangle, region: &SkyBox) {
        let bounds = bounding_box(&triangle.corners);
        if !bounds.meets(region) {
            return;
        }

        let index = self.nodes.len();
        let end = index + 1;
        self.nodes.push(Node {
            triangle,
            bounds,
            end,
        });
        if triangle.id.level() < self.level {
            for child in 0..4 {
                self.add(triangle.child(child), region);
            }
        }
        let end = self.nodes.len();
        if let Some(node) = self.nodes.get_mut(index) {
            node.end = end;
        }
    }

    /// Returns all triangles, ascending, with their corners.
    pub fn triangles(&self) -> impl Iterator<Item = (HtmId, &Corners)> {
        self.near(&SkyBox::WHOLE)
    }

    /// Returns the triangles that are near a part of the range, ascending, with their corners.
    pub fn near(&self, part: &SkyBox) -> impl Iterator<Item = (HtmId, &Corners)> {
        let part = *part;
        let mut next = 0;
        std::iter::from_fn(move || {
            while let Some(node) = self.nodes.get(next) {
                if !node.bounds.meets(&part) {
                    next = node.end;
                    continue;
                }
                next += 1;
                if node.triangle.id.level() == self.level {
                    return Some((node.triangle.id, &node.triangle.corners));
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::lcg::Lcg;

    fn numbers(level: u32, region: &SkyBox) -> Vec<u32> {
        let cover = HtmCover::new(level, region);
        cover.triangles().map(|(id, _)| id.number()).collect()
    }

    #[test]
    fn golden_boxes() {
        // From the C++ tools.
        for (lons, lats, level, expected) in [
            (
                (193.5638, 200.0613),
                (41.1299, 43.7818),
                3,
                vec![852, 872, 880, 881, 882, 883],
            ),
            (
                (242.7829, 244.6695),
                (45.9808, 50.6737),
                2,
                vec![209, 214, 215, 222, 223],
            ),
            (
                (355.8188, 0.7647),
                (0.5608, 4.8374),
                2,
                vec![128, 131, 184, 187, 192, 195, 248, 251],
            ),
            (
                (174.6948, 179.1193),
                (-80.6048, -76.0629),
                5,
                vec![
                    9476, 9479, 9496, 9497, 9499, 9528, 10504, 10507, 10532, 10534, 10548,
                ],
            ),
        ] {
            let region = SkyBox::new(lons.0, lons.1, lats.0, lats.1).unwrap();
            assert_eq!(numbers(level, &region), expected);
        }
    }

    #[test]
    fn whole_levels() {
        for level in 0..6 {
            let all: Vec<u32> = (8 << (2 * level)..16 << (2 * level)).collect();
            assert_eq!(numbers(level, &SkyBox::WHOLE), all);
        }
    }

    #[test]
    fn triangles_lie_in_their_box() {
        let mut random = Lcg::new(6);
        for _ in 0..20_000 {
            let (lon, lat) = random.position_deg();
            let id = HtmId::at_position(lon, lat, random.below(14));
            let point = SkyBox::new(lon, lon, lat, lat).unwrap();
            assert!(
                bounding_box(&id.corners()).meets(&point),
                "{id} {lon} {lat}"
            );
        }
        for (number, lat) in [(15, 90.0), (61, 90.0), (8, -90.0)] {
            let bounds = bounding_box(&HtmId::new(number).unwrap().corners());
            assert!(bounds.is_around());
            assert!(bounds.lat_min_deg() <= lat && lat <= bounds.lat_max_deg());
        }
    }

    #[test]
    fn the_triangle_of_a_point_is_near_it() {
        let mut random = Lcg::new(7);
        for _ in 0..1000 {
            let (lon, lat) = random.position_deg();
            let level = random.below(14);
            let (width, height) = (random.within(0.0, 0.3), random.within(0.0, 0.3));
            let region = SkyBox::new(lon - width, lon + width, lat - height, lat + height);
            let found = numbers(level, &region.unwrap());
            let own = HtmId::at_position(lon, lat, level).number();
            assert!(found.contains(&own), "{lon} {lat} {level}");
            assert!(found.is_sorted());
        }
    }

    #[test]
    fn parts_are_as_if_asked_for_alone() {
        let mut random = Lcg::new(8);
        for _ in 0..200 {
            let (lon, lat) = random.position_deg();
            let level = random.below(9);
            let region = SkyBox::new(lon, lon + 8.0, lat, lat + 8.0).unwrap();
            let part = SkyBox::new(lon + 3.0, lon + 4.0, lat + 3.0, lat + 4.0).unwrap();
            let cover = HtmCover::new(level, &region);
            let found: Vec<u32> = cover.near(&part).map(|(id, _)| id.number()).collect();
            assert_eq!(found, numbers(level, &part), "{lon} {lat} {level}");
        }
    }
}
