//! Numbers: ranges, whole numbers, NaN and infinities, decimals.

use super::counts::{RuleCounts, RuleName};
use super::decimal::{Fit, Number};
use super::fault::CellFault;
use super::float::{DOUBLE_LIMIT, FLOAT_LIMIT, write_f32, write_f64};
use super::policy::{FractionPolicy, InfPolicy, NanPolicy};
use super::rule::{ColumnRule, FloatWidth};
use super::text_buffer::TextBuffer;
use crate::dialect::Encoder;
use crate::schema::MysqlType;

/// The only single whose shortest text, 7.038531e-26, is not read back as it by MariaDB.
///
/// MariaDB reads a double first, and that lies half-way between this single and the next one. (All
/// singles have been tried.)
const HALF_WAY: f32 = f32::from_bits(0x15ae_43fd);

/// A number that is none, or has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Not a number.
    Nan,
    /// Plus infinity.
    PositiveInfinity,
    /// Minus infinity.
    NegativeInfinity,
}

impl Special {
    pub(crate) fn of(value: f64) -> Self {
        if value.is_nan() {
            Self::Nan
        } else if value > 0.0 {
            Self::PositiveInfinity
        } else {
            Self::NegativeInfinity
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Nan => "nan",
            Self::PositiveInfinity => "inf",
            Self::NegativeInfinity => "-inf",
        }
    }
}

/// What is done with a special value.
enum Treatment {
    Keep,
    Null,
    Zero,
    Limit,
    Refuse(&'static str),
}

impl Treatment {
    fn of_nan(policy: NanPolicy) -> Self {
        match policy {
            NanPolicy::Null => Self::Null,
            NanPolicy::Zero => Self::Zero,
            NanPolicy::Error => Self::Refuse("or choose another --nan"),
            NanPolicy::Keep => Self::Keep,
        }
    }

    fn of_infinity(policy: InfPolicy) -> Self {
        match policy {
            InfPolicy::Limit => Self::Limit,
            InfPolicy::Null => Self::Null,
            InfPolicy::Error => Self::Refuse("or choose another --inf"),
            InfPolicy::Keep => Self::Keep,
        }
    }
}

impl ColumnRule {
    /// Writes a whole number that may lie outside the target's range.
    ///
    /// # Errors
    /// It does, and the policy refuses it.
    pub fn integer(
        &self,
        value: i128,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if matches!(self.target(), Some(MysqlType::Bit(_))) {
            return self.bit(value, encoder, out, counts);
        }
        if self.holds_integers(value, value) {
            out.push_short(itoa::Buffer::new().format(value).as_bytes());
            return Ok(());
        }
        self.integer_overflow(&value.to_string(), value < 0, out, counts)
    }

    /// Deals with a whole number outside the target's range, which messages show as `found`.
    #[cold]
    pub(super) fn integer_overflow(
        &self,
        found: &str,
        is_negative: bool,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let (least, most) = self.whole_range.unwrap_or((i128::MIN, i128::MAX));
        let fault = CellFault::found(found, format!(", expected {least} to {most}"));
        self.overflow(
            fault,
            |out| self.limit(is_negative, FloatWidth::Double, out),
            out,
            counts,
        )
    }

    /// Writes a number as the bytes that a BIT column takes: the digit 1 would be the byte 0x31.
    ///
    /// # Errors
    /// It has more bits than the column.
    pub(super) fn bit(
        &self,
        number: i128,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let Some(MysqlType::Bit(bits)) = self.target() else {
            return Err(CellFault::new("not a BIT column; please report this"));
        };
        let most = (1i128 << bits.min(64)) - 1;
        let used = usize::from(bits.div_ceil(8)).clamp(1, 8);
        let bytes_of = |number: i128| (number as u64).to_be_bytes();
        if number < 0 || number > most {
            let fault = CellFault::found(number.to_string(), format!(", expected {bits} bits"));
            let nearest = bytes_of(number.clamp(0, most));
            let mut written = Ok(());
            self.overflow(
                fault,
                |out| written = self.encode_binary(&nearest[8 - used..], encoder, out),
                out,
                counts,
            )?;
            return written;
        }
        self.count(counts, RuleName::Bit, 1);
        self.encode_binary(&bytes_of(number)[8 - used..], encoder, out)
    }

