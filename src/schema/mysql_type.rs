//! MySQL column types as far as they decide how a value is written.

use std::fmt;

use serde::Serialize;

use super::declaration::is_unsigned;

const TINY: u64 = 255;
const USUAL: u64 = 65_535;
const MEDIUM: u64 = 16_777_215;
const LONG: u64 = u32::MAX as u64;

/// A column type; sizes are those of the declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MysqlType {
    /// TINYINT to BIGINT, BOOL: so many bits.
    Integer {
        /// 8, 16, 24, 32 or 64.
        bits: u8,
        /// Whether it is UNSIGNED.
        unsigned: bool,
    },
    /// FLOAT.
    Float,
    /// DOUBLE and REAL.
    Double,
    /// DECIMAL or NUMERIC: so many digits in all, and behind the point.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// CHAR(n), in characters.
    Char(u32),
    /// VARCHAR(n), in characters.
    Varchar(u32),
    /// TINYTEXT to LONGTEXT; longest value in bytes.
    Text(u64),
    /// BINARY(n), in bytes.
    Binary(u32),
    /// VARBINARY(n), in bytes.
    Varbinary(u32),
    /// TINYBLOB to LONGBLOB; longest value in bytes.
    Blob(u64),
    /// BIT(n).
    Bit(u8),
    /// DATE.
    Date,
    /// TIME with so many sub-second digits.
    Time(u8),
    /// DATETIME with so many sub-second digits.
    DateTime(u8),
    /// TIMESTAMP with so many sub-second digits: from 1970 to the beginning of 2038.
    Timestamp(u8),
    /// JSON.
    Json,
    /// GEOMETRY and its kinds.
    Geometry,
    /// YEAR, ENUM, SET, UUID and what else there is: written as it comes.
    Other,
}

