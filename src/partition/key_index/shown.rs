//! Keys as text: for messages, and as they are written.

use std::fmt;

use super::key::Key;
use crate::error::quote_value;

impl Key<'_> {
    /// Returns the key as it is written, without escapes or quotes.
    pub fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Signed(number) => itoa::Buffer::new().format(number).as_bytes().to_vec(),
            Self::Unsigned(number) => itoa::Buffer::new().format(number).as_bytes().to_vec(),
            Self::Text(text) => text.to_vec(),
        }
    }
}

/// As messages show it: texts are quoted and cut.
impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(number) => number.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Text(text) => f.write_str(&quote_value(text)),
        }
    }
}