    /// Writes a double.
    ///
    /// # Errors
    /// The policy or the target type refuses the value.
    #[inline]
    pub fn double(
        &self,
        value: f64,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if value.abs() <= self.plain_double {
            if value == 0.0 {
                self.zero(value.is_sign_negative(), out, counts);
            } else {
                write_f64(value, out);
            }
            return Ok(());
        }
        self.unusual_double(value, out, counts)
    }

    /// Writes a single-precision float.
    ///
    /// # Errors
    /// The policy or the target type refuses the value.
    #[inline]
    pub fn single(
        &self,
        value: f32,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if value.abs() <= self.plain_single {
            if value == 0.0 {
                self.zero(value.is_sign_negative(), out, counts);
            } else if value.abs() == HALF_WAY && self.target() == Some(MysqlType::Float) {
                write_f64(f64::from(value), out);
            } else {
                write_f32(value, out);
            }
            return Ok(());
        }
        self.unusual_single(value, out, counts)
    }

    fn zero(&self, is_negative: bool, out: &mut TextBuffer, counts: &mut RuleCounts) {
        if is_negative {
            self.count(counts, RuleName::NegativeZero, 1);
            out.push(b'-');
        }
        out.push(b'0');
    }

    #[cold]
    fn unusual_single(
        &self,
        value: f32,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if !value.is_finite() {
            let special = Special::of(f64::from(value));
            return self.special(special, FloatWidth::Single, out, counts);
        }
        match self.target() {
            Some(MysqlType::Float) => {
                // Only f32::MAX itself gets here; MariaDB refuses its shortest text.
                self.count(counts, RuleName::FloatLimit, 1);
                self.limit(value < 0.0, FloatWidth::Single, out);
                Ok(())
            }
            Some(MysqlType::Decimal { .. }) => {
                let mut digits = zmij::Buffer::new();
                self.decimal_digits(digits.format_finite(value).as_bytes(), out, counts)
            }
            _ => self.whole(f64::from(value), out, counts),
        }
    }

    #[cold]
    fn unusual_double(
        &self,
        value: f64,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if !value.is_finite() {
            return self.special(Special::of(value), FloatWidth::Double, out, counts);
        }
        match self.target() {
            Some(MysqlType::Float) => {
                let fault = CellFault::found(format!("{value:e}"), ", too large for FLOAT");
                let limit = |out: &mut TextBuffer| self.limit(value < 0.0, FloatWidth::Double, out);
                self.overflow(fault, limit, out, counts)
            }
            Some(MysqlType::Decimal { .. }) => {
                let mut digits = zmij::Buffer::new();
                self.decimal_digits(digits.format_finite(value).as_bytes(), out, counts)
            }
            _ => self.whole(value, out, counts),
        }
    }

    /// Writes a float that an integer column must hold.
    fn whole(
        &self,
        value: f64,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if value.fract() != 0.0 {
            return Err(not_whole(value.to_string()));
        }
        // Beyond 2^127 the cast saturates, which is out of every range all the same.
        let number = value as i128;
        if !self.holds_integers(number, number) {
            let found = match number {
                i128::MIN | i128::MAX => format!("{value:e}"),
                number => number.to_string(),
            };
            return self.integer_overflow(&found, value < 0.0, out, counts);
        }
        // Above 2^53 the shortest text of a double is not the number that it is.
        out.push_short(itoa::Buffer::new().format(number).as_bytes());
        Ok(())
    }

    /// Writes a decimal: `unscaled` divided by ten to the power of `scale`.
    ///
    /// # Errors
    /// It has more digits than the target, and the policy refuses that.
    pub fn decimal(
        &self,
        unscaled: i128,
        scale: i8,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(unscaled);
        let number = Number::scaled(digits.as_bytes(), scale);
        self.decimal_number(&number, encoder, out, counts)
    }

    /// Writes a decimal of any size, given by the digits of its unscaled value and its scale.
    ///
    /// # Errors
    /// It has more digits than the target, and the policy refuses that.
    pub fn decimal_number(
        &self,
        number: &Number,
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        match self.target() {
            Some(MysqlType::Decimal { .. }) => self.fit_decimal(number, out, counts),
            Some(MysqlType::Integer { .. } | MysqlType::Float | MysqlType::Bit(_)) => {
                let mut text = TextBuffer::with_capacity(96);
                number.write(&mut text);
                let inference = super::text_rule::Inference::Off;
                self.text_value(text.as_slice(), inference, encoder, out, counts)
            }
            _ => {
                number.write(out);
                Ok(())
            }
        }
    }

