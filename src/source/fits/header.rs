//! Headers of FITS files: cards of 80 characters in blocks of 2,880 bytes (FITS Standard 4.0,
//! sections 3 and 4).

use std::collections::HashMap;
use std::io;

use super::bytes::FitsBytes;

/// Headers and data fill whole blocks.
pub(super) const BLOCK: u64 = 2880;
const CARD: usize = 80;
/// No header is longer: one of 999 columns has some 10,000 cards, which is 278 blocks.
const MOST_BLOCKS: u64 = 4096;
/// What the keywords that are read begin with; nothing is kept of others.
const READ: [&str; 18] = [
    "SIMPLE", "XTENSION", "EXTNAME", "BITPIX", "NAXIS", "PCOUNT", "GCOUNT", "GROUPS", "THEAP",
    "TFIELDS", "ZIMAGE", "ZTABLE", "TFORM", "TTYPE", "TDIM", "TNULL", "TSCAL", "TZERO",
];

/// A header and where its data lie.
#[derive(Debug)]
pub(super) struct Header {
    values: HashMap<String, Value>,
    /// First byte of the data.
    pub(super) data: u64,
}

/// What a card says.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Logical(bool),
    Text(String),
    /// A number, as it is written.
    Number(String),
}

/// What a header unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UnitKind {
    /// The first unit of a file: an image, or nothing.
    Primary,
    /// A binary table.
    BinaryTable,
    /// A table of characters.
    CharacterTable,
    /// An image or something else that is no table.
    Other,
}

impl Header {
    /// Reads the header that begins at byte `at` of a file; nothing at its end.
    pub(super) fn read(bytes: &FitsBytes, at: u64) -> io::Result<Result<Option<Self>, String>> {
        let mut cards = Cards::default();
        let mut block = [0; BLOCK as usize];
        for number in 0..MOST_BLOCKS {
            let start = at + number * BLOCK;
            let there = bytes.read_at(&mut block, start)?;
            if at > 0 && number == 0 && there == 0 {
                return Ok(Ok(None));
            }
            let begins = |with: &[u8]| block[..there].starts_with(with);
            if number == 0 && !begins(b"SIMPLE  =") && !begins(b"XTENSION=") {
                // What follows the last unit is no concern of ours.
                return Ok(match at {
                    0 => Err("the file does not begin with a SIMPLE card".into()),
                    _ => Ok(None),
                });
            }
            if there < BLOCK as usize {
                return Ok(Err("the header has no END card".into()));
            }
            for card in block.chunks_exact(CARD) {
                match cards.add(card) {
                    Ok(false) => {}
                    Ok(true) => {
                        return Ok(Ok(Some(Self {
                            values: cards.values,
                            data: start + BLOCK,
                        })));
                    }
                    Err(message) => return Ok(Err(message)),
                }
            }
        }
        Ok(Err("the header has no END card".into()))
    }

    pub(super) fn kind(&self) -> UnitKind {
        match self.text("XTENSION") {
            None => UnitKind::Primary,
            // An image that is compressed by tiles lies in a table.
            Some(_) if self.logical("ZIMAGE") == Some(true) => UnitKind::Other,
            Some("BINTABLE" | "A3DTABLE") => UnitKind::BinaryTable,
            Some("TABLE") => UnitKind::CharacterTable,
            Some(_) => UnitKind::Other,
        }
    }

    /// Returns the bytes of the data, without what fills the last block.
    pub(super) fn data_bytes(&self) -> Result<u64, String> {
        let count = |key: &str| self.count(key);
        let axes = self.needed("NAXIS")?;
        let mut elements: u64 = u64::from(axes > 0);
        for axis in 1..=axes {
            let length = self.needed(&format!("NAXIS{axis}"))?;
            // Random groups say so by a first axis of nothing.
            if axis == 1 && length == 0 && self.logical("GROUPS") == Some(true) {
                continue;
            }
            elements = elements
                .checked_mul(length)
                .ok_or("its axes are too long")?;
        }
        let bits = self.integer("BITPIX")?.ok_or("it lacks BITPIX")?;
        let groups = count("GCOUNT")?.unwrap_or(1);
        let bytes = elements
            .checked_add(count("PCOUNT")?.unwrap_or(0))
            .and_then(|sum| sum.checked_mul(groups))
            .and_then(|sum| sum.checked_mul(bits.unsigned_abs() / 8));
        bytes.ok_or_else(|| "its axes are too long".to_owned())
    }

