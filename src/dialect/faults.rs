//! What can be wrong with a dialect, with text that is read in one, and with a value to be written.
//!
//! They are small values of their own, for a tokenizer knows neither the file nor the row; the
//! caller adds those when they turn into the library's [`Error`].

use std::fmt;

use crate::error::{Error, ErrorKind, Place};

/// Why a dialect can't be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DialectFault {
    /// The name of a preset is unknown.
    UnknownPreset(String),
    /// An option's text is not one of those that it takes.
    BadOption {
        /// Name of the option, without dashes.
        option: &'static str,
        /// What was given.
        found: String,
        /// What it takes.
        expected: &'static str,
    },
    /// A character can't play its part.
    Unfit {
        /// Which part: delimiter, quote or escape.
        part: &'static str,
        /// The character.
        byte: u8,
        /// Why not.
        reason: &'static str,
    },
    /// Two of delimiter, quote and escape are the same.
    NotDistinct(&'static str, &'static str),
    /// The null string can't be told from other text.
    BadNull {
        /// The null string.
        null: String,
        /// Why not.
        reason: &'static str,
    },
}

impl fmt::Display for DialectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPreset(name) => {
                write!(
                    f,
                    "dialect is {name:?}, expected qserv, qserv-csv or rfc4180"
                )
            }
            Self::BadOption {
                option,
                found,
                expected,
            } => {
                write!(f, "{option} is {found:?}, expected {expected}")
            }
            Self::Unfit { part, byte, reason } => {
                write!(f, "{part} is {:?}, but it {reason}", char::from(*byte))
            }
            Self::NotDistinct(one, other) => {
                write!(f, "{one} and {other} are the same character")
            }
            Self::BadNull { null, reason } => {
                write!(f, "null string is {null:?}, but it {reason}")
            }
        }
    }
}

impl std::error::Error for DialectFault {}

impl From<DialectFault> for Error {
    fn from(fault: DialectFault) -> Self {
        Self::usage(fault.to_string())
    }
}

/// A record that can't be read, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFault {
    /// What is wrong.
    pub kind: RecordFaultKind,
    /// The byte at fault, counted from the start of the block.
    pub offset: u64,
    /// The line on which the record starts, counted from 1.
    pub line: u64,
}

/// The ways in which a record can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordFaultKind {
    /// A quoted field has no closing quote before the end of the input.
    UnterminatedQuote,
    /// The input ends with an escape character that nothing follows.
    EscapeAtEnd,
    /// The record is longer than the limit, in bytes.
    TooLong {
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RecordFaultKind::UnterminatedQuote => {
                write!(f, "a quoted field has no closing quote")
            }
            RecordFaultKind::EscapeAtEnd => {
                write!(f, "the input ends in the middle of an escape sequence")
            }
            RecordFaultKind::TooLong { limit } => {
                write!(f, "the record is longer than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for RecordFault {}

impl From<RecordFault> for Error {
    fn from(fault: RecordFault) -> Self {
        let error = Self::new(ErrorKind::DataRefused, fault.to_string()).at(Place {
            line: Some(fault.line),
            ..Place::default()
        });
        match fault.kind {
            RecordFaultKind::UnterminatedQuote | RecordFaultKind::TooLong { .. } => {
                error.hint("check the dialect: is the quote character right, or is it data?")
            }
            RecordFaultKind::EscapeAtEnd => error.hint("the file may have been cut short"),
        }
    }
}

/// Why a value can't be written in a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeFault {
    /// The value holds a structural byte, and the dialect has neither quote nor escape.
    Structural(u8),
    /// The value holds CR or LF, and sph-partition writes them with an escape only.
    LineEnd(u8),
    /// The value would be read back as NULL, and the dialect has no way to tell it apart.
    LooksLikeNull,
    /// The value is no UTF-8, which JSON strings are made of.
    NotUtf8,
}

impl fmt::Display for EncodeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Structural(byte) => write!(
                f,
                "the value holds {:?}, which a dialect without quote and escape can't write",
                char::from(*byte)
            ),
            Self::LineEnd(byte) => write!(
                f,
                "the value holds {:?}, which this dialect can't write without an escape",
                char::from(*byte)
            ),
            Self::NotUtf8 => write!(
                f,
                "the value is not valid UTF-8, so it can't be a JSON string"
            ),
            Self::LooksLikeNull => {
                write!(
                    f,
                    "the value equals the null string, and the dialect can't tell them apart"
                )
            }
        }
    }
}

impl std::error::Error for EncodeFault {}

impl From<EncodeFault> for Error {
    fn from(fault: EncodeFault) -> Self {
        Self::new(ErrorKind::DataRefused, fault.to_string())
            .hint("write in a dialect with a quote or an escape character")
    }
}
