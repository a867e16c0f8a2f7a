//! Spherical trigonometry behind the chunks: how wide things get towards the poles.
//!
//! Nothing here runs per row. The formulas and their order of operations are those of `Geometry`
//! in lsst/qserv `src/partition`, for their results decide where the borders of chunks are.

use std::fmt;

/// Radians in a degree: the double nearest to the digits of the reference.
const RAD_PER_DEG: f64 = 0.017_453_292_519_943_295;
/// Degrees in a radian: the double nearest to the digits of the reference.
const DEG_PER_RAD: f64 = 57.295_779_513_082_32;

/// One second of arc, in degrees: the least width of a segment.
pub(super) const ARC_SECOND_DEG: f64 = 1.0 / 3600.0;

/// Latitude in degrees above which a parallel counts as the pole: one second of arc below it.
const POLE_DEG: f64 = 90.0 - ARC_SECOND_DEG;

/// Why an angle can't be computed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum AngleFault {
    /// The radius, in degrees, is below 0, above 90 or not a number.
    RadiusOutOfRange(f64),
    /// The width, in degrees, is below one second of arc or not a number.
    WidthTooSmall(f64),
}

impl fmt::Display for AngleFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RadiusOutOfRange(radius) => {
                write!(f, "radius is {radius}, expected 0 to 90 degrees")
            }
            Self::WidthTooSmall(width) => {
                write!(
                    f,
                    "width is {width} degrees, expected at least 1/3600, one second of arc"
                )
            }
        }
    }
}

impl std::error::Error for AngleFault {}

/// Returns how many segments of a width, in degrees, fit around a band of latitudes.
///
/// It is the greatest number such that two points of the band that are a whole segment apart in
/// longitude are at least the width apart on the sphere. The narrowest parallel of the band, the
/// one nearest to a pole, decides.
///
/// # Errors
/// [`AngleFault::WidthTooSmall`] below one second of arc. The reference means to round such widths
/// up, but takes them for zero and returns nonsense.
pub fn segments(lat_min_deg: f64, lat_max_deg: f64, width_deg: f64) -> Result<u32, AngleFault> {
    if width_deg >= ARC_SECOND_DEG {
        Ok(segment_count(lat_min_deg, lat_max_deg, width_deg))
    } else {
        Err(AngleFault::WidthTooSmall(width_deg))
    }
}

/// Returns the number of segments for a width of at least one second of arc.
pub(super) fn segment_count(lat_min_deg: f64, lat_max_deg: f64, width_deg: f64) -> u32 {
    let lat_deg = lat_min_deg.abs().max(lat_max_deg.abs());
    if lat_deg > POLE_DEG || width_deg >= 180.0 {
        return 1;
    }

    let cos_width = (width_deg * RAD_PER_DEG).cos();
    let sin_lat = (lat_deg * RAD_PER_DEG).sin();
    let cos_lat = (lat_deg * RAD_PER_DEG).cos();

    // Cosine and sine of the wanted difference in longitude, both times the squared cosine of the
    // latitude; rounding can push the difference of squares below zero.
    let x = cos_width - sin_lat * sin_lat;
    let u = cos_lat * cos_lat;
    let y = (u * u - x * x).abs().sqrt();

    (360.0 / (DEG_PER_RAD * y.atan2(x)).abs()).floor() as u32
}

/// Returns the largest difference in longitude within a circle on the sphere, in degrees.
///
/// The circle has the given radius and its centre at the given latitude. When it comes within a
/// second of arc of a pole, the answer is 180.
///
/// # Errors
/// [`AngleFault::RadiusOutOfRange`] when the radius is not within 0 to 90.
pub fn max_alpha(radius_deg: f64, lat_deg: f64) -> Result<f64, AngleFault> {
    if (0.0..=90.0).contains(&radius_deg) {
        Ok(longitude_reach_deg(radius_deg, lat_deg))
    } else {
        Err(AngleFault::RadiusOutOfRange(radius_deg))
    }
}

/// Returns the largest difference in longitude for a radius that is known to be in range.
pub(super) fn longitude_reach_deg(radius_deg: f64, lat_deg: f64) -> f64 {
    if radius_deg == 0.0 {
        return 0.0;
    }
    let lat_deg = lat_deg.abs();
    if lat_deg + radius_deg > POLE_DEG {
        return 180.0;
    }

    let radius = radius_deg * RAD_PER_DEG;
    let lat = lat_deg * RAD_PER_DEG;
    let y = radius.sin();
    let x = ((lat - radius).cos() * (lat + radius).cos()).abs().sqrt();

    DEG_PER_RAD * (y / x).atan().abs()
}

