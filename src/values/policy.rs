//! What the user wants done with values that MariaDB would not take as they are.

use serde::{Deserialize, Serialize};

use super::charset::Charset;

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
    /// Encoding of the bytes written.
    pub charset: Charset,
    /// Further spellings of NULL in text inputs.
    pub null_text: Vec<String>,
}
