//! The encoding of the bytes written, as `LOAD DATA ... CHARACTER SET` will read them.

use std::borrow::Cow;

use encoding_rs::WINDOWS_1252;
use serde::{Deserialize, Serialize};

/// A character set of MariaDB that the outputs may be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Charset {
    /// MariaDB's latin1, which is windows-1252. Qserv's default.
    #[default]
    Latin1,
    /// UTF-8.
    Utf8mb4,
    /// Bytes as they are.
    Binary,
}

/// A text that the character set can't hold; carries the first character it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmappable(pub char);

impl Charset {
    /// Returns MariaDB's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latin1 => "latin1",
            Self::Utf8mb4 => "utf8mb4",
            Self::Binary => "binary",
        }
    }

    /// Finds a character set by MariaDB's name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Latin1, Self::Utf8mb4, Self::Binary]
            .into_iter()
            .find(|charset| charset.name().eq_ignore_ascii_case(name))
    }

    /// Encodes `text`; plain ASCII costs no copy.
    ///
    /// # Errors
    /// The first character that the character set lacks.
    pub fn encode<'a>(self, text: &'a str) -> Result<Cow<'a, [u8]>, Unmappable> {
        if self != Self::Latin1 || text.is_ascii() {
            return Ok(Cow::Borrowed(text.as_bytes()));
        }
        let (bytes, _, had_errors) = WINDOWS_1252.encode(text);
        if had_errors {
            let lacking = text.chars().find(|c| {
                let mut one = [0u8; 4];
                WINDOWS_1252.encode(c.encode_utf8(&mut one)).2
            });
            return Err(Unmappable(lacking.unwrap_or(char::REPLACEMENT_CHARACTER)));
        }
        Ok(Cow::Owned(bytes.into_owned()))
    }

    /// Counts the characters that MariaDB will see in `bytes`.
    pub fn count_chars(self, bytes: &[u8]) -> usize {
        match self {
            Self::Utf8mb4 => bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count(),
            Self::Latin1 | Self::Binary => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latin1_is_windows_1252() {
        assert_eq!(Charset::Latin1.encode("é€").unwrap().as_ref(), b"\xe9\x80");
        assert_eq!(Charset::Latin1.encode("\u{81}").unwrap().as_ref(), b"\x81");
        assert_eq!(Charset::Latin1.encode("aλb"), Err(Unmappable('λ')));
        assert_eq!(
            Charset::Utf8mb4.encode("λ").unwrap().as_ref(),
            "λ".as_bytes()
        );
    }

    #[test]
    fn characters_are_counted_as_the_server_counts() {
        assert_eq!(Charset::Utf8mb4.count_chars("aλb".as_bytes()), 3);
        assert_eq!(Charset::Latin1.count_chars(b"a\xe9b"), 3);
    }
}
