//! The encoding of the bytes written, as `LOAD DATA ... CHARACTER SET` will read them.

use std::borrow::Cow;
use std::fmt;

use encoding_rs::WINDOWS_1252;
use serde::{Deserialize, Serialize};

/// A character set of MariaDB that texts may be in.
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

/// Says whether bytes are valid UTF-8.
pub fn is_utf8(bytes: &[u8]) -> bool {
    simdutf8::basic::from_utf8(bytes).is_ok()
}

/// A text that the character set can't hold; carries the first character it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmappable(pub char);

impl fmt::Display for Unmappable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            ", whose character '{}' is not in the output's character set",
            self.0.escape_debug()
        )
    }
}

/// A text that was brought from one character set into another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recoded<'v> {
    /// It was valid.
    Valid(Cow<'v, [u8]>),
    /// It was not.
    Invalid {
        /// The first byte that is out of place.
        at: usize,
        /// The text with replacement characters.
        replaced: Vec<u8>,
    },
}

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
    pub fn encode(self, text: &str) -> Result<Cow<'_, [u8]>, Unmappable> {
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

    /// Brings text in the character set `from` into this one.
    ///
    /// Where both are the same, or one is none, bytes stay as they are; UTF-8 is checked.
    ///
    /// # Errors
    /// The first character that this character set lacks.
    pub fn recode(self, text: &[u8], from: Self) -> Result<Recoded<'_>, Unmappable> {
        let as_is = self == Self::Binary || from == Self::Binary || text.is_ascii();
        match (from, self) {
            _ if as_is => Ok(Recoded::Valid(Cow::Borrowed(text))),
            (Self::Latin1, Self::Utf8mb4) => {
                let (utf8, _) = WINDOWS_1252.decode_without_bom_handling(text);
                Ok(Recoded::Valid(Cow::Owned(utf8.into_owned().into_bytes())))
            }
            (Self::Utf8mb4, _) => match std::str::from_utf8(text) {
                Ok(valid) => Ok(Recoded::Valid(self.encode(valid)?)),
                Err(error) => {
                    let replaced = String::from_utf8_lossy(text);
                    let replaced = match self {
                        // latin1 has no replacement character.
                        Self::Latin1 => {
                            Cow::Owned(replaced.replace(char::REPLACEMENT_CHARACTER, "?"))
                        }
                        _ => replaced,
                    };
                    Ok(Recoded::Invalid {
                        at: error.valid_up_to() + 1,
                        replaced: self.encode(&replaced)?.into_owned(),
                    })
                }
            },
            _ => Ok(Recoded::Valid(Cow::Borrowed(text))),
        }
    }

    /// Counts the characters that MariaDB will see in `bytes`.
    pub fn count_chars(self, bytes: &[u8]) -> usize {
        match self {
            Self::Utf8mb4 => bytes.iter().filter(|byte| !is_inner(**byte)).count(),
            Self::Latin1 | Self::Binary => bytes.len(),
        }
    }

    /// Returns how many bytes the first `chars` characters have.
    pub fn prefix_of_chars(self, bytes: &[u8], chars: u64) -> usize {
        let chars = usize::try_from(chars).unwrap_or(usize::MAX);
        match self {
            Self::Utf8mb4 => {
                let starts = bytes
                    .iter()
                    .enumerate()
                    .filter(|(_, byte)| !is_inner(**byte));
                starts.map(|(at, _)| at).nth(chars).unwrap_or(bytes.len())
            }
            Self::Latin1 | Self::Binary => chars.min(bytes.len()),
        }
    }

    /// Returns how many bytes the whole characters among the first `most` bytes have.
    pub fn prefix_of_bytes(self, bytes: &[u8], most: u64) -> usize {
        let mut kept = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
        if self == Self::Utf8mb4 {
            while kept > 0 && bytes.get(kept).is_some_and(|byte| is_inner(*byte)) {
                kept -= 1;
            }
        }
        kept
    }
}

/// Says whether a byte of UTF-8 goes on with a character that has begun before.
fn is_inner(byte: u8) -> bool {
    byte & 0xC0 == 0x80
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

    #[test]
    fn every_byte_of_latin1_goes_to_utf8_and_back() {
        let all: Vec<u8> = (0..=255).collect();
        let Ok(Recoded::Valid(utf8)) = Charset::Utf8mb4.recode(&all, Charset::Latin1) else {
            panic!("every byte of latin1 is a character");
        };
        let back = Charset::Latin1.recode(&utf8, Charset::Utf8mb4).unwrap();
        assert_eq!(back, Recoded::Valid(Cow::Owned(all.clone())));
    }

    #[test]
    fn broken_utf8_is_found_and_replaced() {
        let broken = Charset::Utf8mb4
            .recode(b"a\xffb", Charset::Utf8mb4)
            .unwrap();
        let replaced = "a\u{fffd}b".as_bytes().to_vec();
        assert_eq!(broken, Recoded::Invalid { at: 2, replaced });
        let broken = Charset::Latin1.recode(b"\xc3", Charset::Utf8mb4).unwrap();
        let replaced = b"?".to_vec();
        assert_eq!(broken, Recoded::Invalid { at: 1, replaced });
        let lacking = Charset::Latin1.recode("λ".as_bytes(), Charset::Utf8mb4);
        assert_eq!(lacking, Err(Unmappable('λ')));
    }

    #[test]
    fn only_whole_characters_are_kept() {
        let text = "aéλ".as_bytes();
        assert_eq!(Charset::Utf8mb4.prefix_of_chars(text, 2), 3);
        assert_eq!(Charset::Utf8mb4.prefix_of_bytes(text, 4), 3);
        assert_eq!(Charset::Utf8mb4.prefix_of_bytes(text, 5), 5);
        assert_eq!(Charset::Latin1.prefix_of_bytes(text, 4), 4);
    }
}
