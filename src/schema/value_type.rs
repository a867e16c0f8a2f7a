//! What the columns of table files hold, and what holds the values of several files.

use arrow::datatypes::{DataType, TimeUnit};

use super::mysql_type::MysqlType;

/// The kind of values in a column of a table file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// Nothing but NULL.
    Null,
    /// Booleans.
    Bool,
    /// Whole numbers of so many bits.
    Integer {
        /// 8, 16, 32 or 64.
        bits: u8,
        /// Whether they are never negative.
        unsigned: bool,
    },
    /// Floats of 16 or 32 bits.
    Single,
    /// Floats of 64 bits.
    Double,
    /// Decimal numbers.
    Decimal {
        /// Digits before the point.
        whole: u8,
        /// Digits behind it.
        scale: u8,
    },
    /// Days.
    Date,
    /// Times of day with so many sub-second digits.
    Time(u8),
    /// Moments with so many sub-second digits.
    DateTime(u8),
    /// Spans of time, in this unit.
    Duration(TimeUnit),
    /// Text.
    Text,
    /// Bytes.
    Binary,
    /// Always so many bytes.
    FixedBinary(u32),
    /// Lists, structs and maps.
    Nested,
}

/// The most digits of a MariaDB DECIMAL, in all and behind the point.
const MOST_DIGITS: u8 = 65;
const MOST_SCALE: u8 = 38;

impl ValueType {
    /// Returns what a column of an Arrow type holds; nothing if it can't be written.
    pub fn of(data_type: &DataType) -> Option<Self> {
        let integer = |bits, unsigned| Self::Integer { bits, unsigned };
        // MariaDB has at most six sub-second digits.
        let digits = |unit: &TimeUnit| match unit {
            TimeUnit::Second => 0,
            TimeUnit::Millisecond => 3,
            TimeUnit::Microsecond | TimeUnit::Nanosecond => 6,
        };
        Some(match data_type {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool,
            DataType::Int8 => integer(8, false),
            DataType::Int16 => integer(16, false),
            DataType::Int32 => integer(32, false),
            DataType::Int64 => integer(64, false),
            DataType::UInt8 => integer(8, true),
            DataType::UInt16 => integer(16, true),
            DataType::UInt32 => integer(32, true),
            DataType::UInt64 => integer(64, true),
            DataType::Float16 | DataType::Float32 => Self::Single,
            DataType::Float64 => Self::Double,
            DataType::Decimal32(digits, scale)
            | DataType::Decimal64(digits, scale)
            | DataType::Decimal128(digits, scale)
            | DataType::Decimal256(digits, scale) => {
                // A negative scale stands for zeros before the point.
                let whole = i16::from(*digits) - i16::from(*scale);
                Self::Decimal {
                    whole: u8::try_from(whole.max(0)).unwrap_or(u8::MAX),
                    scale: u8::try_from(*scale).unwrap_or(0),
                }
            }
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Time32(unit) | DataType::Time64(unit) => Self::Time(digits(unit)),
            DataType::Timestamp(unit, _) => Self::DateTime(digits(unit)),
            DataType::Duration(unit) => Self::Duration(*unit),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Self::Text,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Self::Binary,
            DataType::FixedSizeBinary(size) => Self::FixedBinary(u32::try_from(*size).unwrap_or(0)),
            DataType::Dictionary(_, values) => Self::of(values)?,
            DataType::RunEndEncoded(_, values) => Self::of(values.data_type())?,
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..) => Self::Nested,
            DataType::Interval(_) | DataType::Union(..) => return None,
        })
    }

    /// Returns what holds the values of both without loss; nothing if nothing does.
    pub fn merged_with(self, other: Self) -> Option<Self> {
        if self == other {
            return Some(self);
        }
        self.merge(other).or_else(|| other.merge(self))
    }

    fn merge(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Null, other) => Some(other),
            (Self::Bool, Self::Integer { .. }) => Self::Integer {
                bits: 8,
                unsigned: false,
            }
            .merged_with(other),
            (
                Self::Integer { bits, unsigned },
                Self::Integer {
                    bits: other,
                    unsigned: other_unsigned,
                },
            ) => Some(merged_integers((bits, unsigned), (other, other_unsigned))),
            (Self::Integer { bits: ..=16, .. }, Self::Single) => Some(Self::Single),
            (Self::Integer { bits: ..=32, .. }, Self::Single | Self::Double)
            | (Self::Single, Self::Double) => Some(Self::Double),
            (Self::Integer { bits, .. }, Self::Decimal { whole, scale }) => {
                let digits = decimal_digits(bits);
                decimal(whole.max(digits), scale)
            }
            (
                Self::Decimal { whole, scale },
                Self::Decimal {
                    whole: other_whole,
                    scale: other_scale,
                },
            ) => decimal(whole.max(other_whole), scale.max(other_scale)),
            (Self::Time(digits), Self::Time(other)) => Some(Self::Time(digits.max(other))),
            (Self::Date, Self::DateTime(digits)) => Some(Self::DateTime(digits)),
            (Self::DateTime(digits), Self::DateTime(other)) => {
                Some(Self::DateTime(digits.max(other)))
            }
            (Self::FixedBinary(_), Self::FixedBinary(_) | Self::Binary) => Some(Self::Binary),
            _ => None,
        }
    }

    /// Returns the MySQL type, unless it depends on how long the values are.
    pub fn mysql_type(self) -> Option<MysqlType> {
        let integer = |bits, unsigned| MysqlType::Integer { bits, unsigned };
        Some(match self {
            // Any type holds NULL; this one takes least room.
            Self::Null | Self::Bool => integer(8, false),
            Self::Integer { bits, unsigned } => integer(bits, unsigned),
            Self::Single => MysqlType::Float,
            Self::Double => MysqlType::Double,
            Self::Decimal { whole, scale } => {
                let scale = scale.min(MOST_SCALE);
                MysqlType::Decimal {
                    precision: whole.saturating_add(scale).clamp(1, MOST_DIGITS),
                    scale,
                }
            }
            Self::Date => MysqlType::Date,
            Self::Time(digits) => MysqlType::Time(digits),
            Self::DateTime(digits) => MysqlType::DateTime(digits),
            Self::Duration(_) => integer(64, false),
            Self::Text | Self::Binary | Self::FixedBinary(_) | Self::Nested => return None,
        })
    }

    /// Says whether some values may be more than MariaDB's type holds.
    pub fn is_too_wide(self) -> bool {
        matches!(self, Self::Decimal { whole, scale }
            if scale > MOST_SCALE || whole.saturating_add(scale) > MOST_DIGITS)
    }

    /// Says whether values may be NaN.
    pub fn is_float(self) -> bool {
        matches!(self, Self::Single | Self::Double)
    }

    /// Returns a word for messages.
    pub fn in_words(self) -> String {
        match (self, self.mysql_type()) {
            (Self::Null, _) => "nothing but NULL".to_owned(),
            (Self::Bool, _) => "boolean".to_owned(),
            (Self::Duration(unit), _) => format!("a duration ({unit})"),
            (_, Some(known)) => known.to_string(),
            (Self::Text, None) => "text".to_owned(),
            (Self::Nested, None) => "nested".to_owned(),
            (_, None) => "binary".to_owned(),
        }
    }
}

