//! Text dialects: how rows and fields are told apart, and how values become text and back.
//!
//! One [`Dialect`] serves every command, in and out. It is refined from the command line or a
//! file by [`DialectOptions`]. Reading goes in three steps, so that blocks can be worked on in
//! parallel: [`BlockReader`] cuts a stream into blocks of whole records, [`Records`] finds the
//! records and fields of one block without copying, and [`Dialect::value`] decodes the few
//! fields that need it. Writing is [`Encoder`]'s.
//!
//! # Reading
//!
//! The rules are those of MariaDB's `LOAD DATA` where there is an escape character, and those of
//! RFC 4180 as the `csv` crate reads it where there is none. Where the C++ tools do otherwise,
//! [`FieldRules`] says how.
//!
//! | found | meaning |
//! |---|---|
//! | LF, CRLF, lone CR, in any mix | end of the record; the last one may lack it |
//! | an empty line | a record of one empty field (see [`Record::is_blank`]) |
//! | escape character | the next byte is data, in quotes or not, be it a line end or a quote |
//! | quote as first byte of a field | opens a quoted field, in which delimiters and line ends are data |
//! | quote elsewhere in an unquoted field | data |
//! | two quotes in a quoted field | one quote |
//! | quote before a delimiter or line end | closes the quoted field |
//! | other quote in a quoted field, with an escape | data; the field goes on |
//! | the same, without an escape | closes; what follows up to the delimiter is taken as it is |
//!
//! # NULL
//!
//! | field | NULL when |
//! |---|---|
//! | raw bytes equal the null string | not quoted |
//! | the escape and `N`, nothing else | always, quoted or not |
//! | the word `NULL`, even if spelt with escapes | not quoted, in a dialect with both quote and escape |
//!
//! # Writing
//!
//! With an escape, structural bytes are escaped, and line ends, NUL and 0x1A written as letters,
//! so that no output holds a raw LF inside a field: Qserv's ingest server cuts its input at every
//! LF that no escape precedes, whatever the quotes say. Quotes are then needed for one thing only,
//! a value that would be read as NULL. Without an escape, quotes do everything.

mod blocks;
mod cut;
mod decode;
mod definition;
mod encode;
mod faults;
mod fields;
mod options;
mod own_file;
mod quoted;
mod records;
mod scan;

pub use blocks::{BlockInfo, BlockReader, DEFAULT_BLOCK_BYTES};
pub use cut::RecordCutter;
pub use definition::{Dialect, FieldRules, LineTerminator};
pub use encode::Encoder;
pub use faults::{DialectFault, EncodeFault, RecordFault, RecordFaultKind};
pub use fields::{Field, Fields};
pub use options::DialectOptions;
pub(crate) use own_file::{OwnBlock, each_own_block};
pub use records::{MAX_RECORD_BYTES, Record, Records};
pub(crate) use scan::non_digits;