    /// Writes the number that `text` spells into a DECIMAL column.
    pub(super) fn decimal_digits(
        &self,
        text: &[u8],
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        match Number::parse(text) {
            Some(number) => self.fit_decimal(&number, out, counts),
            None => Err(CellFault::found(
                crate::error::quote_value(text),
                ", expected a decimal number",
            )),
        }
    }

    fn fit_decimal(
        &self,
        number: &Number,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let Some(MysqlType::Decimal { precision, scale }) = self.target() else {
            number.write(out);
            return Ok(());
        };
        let rounds = self.policy.fraction == Some(FractionPolicy::Round);
        match number.fit(precision, scale, rounds) {
            Fit::Exact(fitting) => fitting.write(out),
            Fit::Shortened(fitting) => {
                if matches!(self.policy.fraction, None | Some(FractionPolicy::Error)) {
                    let expected = format!(", expected {scale} digits behind the point at most");
                    return Err(CellFault::found(number.to_string(), expected)
                        .with_hint("give the column more digits, or say --fraction round or cut"));
                }
                self.count(counts, RuleName::Fraction, 1);
                fitting.write(out);
            }
            Fit::TooLarge => {
                let digits = precision.saturating_sub(scale);
                let expected = format!(", expected {digits} digits before the point at most");
                let fault = CellFault::found(number.to_string(), expected);
                let limit = |out: &mut TextBuffer| {
                    self.limit(number.is_negative(), FloatWidth::Double, out);
                };
                return self.overflow(fault, limit, out, counts);
            }
        }
        Ok(())
    }

    /// Writes NaN or an infinity by the policy.
    ///
    /// # Errors
    /// The policy says so, or NULL is due where the target is NOT NULL.
    pub fn special(
        &self,
        special: Special,
        source: FloatWidth,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let (rule, treatment) = match special {
            Special::Nan => (RuleName::Nan, Treatment::of_nan(self.policy.nan)),
            _ => (RuleName::Inf, Treatment::of_infinity(self.policy.inf)),
        };
        match treatment {
            Treatment::Keep => {
                out.push_short(special.text().as_bytes());
                return Ok(());
            }
            Treatment::Refuse(hint) => {
                let fault = CellFault::found(special.text(), ", expected a finite number");
                return Err(fault.with_hint(hint));
            }
            Treatment::Null => self.null_for(special.text(), out)?,
            Treatment::Zero => out.push(b'0'),
            Treatment::Limit => {
                self.limit(special == Special::NegativeInfinity, source, out);
            }
        }
        self.count(counts, rule, 1);
        Ok(())
    }

