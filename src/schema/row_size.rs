//! How long a row of a table can get, which MariaDB limits.

use super::mysql_type::MysqlType;

/// The most bytes of a row, long values apart.
pub(super) const ROW_LIMIT: u64 = 65_535;
/// What a TEXT or BLOB takes in a row: length and pointer.
const LONG_VALUE: u64 = 12;
/// The column that the ingest service adds.
const TRANSACTION_BYTES: u64 = 4;

/// Character set of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TableCharset {
    /// MariaDB's latin1, Qserv's default.
    #[default]
    Latin1,
    /// UTF-8.
    Utf8mb4,
}

impl TableCharset {
    /// Returns MariaDB's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latin1 => "latin1",
            Self::Utf8mb4 => "utf8mb4",
        }
    }

    /// Returns the usual collation.
    pub fn collation(self) -> &'static str {
        match self {
            Self::Latin1 => "latin1_swedish_ci",
            Self::Utf8mb4 => "utf8mb4_uca1400_ai_ci",
        }
    }

    fn bytes_per_character(self) -> u64 {
        match self {
            Self::Latin1 => 1,
            Self::Utf8mb4 => 4,
        }
    }
}

/// Returns the bytes that MariaDB counts for a row of these columns.
pub(super) fn row_bytes(
    columns: impl Iterator<Item = MysqlType> + Clone,
    charset: TableCharset,
) -> u64 {
    // A bit for each column that may be NULL, and one for the row.
    let bits = columns.clone().count() as u64 + 1;
    let values: u64 = columns.map(|known| value_bytes(known, charset)).sum();
    TRANSACTION_BYTES + bits.div_ceil(8) + values
}

fn value_bytes(mysql_type: MysqlType, charset: TableCharset) -> u64 {
    let varying = |bytes: u64| bytes + if bytes > 255 { 2 } else { 1 };
    let width = charset.bytes_per_character();
    match mysql_type {
        MysqlType::Integer { bits, .. } => u64::from(bits / 8),
        MysqlType::Float => 4,
        MysqlType::Double | MysqlType::DateTime(_) | MysqlType::Timestamp(_) | MysqlType::Other => {
            8
        }
        MysqlType::Decimal { precision, scale } => {
            digits_bytes(precision.saturating_sub(scale)) + digits_bytes(scale)
        }
        MysqlType::Char(n) => u64::from(n) * width,
        MysqlType::Varchar(n) => varying(u64::from(n) * width),
        MysqlType::Binary(n) => u64::from(n),
        MysqlType::Varbinary(n) => varying(u64::from(n)),
        MysqlType::Text(_) | MysqlType::Blob(_) | MysqlType::Json | MysqlType::Geometry => {
            LONG_VALUE
        }
        MysqlType::Bit(n) => u64::from(n).div_ceil(8),
        MysqlType::Date => 3,
        MysqlType::Time(_) => 6,
    }
}

/// Returns the bytes of so many decimal digits: nine take four bytes.
fn digits_bytes(digits: u8) -> u64 {
    let left = u64::from(digits % 9);
    u64::from(digits / 9) * 4 + left.div_ceil(2)
}