    /// Returns the first byte behind the unit.
    pub(super) fn end(&self) -> Result<u64, String> {
        let bytes = self.data_bytes()?;
        let blocks = bytes.div_ceil(BLOCK);
        let end = blocks
            .checked_mul(BLOCK)
            .and_then(|b| b.checked_add(self.data));
        end.ok_or_else(|| "its axes are too long".to_owned())
    }

    /// Returns a text, without the spaces at its end.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.values.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn logical(&self, key: &str) -> Option<bool> {
        match self.values.get(key)? {
            Value::Logical(value) => Some(*value),
            _ => None,
        }
    }

    /// Returns an integer, if there is such a card.
    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let value = whole(number).ok_or_else(|| format!("{key} is no integer: {number}"));
                value.map(Some)
            }
            Some(_) => Err(format!("{key} is no integer")),
        }
    }

    /// Returns a number as it is written, if there is such a card.
    pub(super) fn number(&self, key: &str) -> Result<Option<&str>, String> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => Err(format!("{key} is no number")),
        }
    }

    pub(super) fn count(&self, key: &str) -> Result<Option<u64>, String> {
        let value = self.integer(key)?;
        let count =
            value.map(|value| u64::try_from(value).map_err(|_| format!("{key} is {value}")));
        count.transpose()
    }

    pub(super) fn needed(&self, key: &str) -> Result<u64, String> {
        self.count(key)?.ok_or_else(|| format!("it lacks {key}"))
    }
}

/// Reads an integer; a point and zeros may stand behind it.
fn whole(number: &str) -> Option<i64> {
    let digits = match number.split_once('.') {
        Some((digits, zeros)) if zeros.bytes().all(|digit| digit == b'0') => digits,
        _ => number,
    };
    digits.parse().ok()
}

/// Cards that are read one after another.
#[derive(Default)]
struct Cards {
    values: HashMap<String, Value>,
    /// Keyword of a text that goes on in the next card.
    open: Option<String>,
}

impl Cards {
    /// Takes a card; says whether it is the last.
    fn add(&mut self, card: &[u8]) -> Result<bool, String> {
        let (keyword, rest) = card.split_at(8);
        let keyword = std::str::from_utf8(keyword).map_err(|_| "a keyword is no text")?;
        let keyword = keyword.trim_end();
        let open = self.open.take();
        if keyword == "END" {
            return Ok(true);
        }
        // The Standard knows ASCII only; what some writers leave beyond it is UTF-8, or else latin1.
        let rest = match std::str::from_utf8(rest) {
            Ok(text) => text.to_owned(),
            Err(_) => rest.iter().copied().map(char::from).collect(),
        };
        if keyword == "CONTINUE" {
            if let Some(open) = open
                && let Some(Value::Text(more)) = parse(&rest)
                && let Some(Value::Text(text)) = self.values.get_mut(&open)
            {
                text.pop();
                text.push_str(&more);
                self.note_open(&open);
            }
            return Ok(false);
        }
        // A blank should follow, but a number that is left out would be worse.
        let is_read = READ.iter().any(|begin| keyword.starts_with(begin));
        let value = rest.strip_prefix('=').filter(|_| is_read);
        if let Some(value) = value.and_then(parse)
            && !self.values.contains_key(keyword)
        {
            // Of several the first counts, as with other readers.
            self.values.insert(keyword.to_owned(), value);
            self.note_open(keyword);
        }
        Ok(false)
    }

    /// Notes that the text of a keyword may go on.
    fn note_open(&mut self, keyword: &str) {
        if let Some(Value::Text(text)) = self.values.get(keyword)
            && text.ends_with('&')
        {
            self.open = Some(keyword.to_owned());
        }
    }
}

