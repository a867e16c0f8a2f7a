//! Ranges of longitude and latitude that may go on across longitude 0.
//!
//! Source: `SphericalBox` in lsst/qserv `src/partition`.

use std::fmt;

use super::vector::RAD_PER_DEG;
use crate::partition::geometry::{SphericalBox, max_alpha};

/// One second of arc, in degrees.
pub(crate) const ARC_SECOND_DEG: f64 = 1.0 / 3600.0;

/// A range of longitudes and latitudes, borders included.
///
/// Where the western border is greater than the eastern one, the range goes on across longitude
/// 0. The range all around is 0 to 360.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SkyBox {
    lon_min_deg: f64,
    lon_max_deg: f64,
    lat_min_deg: f64,
    lat_max_deg: f64,
}

/// Why numbers are no range of longitudes and latitudes.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum SkyBoxFault {
    /// A number, in degrees, is infinite or not a number.
    NotFinite(f64),
    /// The southern border is north of the northern one; both in degrees.
    LatitudesSwapped(f64, f64),
    /// The western border is east of the eastern one, and they are not both within 0 to 360, so
    /// that a range across longitude 0 can't be meant; both in degrees.
    LongitudesSwapped(f64, f64),
}

impl fmt::Display for SkyBoxFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite(degrees) => write!(f, "a border is {degrees}, expected degrees"),
            Self::LatitudesSwapped(min, max) => write!(
                f,
                "latitudes are from {min} to {max}, expected the smaller one first"
            ),
            Self::LongitudesSwapped(min, max) => write!(
                f,
                "longitudes are from {min} to {max}, expected the smaller one first, or two \
                 numbers within 0 to 360 for a range across longitude 0"
            ),
        }
    }
}

impl std::error::Error for SkyBoxFault {}

impl SkyBox {
    /// The whole sky.
    pub const WHOLE: Self = Self {
        lon_min_deg: 0.0,
        lon_max_deg: 360.0,
        lat_min_deg: -90.0,
        lat_max_deg: 90.0,
    };

    /// Takes borders in degrees.
    ///
    /// Longitudes are taken modulo 360, unless they are a full turn or more apart; latitudes
    /// beyond a pole are taken for the pole.
    ///
    /// # Errors
    /// See [`SkyBoxFault`].
    ///
    /// # Examples
    /// ```
    /// use skyprep::partition::htm::SkyBox;
    ///
    /// let across = SkyBox::new(350.0, 370.0, -5.0, 5.0)?;
    /// assert_eq!((across.lon_min_deg(), across.lon_max_deg()), (350.0, 10.0));
    /// assert_eq!(across.lon_extent_deg(), 20.0);
    /// # Ok::<(), skyprep::partition::htm::SkyBoxFault>(())
    /// ```
    pub fn new(
        lon_min_deg: f64,
        lon_max_deg: f64,
        lat_min_deg: f64,
        lat_max_deg: f64,
    ) -> Result<Self, SkyBoxFault> {
        let all = [lon_min_deg, lon_max_deg, lat_min_deg, lat_max_deg];
        if let Some(degrees) = all.into_iter().find(|degrees| !degrees.is_finite()) {
            return Err(SkyBoxFault::NotFinite(degrees));
        }
        if lat_min_deg > lat_max_deg {
            return Err(SkyBoxFault::LatitudesSwapped(lat_min_deg, lat_max_deg));
        }
        if lon_max_deg < lon_min_deg && (lon_max_deg < 0.0 || lon_min_deg > 360.0) {
            return Err(SkyBoxFault::LongitudesSwapped(lon_min_deg, lon_max_deg));
        }

        let (lon_min_deg, lon_max_deg) = match lon_max_deg - lon_min_deg >= 360.0 {
            true => (0.0, 360.0),
            false => (reduced_lon_deg(lon_min_deg), reduced_lon_deg(lon_max_deg)),
        };
        Ok(Self {
            lon_min_deg,
            lon_max_deg,
            lat_min_deg: lat_min_deg.clamp(-90.0, 90.0),
            lat_max_deg: lat_max_deg.clamp(-90.0, 90.0),
        })
    }

    /// Takes the borders of a chunk or sub-chunk; an eastern border of 360 becomes 0.
    #[must_use]
    pub fn of(bounds: SphericalBox) -> Self {
        let is_around = bounds.lon_max_deg - bounds.lon_min_deg >= 360.0;
        let (lon_min_deg, lon_max_deg) = match is_around {
            true => (0.0, 360.0),
            false => (bounds.lon_min_deg, reduced_lon_deg(bounds.lon_max_deg)),
        };
        Self {
            lon_min_deg,
            lon_max_deg,
            lat_min_deg: bounds.lat_min_deg,
            lat_max_deg: bounds.lat_max_deg,
        }
    }

