//! Points of the unit sphere as vectors, and the way from longitude and latitude and back.
//!
//! Sums keep the order that is written here: positions of copied rows are printed with all their
//! digits, so another order shows in the output. Source: `Geometry` in lsst/qserv `src/partition`.

/// Radians in a degree: the double nearest to the digits of the reference.
pub(crate) const RAD_PER_DEG: f64 = 0.017_453_292_519_943_295;
/// Degrees in a radian: the double nearest to the digits of the reference.
pub(crate) const DEG_PER_RAD: f64 = 57.295_779_513_082_32;

/// A point of the unit sphere, or a direction: x towards longitude 0, z towards the north pole.
pub type Vector = [f64; 3];

/// Returns the point of the unit sphere at a longitude and a latitude, in degrees.
#[inline]
#[must_use]
pub fn unit_vector(lon_deg: f64, lat_deg: f64) -> Vector {
    let (sin_lon, cos_lon) = (lon_deg * RAD_PER_DEG).sin_cos();
    let (sin_lat, cos_lat) = (lat_deg * RAD_PER_DEG).sin_cos();

    [cos_lon * cos_lat, sin_lon * cos_lat, sin_lat]
}

/// Returns longitude (0 to 360) and latitude (-90 to 90) of a vector of any length, in degrees.
///
/// The longitude is 360 itself for directions just below it, as the reference has it. The poles
/// have longitude 0.
#[inline]
#[must_use]
pub fn lon_lat_deg([x, y, z]: Vector) -> (f64, f64) {
    let squared = x * x + y * y;
    let lon_deg = match squared > 0.0 {
        true => DEG_PER_RAD * y.atan2(x),
        false => 0.0,
    };
    let lat_deg = match z == 0.0 {
        true => 0.0,
        false => DEG_PER_RAD * z.atan2(squared.sqrt()),
    };

    let is_west = lon_deg < 0.0;
    let lon_deg = if is_west { lon_deg + 360.0 } else { lon_deg };
    (lon_deg, lat_deg.clamp(-90.0, 90.0))
}

#[inline]
pub(crate) fn dot([ax, ay, az]: Vector, [bx, by, bz]: Vector) -> f64 {
    (ax * bx + ay * by) + az * bz
}

#[inline]
pub(crate) fn cross([ax, ay, az]: Vector, [bx, by, bz]: Vector) -> Vector {
    [ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx]
}

#[inline]
pub(crate) fn sum([ax, ay, az]: Vector, [bx, by, bz]: Vector) -> Vector {
    [ax + bx, ay + by, az + bz]
}

#[inline]
pub(crate) fn difference([ax, ay, az]: Vector, [bx, by, bz]: Vector) -> Vector {
    [ax - bx, ay - by, az - bz]
}

/// Returns the vector of length 1 in the direction of another, which must not be zero.
#[inline]
pub(crate) fn normalized(v: Vector) -> Vector {
    let length = dot(v, v).sqrt();
    v.map(|part| part / length)
}

/// Returns twice the cross product of `a` and `b`.
///
/// The detour keeps its digits when the two are close together: their difference is exact then.
#[inline]
pub(crate) fn steady_cross(a: Vector, b: Vector) -> Vector {
    cross(sum(b, a), difference(b, a))
}

/// Returns the angle between two directions, in radians.
///
/// It is taken from the lengths of cross and dot product, which holds for small angles too.
#[inline]
pub(crate) fn angle(a: Vector, b: Vector) -> f64 {
    let normal = cross(a, b);
    let (sine, cosine) = (dot(normal, normal).sqrt(), dot(a, b));

    match sine == 0.0 && cosine == 0.0 {
        true => 0.0,
        false => sine.atan2(cosine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::htm::lcg::Lcg;

    #[test]
    fn there_and_back() {
        let mut random = Lcg::new(1);
        for _ in 0..10_000 {
            let (lon, lat) = (random.within(0.0, 360.0), random.within(-89.0, 89.0));
            let (lon2, lat2) = lon_lat_deg(unit_vector(lon, lat).map(|part| 7.0 * part));
            // Some units in the last place of 360.
            assert!((lon - lon2).abs() < 1e-11, "{lon} {lon2}");
            assert!((lat - lat2).abs() < 1e-11, "{lat} {lat2}");
        }
    }

    #[test]
    fn poles_and_the_zero_vector() {
        assert_eq!(lon_lat_deg([0.0, 0.0, 2.0]), (0.0, 90.0));
        assert_eq!(lon_lat_deg([0.0, -0.0, -2.0]), (0.0, -90.0));
        assert_eq!(lon_lat_deg([0.0, 0.0, -0.0]), (0.0, 0.0));
        assert_eq!(lon_lat_deg([1.0, -1e-30, 0.0]), (360.0, 0.0));
        assert_eq!(angle([0.0; 3], [1.0, 0.0, 0.0]), 0.0);
    }

    #[test]
    fn small_angles_keep_their_digits() {
        let (a, b) = (unit_vector(10.0, 20.0), unit_vector(10.0, 20.000_001));
        let expected = 1e-6 * RAD_PER_DEG;
        // The vectors themselves are exact to 1e-16 only.
        assert!((angle(a, b) - expected).abs() < 1e-15);
        let twice = dot(steady_cross(a, b), steady_cross(a, b)).sqrt();
        assert!((twice / 2.0 - expected).abs() < 1e-15);
    }
}
