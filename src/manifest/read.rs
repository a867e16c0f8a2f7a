//! Reading a manifest line by line, strictly: what is torn, doubled or miscounted is told.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Read};

use xxhash_rust::xxh3::xxh3_128;

use super::line::{Contribution, FORMAT, ManifestHeader, VERSION};
use crate::error::{Error, ErrorKind, Place, Result, quote_value};
use crate::schema::TableKind;

/// No line is longer, whatever is signed into a URL.
const LONGEST_LINE: u64 = 1 << 20;

/// The contributions of a manifest, one after another; after an error there are no more.
///
/// That all is right is known only at the end, so nothing final should be done before.
#[derive(Debug)]
pub struct Lines<R> {
    reader: R,
    name: String,
    header: ManifestHeader,
    line: u64,
    buffer: Vec<u8>,
    kinds: HashMap<String, TableKind>,
    /// Digests of the URLs: their texts would take several times the memory.
    urls: HashSet<u128>,
    is_over: bool,
}

impl<R: BufRead> Lines<R> {
    /// Reads the header; `name` stands for the manifest in messages.
    ///
    /// # Errors
    /// The reader fails, or what it gives is no manifest that this version knows.
    pub fn new(reader: R, name: &str) -> Result<Self> {
        let mut lines = Self {
            reader,
            name: name.to_owned(),
            header: ManifestHeader::new(String::new()),
            line: 0,
            buffer: Vec::new(),
            kinds: HashMap::new(),
            urls: HashSet::new(),
            is_over: false,
        };
        lines.read_header()?;
        Ok(lines)
    }

    /// Returns the first line.
    pub fn header(&self) -> &ManifestHeader {
        &self.header
    }

    fn read_header(&mut self) -> Result<()> {
        if !self.read_line()? {
            let hint = "expected a manifest, as stage and run write it";
            return Err(self.corrupt("the file is empty").hint(hint));
        }
        let value: serde_json::Value = serde_json::from_slice(&self.buffer)
            .map_err(|_| self.no_manifest("this is not JSON"))?;
        match value.get("format").and_then(serde_json::Value::as_str) {
            Some(FORMAT) => {}
            _ => return Err(self.no_manifest("this is not a manifest's first line")),
        }
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(VERSION.into()) {
            let found = version.map_or("no version".to_owned(), |v| format!("version {v}"));
            let message = format!("the manifest has {found}, this skyprep reads {VERSION}");
            return Err(self.corrupt(&message).hint("use the skyprep that wrote it"));
        }
        self.header = serde_json::from_value(value).map_err(|error| self.no_line(&error))?;
        Ok(())
    }

    /// Reads the next line into the buffer, without its end; says whether there was one.
    fn read_line(&mut self) -> Result<bool> {
        self.buffer.clear();
        let mut limited = (&mut self.reader).take(LONGEST_LINE + 1);
        let read = limited.read_until(b'\n', &mut self.buffer);
        let read = read.map_err(|error| {
            Error::new(ErrorKind::InputMissing, format!("can't read: {error}"))
                .at(Place::file(&self.name))
                .caused_by(error)
        })?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if self.buffer.len() as u64 > LONGEST_LINE {
            return Err(self.corrupt("the line is longer than 1 MiB"));
        }
        if self.buffer.pop() != Some(b'\n') {
            let message = "the manifest ends in the middle of this line";
            return Err(self.disagreement(message).hint(FETCH_AGAIN));
        }
        Ok(true)
    }

    fn next_line(&mut self) -> Result<Option<Contribution>> {
        let expected = self.header.contributions;
        if !self.read_line()? {
            let found = self.line - 1;
            if found == expected {
                return Ok(None);
            }
            let message =
                format!("the manifest ends after {found} contributions, expected {expected}");
            return Err(self.disagreement(&message).hint(FETCH_AGAIN));
        }
        let line: Contribution =
            serde_json::from_slice(&self.buffer).map_err(|error| self.no_line(&error))?;
        if self.line - 1 > expected {
            let message = format!("there is a line more than the {expected} expected");
            return Err(self.disagreement(&message).hint(FETCH_AGAIN));
        }
        self.check(&line)?;
        Ok(Some(line))
    }

    fn check(&mut self, line: &Contribution) -> Result<()> {
        if line.database != self.header.database {
            return Err(self.corrupt(&format!(
                "the database is {}, expected {}",
                quote_value(line.database.as_bytes()),
                quote_value(self.header.database.as_bytes())
            )));
        }
        if line.table.is_empty() || line.table.contains('/') {
            let found = quote_value(line.table.as_bytes());
            return Err(self.corrupt(&format!("{found} is not a table's name")));
        }
        let is_partitioned = line.kind.is_partitioned();
        match line.chunk {
            Some(chunk) if is_partitioned && chunk >= 0 => {}
            None if !is_partitioned && !line.overlap => {}
            _ => {
                let kind = line.kind.name();
                return Err(self.corrupt(&format!("chunk and overlap do not suit a {kind} table")));
            }
        }
        match self.kinds.get(&line.table) {
            Some(kind) if *kind != line.kind => {
                return Err(self.corrupt(&format!(
                    "table {} is a {} here and was a {} before",
                    line.table,
                    line.kind.name(),
                    kind.name()
                )));
            }
            Some(_) => {}
            None => _ = self.kinds.insert(line.table.clone(), line.kind),
        }
        for url in std::iter::once(&line.url).chain(&line.stored_at) {
            let is_url = url.contains("://") && url.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_url {
                let message = "a URL has no scheme, or characters that should be escaped";
                return Err(self.corrupt(message));
            }
        }
        if !self.urls.insert(xxh3_128(line.url.as_bytes())) {
            let message = format!("{} was listed before", line.shown_url());
            return Err(self.disagreement(&message));
        }
        Ok(())
    }

    fn at_line(&self) -> Place {
        Place {
            line: Some(self.line).filter(|line| *line > 0),
            ..Place::file(&self.name)
        }
    }

    fn corrupt(&self, message: &str) -> Error {
        Error::new(ErrorKind::Corrupt, message).at(self.at_line())
    }

    fn disagreement(&self, message: &str) -> Error {
        Error::new(ErrorKind::Integrity, message).at(self.at_line())
    }

    fn no_manifest(&self, message: &str) -> Error {
        self.corrupt(message)
            .hint("expected a manifest, as stage and run write it (manifest.jsonl)")
    }

    fn no_line(&self, error: &serde_json::Error) -> Error {
        let said = error.to_string();
        // A message that quotes a URL might quote its signature.
        let said = match said.contains("://") {
            true => "a field has a wrong value",
            false => said.split(" at line").next().unwrap_or_default(),
        };
        self.corrupt(&format!("this is not a line of a manifest: {said}"))
    }
}

const FETCH_AGAIN: &str = "get the manifest again: it was cut or changed on its way";

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Result<Contribution>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let next = self.next_line().transpose();
        self.is_over = !matches!(next, Some(Ok(_)));
        next
    }
}
