//! What was seen of a column's values, as far as a table definition depends on them.

use crate::error::Place;

/// What to look for in the values of a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// The longest text, or the most bytes.
    pub length: bool,
    /// NULL.
    pub nulls: bool,
    /// NaN.
    pub nan: bool,
    /// Whether lengths of text are bytes even where the character set has others: for columns of
    /// bytes.
    pub bytes: bool,
}

impl Look {
    /// Says whether nothing is to be looked for.
    pub fn is_nothing(self) -> bool {
        !(self.length || self.nulls || self.nan)
    }
}

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measure {
    /// Whether any input has the column.
    pub is_there: bool,
    /// The longest value; nothing if there is none that is not NULL.
    pub longest: Option<Longest>,
    /// The most bytes that a value takes when it is written.
    pub most_bytes: u64,
    /// The first NULL.
    pub first_null: Option<Place>,
    /// The first NaN.
    pub first_nan: Option<Place>,
    /// The first character that the character set lacks.
    pub unmappable: Option<(char, Place)>,
}

/// The longest value of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Longest {
    /// Its characters in the target's character set; bytes of binary values.
    pub length: u64,
    /// Where it stands; of several the first.
    pub place: Place,
}

impl Measure {
    /// Returns the length of the longest value, which is 0 without any.
    pub fn length(&self) -> u64 {
        self.longest.as_ref().map_or(0, |longest| longest.length)
    }
}
