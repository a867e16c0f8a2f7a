//! Verifying: is all that a manifest names there, and is it what the manifest says?

use std::collections::BTreeMap;
use std::fmt;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use super::places::{Object, Places};
use crate::error::{Error, Result};
use crate::exchange::HexDigest;
use crate::manifest::Contribution;
use crate::pipeline::Events;
use crate::place::{Network, ObjectChecksum, RowDigest, shown};

/// How closely files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Sizes, and the checksums that the place keeps.
    Quick,
    /// Every byte is read: SHA-256 and rows.
    Full,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Fault {
    /// There is none.
    Missing,
    /// It has another size.
    Bytes {
        /// As the manifest says.
        expected: u64,
        /// As the place says.
        found: u64,
    },
    /// It has other bytes.
    Sha256 {
        /// As the manifest says.
        expected: HexDigest<32>,
        /// What was read, or what the place keeps.
        found: HexDigest<32>,
    },
    /// It has more or fewer rows.
    Rows {
        /// As the manifest says.
        expected: u64,
        /// Those that were read.
        found: u64,
    },
    /// The manifest that stands beside it says that it is another version.
    OtherVersion,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("is missing"),
            Self::Bytes { expected, found } => {
                write!(f, "found {found} bytes, expected {expected}")
            }
            Self::Sha256 { expected, found } => {
                write!(f, "found SHA-256 {found}, expected {expected}")
            }
            Self::OtherVersion => f.write_str("is of another version, as the manifest there says"),
            Self::Rows { expected, found } => write!(f, "found {found} rows, expected {expected}"),
        }
    }
}

/// A file that is not what the manifest says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// URL of the file, without signature.
    pub url: String,
    /// Its table.
    pub table: String,
    /// Its chunk, if it has one.
    pub chunk: Option<i32>,
    /// Whether it holds overlap rows.
    pub overlap: bool,
    /// What is wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What verifying has found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verification {
    /// Files that were looked at.
    pub files: u64,
    /// Their bytes, as the manifest says.
    pub bytes: u64,
    /// Rows by table, as the manifest says; overlap rows included.
    pub rows: BTreeMap<String, u64>,
    /// Files of which only the size could be compared.
    pub by_size_only: u64,
    /// What is wrong, in the order of the manifest.
    pub findings: Vec<Finding>,
}

/// Compares the files that a manifest names with what it says of them.
///
/// # Errors
/// A place does not answer, or refuses to. What is wrong with files is no error here.
pub fn verify(
    lines: impl Iterator<Item = Contribution>,
    network: &Network,
    depth: Depth,
    at_once: usize,
    events: &dyn Events,
) -> Result<Verification> {
    let mut places = Places::new(network);
    // Places are opened in order, files are looked at side by side, some at a time.
    let objects = lines.map(|line| Ok((places.object(line.place_url())?, line)));
    let look = |(object, line): (Object, Contribution)| async move {
        let looked = look_at(&object, &line, depth, events).await?;
        Ok::<_, Error>((looked, line))
    };
    let looked = stream::iter(objects)
        .map_ok(look)
        .try_buffered(at_once.max(1));
    let verification = looked.try_fold(Verification::default(), |mut all, (looked, line)| {
        all.add(looked, &line);
        std::future::ready(Ok(all))
    });
    network.wait(verification)
}

impl Verification {
    fn add(&mut self, looked: Looked, line: &Contribution) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(line.bytes);
        let rows = self.rows.entry(line.table.clone()).or_default();
        *rows = rows.saturating_add(line.rows);
        self.by_size_only += u64::from(looked.is_by_size_only);
        if let Some(fault) = looked.fault {
            self.findings.push(Finding::of(line, fault));
        }
    }
}

impl Finding {
    pub(super) fn of(line: &Contribution, fault: Fault) -> Self {
        Self {
            url: shown(line.place_url()),
            table: line.table.clone(),
            chunk: line.chunk,
            overlap: line.overlap,
            fault,
        }
    }
}

#[derive(Default)]
struct Looked {
    fault: Option<Fault>,
    is_by_size_only: bool,
}

impl Looked {
    fn faulty(fault: Fault) -> Self {
        Self {
            fault: Some(fault),
            is_by_size_only: false,
        }
    }
}

async fn look_at(
    object: &Object,
    line: &Contribution,
    depth: Depth,
    events: &dyn Events,
) -> Result<Looked> {
    let Some(info) = object.place.head(&object.key).await? else {
        events.advance(line.bytes, 0);
        return Ok(Looked::faulty(Fault::Missing));
    };
    if info.bytes != line.bytes {
        events.advance(line.bytes, 0);
        return Ok(Looked::faulty(Fault::Bytes {
            expected: line.bytes,
            found: info.bytes,
        }));
    }
    if depth == Depth::Quick {
        events.advance(line.bytes, line.rows);
        return Ok(match (info.checksum, line.sha256) {
            (Some(ObjectChecksum::Sha256(found)), Some(expected)) => Looked {
                fault: (found != expected).then_some(Fault::Sha256 { expected, found }),
                is_by_size_only: false,
            },
            _ => Looked {
                fault: None,
                is_by_size_only: true,
            },
        });
    }
    let Some(mut stream) = object.place.get(&object.key).await? else {
        return Ok(Looked::faulty(Fault::Missing));
    };
    let mut digest = RowDigest::default();
    while let Some(block) = stream.next().await {
        let block = block?;
        digest.update(&block);
        events.advance(block.len() as u64, 0);
    }
    let found = digest
        .finish()
        .finish(&object.key, line.chunk, line.overlap);
    events.advance(0, found.rows);
    let fault = if found.bytes != line.bytes {
        Some(Fault::Bytes {
            expected: line.bytes,
            found: found.bytes,
        })
    } else if let (Some(expected), Some(found)) = (line.sha256, found.sha256)
        && expected != found
    {
        Some(Fault::Sha256 { expected, found })
    } else if found.rows != line.rows {
        Some(Fault::Rows {
            expected: line.rows,
            found: found.rows,
        })
    } else {
        None
    };
    Ok(Looked {
        fault,
        is_by_size_only: false,
    })
}