impl MysqlType {
    /// Reads the type part of a column definition, such as `INT UNSIGNED NOT NULL`.
    ///
    /// Returns nothing when `text` starts with no type name.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.trim().to_ascii_uppercase();
        let name_end = upper
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(upper.len());
        let (name, rest) = upper.split_at(name_end);
        if name.is_empty() || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let rest = rest.trim_start();
        if let Some(parsed) = Self::parse_words(name, rest) {
            return parsed;
        }
        let size = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split([',', ')']).next())
            .and_then(|number| number.trim().parse::<u32>().ok());
        let unsigned = is_unsigned(rest);
        let digits = u8::try_from(size.unwrap_or(0)).unwrap_or(u8::MAX);
        let integer = |bits| Self::Integer { bits, unsigned };
        Some(match name {
            "BOOL" | "BOOLEAN" => Self::Integer {
                bits: 8,
                unsigned: false,
            },
            "SERIAL" => Self::Integer {
                bits: 64,
                unsigned: true,
            },
            "TINYINT" | "INT1" => integer(8),
            "SMALLINT" | "INT2" => integer(16),
            "MEDIUMINT" | "INT3" | "MIDDLEINT" => integer(24),
            "INT" | "INTEGER" | "INT4" => integer(32),
            "BIGINT" | "INT8" => integer(64),
            // FLOAT(25) and more is a DOUBLE.
            "FLOAT" if size.is_some_and(|bits| bits > 24) && !rest.contains(',') => Self::Double,
            "FLOAT" | "FLOAT4" => Self::Float,
            "DOUBLE" | "REAL" | "FLOAT8" => Self::Double,
            "DECIMAL" | "DEC" | "NUMERIC" | "FIXED" | "NUMBER" => Self::Decimal {
                precision: size.map_or(10, |_| digits),
                scale: second_number(rest).unwrap_or(0),
            },
            "CHAR" | "CHARACTER" | "NCHAR" => Self::Char(size.unwrap_or(1)),
            "VARCHAR" | "VARCHARACTER" | "NVARCHAR" | "VARCHAR2" => Self::Varchar(size?),
            "TINYTEXT" => Self::Text(TINY),
            "TEXT" | "CLOB" => Self::Text(least_long(size)),
            "MEDIUMTEXT" | "LONG" => Self::Text(MEDIUM),
            "LONGTEXT" => Self::Text(LONG),
            "BINARY" => Self::Binary(size.unwrap_or(1)),
            "VARBINARY" | "RAW" => Self::Varbinary(size?),
            "TINYBLOB" => Self::Blob(TINY),
            "BLOB" => Self::Blob(least_long(size)),
            "MEDIUMBLOB" => Self::Blob(MEDIUM),
            "LONGBLOB" => Self::Blob(LONG),
            "BIT" => Self::Bit(digits.max(1)),
            "DATE" => Self::Date,
            "TIME" => Self::Time(digits),
            "DATETIME" => Self::DateTime(digits),
            "TIMESTAMP" => Self::Timestamp(digits),
            "JSON" => Self::Json,
            "GEOMETRY" | "POINT" | "LINESTRING" | "POLYGON" | "MULTIPOINT" | "MULTILINESTRING"
            | "MULTIPOLYGON" | "GEOMETRYCOLLECTION" => Self::Geometry,
            _ => Self::Other,
        })
    }

    /// Reads the types of several words; nothing if `name` and `rest` are none.
    fn parse_words(name: &str, rest: &str) -> Option<Option<Self>> {
        let behind = |word: &str| {
            let rest = rest.strip_prefix(word)?;
            (!rest.starts_with(|c: char| c.is_ascii_alphanumeric())).then_some(rest)
        };
        match name {
            "NATIONAL" => Some(Self::parse(rest)),
            "CHAR" | "CHARACTER" | "NCHAR" => {
                let varying = behind("VARYING").or_else(|| behind("VARCHAR"));
                varying.map(|size| Self::parse(&format!("VARCHAR{size}")))
            }
            "LONG" => behind("VARBINARY").map(|_| Some(Self::Blob(MEDIUM))),
            _ => None,
        }
    }

    /// Returns the smallest and largest whole number, for integer types.
    pub fn integer_range(self) -> Option<(i128, i128)> {
        match self {
            Self::Integer {
                bits,
                unsigned: true,
            } => Some((0, (1i128 << bits) - 1)),
            Self::Integer {
                bits,
                unsigned: false,
            } => Some((-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)),
            _ => None,
        }
    }

    /// Returns the longest text in characters, for CHAR and VARCHAR.
    pub fn max_chars(self) -> Option<u64> {
        match self {
            Self::Char(n) | Self::Varchar(n) => Some(u64::from(n)),
            _ => None,
        }
    }

    /// Returns the longest value in bytes, for the types counted in bytes.
    pub fn max_bytes(self) -> Option<u64> {
        match self {
            Self::Binary(n) | Self::Varbinary(n) => Some(u64::from(n)),
            Self::Text(n) | Self::Blob(n) => Some(n),
            _ => None,
        }
    }

    /// Says whether the type holds characters rather than bytes or numbers.
    pub fn is_character(self) -> bool {
        matches!(
            self,
            Self::Char(_) | Self::Varchar(_) | Self::Text(_) | Self::Json
        )
    }

    /// Says whether text for such a column is read as a number, bits, a date or a time.
    pub fn reads_text(self) -> bool {
        !(self.is_character() || self.is_binary() || self == Self::Other)
            || matches!(self, Self::Bit(_))
    }

    /// Says whether the type holds bytes without a character set.
    pub fn is_binary(self) -> bool {
        matches!(
            self,
            Self::Binary(_) | Self::Varbinary(_) | Self::Blob(_) | Self::Bit(_) | Self::Geometry
        )
    }
}

/// Returns the longest value of TEXT(n) or BLOB(n): that of the smallest type that holds n.
fn least_long(size: Option<u32>) -> u64 {
    let Some(size) = size else { return USUAL };
    let kinds = [TINY, USUAL, MEDIUM, LONG];
    let holds = kinds.into_iter().find(|most| *most >= u64::from(size));
    holds.unwrap_or(LONG)
}

/// Returns what stands before TEXT and BLOB in the name of the type that holds so many bytes.
fn length_prefix(bytes: u64) -> &'static str {
    let kinds = [(TINY, "TINY"), (USUAL, ""), (MEDIUM, "MEDIUM")];
    let holds = kinds.into_iter().find(|(most, _)| *most >= bytes);
    holds.map_or("LONG", |(_, prefix)| prefix)
}

/// Reads the second number of `(10, 2)`.
fn second_number(sizes: &str) -> Option<u8> {
    sizes
        .split(')')
        .next()?
        .split(',')
        .nth(1)?
        .trim()
        .parse()
        .ok()
}

