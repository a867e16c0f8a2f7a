//! The answers of the ingest service, whatever they are wrapped in.
//!
//! Answers about whole transactions may take gigabytes, most of it logs and warnings. So they are
//! walked through as they are read, and only what is compared is kept.

use std::collections::HashMap;
use std::fmt;
use std::io::Read;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Place, Result, quote_value};

/// Warnings that are kept of a file.
const KEPT_WARNINGS: usize = 3;

/// How far the service got with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// It is at work, or the file waits for its turn.
    InProgress,
    /// The request was refused at once.
    CreateFailed,
    /// The request could not be begun.
    StartFailed,
    /// The file could not be read.
    ReadFailed,
    /// The rows could not be loaded.
    LoadFailed,
    /// Somebody cancelled the request.
    Cancelled,
    /// All is done.
    Finished,
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "IN_PROGRESS" => Self::InProgress,
            "CREATE_FAILED" => Self::CreateFailed,
            "START_FAILED" => Self::StartFailed,
            "READ_FAILED" => Self::ReadFailed,
            "LOAD_FAILED" => Self::LoadFailed,
            "CANCELLED" => Self::Cancelled,
            "FINISHED" => Self::Finished,
            _ => return None,
        })
    }
}

/// What the service says of one file.
#[derive(Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its number, by which the request can be tried again.
    pub id: u64,
    /// Name of the database; empty if not told.
    pub database: String,
    /// Name of the table.
    pub table: String,
    /// The worker that was told to load it; empty if not told.
    pub worker: String,
    /// Chunk, of a partitioned table.
    pub chunk: i64,
    /// Whether the rows are overlap rows.
    pub overlap: bool,
    /// Number of the transaction.
    pub transaction: u64,
    /// How far it got.
    pub status: Status,
    /// URL of the file; a placeholder where the file was sent with the request.
    pub url: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Rows in the file.
    pub rows: u64,
    /// Rows in the table.
    pub rows_loaded: u64,
    /// Number of warnings.
    pub warnings: u64,
    /// The first of them.
    pub warning_texts: Vec<String>,
    /// What the service says of a failure.
    pub error: String,
    /// Whether the same request may be tried again.
    pub may_retry: bool,
}

/// URLs may be signed.
impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Descriptor")
            .field("id", &self.id)
            .field("table", &self.table)
            .field("chunk", &self.chunk)
            .field("overlap", &self.overlap)
            .field("transaction", &self.transaction)
            .field("status", &self.status)
            .field("url", &crate::place::shown(&self.url))
            .finish_non_exhaustive()
    }
}

/// All that was read.
#[derive(Debug, Clone, Default)]
pub struct Descriptors {
    /// The files; of one that several answers tell of, what the last one says.
    pub files: Vec<Descriptor>,
    /// States of transactions, by number, where answers tell them.
    pub transactions: HashMap<u64, String>,
    numbers: HashMap<(String, u64), usize>,
}

impl Descriptors {
    /// Adds the descriptors of an answer: one (`contrib`), a list (`contribs`), or the transactions
    /// of databases with their files (`GET /ingest/trans/:id?contrib=1&contrib_long=1`). Give later
    /// answers after earlier ones.
    ///
    /// # Errors
    /// It is no JSON, the answer to a request that failed, or there is no descriptor in it;
    /// `name` stands for it in messages.
    pub fn add(&mut self, answer: impl Read, name: &str) -> Result<()> {
        let at = |error: Error| error.at(Place::file(name));
        let mut walk = Walk {
            found: self,
            fault: None,
            count: 0,
            is_answer: false,
            has_short_form: false,
        };
        let mut reader = serde_json::Deserializer::from_reader(std::io::BufReader::new(answer));
        let parsed = Node(&mut walk, false)
            .deserialize(&mut reader)
            .and_then(|_| reader.end());
        if let Some(fault) = walk.fault.take() {
            return Err(at(fault));
        }
        parsed.map_err(|error| {
            let said = error.to_string();
            match error.is_io() {
                true => at(Error::new(
                    ErrorKind::InputMissing,
                    format!("can't read: {said}"),
                )),
                false => at(Error::new(ErrorKind::Corrupt, format!("not JSON: {said}"))
                    .hint("expected an answer of the ingest service")),
            }
        })?;
        let (message, hint) = match (walk.count, walk.is_answer, walk.has_short_form) {
            (0, _, true) => (
                "this answer has only the summary of the contributions",
                "ask again with contrib=1&contrib_long=1",
            ),
            (0, false, _) => (
                "there are no contributions in this answer",
                "expected the answer to GET /ingest/trans/<id>?contrib=1&contrib_long=1 or to \
                 GET /ingest/file-async/<id>",
            ),
            // Nothing may have been sent yet.
            _ => return Ok(()),
        };
        Err(at(Error::new(ErrorKind::Corrupt, message).hint(hint)))
    }

    /// Says whether all that a transaction has loaded was thrown away.
    pub fn is_aborted(&self, transaction: u64) -> bool {
        self.state(transaction).starts_with("ABORTED") || self.state(transaction) == "START_FAILED"
    }

    /// Says whether a transaction was committed, as far as is known.
    pub fn is_committed(&self, transaction: u64) -> bool {
        self.state(transaction) == "FINISHED"
    }

    fn state(&self, transaction: u64) -> &str {
        self.transactions
            .get(&transaction)
            .map_or("", String::as_str)
    }

