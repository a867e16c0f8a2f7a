//! Text that is made while it is read.

use std::fmt;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;

/// The parts of a text, made one after another.
pub type TextParts = Box<dyn Iterator<Item = Result<Vec<u8>>> + Send>;

/// A text that is made while it is read, and only once.
#[derive(Clone)]
pub struct GeneratedText {
    name: Arc<str>,
    parts: Arc<Mutex<Option<TextParts>>>,
}

impl GeneratedText {
    /// Takes the parts of a text that messages call `name`. A part that fails ends the reading with its
    /// error.
    pub fn new(name: &str, parts: TextParts) -> Self {
        Self {
            name: Arc::from(name),
            parts: Arc::new(Mutex::new(Some(parts))),
        }
    }

    /// Returns the name for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the text; nothing of it the second time.
    pub(super) fn reader(&self) -> impl Read + Send + use<> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        PartReader {
            parts: parts.take(),
            part: Cursor::default(),
        }
    }
}

impl fmt::Debug for GeneratedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GeneratedText({})", self.name)
    }
}

/// Two are the same if they are read from the same place.
impl PartialEq for GeneratedText {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }
}

impl Eq for GeneratedText {}

struct PartReader {
    parts: Option<TextParts>,
    part: Cursor<Vec<u8>>,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.part.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.parts.as_mut().and_then(Iterator::next) {
                None => return Ok(0),
                Some(Ok(part)) => self.part = Cursor::new(part),
                // Whoever reads takes our own errors out again.
                Some(Err(error)) => return Err(io::Error::other(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn parts_come_one_after_another_and_once() {
        let parts = [b"ab".to_vec(), Vec::new(), b"c".to_vec()].map(Ok);
        let text = GeneratedText::new("x", Box::new(parts.into_iter()));
        let mut read = String::new();
        text.reader().read_to_string(&mut read).unwrap();
        assert_eq!(read, "abc");
        assert_eq!(text.reader().read_to_string(&mut read).unwrap(), 0);
        assert!(text == text.clone());
    }

    #[test]
    fn a_part_that_fails_ends_the_reading() {
        let parts = [Ok(b"ab".to_vec()), Err(Error::usage("no more"))];
        let text = GeneratedText::new("x", Box::new(parts.into_iter()));
        let error = text.reader().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no more"), "{error}");
    }
}
