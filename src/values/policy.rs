//! What the user wants done with values that MariaDB would not take as they are.

use serde::{Deserialize, Serialize};

use super::charset::Charset;
use super::spellings::Spellings;

/// What becomes of NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NanPolicy {
    /// NULL; an error where the target is NOT NULL.
    #[default]
    Null,
    /// The number 0.
    Zero,
    /// The run ends and names the value.
    Error,
    /// The text `nan`, which MariaDB refuses: for other readers.
    Keep,
}

/// What becomes of infinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InfPolicy {
    /// The finite limit of the target type.
    #[default]
    Limit,
    /// NULL; an error where the target is NOT NULL.
    Null,
    /// The run ends and names the value.
    Error,
    /// The text `inf`, which MariaDB refuses: for other readers.
    Keep,
}

/// What becomes of booleans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum BoolPolicy {
    /// The numbers 1 and 0.
    #[default]
    #[serde(rename = "1")]
    Number,
    /// The words `true` and `false`, which MariaDB refuses: for other readers.
    #[serde(rename = "keep")]
    Keep,
}

/// What becomes of numbers, dates and times outside the range of the target type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverflowPolicy {
    /// The run ends and names the value.
    #[default]
    Error,
    /// The nearest value that the type has.
    Clamp,
    /// NULL; an error where the target is NOT NULL.
    Null,
}

/// What becomes of texts and bytes longer than the target column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TruncatePolicy {
    /// The run ends and names the value.
    #[default]
    Error,
    /// What fits is kept, whole characters only.
    Cut,
}

/// What becomes of digits behind the point that the target column does not keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FractionPolicy {
    /// They are left out.
    Cut,
    /// The value is rounded, halves away from zero.
    Round,
    /// The run ends and names the value.
    Error,
}

/// What becomes of lists, structs and maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NestedPolicy {
    /// The column is refused before any work.
    #[default]
    Error,
    /// They are written as JSON text.
    Json,
}

/// How binary values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BinaryForm {
    /// The bytes themselves, escaped as the dialect wants.
    #[default]
    Escape,
    /// Two hexadecimal digits a byte, as `UNHEX` takes them.
    Hex,
    /// Base64 with padding, as `FROM_BASE64` takes it.
    B64,
    /// A JSON array of numbers.
    Array,
}

impl BinaryForm {
    /// Returns the name used on the command line and by Qserv's ingest service.
    pub fn name(self) -> &'static str {
        match self {
            Self::Escape => "escape",
            Self::Hex => "hex",
            Self::B64 => "b64",
            Self::Array => "array",
        }
    }
}

/// What becomes of text inputs that are not valid in their character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InvalidTextPolicy {
    /// The run ends and names the value.
    #[default]
    Error,
    /// Each bad sequence becomes the replacement character, or `?` where there is none.
    Replace,
    /// The bytes stay as they are.
    Keep,
}

/// All choices about values, the same for every command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValuePolicy {
    /// What becomes of booleans.
    pub bool: BoolPolicy,
    /// What becomes of infinities.
    pub inf: InfPolicy,
    /// What becomes of NaN.
    pub nan: NanPolicy,
    /// What becomes of values outside the range of the target type.
    pub overflow: OverflowPolicy,
    /// What becomes of values longer than the target column.
    pub truncate: TruncatePolicy,
    /// What becomes of digits that the target does not keep; without it, those of times are cut,
    /// and those of decimals are an error.
    pub fraction: Option<FractionPolicy>,
    /// What becomes of lists, structs and maps.
    pub nested: NestedPolicy,
    /// How binary values are written.
    pub binary: BinaryForm,
    /// Spatial reference that is put before the WKB of GEOMETRY columns.
    pub srid: Option<u32>,
    /// Encoding of the bytes written.
    pub charset: Charset,
    /// What becomes of text inputs that are not valid in their character set.
    pub invalid_text: InvalidTextPolicy,
    /// Further spellings of NULL in text inputs.
    pub null_text: Vec<String>,
    /// Values as the C++ tools write them: times with all their digits and `Z` behind zoned ones,
    /// no target types but the schema's.
    pub reference_style: bool,
}

impl ValuePolicy {
    /// Says whether a key may be written otherwise than it was read.
    pub fn may_change_keys(&self) -> bool {
        self.overflow != OverflowPolicy::Error
            || self.truncate != TruncatePolicy::Error
            || self.binary != BinaryForm::Escape
    }

    /// Returns the further spellings of NULL in the output's character set, into which values are
    /// brought before they are compared.
    pub fn null_spellings(&self) -> Spellings {
        let encoded = self.null_text.iter();
        let encoded = encoded.filter_map(|text| self.charset.encode(text).ok());
        Spellings::new(encoded)
    }
}