/// Returns the angle between two positions, in degrees.
///
/// It is taken from the lengths of cross and dot product of unit vectors, which, unlike the arc
/// cosine, holds for small angles and for opposite points.
///
/// # Examples
/// ```
/// use skyprep::partition::geometry::angular_separation_deg;
///
/// assert_eq!(angular_separation_deg(10.0, 0.0, 10.0, 90.0), 90.0);
/// ```
#[must_use]
pub fn angular_separation_deg(ra1_deg: f64, dec1_deg: f64, ra2_deg: f64, dec2_deg: f64) -> f64 {
    let [x1, y1, z1] = unit_vector(ra1_deg, dec1_deg);
    let [x2, y2, z2] = unit_vector(ra2_deg, dec2_deg);

    let (x, y, z) = (y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2);
    let sine = (x * x + y * y + z * z).sqrt();
    let cosine = x1 * x2 + y1 * y2 + z1 * z2;

    DEG_PER_RAD * sine.atan2(cosine)
}

/// Says whether two positions are near enough to each other to tell without any trigonometry that
/// [`angular_separation_deg`] gives at most `limit_deg`; `false` tells nothing.
///
/// The way along a parallel and then a meridian is never shorter than the arc.
#[inline]
#[must_use]
pub fn are_surely_within(
    (ra1_deg, dec1_deg): (f64, f64),
    (ra2_deg, dec2_deg): (f64, f64),
    limit_deg: f64,
) -> bool {
    // Far more than what unit vectors lose by rounding.
    const SLACK_DEG: f64 = 1e-9;

    let across_deg = (ra1_deg - ra2_deg).abs();
    let along_deg = (dec1_deg - dec2_deg).abs();

    across_deg.min((360.0 - across_deg).abs()) + along_deg < limit_deg - SLACK_DEG
}

/// Returns the point of the unit sphere at a position in degrees.
fn unit_vector(ra_deg: f64, dec_deg: f64) -> [f64; 3] {
    let (sin_ra, cos_ra) = (ra_deg * RAD_PER_DEG).sin_cos();
    let (sin_dec, cos_dec) = (dec_deg * RAD_PER_DEG).sin_cos();

    [cos_dec * cos_ra, cos_dec * sin_ra, sin_dec]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_at_the_ends() {
        assert_eq!(segments(-10.0, 90.0, 1.0), Ok(1));
        assert_eq!(segments(-89.9998, 0.0, 1.0), Ok(1));
        assert_eq!(segments(-1.0, 1.0, 180.0), Ok(1));
        // 3 less than there is room for: the cosine of a second of arc has few digits left.
        assert_eq!(segments(0.0, 0.0, ARC_SECOND_DEG), Ok(360 * 3600 - 3));
    }

    #[test]
    fn widths_below_one_arc_second_are_refused() {
        for width in [ARC_SECOND_DEG.next_down(), 0.0, -1.0] {
            assert_eq!(
                segments(0.0, 1.0, width),
                Err(AngleFault::WidthTooSmall(width))
            );
        }
        assert!(segments(0.0, 1.0, f64::NAN).is_err());
    }

    #[test]
    fn alpha_at_the_ends() {
        assert_eq!(max_alpha(0.0, 90.0), Ok(0.0));
        assert_eq!(max_alpha(1.0, -89.0), Ok(180.0));
        assert_eq!(
            max_alpha(-1.0, 0.0),
            Err(AngleFault::RadiusOutOfRange(-1.0))
        );
        assert!(max_alpha(90.0f64.next_up(), 0.0).is_err());
        assert!(max_alpha(f64::NAN, 0.0).is_err());
    }

    #[test]
    fn separations_of_opposite_and_equal_points() {
        assert_eq!(angular_separation_deg(0.0, 90.0, 77.0, -90.0), 180.0);
        assert_eq!(angular_separation_deg(12.0, 34.0, 12.0, 34.0), 0.0);
        // One part in 2^52 of a turn: the unit vectors' own rounding.
        assert!(angular_separation_deg(0.0, 5.0, 360.0, 5.0) < 1e-13);
    }

    #[test]
    fn what_is_surely_near_is_near() {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut sure, mut near) = (0, 0);
        for _ in 0..200_000 {
            let scale = 10f64.powi(random.i32(-12..2));
            let mut coordinate = |least: f64, most: f64| least + (most - least) * random.f64();
            let (ra, dec) = (coordinate(0.0, 360.0), coordinate(-90.0, 90.0));
            let (by_ra, by_dec) = (coordinate(-1.0, 1.0), coordinate(-1.0, 1.0));
            let other = (
                (ra + by_ra * scale).rem_euclid(360.0),
                (dec + by_dec * scale).clamp(-90.0, 90.0),
            );
            let limit_deg = coordinate(0.0, 3.0) * scale;
            let apart = angular_separation_deg(ra, dec, other.0, other.1);
            let is_sure = are_surely_within((ra, dec), other, limit_deg);
            assert!(
                !is_sure || apart <= limit_deg,
                "{ra} {dec} {other:?} {limit_deg}"
            );
            sure += usize::from(is_sure);
            near += usize::from(apart <= limit_deg);
        }
        assert!(sure > near / 2, "{sure} of {near}");
        assert!(are_surely_within((359.9999, 1.0), (0.0001, 1.0), 0.001));
        assert!(!are_surely_within((10.0, 1.0), (10.0, 1.0), 0.0));
        assert!(!are_surely_within((f64::NAN, 1.0), (10.0, 1.0), 1.0));
    }
}