    /// Writes the lower or upper limit of the target type.
    pub(super) fn limit(&self, is_lower: bool, source: FloatWidth, out: &mut TextBuffer) {
        if let Some(MysqlType::Decimal { precision, scale }) = self.target() {
            if is_lower {
                out.push(b'-');
            }
            let whole = precision.saturating_sub(scale);
            (0..whole.max(1)).for_each(|_| out.push(if whole > 0 { b'9' } else { b'0' }));
            out.push_short(if scale > 0 { b"." } else { b"" });
            (0..scale).for_each(|_| out.push(b'9'));
            return;
        }
        if let Some((least, most)) = self.whole_range {
            let limit = if is_lower { least } else { most };
            out.push_short(itoa::Buffer::new().format(limit).as_bytes());
            return;
        }
        if is_lower {
            out.push(b'-');
        }
        let text = match (self.target(), source) {
            (Some(MysqlType::Float), _) | (None, FloatWidth::Single) => FLOAT_LIMIT,
            _ => DOUBLE_LIMIT,
        };
        out.push_short(text.as_bytes());
    }
}

/// Makes the fault of a number with digits behind the point that a whole number is expected for.
pub(super) fn not_whole(found: String) -> CellFault {
    CellFault::found(found, ", expected a whole number")
        .with_hint("make the column a FLOAT or DOUBLE: MariaDB would round in silence")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::{NanPolicy, ValuePolicy};

    fn rule(target: &str, not_null: bool, policy: &ValuePolicy) -> ColumnRule {
        ColumnRule::new(0, MysqlType::parse(target), not_null, policy, b"\\N")
    }

    fn written(
        write: impl FnOnce(&mut TextBuffer, &mut RuleCounts) -> Result<(), CellFault>,
    ) -> Result<String, String> {
        let mut out = TextBuffer::default();
        let mut counts = RuleCounts::default();
        write(&mut out, &mut counts).map_err(|fault| fault.message())?;
        Ok(String::from_utf8_lossy(out.as_slice()).into_owned())
    }

    fn double(target: &str, value: f64) -> Result<String, String> {
        let rule = rule(target, false, &ValuePolicy::default());
        written(|out, counts| rule.double(value, out, counts))
    }

    fn single(target: &str, value: f32) -> Result<String, String> {
        let rule = rule(target, false, &ValuePolicy::default());
        written(|out, counts| rule.single(value, out, counts))
    }

    #[test]
    fn infinities_become_the_limit_of_the_target() {
        assert_eq!(
            double("DOUBLE", f64::INFINITY).unwrap(),
            "1.7976931348623157E+308"
        );
        assert_eq!(
            double("FLOAT", f64::NEG_INFINITY).unwrap(),
            "-3.4028234E+38"
        );
        assert_eq!(double("INT", f64::INFINITY).unwrap(), "2147483647");
        assert_eq!(single("", f32::INFINITY).unwrap(), "3.4028234E+38");
        assert_eq!(
            single("DOUBLE", f32::INFINITY).unwrap(),
            "1.7976931348623157E+308"
        );
    }

    #[test]
    fn the_largest_single_is_written_as_mariadb_takes_it() {
        assert_eq!(single("FLOAT", f32::MAX).unwrap(), "3.4028234E+38");
        assert_eq!(single("FLOAT", -f32::MAX).unwrap(), "-3.4028234E+38");
        assert_eq!(single("DOUBLE", f32::MAX).unwrap(), "3.4028235e+38");
        assert_eq!(
            double("FLOAT", f64::from(f32::MAX)).unwrap(),
            "3.4028234663852886e+38"
        );
        assert!(double("FLOAT", 3.5e38).unwrap_err().contains("too large"));
    }

    #[test]
    fn a_single_is_read_back_by_way_of_a_double() {
        for value in [
            HALF_WAY,
            -HALF_WAY,
            HALF_WAY.next_up(),
            0.1,
            f32::MIN_POSITIVE,
        ] {
            let text = single("FLOAT", value).unwrap();
            let read: f64 = text.parse().unwrap();
            assert_eq!((read as f32).to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!(single("DOUBLE", HALF_WAY).unwrap(), "7.038531e-26");
    }

    #[test]
    fn floats_go_into_integer_columns_only_when_whole() {
        assert_eq!(double("INT", 5.0).unwrap(), "5");
        assert_eq!(double("INT", -0.0).unwrap(), "0");
        assert_eq!(double("BIGINT", 1e10).unwrap(), "10000000000");
        assert_eq!(
            double("BIGINT", 2f64.powi(60)).unwrap(),
            "1152921504606846976"
        );
        assert_eq!(
            single("BIGINT", -(2f32.powi(63))).unwrap(),
            "-9223372036854775808"
        );
        assert!(double("BIGINT", 2f64.powi(63)).is_err());
        assert!(double("INT", 5.5).unwrap_err().contains("whole"));
        assert!(
            double("TINYINT", 300.0)
                .unwrap_err()
                .contains("-128 to 127")
        );
    }

    #[test]
    fn nan_is_null_unless_the_column_forbids_it() {
        assert_eq!(double("DOUBLE", f64::NAN).unwrap(), "\\N");
        let strict = rule("DOUBLE", true, &ValuePolicy::default());
        let refused = written(|out, counts| strict.double(f64::NAN, out, counts));
        assert!(refused.unwrap_err().contains("NOT NULL"));
        let zero = ValuePolicy {
            nan: NanPolicy::Zero,
            ..ValuePolicy::default()
        };
        let zero = rule("DOUBLE", true, &zero);
        assert_eq!(
            written(|out, counts| zero.double(f64::NAN, out, counts)).unwrap(),
            "0"
        );
        let keep = ValuePolicy {
            nan: NanPolicy::Keep,
            inf: InfPolicy::Keep,
            ..ValuePolicy::default()
        };
        let keep = rule("DOUBLE", true, &keep);
        for (value, text) in [(f64::NAN, "nan"), (f64::NEG_INFINITY, "-inf")] {
            assert_eq!(
                written(|out, counts| keep.double(value, out, counts)).unwrap(),
                text
            );
        }
    }
}
