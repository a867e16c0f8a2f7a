//! The rules of one column, compiled once and applied to every value.
//!
//! This file has what all types share; numbers, times, and texts have files of their own.

use serde::Serialize;

use super::charset::Charset;
use super::counts::{RuleCounts, RuleName};
use super::fault::CellFault;
use super::policy::{BoolPolicy, OverflowPolicy, ValuePolicy};
use super::spellings::Spellings;
use super::text_buffer::TextBuffer;
use super::text_rule::Inference;
use crate::dialect::Encoder;
use crate::schema::MysqlType;

/// Precision of a floating-point source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FloatWidth {
    /// 32 bits and less.
    Single,
    /// 64 bits.
    Double,
}

/// How the values of one output column are written.
#[derive(Debug, Clone)]
pub struct ColumnRule {
    column: usize,
    target: Option<MysqlType>,
    is_not_null: bool,
    pub(super) policy: ValuePolicy,
    pub(super) null: Vec<u8>,
    null_text: Spellings,
    /// What untyped text is taken for.
    inference: Inference,
    /// Whole numbers outside are refused; none where the type has no such limits.
    pub(super) whole_range: Option<(i128, i128)>,
    /// Finite doubles up to this size are written without a further look.
    pub(super) plain_double: f64,
    /// The same for singles.
    pub(super) plain_single: f32,
}

impl ColumnRule {
    /// Compiles the rules of output column number `column`.
    ///
    /// `target` is unknown for text and binary without a schema; `null` is how the dialect
    /// writes NULL.
    pub fn new(
        column: usize,
        target: Option<MysqlType>,
        is_not_null: bool,
        policy: &ValuePolicy,
        null: &[u8],
    ) -> Self {
        let (plain_double, plain_single) = match target {
            Some(MysqlType::Float) => (f64::from(f32::MAX), f32::MAX.next_down()),
            // Each value needs the look: its digits must fit.
            Some(MysqlType::Integer { .. } | MysqlType::Decimal { .. }) => (-1.0, -1.0),
            _ => (f64::MAX, f32::MAX),
        };
        Self {
            column,
            target,
            is_not_null,
            policy: policy.clone(),
            null: null.to_vec(),
            null_text: policy.null_spellings(),
            inference: Inference::Off,
            whole_range: target.and_then(whole_range),
            plain_double,
            plain_single,
        }
    }

    /// Says what text is taken for where the target type is not known.
    #[must_use]
    pub fn judging(mut self, inference: Inference) -> Self {
        self.inference = inference;
        self
    }

    /// Says whether text is judged by its look.
    pub fn judges_text(&self) -> bool {
        self.target.is_none() && self.inference != Inference::Off
    }

    /// Returns what text is taken for where the target type is not known.
    pub fn inference(&self) -> Inference {
        self.inference
    }

    /// Returns the target type, where it is known.
    pub fn target(&self) -> Option<MysqlType> {
        self.target
    }

    /// Returns the character set of the bytes written.
    pub fn charset(&self) -> Charset {
        self.policy.charset
    }

    /// Says whether most floats are written without a look at the target type.
    pub fn takes_floats_as_they_are(&self) -> bool {
        self.plain_double > 1e10 && self.plain_single > 1e10
    }

    /// Returns how NULL is written.
    pub fn null_text(&self) -> &[u8] {
        &self.null
    }

    /// Says whether whole numbers from `low` to `high` all fit the target.
    pub fn holds_integers(&self, low: i128, high: i128) -> bool {
        self.whole_range
            .is_none_or(|(least, most)| least <= low && high <= most)
    }

    /// Counts `times` uses of a rule on this column.
    #[inline]
    pub fn count(&self, counts: &mut RuleCounts, rule: RuleName, times: u64) {
        counts.add(self.column, rule, times);
    }

    /// Writes NULL.
    ///
    /// # Errors
    /// The target is NOT NULL.
    #[inline]
    pub fn null(&self, out: &mut TextBuffer) -> Result<(), CellFault> {
        self.null_for("NULL", out)
    }

