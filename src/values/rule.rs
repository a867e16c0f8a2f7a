//! The rules of one column, compiled once and applied to every value.

use serde::Serialize;

use super::charset::{Charset, Unmappable};
use super::counts::{RuleCounts, RuleName};
use super::float::{DOUBLE_LIMIT, FLOAT_LIMIT, write_f32, write_f64};
use super::policy::{BoolPolicy, InfPolicy, NanPolicy, ValuePolicy};
use super::text_buffer::TextBuffer;
use crate::dialect::Encoder;
use crate::error::quote_value;
use crate::schema::MysqlType;

/// Why a value can't be written: what was found, and what was expected or can be done.
///
/// It is kept in parts, because messages put them into one sentence and lists of rejected rows
/// into columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellFault(Box<Parts>); // boxed: results of good cells stay small

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    /// What the message begins with; without it, the message does not show the value.
    lead: Option<&'static str>,
    /// The value as it is shown: texts quoted, escaped and cut.
    value: Option<String>,
    /// What follows the value, with its comma or colon.
    rest: String,
    /// What the user can do.
    hint: Option<&'static str>,
}

impl CellFault {
    /// Makes a fault without a value to show, and without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            lead: None,
            value: None,
            rest: message.into(),
            hint: None,
        }))
    }

    /// Makes a fault of a value, shown as `value`; `rest` goes on the sentence "found `value`",
    /// with its comma or colon.
    pub fn found(value: impl Into<String>, rest: impl Into<String>) -> Self {
        Self::led("found ", value, rest)
    }

    /// Makes a fault whose message is `lead`, `value` and `rest`.
    pub fn led(lead: &'static str, value: impl Into<String>, rest: impl Into<String>) -> Self {
        let mut fault = Self::new(rest);
        fault.0.lead = Some(lead);
        fault.0.value = Some(value.into());
        fault
    }

    /// Makes a fault of a whole record, which the message does not show.
    pub fn of_record(record: String, message: String) -> Self {
        let mut fault = Self::new(message);
        fault.0.value = Some(record);
        fault
    }

    /// Adds what the user can do, where that is known.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Option<&'static str>>) -> Self {
        self.0.hint = hint.into();
        self
    }

    /// Returns what was found, and what the column expects.
    pub fn message(&self) -> String {
        match (self.0.lead, &self.0.value) {
            (Some(lead), Some(value)) => format!("{lead}{value}{}", self.0.rest),
            _ => self.0.rest.clone(),
        }
    }

    /// Returns the value as it is shown, if there is one.
    pub fn value(&self) -> Option<&str> {
        self.0.value.as_deref()
    }

    /// Returns what is wrong, without the value.
    pub fn reason(&self) -> &str {
        let reason = self.0.rest.trim_start_matches([',', ':', ' ']);
        reason.strip_prefix("but ").unwrap_or(reason)
    }

    /// Returns what the user can do, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        self.0.hint
    }
}

/// Precision of a floating-point source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FloatWidth {
    /// 32 bits and less.
    Single,
    /// 64 bits.
    Double,
}

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