    fn put(&mut self, file: Descriptor) {
        // Numbers are unique within a Qserv; by-value requests of other tools may have none.
        let key = (file.worker.clone(), file.id);
        match self.numbers.get(&key) {
            Some(at) if file.id != 0 => {
                if let Some(known) = self.files.get_mut(*at) {
                    *known = file;
                }
            }
            _ => {
                self.numbers.insert(key, self.files.len());
                self.files.push(file);
            }
        }
    }
}

/// A walk through an answer.
struct Walk<'w> {
    found: &'w mut Descriptors,
    fault: Option<Error>,
    count: usize,
    /// Whether there is a place where contributions would stand.
    is_answer: bool,
    /// Whether there are contributions that are only counted.
    has_short_form: bool,
}

/// The counts of a transaction.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Summary {
    num_chunk_files: u64,
    num_chunk_overlap_files: u64,
    num_regular_files: u64,
}

/// A value of an answer; the flag says that it is a list of warnings.
struct Node<'n, 'w>(&'n mut Walk<'w>, bool);

/// What is left of a value that was walked through.
enum Seen {
    Text(String),
    Number(i64),
    Warnings(Vec<String>),
    Other,
}

impl Seen {
    fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Seen;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of the ingest service")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Seen, E> {
        Ok(Seen::Number(i64::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Seen, E> {
        Ok(Seen::Number(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Seen, E> {
        Ok(Seen::Number(i64::try_from(value).unwrap_or(i64::MAX)))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_str<E>(self, value: &str) -> Result<Seen, E> {
        Ok(Seen::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Seen, A::Error> {
        let Node(walk, are_warnings) = self;
        let mut warnings = Vec::new();
        while let Some(seen) = list.next_element_seed(Node(walk, are_warnings))? {
            if let Seen::Text(text) = seen
                && are_warnings
                && warnings.len() < KEPT_WARNINGS
            {
                warnings.push(text);
            }
        }
        Ok(match are_warnings {
            true => Seen::Warnings(warnings),
            false => Seen::Other,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Seen, A::Error> {
        let Node(walk, is_warning) = self;
        let mut fields: HashMap<String, Seen> = HashMap::new();
        while let Some(key) = map.next_key::<String>()? {
            // What users keep in a context, and former tries, are no contributions.
            if ["context", "log", "failed_retries", "dialect_input"].contains(&key.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if key == "summary" {
                let summary: Summary = map.next_value()?;
                walk.has_short_form |= summary.num_chunk_files > 0
                    || summary.num_chunk_overlap_files > 0
                    || summary.num_regular_files > 0;
                continue;
            }
            walk.is_answer |= ["contrib", "contribs", "transactions"].contains(&key.as_str());
            let seen = map.next_value_seed(Node(walk, key == "warnings"))?;
            if !matches!(seen, Seen::Other) {
                fields.insert(key, seen);
            }
        }
        if is_warning {
            return Ok(warning_of(&fields));
        }
        walk.look_at(&fields);
        Ok(Seen::Other)
    }
}

/// Returns a warning as one text.
fn warning_of(fields: &HashMap<String, Seen>) -> Seen {
    let text = |name: &str| fields.get(name).and_then(Seen::text).unwrap_or_default();
    let code = fields
        .get("code")
        .and_then(Seen::number)
        .unwrap_or_default();
    Seen::Text(format!("{} {code}: {}", text("level"), text("message")))
}

impl Walk<'_> {
    fn look_at(&mut self, fields: &HashMap<String, Seen>) {
        let text = |name: &str| fields.get(name).and_then(Seen::text);
        let number = |name: &str| fields.get(name).and_then(Seen::number);
        if number("success") == Some(0) && self.fault.is_none() {
            let said = quote_value(text("error").unwrap_or_default().as_bytes());
            let message = format!("this is the answer to a request that failed: {said}");
            let error = Error::new(ErrorKind::Corrupt, message);
            self.fault = Some(error.hint("ask the ingest service again"));
        }
        if let (Some(id), Some(state), None) = (number("id"), text("state"), text("status")) {
            self.found.transactions.insert(id, state.to_owned());
        }
        let (Some(status), Some(table), Some(url)) = (text("status"), text("table"), text("url"))
        else {
            return;
        };
        let Some(status) = Status::parse(status) else {
            let found = quote_value(status.as_bytes());
            let message = format!("a contribution has the status {found}, which is not known");
            self.fault
                .get_or_insert(Error::new(ErrorKind::Corrupt, message));
            return;
        };
        let owned = |name: &str| text(name).unwrap_or_default().to_owned();
        let count = |name: &str| number(name).unwrap_or_default();
        let chunk = match fields.get("chunk") {
            Some(Seen::Number(chunk)) => *chunk,
            _ => 0,
        };
        self.count += 1;
        self.found.put(Descriptor {
            id: count("id"),
            database: owned("database"),
            table: table.to_owned(),
            worker: owned("worker"),
            chunk,
            overlap: matches!(fields.get("overlap"), Some(Seen::Number(flag)) if *flag != 0),
            transaction: count("transaction_id"),
            status,
            url: url.to_owned(),
            bytes: count("num_bytes"),
            rows: count("num_rows"),
            rows_loaded: count("num_rows_loaded"),
            warnings: count("num_warnings"),
            warning_texts: match fields.get("warnings") {
                Some(Seen::Warnings(texts)) => texts.clone(),
                _ => Vec::new(),
            },
            error: owned("error"),
            may_retry: count("retry_allowed") != 0,
        });
    }
}
