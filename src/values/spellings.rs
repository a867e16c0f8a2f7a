//! A set of texts that nearly all others are told from by length and first byte.

/// Some texts, such as the spellings of NULL.
#[derive(Debug, Clone, Default)]
pub struct Spellings {
    /// One bit for each length and first byte that occur together; some share one.
    marks: u64,
    texts: Vec<Vec<u8>>,
}

impl Spellings {
    /// A set without texts.
    pub const NONE: Self = Self {
        marks: 0,
        texts: Vec::new(),
    };

    /// Makes a set of texts.
    pub fn new<T: AsRef<[u8]>>(texts: impl IntoIterator<Item = T>) -> Self {
        let mut texts: Vec<Vec<u8>> = texts
            .into_iter()
            .map(|text| text.as_ref().to_vec())
            .collect();
        texts.sort();
        texts.dedup();
        Self {
            marks: texts.iter().fold(0, |marks, text| marks | mark(text)),
            texts,
        }
    }

    /// Returns the texts.
    pub fn texts(&self) -> impl Iterator<Item = &[u8]> {
        self.texts.iter().map(Vec::as_slice)
    }

    /// Says whether `text` is in the set.
    #[inline]
    pub fn has(&self, text: &[u8]) -> bool {
        self.marks & mark(text) != 0 && self.texts.iter().any(|known| known == text)
    }
}

#[inline]
fn mark(text: &[u8]) -> u64 {
    let first = usize::from(text.first().copied().unwrap_or(0));
    1 << ((text.len() * 8 + first) % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_texts_are_in_the_set() {
        let long = [b'x'; 100];
        let set = Spellings::new([&b""[..], b"n/a", &long]);
        assert!(set.has(b"") && set.has(b"n/a") && set.has(&long));
        assert!(!set.has(b"n") && !set.has(b"N/A") && !set.has(&long[..99]));
        assert!(!Spellings::NONE.has(b""));
    }
}