impl fmt::Display for MysqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { bits, unsigned } => {
                let name = match bits {
                    8 => "TINYINT",
                    16 => "SMALLINT",
                    24 => "MEDIUMINT",
                    32 => "INT",
                    _ => "BIGINT",
                };
                write!(f, "{name}{}", if *unsigned { " UNSIGNED" } else { "" })
            }
            Self::Float => write!(f, "FLOAT"),
            Self::Double => write!(f, "DOUBLE"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision},{scale})"),
            Self::Char(n) => write!(f, "CHAR({n})"),
            Self::Varchar(n) => write!(f, "VARCHAR({n})"),
            Self::Text(n) => write!(f, "{}TEXT", length_prefix(*n)),
            Self::Binary(n) => write!(f, "BINARY({n})"),
            Self::Varbinary(n) => write!(f, "VARBINARY({n})"),
            Self::Blob(n) => write!(f, "{}BLOB", length_prefix(*n)),
            Self::Bit(n) => write!(f, "BIT({n})"),
            Self::Date => write!(f, "DATE"),
            Self::Time(n) => write!(f, "TIME({n})"),
            Self::DateTime(n) => write!(f, "DATETIME({n})"),
            Self::Timestamp(n) => write!(f, "TIMESTAMP({n})"),
            Self::Json => write!(f, "JSON"),
            Self::Geometry => write!(f, "GEOMETRY"),
            Self::Other => write!(f, "its declared type"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! types {
        ($($text:literal => $expected:expr;)*) => {
            #[test]
            fn declarations() {
                $(assert_eq!(MysqlType::parse($text), $expected, "{}", $text);)*
            }
        };
    }

    types! {
        "BIGINT NOT NULL" => Some(MysqlType::Integer { bits: 64, unsigned: false });
        "int(11) unsigned" => Some(MysqlType::Integer { bits: 32, unsigned: true });
        "TINYINT(1)" => Some(MysqlType::Integer { bits: 8, unsigned: false });
        "FLOAT GENERATED ALWAYS AS (a+b) VIRTUAL" => Some(MysqlType::Float);
        "FLOAT(53)" => Some(MysqlType::Double);
        "DOUBLE PRECISION" => Some(MysqlType::Double);
        "CHAR(3) CHARACTER SET latin1" => Some(MysqlType::Char(3));
        "VARCHAR( 20 )" => Some(MysqlType::Varchar(20));
        "DATETIME(6)" => Some(MysqlType::DateTime(6));
        "timestamp" => Some(MysqlType::Timestamp(0));
        "DECIMAL(12, 3)" => Some(MysqlType::Decimal { precision: 12, scale: 3 });
        "NUMERIC" => Some(MysqlType::Decimal { precision: 10, scale: 0 });
        "BIT(1)" => Some(MysqlType::Bit(1));
        "ENUM('a','b')" => Some(MysqlType::Other);
        "SET('unsigned')" => Some(MysqlType::Other);
        "YEAR" => Some(MysqlType::Other);
        "DOUBLE NULL" => Some(MysqlType::Double);
        "FLOAT UNSIGNED" => Some(MysqlType::Float);
        "INT COMMENT 'UNSIGNED'" => Some(MysqlType::Integer { bits: 32, unsigned: false });
        "BOOL" => Some(MysqlType::Integer { bits: 8, unsigned: false });
        "DECIMAL(65,38)" => Some(MysqlType::Decimal { precision: 65, scale: 38 });
        "NVARCHAR(7)" => Some(MysqlType::Varchar(7));
        "national char varying (7)" => Some(MysqlType::Varchar(7));
        "CHARACTER VARYING(7)" => Some(MysqlType::Varchar(7));
        "NATIONAL CHAR(7)" => Some(MysqlType::Char(7));
        "LONG VARBINARY" => Some(MysqlType::Blob(16_777_215));
        "LONG" => Some(MysqlType::Text(16_777_215));
        "TEXT(300)" => Some(MysqlType::Text(65_535));
        "BLOB(70000)" => Some(MysqlType::Blob(16_777_215));
        "VARCHAR" => None;
        "" => None;
        "(5)" => None;
    }

    #[test]
    fn long_types_are_shown_by_their_names() {
        for name in [
            "TINYTEXT",
            "TEXT",
            "MEDIUMTEXT",
            "LONGTEXT",
            "TINYBLOB",
            "BLOB",
            "LONGBLOB",
        ] {
            assert_eq!(MysqlType::parse(name).unwrap().to_string(), name);
        }
    }

    #[test]
    fn integer_ranges() {
        let range = |text| MysqlType::parse(text).and_then(MysqlType::integer_range);
        assert_eq!(range("TINYINT"), Some((-128, 127)));
        assert_eq!(range("MEDIUMINT UNSIGNED"), Some((0, 16_777_215)));
        assert_eq!(
            range("BIGINT"),
            Some((i128::from(i64::MIN), i128::from(i64::MAX)))
        );
        assert_eq!(range("FLOAT"), None);
    }
}
