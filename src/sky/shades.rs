//! Colours for numbers.

use colorous::VIRIDIS;

/// A colour: red, green, blue.
pub(super) type Colour = [u8; 3];

/// Numbers this many times as large as the smallest call for a logarithmic scale.
const WIDE: u64 = 20;

/// Which colour stands for which number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shades {
    pub(super) least: u64,
    pub(super) most: u64,
    is_logarithmic: bool,
}

impl Shades {
    /// Makes the shades of some numbers; those that are 0 have none.
    pub(super) fn of(numbers: impl Iterator<Item = u64> + Clone) -> Option<Self> {
        let numbers = numbers.filter(|number| *number > 0);
        let (least, most) = (numbers.clone().min()?, numbers.max()?);
        Some(Self {
            least,
            most,
            is_logarithmic: most / least >= WIDE,
        })
    }

    /// Returns the colour of a number.
    pub(super) fn colour(self, number: u64) -> Colour {
        Self::at(self.share(number))
    }

    /// Returns the colour at a share of the way from the least to the most.
    pub(super) fn at(share: f64) -> Colour {
        // The darkest and the lightest are hard to tell from borders and paper.
        let colour = VIRIDIS.eval_continuous(0.05 + 0.92 * share.clamp(0.0, 1.0));
        [colour.r, colour.g, colour.b]
    }

    /// Returns where a number stands between the least (0) and the most (1).
    fn share(self, number: u64) -> f64 {
        if self.least == self.most {
            return 0.5;
        }
        let (least, most, number) = (self.least as f64, self.most as f64, number as f64);
        match self.is_logarithmic {
            true => (number / least).ln() / (most / least).ln(),
            false => (number - least) / (most - least),
        }
    }

    /// Returns the number at a share of the way: for legends.
    pub(super) fn number_at(self, share: f64) -> u64 {
        let (least, most) = (self.least as f64, self.most as f64);
        let number = match self.is_logarithmic {
            true => least * (most / least).powf(share),
            false => least + (most - least) * share,
        };
        number.round() as u64
    }
}