/// How the values of one output column are written.
#[derive(Debug, Clone)]
pub struct ColumnRule {
    column: usize,
    target: Option<MysqlType>,
    is_not_null: bool,
    policy: ValuePolicy,
    null: Vec<u8>,
    /// Whole numbers outside are refused; none where every source value fits.
    integer_range: Option<(i128, i128)>,
    /// Finite doubles up to this size are written without a further look.
    plain_double: f64,
    /// The same for singles.
    plain_single: f32,
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
            // Each value needs the look: it must be whole.
            Some(MysqlType::Integer { .. }) => (-1.0, -1.0),
            _ => (f64::MAX, f32::MAX),
        };
        Self {
            column,
            target,
            is_not_null,
            policy: policy.clone(),
            null: null.to_vec(),
            integer_range: target.and_then(MysqlType::integer_range),
            plain_double,
            plain_single,
        }
    }

    /// Returns the target type, where it is known.
    pub fn target(&self) -> Option<MysqlType> {
        self.target
    }

    /// Returns the character set of the bytes written.
    pub fn charset(&self) -> Charset {
        self.policy.charset
    }

    /// Says whether whole numbers from `low` to `high` all fit the target.
    pub fn holds_integers(&self, low: i128, high: i128) -> bool {
        self.integer_range
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
        if self.is_not_null {
            return Err(self.not_null("NULL"));
        }
        out.push_short(&self.null);
        Ok(())
    }

    /// Writes a boolean.
    #[inline]
    pub fn boolean(&self, value: bool, out: &mut TextBuffer) {
        match (self.policy.bool, value) {
            (BoolPolicy::Number, true) => out.push(b'1'),
            (BoolPolicy::Number, false) => out.push(b'0'),
            (BoolPolicy::Keep, true) => out.push_short(b"true"),
            (BoolPolicy::Keep, false) => out.push_short(b"false"),
        }
    }

    /// Says whether booleans are turned into numbers.
    pub fn changes_booleans(&self) -> bool {
        self.policy.bool == BoolPolicy::Number
    }

    /// Checks a whole number against the target's range.
    ///
    /// # Errors
    /// The number lies outside.
    pub fn check_integer(&self, value: i128) -> Result<(), CellFault> {
        match self.integer_range {
            Some((least, most)) if value < least || value > most => Err(CellFault::found(
                value.to_string(),
                format!(", expected {least} to {most}"),
            )
            .with_hint("give the column a wider type")),
            _ => Ok(()),
        }
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
            write_f64(value, out);
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
            write_f32(value, out);
            return Ok(());
        }
        if !value.is_finite() {
            let special = Special::of(f64::from(value));
            return self.special(special, FloatWidth::Single, out, counts);
        }
        if self.target == Some(MysqlType::Float) {
            // Only f32::MAX itself gets here; MariaDB refuses its shortest text.
            self.count(counts, RuleName::FloatLimit, 1);
            out.push_short(if value < 0.0 { b"-" } else { b"" });
            out.push_short(FLOAT_LIMIT.as_bytes());
            return Ok(());
        }
        self.check_whole(f64::from(value))?;
        write_f32(value, out);
        Ok(())
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
        if self.target == Some(MysqlType::Float) {
            return Err(
                CellFault::found(format!("{value:e}"), ", too large for FLOAT")
                    .with_hint("make the column a DOUBLE"),
            );
        }
        self.check_whole(value)?;
        write_f64(value, out);
        Ok(())
    }

    fn check_whole(&self, value: f64) -> Result<(), CellFault> {
        if self.integer_range.is_none() {
            return Ok(());
        }
        if value.fract() != 0.0 {
            return Err(
                CellFault::found(value.to_string(), ", expected a whole number")
                    .with_hint("make the column a FLOAT or DOUBLE: MariaDB would round in silence"),
            );
        }
        // Beyond 2^127 the cast saturates, which is out of every range all the same.
        self.check_integer(value as i128)
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
            Treatment::Null if self.is_not_null => return Err(self.not_null(special.text())),
            Treatment::Null => out.push_short(&self.null),
            Treatment::Zero => out.push(b'0'),
            Treatment::Limit => self.limit(special, source, out),
        }
        self.count(counts, rule, 1);
        Ok(())
    }

    /// Writes the finite limit of the target type.
    fn limit(&self, special: Special, source: FloatWidth, out: &mut TextBuffer) {
        let is_negative = special == Special::NegativeInfinity;
        if let Some((least, most)) = self.integer_range {
            let limit = if is_negative { least } else { most };
            out.push_short(itoa::Buffer::new().format(limit).as_bytes());
            return;
        }
        if is_negative {
            out.push(b'-');
        }
        if let Some(MysqlType::Decimal { precision, scale }) = self.target {
            for _ in scale..precision {
                out.push(b'9');
            }
            out.push_short(if scale > 0 { b"." } else { b"" });
            (0..scale).for_each(|_| out.push(b'9'));
            return;
        }
        let text = match (self.target, source) {
            (Some(MysqlType::Float), _) | (None, FloatWidth::Single) => FLOAT_LIMIT,
            _ => DOUBLE_LIMIT,
        };
        out.push_short(text.as_bytes());
    }

    fn not_null(&self, found: &str) -> CellFault {
        CellFault::found(found, ", but the column is NOT NULL")
            .with_hint("allow NULL in the table, or choose what replaces it (--nan zero)")
    }

    /// Writes UTF-8 text in the output's character set.
    ///
    /// # Errors
    /// A character that the character set lacks, or a text too long for the column.
    pub fn text(
        &self,
        value: &str,
        encoder: &Encoder,
        out: &mut TextBuffer,
    ) -> Result<(), CellFault> {
        // A binary column takes bytes: no character set comes between.
        let charset = if self.target.is_some_and(MysqlType::is_binary) {
            Charset::Binary
        } else {
            self.policy.charset
        };
        let bytes = charset.encode(value).map_err(|Unmappable(lacking)| {
            let lacking = lacking.escape_debug();
            CellFault::found(
                quote_value(value.as_bytes()),
                format!(", whose character '{lacking}' is not in {}", charset.name()),
            )
            .with_hint("use --charset utf8mb4 and a utf8mb4 column")
        })?;
        self.bytes(&bytes, encoder, out)
    }

    /// Writes bytes that are in the output's character set already, or have none.
    ///
    /// # Errors
    /// A value too long for the column, or one that the dialect can't express.
    pub fn bytes(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
    ) -> Result<(), CellFault> {
        self.check_length(value)?;
        if encoder.is_plain(value) {
            out.extend(value);
            return Ok(());
        }
        out.append_with(|bytes| encoder.encode_into(value, bytes))
            .map_err(|fault| {
                CellFault::found(quote_value(value), format!(": {fault}"))
                    .with_hint("choose a dialect with an escape character or a quote")
            })
    }

    /// Checks that a text or binary value fits the target column.
    ///
    /// # Errors
    /// The value is longer.
    pub fn check_length(&self, value: &[u8]) -> Result<(), CellFault> {
        let Some(target) = self.target else {
            return Ok(());
        };
        let (length, most, unit) = if let Some(most) = target.max_chars() {
            // No character is shorter than a byte.
            if value.len() as u64 <= most {
                return Ok(());
            }
            (
                self.policy.charset.count_chars(value) as u64,
                most,
                "characters",
            )
        } else if let Some(most) = target.max_bytes() {
            (value.len() as u64, most, "bytes")
        } else {
            return Ok(());
        };
        if length <= most {
            return Ok(());
        }
        Err(CellFault::found(
            quote_value(value),
            format!(" of {length} {unit}, expected {most} at most ({target})"),
        )
        .with_hint("give the column a longer type"))
    }

    /// Says whether `value` is one of the further spellings of NULL.
    pub fn is_null_text(&self, value: &[u8]) -> bool {
        self.policy
            .null_text
            .iter()
            .any(|text| text.as_bytes() == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn floats_go_into_integer_columns_only_when_whole() {
        assert_eq!(double("INT", 5.0).unwrap(), "5");
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

    #[test]
    fn lengths_are_counted_in_characters_or_bytes() {
        let utf8 = ValuePolicy {
            charset: Charset::Utf8mb4,
            ..ValuePolicy::default()
        };
        let check = |target: &str, value: &str| {
            rule(target, false, &utf8)
                .check_length(value.as_bytes())
                .is_ok()
        };
        assert!(check("CHAR(2)", "éλ"));
        assert!(!check("CHAR(1)", "éλ"));
        assert!(!check("VARBINARY(2)", "éλ"));
    }
}