    /// Writes NULL in place of what was found.
    pub(super) fn null_for(&self, found: &str, out: &mut TextBuffer) -> Result<(), CellFault> {
        if self.is_not_null {
            let hint = match found {
                "NULL" => "allow NULL in the table, or fill in what is lacking before",
                _ => "allow NULL in the table, or choose what replaces it (--nan zero)",
            };
            return Err(CellFault::found(found, ", but the column is NOT NULL").with_hint(hint));
        }
        out.push_short(&self.null);
        Ok(())
    }

    /// Writes a boolean.
    ///
    /// # Errors
    /// The dialect can't write the byte that a BIT column takes.
    #[inline]
    pub fn boolean(
        &self,
        value: bool,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if matches!(self.target, Some(MysqlType::Bit(_))) {
            return self.bit(value.into(), encoder, out, counts);
        }
        // DECIMAL(3,3) ends below 1. The value comes last: nobody can foresee it.
        if self.whole_range == Some((0, 0)) && self.policy.bool == BoolPolicy::Number && value {
            return self.integer_overflow("true", false, out, counts);
        }
        match (self.policy.bool, value) {
            // Without a branch, for nobody can foresee booleans.
            (BoolPolicy::Number, value) => out.push(b'0' + u8::from(value)),
            (BoolPolicy::Keep, true) => out.push_short(b"true"),
            (BoolPolicy::Keep, false) => out.push_short(b"false"),
        }
        Ok(())
    }

    /// Says whether booleans are turned into numbers.
    pub fn changes_booleans(&self) -> bool {
        self.policy.bool == BoolPolicy::Number && !matches!(self.target, Some(MysqlType::Bit(_)))
    }

    /// Deals with a value outside the target's range; `limit` writes the nearest that it has.
    ///
    /// # Errors
    /// The policy says so, or NULL is due where the target is NOT NULL.
    #[cold]
    pub(super) fn overflow(
        &self,
        fault: CellFault,
        limit: impl FnOnce(&mut TextBuffer),
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        match self.policy.overflow {
            OverflowPolicy::Error => {
                return Err(
                    fault.with_hint("change the column's type, or say --overflow clamp or null")
                );
            }
            OverflowPolicy::Clamp => limit(out),
            OverflowPolicy::Null => self.null_for(fault.value().unwrap_or("NULL"), out)?,
        }
        self.count(counts, RuleName::Overflow, 1);
        Ok(())
    }

    /// Writes NULL if `value` is one of its further spellings; says whether it is.
    ///
    /// # Errors
    /// It is, and the target is NOT NULL.
    #[inline]
    pub fn null_if_spelt(
        &self,
        value: &[u8],
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<bool, CellFault> {
        let is_null = self.spells_null(value);
        if is_null {
            self.count(counts, RuleName::NullText, 1);
            self.null(out)?;
        }
        Ok(is_null)
    }
}

impl ColumnRule {
    /// Says whether a value is one of the spellings of NULL.
    pub fn spells_null(&self, value: &[u8]) -> bool {
        self.null_text.has(value)
    }

    /// Says whether a number may be written as another, because the column does not hold it.
    pub fn may_change_numbers(&self) -> bool {
        let target = self.target();
        target.is_some_and(|target| {
            matches!(
                target,
                MysqlType::Decimal { .. } | MysqlType::Integer { .. }
            )
        })
    }
}

/// Returns the whole numbers that a type holds.
fn whole_range(target: MysqlType) -> Option<(i128, i128)> {
    match target {
        MysqlType::Decimal { precision, scale } => {
            let digits = u32::from(precision.saturating_sub(scale));
            let most = 10i128.checked_pow(digits)? - 1;
            Some((-most, most))
        }
        // Beyond the bits there is nothing; each number is written as bytes.
        MysqlType::Bit(_) => Some((0, -1)),
        other => other.integer_range(),
    }
}
