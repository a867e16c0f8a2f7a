//! Which Arrow types can be written, and into which columns.

use arrow::datatypes::DataType;

use crate::error::{Error, Place, Result};
use crate::schema::MysqlType;
use crate::values::{NestedPolicy, ValuePolicy};

/// How cells of an Arrow type are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellSource {
    /// As they are.
    Plain,
    /// Lists, structs and maps, written as JSON text.
    Nested,
}

/// What an Arrow type is to MySQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Always NULL.
    Null,
    /// Texts and bytes: each value is looked at.
    Text,
    Whole,
    Fractional,
    Duration,
    Date,
    Timestamp,
    Time,
    Nested,
    /// Intervals and unions: MySQL has nothing like them.
    Foreign,
}

impl CellSource {
    /// Classifies the column `name`, which goes into a column of type `target`.
    ///
    /// # Errors
    /// The type has no text that such a column takes.
    pub fn of(
        name: &str,
        data_type: &DataType,
        target: Option<MysqlType>,
        policy: &ValuePolicy,
    ) -> Result<Self> {
        let kind = Kind::of(data_type);
        let at_column = |error: Error| {
            error.at(Place {
                column: Some(name.to_owned()),
                ..Place::default()
            })
        };
        let is_refused = match kind {
            Kind::Foreign => true,
            Kind::Nested => policy.nested == NestedPolicy::Error,
            _ => false,
        };
        if is_refused {
            let hint = match kind {
                Kind::Nested => {
                    "leave the column out (--exclude, --columns or a schema without it), or write it \
                     as JSON text: --nested json"
                }
                _ => "leave the column out: --exclude, --columns or a schema without it",
            };
            let message = format!("values of type {data_type} can't be written as text");
            return Err(at_column(Error::usage(message).hint(hint)));
        }
        if let Some(target) = target
            && !kind.fits(target)
        {
            let message = format!("values of type {data_type} do not go into a {target} column");
            return Err(at_column(
                Error::usage(message).hint("give the column another type, or leave it out"),
            ));
        }
        Ok(match kind {
            Kind::Nested => Self::Nested,
            _ => Self::Plain,
        })
    }
}

impl Kind {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Self::Null,
            DataType::Dictionary(_, values) => Self::of(values),
            DataType::RunEndEncoded(_, values) => Self::of(values.data_type()),
            DataType::Boolean => Self::Whole,
            data_type if data_type.is_integer() => Self::Whole,
            data_type if data_type.is_numeric() => Self::Fractional,
            DataType::Date32 | DataType::Date64 => Self::Date,
            DataType::Timestamp(..) => Self::Timestamp,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Duration(_) => Self::Duration,
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::FixedSizeList(..)
            | DataType::Struct(_)
            | DataType::Map(..) => Self::Nested,
            DataType::Interval(_) | DataType::Union(..) => Self::Foreign,
            _ => Self::Text,
        }
    }

    /// Says whether values can go into a column of that type.
    fn fits(self, target: MysqlType) -> bool {
        let is_text = target.is_character() && target != MysqlType::Json;
        let is_number = matches!(
            target,
            MysqlType::Integer { .. }
                | MysqlType::Float
                | MysqlType::Double
                | MysqlType::Decimal { .. }
        );
        let is_bytes =
            target.is_binary() && !matches!(target, MysqlType::Geometry | MysqlType::Bit(_));
        match (self, target) {
            (Self::Null | Self::Text, _) | (_, MysqlType::Other) => true,
            (Self::Nested, _) => target.is_character(),
            (Self::Whole, MysqlType::Bit(_)) | (Self::Duration, MysqlType::Time(_)) => true,
            (Self::Whole | Self::Fractional | Self::Duration, _) => {
                is_number || is_bytes || target.is_character()
            }
            (
                Self::Date | Self::Timestamp,
                MysqlType::Date | MysqlType::DateTime(_) | MysqlType::Timestamp(_),
            )
            | (Self::Time, MysqlType::Time(_)) => true,
            (Self::Date | Self::Timestamp | Self::Time, _) => is_text || is_bytes,
            (Self::Foreign, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{IntervalUnit, TimeUnit};

    fn goes(data_type: &DataType, target: &str, nested: NestedPolicy) -> Result<CellSource> {
        let policy = ValuePolicy {
            nested,
            ..ValuePolicy::default()
        };
        CellSource::of("c", data_type, MysqlType::parse(target), &policy)
    }

    #[test]
    fn types_go_where_mariadb_understands_them() {
        let time = DataType::Timestamp(TimeUnit::Second, None);
        for (data_type, target, expected) in [
            (&DataType::Int64, "BIGINT", true),
            (&DataType::Int64, "BIT(8)", true),
            (&DataType::Int64, "DATE", false),
            (&DataType::Float64, "BIT(8)", false),
            (&DataType::Float64, "DECIMAL(5,2)", true),
            (&DataType::Boolean, "CHAR(1)", true),
            (&time, "DATETIME", true),
            (&time, "BIGINT", false),
            (&time, "VARCHAR(30)", true),
            (&time, "TIME", false),
            (&DataType::Date32, "JSON", false),
            (&DataType::Utf8, "DATE", true),
            (&DataType::Null, "GEOMETRY", true),
            (&DataType::Duration(TimeUnit::Second), "TIME", true),
            (&DataType::Interval(IntervalUnit::DayTime), "CHAR(9)", false),
        ] {
            let found = goes(data_type, target, NestedPolicy::Error).is_ok();
            assert_eq!(found, expected, "{data_type} {target}");
        }
    }

    #[test]
    fn nested_columns_are_refused_by_name_unless_asked_for() {
        let list = DataType::new_list(DataType::Int32, true);
        let error = goes(&list, "", NestedPolicy::Error)
            .unwrap_err()
            .to_string();
        assert!(error.contains("column c"), "{error}");
        assert_eq!(
            goes(&list, "", NestedPolicy::Json).unwrap(),
            CellSource::Nested
        );
        assert!(goes(&list, "INT", NestedPolicy::Json).is_err());
    }
}