/// Reads the value field of a card; nothing if there is no value.
fn parse(field: &str) -> Option<Value> {
    let field = field.trim_start();
    if let Some(quoted) = field.strip_prefix('\'') {
        let mut text = String::new();
        let mut characters = quoted.chars().peekable();
        while let Some(character) = characters.next() {
            if character == '\'' && characters.next_if_eq(&'\'').is_none() {
                break;
            }
            text.push(character);
        }
        text.truncate(text.trim_end_matches(' ').len());
        return Some(Value::Text(text));
    }
    let value = field.split('/').next().unwrap_or_default().trim();
    match value {
        "" => None,
        "T" => Some(Value::Logical(true)),
        "F" => Some(Value::Logical(false)),
        // Fortran writes exponents with a D.
        number => Some(Value::Number(number.replace(['D', 'd'], "E"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(text: &str) -> Vec<u8> {
        format!("{text:80}").into_bytes()
    }

    #[test]
    fn cards_say_texts_numbers_and_logicals() {
        let mut cards = Cards::default();
        for text in [
            "SIMPLE  =                    T / standard",
            "NAXIS1  =                 1234 / bytes",
            "TSCAL1  =             1.25D-03",
            "TTYPE1  = 'it''s   '           / name",
            "TTYPE2  = 'a long &'",
            "CONTINUE  'name&' / and more",
            "CONTINUE  ''",
            "COMMENT = no value",
            "HISTORY  'nothing'",
            "TDIM1   =",
            "OBSERVER= 'nobody'",
            "TNULL1  =-99.",
            "TNULL1  = 7",
        ] {
            assert!(!cards.add(&card(text)).unwrap(), "{text}");
        }
        assert!(cards.add(&card("END")).unwrap());
        let header = Header {
            values: cards.values,
            data: 0,
        };
        assert_eq!(header.logical("SIMPLE"), Some(true));
        assert_eq!(header.integer("NAXIS1"), Ok(Some(1234)));
        assert_eq!(header.number("TSCAL1"), Ok(Some("1.25E-03")));
        assert_eq!(header.text("TTYPE1"), Some("it's"));
        assert_eq!(header.text("TTYPE2"), Some("a long name"));
        assert_eq!(header.integer("TDIM1"), Ok(None));
        assert_eq!(header.integer("TNULL1"), Ok(Some(-99)));
        assert_eq!(header.text("OBSERVER"), None);
        assert!(header.integer("TTYPE1").is_err());
        assert!(header.integer("TSCAL1").is_err());
        assert!(header.needed("NAXIS2").is_err());
    }

    #[test]
    fn what_data_take_follows_from_the_axes() {
        let header = |values: &[(&str, &str)]| Header {
            values: values
                .iter()
                .map(|(key, value)| ((*key).to_owned(), parse(value).unwrap()))
                .collect(),
            data: 2880,
        };
        let table = header(&[
            ("BITPIX", "8"),
            ("NAXIS", "2"),
            ("NAXIS1", "10"),
            ("NAXIS2", "300"),
            ("PCOUNT", "5"),
        ]);
        assert_eq!((table.data_bytes(), table.end()), (Ok(3005), Ok(8640)));
        let none = header(&[("BITPIX", "-64"), ("NAXIS", "0")]);
        assert_eq!((none.data_bytes(), none.end()), (Ok(0), Ok(2880)));
        let groups = header(&[
            ("BITPIX", "16"),
            ("NAXIS", "2"),
            ("NAXIS1", "0"),
            ("NAXIS2", "7"),
            ("GROUPS", "T"),
            ("GCOUNT", "3"),
            ("PCOUNT", "1"),
        ]);
        assert_eq!(groups.data_bytes(), Ok(48));
        let endless = header(&[
            ("BITPIX", "8"),
            ("NAXIS", "2"),
            ("NAXIS1", "9223372036854775807"),
            ("NAXIS2", "9"),
        ]);
        assert!(endless.data_bytes().is_err());
    }
}
