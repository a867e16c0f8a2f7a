//! From the sky to paper: areas keep their size, so that a chunk with many rows is not one that only
//! looks large.
//!
//! The whole sky is shown in Hammer's projection, a part of it in Lambert's azimuthal one. East is
//! left, as one sees it from below.

/// Degrees from the middle to the outermost chunk above which the whole sky is shown.
const PART_DEG: f64 = 60.0;
/// Right ascension in the middle of the whole sky.
const MIDDLE_RA: f64 = 180.0;

/// How positions come onto paper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Projection {
    /// All of the sky, an ellipse.
    Whole,
    /// What lies around a place.
    Around {
        /// Right ascension of the place, in degrees.
        ra: f64,
        /// Its declination, in degrees.
        dec: f64,
    },
}

/// A point on paper, in units of the radius of the sphere; y points north.
pub(super) type Point = (f64, f64);

impl Projection {
    /// Chooses one for some corners of chunks (right ascension, declination).
    pub(super) fn of(corners: &[(f64, f64)]) -> Self {
        let mut sum = [0.0; 3];
        for corner in corners {
            let at = unit_vector(*corner);
            for (sum, at) in sum.iter_mut().zip(at) {
                *sum += at;
            }
        }
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        if corners.is_empty() || length < 1e-6 * corners.len() as f64 {
            return Self::Whole;
        }
        let middle = sum.map(|x| x / length);
        let least = PART_DEG.to_radians().cos();
        let is_near = |corner: &(f64, f64)| dot(unit_vector(*corner), middle) >= least;
        if !corners.iter().all(is_near) {
            return Self::Whole;
        }
        Self::Around {
            ra: middle[1].atan2(middle[0]).to_degrees().rem_euclid(360.0),
            dec: middle[2].clamp(-1.0, 1.0).asin().to_degrees(),
        }
    }

    /// Returns the place in the middle of the paper.
    pub(super) fn middle(self) -> (f64, f64) {
        match self {
            Self::Whole => (MIDDLE_RA, 0.0),
            Self::Around { ra, dec } => (ra, dec),
        }
    }

    /// Returns where a position comes.
    pub(super) fn project(self, ra: f64, dec: f64) -> Point {
        let (sin_dec, cos_dec) = dec.to_radians().sin_cos();
        match self {
            Self::Whole => {
                // Half of what lies between 0 and 360 to either side, so nothing is torn but there.
                let half = ((ra - MIDDLE_RA) / 2.0).to_radians();
                let z = (1.0 + cos_dec * half.cos()).sqrt();
                let x = 8f64.sqrt() * cos_dec * half.sin() / z;
                (-x, 2f64.sqrt() * sin_dec / z)
            }
            Self::Around { ra: ra0, dec: dec0 } => {
                let (sin0, cos0) = dec0.to_radians().sin_cos();
                let (sin, cos) = (ra - ra0).to_radians().sin_cos();
                let near = 1.0 + sin0 * sin_dec + cos0 * cos_dec * cos;
                let k = (2.0 / near.max(1e-12)).sqrt();
                let x = k * cos_dec * sin;
                (-x, k * (cos0 * sin_dec - sin0 * cos_dec * cos))
            }
        }
    }

    /// Returns what lies at a point: right ascension from 0 to 360 and declination; nothing beyond
    /// the sky.
    pub(super) fn unproject(self, (x, y): Point) -> Option<(f64, f64)> {
        let x = -x;
        let (ra, dec) = match self {
            Self::Whole => {
                if x * x / 8.0 + y * y / 2.0 > 1.0 {
                    return None;
                }
                let z = (1.0 - x * x / 16.0 - y * y / 4.0).sqrt();
                let half = (z * x).atan2(2.0 * (2.0 * z * z - 1.0));
                (
                    MIDDLE_RA + 2.0 * half.to_degrees(),
                    (z * y).clamp(-1.0, 1.0).asin(),
                )
            }
            Self::Around { ra: ra0, dec: dec0 } => {
                let rho = x.hypot(y);
                if rho > 2.0 {
                    return None;
                }
                if rho < 1e-12 {
                    return Some((ra0, dec0));
                }
                let (sin_c, cos_c) = (2.0 * (rho / 2.0).asin()).sin_cos();
                let (sin0, cos0) = dec0.to_radians().sin_cos();
                let dec = (cos_c * sin0 + y * sin_c * cos0 / rho)
                    .clamp(-1.0, 1.0)
                    .asin();
                let ra = (x * sin_c).atan2(rho * cos0 * cos_c - y * sin0 * sin_c);
                (ra0 + ra.to_degrees(), dec)
            }
        };
        let ra = ra.rem_euclid(360.0);
        // The remainder of a tiny negative number is 360 itself.
        Some((
            if ra < 360.0 { ra } else { 0.0 },
            dec.to_degrees().clamp(-90.0, 90.0),
        ))
    }
}

fn unit_vector((ra, dec): (f64, f64)) -> [f64; 3] {
    let ((sin_ra, cos_ra), (sin_dec, cos_dec)) =
        (ra.to_radians().sin_cos(), dec.to_radians().sin_cos());
    [cos_dec * cos_ra, cos_dec * sin_ra, sin_dec]
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
