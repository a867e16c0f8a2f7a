//! Which rows a sample of the input has.
//!
//! The id that a row has in the input decides, with the seed: the id of the partitioning table's
//! row, or the row's own where that is NULL. So a row is in the sample or not, whatever the
//! thread, the chunk, the triangle that it is copied to, or the order and number of other rows;
//! and the rows of child tables are in it when their parent is.
//!
//! The reference means to do so too, but takes the rank of the id in its triangle instead of the
//! id, so that all triangles keep rows of the same ranks; and as its hash is the identity since
//! 2022, it keeps all rows.

use std::fmt;

/// A share of the rows, chosen by their ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Ids whose hash is less are in the sample; 2^64 for all of them.
    limit: u128,
    seed: u64,
}

/// The fraction is not above 0 and at most 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct FractionFault(pub f64);

impl fmt::Display for FractionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = self.0;
        write!(
            f,
            "the fraction of rows is {fraction}, expected above 0 and at most 1"
        )
    }
}

impl std::error::Error for FractionFault {}

impl Sample {
    /// Chooses a share of the rows, above 0 and at most 1, which is all of them.
    ///
    /// # Errors
    /// [`FractionFault`].
    ///
    /// # Examples
    /// ```
    /// use skyprep::sph::Sample;
    ///
    /// let sample = Sample::new(0.3, 5)?;
    /// let kept = (0..10_000).filter(|id| sample.keeps(*id)).count();
    /// assert!((2850..3150).contains(&kept));
    /// # Ok::<(), skyprep::sph::FractionFault>(())
    /// ```
    pub fn new(fraction: f64, seed: u64) -> Result<Self, FractionFault> {
        if fraction > 0.0 && fraction <= 1.0 {
            // Exact: scaling by a power of two, then leaving out the digits behind the point.
            let limit = (fraction * 2.0_f64.powi(64)) as u128;
            Ok(Self { limit, seed })
        } else {
            Err(FractionFault(fraction))
        }
    }

    /// Tells whether the row with an id of the input is in the sample.
    #[inline]
    #[must_use]
    pub fn keeps(&self, id: i64) -> bool {
        let hash = mixed(mixed(self.seed) ^ id.cast_unsigned());
        u128::from(hash) < self.limit
    }
}

/// Spreads the bits of a number over all bits of the result; no two numbers have the same result.
///
/// It is the step of `SplitMix64` (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators", with the constants of Stafford), written out here because samples must stay the
/// same for ever.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(fraction: f64, seed: u64, ids: impl Iterator<Item = i64>) -> u32 {
        let sample = Sample::new(fraction, seed).unwrap();
        ids.map(|id| u32::from(sample.keeps(id))).sum()
    }

    #[test]
    fn samples_stay_the_same() {
        // SplitMix64's first number for seed 0, and a sample; they must never change.
        assert_eq!(mixed(0), 0xe220_a839_7b1d_cdaf);
        let sample = Sample::new(0.3, 5).unwrap();
        let ids: Vec<i64> = (-10..30).filter(|id| sample.keeps(*id)).collect();
        assert_eq!(ids, [-9, -8, -7, -4, 2, 11, 12, 14, 16, 22, 24, 26, 29]);
    }

    #[test]
    fn fractions_come_out() {
        for fraction in [0.001, 0.1, 0.3, 0.5, 0.9] {
            for seed in [0, 1, 5, u64::MAX] {
                for step in [1, 2, 1 << 20, 1 << 32, -7919] {
                    let ids = (0..100_000).map(|id| id * step);
                    let kept = f64::from(kept(fraction, seed, ids)) / 1e5;
                    // Five standard deviations.
                    let spread = 5.0 * (fraction * (1.0 - fraction) / 1e5).sqrt();
                    assert!(
                        (kept - fraction).abs() < spread,
                        "{fraction} {seed} {step} {kept}"
                    );
                }
            }
        }
    }

    #[test]
    fn seeds_give_samples_of_their_own() {
        let [one, other] = [1, 2].map(|seed| Sample::new(0.5, seed).unwrap());
        let both = (0..10_000).filter(|id| one.keeps(*id) && other.keeps(*id));
        assert!((2250..2750).contains(&both.count()));
    }

    #[test]
    fn smaller_samples_are_part_of_greater_ones() {
        let [small, great] = [0.2, 0.6].map(|fraction| Sample::new(fraction, 9).unwrap());
        assert!((0..10_000).all(|id| !small.keeps(id) || great.keeps(id)));
    }

    #[test]
    fn all_or_an_error() {
        assert_eq!(kept(1.0, 3, 0..10_000), 10_000);
        assert_eq!(Sample::new(1.0, 3).unwrap().limit, 1 << 64);
        assert!(kept(f64::MIN_POSITIVE, 3, 0..10_000) == 0);
        for fraction in [0.0, -0.1, 1.0f64.next_up(), f64::INFINITY] {
            assert_eq!(Sample::new(fraction, 0), Err(FractionFault(fraction)));
        }
        assert!(Sample::new(f64::NAN, 0).is_err());
    }
}
