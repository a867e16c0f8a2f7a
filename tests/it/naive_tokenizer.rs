//! A slow reader of text dialects, one byte and one state at a time, that the fast one must match.
//!
//! It shares nothing with the library but the dialect's settings: values are decoded while the
//! bytes go by, and a NULL is told from what was seen, not from a second look at the text.

#![allow(
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

use skyprep::dialect::{Dialect, FieldRules};

/// A field as it stands and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NaiveField {
    pub(crate) raw: Vec<u8>,
    /// `None` for NULL.
    pub(crate) value: Option<Vec<u8>>,
}

/// A record and the line on which it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NaiveRecord {
    pub(crate) line: usize,
    pub(crate) fields: Vec<NaiveField>,
}

/// What is wrong with the end of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NaiveFault {
    UnterminatedQuote,
    EscapeAtEnd,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Unquoted,
    Quoted,
    /// Just behind a quote inside a quoted field.
    Closing,
    /// Behind a closed quote, in a dialect that has no escape.
    Tail,
}

/// Reads `text` to its end, or to its fault; records before the fault count.
pub(crate) fn tokenize(dialect: &Dialect, text: &[u8]) -> (Vec<NaiveRecord>, Option<NaiveFault>) {
    let mut reader = Reader {
        dialect,
        records: Vec::new(),
        fields: Vec::new(),
        raw: Vec::new(),
        value: Vec::new(),
        state: State::FieldStart,
        record_start: 0,
        text,
    };
    let fault = reader.run();
    (reader.records, fault)
}

struct Reader<'a> {
    dialect: &'a Dialect,
    text: &'a [u8],
    records: Vec<NaiveRecord>,
    fields: Vec<NaiveField>,
    raw: Vec<u8>,
    value: Vec<u8>,
    state: State,
    record_start: usize,
}

impl Reader<'_> {
    fn run(&mut self) -> Option<NaiveFault> {
        let mut at = 0;
        while at < self.text.len() {
            let byte = self.text[at];
            if Some(byte) == self.dialect.escape() && self.state != State::Closing {
                let Some(taken) = self.text.get(at + 1) else {
                    return Some(match self.state {
                        State::Quoted => NaiveFault::UnterminatedQuote,
                        _ => NaiveFault::EscapeAtEnd,
                    });
                };
                self.raw.extend([byte, *taken]);
                self.value.push(meaning(*taken, self.dialect.rules()));
                if self.state == State::FieldStart {
                    self.state = State::Unquoted;
                }
                at += 2;
                continue;
            }
            at += self.step(at, byte);
        }
        match self.state {
            State::Quoted => return Some(NaiveFault::UnterminatedQuote),
            State::FieldStart if self.fields.is_empty() => {}
            _ => self.end_record(at),
        }
        None
    }

    /// Takes an unescaped byte; returns how many bytes were used, 0 to look again.
    fn step(&mut self, at: usize, byte: u8) -> usize {
        let is_quote = Some(byte) == self.dialect.quote();
        let is_border = byte == self.dialect.delimiter() || byte == b'\n' || byte == b'\r';
        match self.state {
            State::FieldStart if is_quote => {
                self.raw.push(byte);
                self.state = State::Quoted;
            }
            State::Quoted if is_quote => {
                self.raw.push(byte);
                self.state = State::Closing;
            }
            State::Closing if is_quote => {
                self.raw.push(byte);
                self.value.push(byte);
                self.state = State::Quoted;
            }
            State::Closing if !is_border => {
                if self.dialect.escape().is_some() || self.is_sph() {
                    self.value.extend(self.dialect.quote());
                    self.state = State::Quoted;
                } else {
                    self.state = State::Tail;
                }
                return 0;
            }
            State::Quoted => {
                self.raw.push(byte);
                self.value.push(byte);
            }
            _ if byte == self.dialect.delimiter() => self.end_field(),
            _ if byte == b'\r' && self.text.get(at + 1) == Some(&b'\n') => {
                self.end_record(at + 2);
                return 2;
            }
            _ if is_border => self.end_record(at + 1),
            _ => {
                self.raw.push(byte);
                self.value.push(byte);
                if self.state == State::FieldStart {
                    self.state = State::Unquoted;
                }
            }
        }
        1
    }

    fn is_sph(&self) -> bool {
        self.dialect.rules() == FieldRules::Sph
    }

    fn end_field(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        let value = std::mem::take(&mut self.value);
        let is_quoted = self.state == State::Closing;
        let has_escape_null = self.dialect.escape().is_some_and(|escape| {
            let content = if is_quoted {
                &raw[1..raw.len() - 1]
            } else {
                &raw[..]
            };
            content == [escape, b'N']
        });
        let knows_word = self.dialect.escape().is_some() && self.dialect.quote().is_some();
        let is_null = if self.is_sph() {
            raw == self.dialect.null()
        } else {
            has_escape_null
                || !is_quoted && raw == self.dialect.null()
                || !is_quoted && knows_word && value == b"NULL"
        };
        self.fields.push(NaiveField {
            raw,
            value: (!is_null).then_some(value),
        });
        self.state = State::FieldStart;
    }

    fn end_record(&mut self, next: usize) {
        self.end_field();
        let before = String::from_utf8_lossy(&self.text[..self.record_start]).into_owned();
        let line = 1 + before
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .matches('\n')
            .count();
        self.records.push(NaiveRecord {
            line,
            fields: std::mem::take(&mut self.fields),
        });
        self.record_start = next;
    }
}

fn meaning(letter: u8, rules: FieldRules) -> u8 {
    let letters = b"0bnrtZfv";
    let meanings = b"\0\x08\n\r\t\x1a\x0c\x0b";
    let known = if rules == FieldRules::Sph { 8 } else { 6 };
    letters[..known]
        .iter()
        .position(|known| *known == letter)
        .map_or(letter, |index| meanings[index])
}