fn decimal(whole: u8, scale: u8) -> Option<ValueType> {
    let fits = scale <= MOST_SCALE && whole.saturating_add(scale) <= MOST_DIGITS;
    fits.then_some(ValueType::Decimal { whole, scale })
}

/// Returns the digits of the largest whole number of so many bits.
fn decimal_digits(bits: u8) -> u8 {
    match bits {
        8 => 3,
        16 => 5,
        32 => 10,
        _ => 20,
    }
}

/// Returns the type that holds two kinds of whole numbers, each of so many bits and a sign or none.
fn merged_integers(one: (u8, bool), other: (u8, bool)) -> ValueType {
    if one.1 == other.1 {
        return ValueType::Integer {
            bits: one.0.max(other.0),
            unsigned: one.1,
        };
    }
    let (signed, unsigned) = if one.1 {
        (other.0, one.0)
    } else {
        (one.0, other.0)
    };
    match unsigned {
        // Nothing with a sign has more than 64 bits.
        64.. => ValueType::Decimal {
            whole: decimal_digits(64),
            scale: 0,
        },
        _ => ValueType::Integer {
            bits: signed.max(unsigned * 2),
            unsigned: false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_files_hold_is_widened_without_loss() {
        use DataType::{
            Boolean, Date32, Decimal128, Decimal256, FixedSizeBinary, Float16, Float32, Float64,
            Int8, Int16, Int32, Int64, Null, Timestamp, UInt8, UInt32, UInt64, Utf8,
        };
        let seconds = Timestamp(TimeUnit::Second, None);
        let nanos = Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        for (one, other, expected) in [
            (Int16, Int64, Some("BIGINT")),
            (UInt8, Int8, Some("SMALLINT")),
            (UInt32, Int8, Some("BIGINT")),
            (UInt64, Int8, Some("DECIMAL(20,0)")),
            (UInt8, UInt32, Some("INT UNSIGNED")),
            (Boolean, Int32, Some("INT")),
            (Int16, Float32, Some("FLOAT")),
            (Float16, Float32, Some("FLOAT")),
            (Int32, Float32, Some("DOUBLE")),
            (Float32, Float64, Some("DOUBLE")),
            (Int64, Float64, None),
            (Null, Float32, Some("FLOAT")),
            (Null, Null, Some("TINYINT")),
            (Decimal128(10, 2), Decimal128(12, 6), Some("DECIMAL(14,6)")),
            (Decimal128(10, 2), Int64, Some("DECIMAL(22,2)")),
            (Decimal256(76, 0), Decimal128(10, 2), None),
            (Date32, seconds.clone(), Some("DATETIME(0)")),
            (seconds, nanos, Some("DATETIME(6)")),
            (Utf8, Int32, None),
            (Utf8, FixedSizeBinary(3), None),
        ] {
            let both = [ValueType::of(&one), ValueType::of(&other)].map(Option::unwrap);
            for [one, other] in [both, [both[1], both[0]]] {
                let merged = one.merged_with(other).and_then(ValueType::mysql_type);
                let merged = merged.map(|known| known.to_string());
                assert_eq!(merged.as_deref(), expected, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn decimals_keep_to_what_mariadb_has() {
        let shown = |data_type: &DataType| {
            let known = ValueType::of(data_type).unwrap();
            (known.mysql_type().unwrap().to_string(), known.is_too_wide())
        };
        let plain = |text: &str, wide| (text.to_owned(), wide);
        assert_eq!(
            shown(&DataType::Decimal128(5, -2)),
            plain("DECIMAL(7,0)", false)
        );
        assert_eq!(
            shown(&DataType::Decimal128(3, 5)),
            plain("DECIMAL(5,5)", false)
        );
        assert_eq!(
            shown(&DataType::Decimal256(65, 38)),
            plain("DECIMAL(65,38)", false)
        );
        assert_eq!(
            shown(&DataType::Decimal256(76, 40)),
            plain("DECIMAL(65,38)", true)
        );
    }
}