    /// Returns the western border in degrees, 0 to 360.
    #[must_use]
    pub fn lon_min_deg(&self) -> f64 {
        self.lon_min_deg
    }

    /// Returns the eastern border in degrees, 0 to 360.
    #[must_use]
    pub fn lon_max_deg(&self) -> f64 {
        self.lon_max_deg
    }

    /// Returns the southern border in degrees.
    #[must_use]
    pub fn lat_min_deg(&self) -> f64 {
        self.lat_min_deg
    }

    /// Returns the northern border in degrees.
    #[must_use]
    pub fn lat_max_deg(&self) -> f64 {
        self.lat_max_deg
    }

    /// Returns the difference in longitude of the borders in degrees, 0 to 360.
    #[must_use]
    pub fn lon_extent_deg(&self) -> f64 {
        match self.crosses_zero() {
            true => 360.0 - self.lon_min_deg + self.lon_max_deg,
            false => self.lon_max_deg - self.lon_min_deg,
        }
    }

    /// Tells whether all longitudes are in the range.
    #[must_use]
    pub fn is_around(&self) -> bool {
        self.lon_min_deg == 0.0 && self.lon_max_deg == 360.0
    }

    /// Returns the area, in steradians.
    #[must_use]
    pub fn area(&self) -> f64 {
        let [south, north] = [self.lat_min_deg, self.lat_max_deg].map(|lat| lat * RAD_PER_DEG);
        RAD_PER_DEG * self.lon_extent_deg() * (north.sin() - south.sin())
    }

    fn crosses_zero(&self) -> bool {
        self.lon_max_deg < self.lon_min_deg
    }

    /// Tells whether two ranges have a point in common; a common border is enough.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        if self.lat_min_deg > other.lat_max_deg || other.lat_min_deg > self.lat_max_deg {
            return false;
        }

        let is_east = self.lon_min_deg <= other.lon_max_deg;
        let is_west = other.lon_min_deg <= self.lon_max_deg;
        match (self.crosses_zero(), other.crosses_zero()) {
            (true, true) => true,
            (false, false) => is_east && is_west,
            _ => is_east || is_west,
        }
    }

    /// Returns the range with all that is within a radius, in degrees, and a little more.
    ///
    /// The longitudes are widened by what the radius reaches over at the border nearest to a pole.
    /// Nothing changes for a radius that is not above 0; one above 90 reaches all longitudes.
    #[must_use]
    pub fn expanded(&self, radius_deg: f64) -> Self {
        if radius_deg.is_nan() || radius_deg <= 0.0 {
            return *self;
        }

        let lat_deg = self.lat_min_deg.abs().max(self.lat_max_deg.abs());
        let reach_deg = max_alpha(radius_deg, lat_deg).unwrap_or(180.0);
        let lons = (self.lon_min_deg, self.lon_max_deg);
        let is_around = self.lon_extent_deg() + 2.0 * reach_deg >= 360.0 - ARC_SECOND_DEG;
        let lats = (self.lat_min_deg - radius_deg, self.lat_max_deg + radius_deg);
        Self::around(lons, is_around, reach_deg, lats)
    }

    /// Returns the range that holds a circle; all in degrees, the radius at most 90.
    pub(crate) fn of_circle((lon_deg, lat_deg): (f64, f64), radius_deg: f64) -> Self {
        let reach_deg = max_alpha(radius_deg, lat_deg).unwrap_or(180.0);
        let is_around = reach_deg > 180.0 - ARC_SECOND_DEG;
        let lats = (lat_deg - radius_deg, lat_deg + radius_deg);
        Self::around((lon_deg, lon_deg), is_around, reach_deg, lats)
    }

    fn around(
        (lon_min_deg, lon_max_deg): (f64, f64),
        is_around: bool,
        reach_deg: f64,
        (lat_min_deg, lat_max_deg): (f64, f64),
    ) -> Self {
        let west_deg = lon_min_deg - reach_deg;
        let east_deg = lon_max_deg + reach_deg;
        let (lon_min_deg, lon_max_deg) = match is_around {
            true => (0.0, 360.0),
            false => (
                if west_deg < 0.0 {
                    reduced_lon_deg(west_deg)
                } else {
                    west_deg
                },
                if east_deg > 360.0 {
                    east_deg - 360.0
                } else {
                    east_deg
                },
            ),
        };
        Self {
            lon_min_deg,
            lon_max_deg,
            lat_min_deg: lat_min_deg.clamp(-90.0, 90.0),
            lat_max_deg: lat_max_deg.clamp(-90.0, 90.0),
        }
    }

    /// Cuts the range in two at its middle longitude.
    pub(crate) fn halves(&self) -> [Self; 2] {
        let middle = self.lon_min_deg + 0.5 * self.lon_extent_deg();
        let middle = if middle > 360.0 {
            middle - 360.0
        } else {
            middle
        };
        let (west, east) = (
            Self {
                lon_max_deg: middle,
                ..*self
            },
            Self {
                lon_min_deg: middle,
                ..*self
            },
        );
        [west, east]
    }
}

