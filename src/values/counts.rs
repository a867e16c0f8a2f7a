//! How often each rule changed a value, per column, and how often MariaDB will.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A rule that changes values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum RuleName {
    /// A boolean written as 1 or 0.
    Bool,
    /// An infinity written otherwise.
    Inf,
    /// A NaN written otherwise.
    Nan,
    /// A spelling of NULL written as the dialect's NULL.
    NullText,
    /// A column that the input lacks, filled with NULL.
    Missing,
    /// Sub-second digits that the target type does not keep.
    Fraction,
    /// A double near the limit of FLOAT, or `f32::MAX`, written so that MariaDB takes it.
    FloatLimit,
    /// A value outside the target's range, written as its limit or as NULL.
    Overflow,
    /// A text or binary value cut to the target's length.
    Truncate,
    /// A time zone that was dropped: the time is written in UTC.
    Zone,
    /// The number 0 or 1 written as the byte that BIT takes.
    Bit,
    /// A text with bytes that its character set does not have, which were replaced.
    InvalidText,
    /// WKB that got its SRID.
    Srid,
    /// Minus zero: MariaDB stores plus zero.
    NegativeZero,
    /// A text with blanks at its end: a CHAR column drops them.
    TrailingBlanks,
    /// Bytes shorter than the BINARY column: MariaDB fills them up with zeros.
    ZeroPadded,
}

impl RuleName {
    /// All rules, in report order.
    pub const ALL: [Self; 16] = [
        Self::Bool,
        Self::Inf,
        Self::Nan,
        Self::NullText,
        Self::Missing,
        Self::Fraction,
        Self::FloatLimit,
        Self::Overflow,
        Self::Truncate,
        Self::Zone,
        Self::Bit,
        Self::InvalidText,
        Self::Srid,
        Self::NegativeZero,
        Self::TrailingBlanks,
        Self::ZeroPadded,
    ];

    /// Returns the name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Inf => "inf",
            Self::Nan => "nan",
            Self::NullText => "null_text",
            Self::Missing => "missing",
            Self::Fraction => "fraction",
            Self::FloatLimit => "float_limit",
            Self::Overflow => "overflow",
            Self::Truncate => "truncate",
            Self::Zone => "zone",
            Self::Bit => "bit",
            Self::InvalidText => "invalid_text",
            Self::Srid => "srid",
            Self::NegativeZero => "negative_zero",
            Self::TrailingBlanks => "trailing_blanks",
            Self::ZeroPadded => "zero_padded",
        }
    }
}

/// Changes per column and rule; each worker keeps its own and they are added up at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleCounts {
    columns: Vec<[u64; RuleName::ALL.len()]>,
}

impl RuleCounts {
    /// Counts `times` uses of `rule` in output column number `column`.
    #[inline]
    pub fn add(&mut self, column: usize, rule: RuleName, times: u64) {
        if times == 0 {
            return;
        }
        if self.columns.len() <= column {
            self.columns.resize(column + 1, [0; RuleName::ALL.len()]);
        }
        self.columns[column][rule as usize] += times;
    }

    /// Adds another worker's counts.
    pub fn merge(&mut self, other: &Self) {
        for (column, counts) in other.columns.iter().enumerate() {
            for rule in RuleName::ALL {
                self.add(column, rule, counts[rule as usize]);
            }
        }
    }

    /// Takes back what `other` has counted and this has, too: of rows that were then refused.
    pub fn take_back(&mut self, other: &Self) {
        for (own, vain) in self.columns.iter_mut().zip(&other.columns) {
            for (own, vain) in own.iter_mut().zip(vain) {
                *own = own.saturating_sub(*vain);
            }
        }
    }

    /// Returns the counts that are not zero as column name to rule name to count.
    pub fn named(&self, names: &[String]) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut all = BTreeMap::new();
        for (counts, name) in self.columns.iter().zip(names) {
            let of_column: BTreeMap<String, u64> = RuleName::ALL
                .into_iter()
                .filter(|rule| counts[*rule as usize] > 0)
                .map(|rule| (rule.name().to_owned(), counts[rule as usize]))
                .collect();
            if !of_column.is_empty() {
                all.insert(name.clone(), of_column);
            }
        }
        all
    }
}
