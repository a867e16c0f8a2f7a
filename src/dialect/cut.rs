//! Finds where a run of bytes can be cut so that records stay whole.
//!
//! Without a quote character the last record end is found from behind. With one it is not: only
//! from a record's start can be told what is inside quotes. That walk goes from quote to quote
//! and skips everything between, so it costs little even where every text is quoted.

use memchr::{memchr, memchr2, memrchr};

use super::definition::Dialect;
use super::scan::is_escaped;

/// Finds the last record end in a run of bytes.
#[derive(Debug, Clone)]
pub struct RecordCutter {
    delimiter: u8,
    quote: Option<u8>,
    escape: Option<u8>,
    keeps_stray_quotes: bool,
}

impl RecordCutter {
    /// Makes a cutter for `dialect`.
    pub fn new(dialect: &Dialect) -> Self {
        let (quote, escape) = (dialect.quote(), dialect.escape());
        Self {
            delimiter: dialect.delimiter(),
            quote,
            escape,
            keeps_stray_quotes: dialect.keeps_stray_quotes(),
        }
    }

    /// Returns the end, line end included, of the last record that is complete in `bytes`.
    ///
    /// `bytes` must begin at a record's start; more bytes may follow them. A lone CR is taken
    /// for a record end only when there is no LF to cut at, and never as the last byte, for its
    /// LF may follow. `None` says that more bytes are needed.
    pub fn last_record_end(&self, bytes: &[u8]) -> Option<usize> {
        self.last_end_with(bytes, b'\n')
            .or_else(|| self.last_end_with(bytes, b'\r'))
    }

    fn last_end_with(&self, bytes: &[u8], line_end: u8) -> Option<usize> {
        let mut last = None;
        let mut from = 0;
        loop {
            let open = self.next_opening(bytes, from);
            let gap_end = open.unwrap_or(bytes.len());
            last = self
                .last_end_between(bytes, from, gap_end, line_end)
                .or(last);
            match open.and_then(|open| self.after_closing(bytes, open)) {
                Some(after) => from = after,
                None => return last,
            }
        }
    }

    /// Looks in a stretch outside quotes, from behind.
    fn last_end_between(
        &self,
        bytes: &[u8],
        from: usize,
        to: usize,
        line_end: u8,
    ) -> Option<usize> {
        let mut to = to;
        loop {
            let at = from + memrchr(line_end, bytes.get(from..to)?)?;
            let is_certain = line_end == b'\n' || bytes.get(at + 1).is_some_and(|b| *b != b'\n');
            if is_certain && !self.is_escaped(bytes, at, from) {
                return Some(at + 1);
            }
            to = at;
        }
    }

    /// Returns the first quote from `gap` on that stands at the start of a field.
    fn next_opening(&self, bytes: &[u8], gap: usize) -> Option<usize> {
        let quote = self.quote?;
        let mut from = gap;
        loop {
            let at = from + memchr(quote, bytes.get(from..)?)?;
            let Some(before) = at.checked_sub(1) else {
                return Some(at);
            };
            let follows_border = bytes
                .get(before)
                .is_some_and(|b| *b == self.delimiter || is_line_end(*b));
            if follows_border && !self.is_escaped(bytes, before, gap) {
                return Some(at);
            }
            from = at + 1;
        }
    }

    /// Returns what follows the quote that closes the one at `open`, if that can be told.
    fn after_closing(&self, bytes: &[u8], open: usize) -> Option<usize> {
        let quote = self.quote?;
        let mut from = open + 1;
        loop {
            let rest = bytes.get(from..)?;
            let hit = match self.escape {
                Some(escape) => memchr2(quote, escape, rest),
                None => memchr(quote, rest),
            };
            let at = from + hit?;
            let following = *bytes.get(at + 1)?;
            if bytes.get(at).copied() == self.escape || following == quote {
                from = at + 2;
            } else if !self.keeps_stray_quotes
                || following == self.delimiter
                || is_line_end(following)
            {
                return Some(at + 1);
            } else {
                from = at + 1;
            }
        }
    }

    fn is_escaped(&self, bytes: &[u8], at: usize, floor: usize) -> bool {
        self.escape
            .is_some_and(|escape| is_escaped(bytes, at, floor, escape))
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! cuts {
        ($name:ident, $dialect:ident, $text:expr, $expected:expr) => {
            #[test]
            fn $name() {
                let cutter = RecordCutter::new(&Dialect::$dialect());
                let end = cutter.last_record_end($text.as_bytes());
                let kept: Option<&str> = end.map(|end| &$text[..end]);
                assert_eq!(kept, $expected);
            }
        };
    }

    cuts!(nothing, qserv, "", None);
    cuts!(no_line_end, qserv, "abc", None);
    cuts!(last_line_end, qserv, "a\nb\nc", Some("a\nb\n"));
    cuts!(crlf_is_one, qserv, "a\r\nb\r", Some("a\r\n"));
    cuts!(escaped, qserv, "a\n\\\n\\\\\\\nc", Some("a\n"));
    cuts!(escapes_in_pairs, qserv, "a\\\\\nc", Some("a\\\\\n"));
    cuts!(lone_cr, qserv, "a\rb\rc", Some("a\rb\r"));
    cuts!(lone_cr_last_is_uncertain, qserv, "a\rb\r", Some("a\r"));
    cuts!(only_cr_is_uncertain, qserv, "b\r", None);
    cuts!(escaped_cr, qserv, "a\\\rc", None);

    cuts!(inside_quotes, qserv_csv, "a\n\"b\nc", Some("a\n"));
    cuts!(
        after_quotes,
        qserv_csv,
        "\"b\nc\",d\ne,\"f\n",
        Some("\"b\nc\",d\n")
    );
    cuts!(
        quote_in_data,
        qserv_csv,
        "a\"b\nc\"d\ne",
        Some("a\"b\nc\"d\n")
    );
    cuts!(quote_that_may_close, qserv_csv, "a\n\"b\nc\"", Some("a\n"));
    cuts!(
        quote_that_stays,
        qserv_csv,
        "a\n\"b\"c\nd\",\ne",
        Some("a\n\"b\"c\nd\",\n")
    );
    cuts!(escaped_quote, qserv_csv, "\"b\\\"\nc", None);
    cuts!(escaped_border, qserv_csv, "a\\,\"b\nc\"", Some("a\\,\"b\n"));
    cuts!(
        lone_cr_quoted,
        qserv_csv,
        "\"a\rb\"\r\"c\r",
        Some("\"a\rb\"\r")
    );
    cuts!(
        rfc4180_tail,
        rfc4180,
        "\"a\"b\"\nc\"d,\"\ne",
        Some("\"a\"b\"\n")
    );
}