/// Returns a longitude within 0 and 360, without 360 itself.
fn reduced_lon_deg(lon_deg: f64) -> f64 {
    let reduced = lon_deg.rem_euclid(360.0);
    // Small negative numbers round up to a full turn.
    if reduced == 360.0 { 0.0 } else { reduced }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(lon_min: f64, lon_max: f64) -> SkyBox {
        SkyBox::new(lon_min, lon_max, -1.0, 1.0).unwrap()
    }

    #[test]
    fn longitudes_are_reduced() {
        for (lons, expected) in [
            ((0.0, 360.0), (0.0, 360.0)),
            ((-180.0, 180.0), (0.0, 360.0)),
            ((-10.0, 10.0), (350.0, 10.0)),
            ((350.0, 10.0), (350.0, 10.0)),
            ((350.0, 360.0), (350.0, 0.0)),
            ((720.0, 730.0), (0.0, 10.0)),
            ((-1e-20, 5.0), (0.0, 5.0)),
        ] {
            let range = range(lons.0, lons.1);
            assert_eq!((range.lon_min_deg, range.lon_max_deg), expected);
        }
    }

    #[test]
    fn what_is_no_range() {
        let nan = SkyBox::new(f64::NAN, 0.0, 0.0, 0.0).unwrap_err();
        assert!(matches!(nan, SkyBoxFault::NotFinite(_)));
        let swapped = SkyBox::new(0.0, 1.0, 2.0, 1.0);
        assert_eq!(swapped, Err(SkyBoxFault::LatitudesSwapped(2.0, 1.0)));
        let swapped = SkyBox::new(10.0, -5.0, 0.0, 1.0);
        assert_eq!(swapped, Err(SkyBoxFault::LongitudesSwapped(10.0, -5.0)));
        assert!(SkyBox::new(361.0, 5.0, 0.0, 1.0).is_err());
    }

    #[test]
    fn common_borders_are_enough() {
        for (a, b, expected) in [
            ((10.0, 20.0), (20.0, 30.0), true),
            ((10.0, 20.0), (20.1, 30.0), false),
            ((350.0, 10.0), (10.0, 20.0), true),
            ((350.0, 10.0), (300.0, 350.0), true),
            ((350.0, 10.0), (11.0, 349.0), false),
            ((350.0, 360.0), (0.0, 5.0), true),
            ((350.0, 10.0), (340.0, 5.0), true),
            ((0.0, 360.0), (350.0, 10.0), true),
        ] {
            let (a, b) = (range(a.0, a.1), range(b.0, b.1));
            assert_eq!(
                (a.meets(&b), b.meets(&a)),
                (expected, expected),
                "{a:?} {b:?}"
            );
        }
        let north = SkyBox::new(0.0, 1.0, 1.0, 2.0).unwrap();
        assert!(north.meets(&range(0.0, 1.0)));
        let north = SkyBox::new(0.0, 1.0, 1.1, 2.0).unwrap();
        assert!(!north.meets(&range(0.0, 1.0)));
    }

    #[test]
    fn expansion_across_zero_and_to_the_poles() {
        let wide = range(0.5, 359.5).expanded(0.5);
        assert_eq!((wide.lon_min_deg, wide.lon_max_deg), (0.0, 360.0));
        let wide = range(0.5, 10.0).expanded(1.0);
        // The reach is a little above the radius off the equator.
        assert!((wide.lon_min_deg - 359.5).abs() < 1e-3 && wide.lon_min_deg < 359.5);
        assert_eq!((wide.lat_min_deg, wide.lat_max_deg), (-2.0, 2.0));
        let polar = SkyBox::new(10.0, 20.0, 85.0, 89.5).unwrap().expanded(1.0);
        assert!(polar.is_around());
        assert_eq!(polar.lat_max_deg, 90.0);
        assert_eq!(range(0.5, 10.0).expanded(0.0), range(0.5, 10.0));
    }

    #[test]
    fn halves_have_half_the_area() {
        for range in [range(350.0, 200.0), range(10.0, 250.0), SkyBox::WHOLE] {
            for half in range.halves() {
                assert!((half.area() * 2.0 - range.area()).abs() < 1e-14);
            }
        }
    }
}
