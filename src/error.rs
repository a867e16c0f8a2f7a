//! The one error type of the library: what went wrong, where, and what to do about it.
//!
//! One type serves every module because a user sees one message and one exit code, wherever in
//! the flow a fault shows. Modules with a vocabulary of their own (geometry, dialects) keep small
//! error enums and turn into this type at their border.

use std::fmt;
use std::path::Path;

/// What the library's fallible functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure with its kind, its place in the data and, where there is one, a hint.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    place: Place,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The classes of failure; each has one exit code (see `docs/exit-codes.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A row, value or table definition was refused.
    DataRefused,
    /// Options, configuration or table definitions contradict each other or the inputs.
    Usage,
    /// An input is missing or can't be read.
    InputMissing,
    /// An input's container is damaged.
    Corrupt,
    /// An output exists already, or may not be written.
    OutputRefused,
    /// The disk or the quota is full.
    DiskFull,
    /// The network or a server failed; trying again may help.
    Network,
    /// A server refused: credentials, permission; trying again won't help.
    ServerRefused,
    /// Checksums, sizes or row counts do not agree.
    Integrity,
    /// A fault of skyprep itself.
    Internal,
    /// A signal of that number ended the work early.
    Interrupted(u8),
    /// Something that comes earlier is not there yet: trying again later helps.
    NotYet,
}

impl ErrorKind {
    /// Says whether the work was ended early and can be gone on with.
    pub fn is_interruption(self) -> bool {
        matches!(self, Self::Interrupted(_))
    }

    /// Returns the kind that an exit code stands for; nothing if none ends so.
    pub fn of_exit_code(code: u8) -> Option<Self> {
        let kinds = [
            Self::DataRefused,
            Self::Usage,
            Self::InputMissing,
            Self::Corrupt,
            Self::OutputRefused,
            Self::DiskFull,
            Self::Network,
            Self::ServerRefused,
            Self::Integrity,
            Self::Internal,
            Self::NotYet,
        ];
        let found = kinds.into_iter().find(|kind| kind.exit_code() == code);
        found.or_else(|| code.checked_sub(128).map(Self::Interrupted))
    }

    /// Returns the documented exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::DataRefused => 1,
            Self::Usage => 2,
            Self::InputMissing => 3,
            Self::Corrupt => 4,
            Self::OutputRefused => 5,
            Self::DiskFull => 6,
            Self::Network => 7,
            Self::ServerRefused => 8,
            Self::Integrity => 9,
            Self::Internal => 10,
            Self::Interrupted(signal) => 128_u8.saturating_add(signal),
            Self::NotYet => 75,
        }
    }
}

/// Where in the data something was found; each part is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Name of the file, as the user wrote it.
    pub file: Option<String>,
    /// Row group of a Parquet file, counted from 0 as Parquet tools do.
    pub row_group: Option<usize>,
    /// Line of a text file, counted from 1.
    pub line: Option<u64>,
    /// Row of the file, counted from 1 over all row groups.
    pub row: Option<u64>,
    /// Name of the column.
    pub column: Option<String>,
}

impl Place {
    /// Names a file.
    pub fn file(name: impl Into<String>) -> Self {
        Self {
            file: Some(name.into()),
            ..Self::default()
        }
    }

    fn fill_from(&mut self, outer: Place) {
        self.file = self.file.take().or(outer.file);
        self.row_group = self.row_group.or(outer.row_group);
        self.line = self.line.or(outer.line);
        self.row = self.row.or(outer.row);
        self.column = self.column.take().or(outer.column);
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(file) = &self.file {
            write!(f, "{file}")?;
            separator = ", ";
        }
        if let Some(row_group) = self.row_group {
            write!(f, "{separator}row group {row_group}")?;
            separator = ", ";
        }
        if let Some(line) = self.line {
            write!(f, "{separator}line {line}")?;
            separator = ", ";
        }
        if let Some(row) = self.row {
            write!(f, "{separator}row {row}")?;
            separator = ", ";
        }
        if let Some(column) = &self.column {
            write!(f, "{separator}column {column}")?;
        }
        Ok(())
    }
}

impl Error {
    /// Makes an error of `kind`; `message` says what was found and what was expected.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            place: Place::default(),
            message: message.into(),
            hint: None,
            source: None,
        }))
    }

    /// Makes the error for a fault of the program itself.
    pub fn of_ours(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
            .hint("please report this with the command and, if you can, the input")
    }

    /// Shorthand for a usage error.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Wraps a failure while reading `path`: missing or unreadable.
    pub fn reading(path: &Path, error: std::io::Error) -> Self {
        // What is read at a server fails with errors of ours.
        let error = match error.downcast::<Self>() {
            Ok(own) => return own,
            Err(error) => error,
        };
        if is_out_of_handles(&error) {
            return Self::out_of_handles("can't read", path, error);
        }
        Self::new(ErrorKind::InputMissing, format!("can't read: {error}"))
            .at(Place::file(path.display().to_string()))
            .caused_by(error)
    }

    /// Wraps a failure while writing `path`: a full disk is told from a refusal.
    pub fn writing(path: &Path, error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        if is_out_of_handles(&error) {
            return Self::out_of_handles("can't write", path, error);
        }
        let (kind, hint) = match error.kind() {
            Io::StorageFull | Io::QuotaExceeded => (
                ErrorKind::DiskFull,
                "free some space, then run the same command again",
            ),
            Io::FileTooLarge => (
                ErrorKind::DiskFull,
                "raise the limit of file sizes (ulimit -f), then run the same command again",
            ),
            _ => (
                ErrorKind::OutputRefused,
                "check that the place exists and may be written",
            ),
        };
        Self::new(kind, format!("can't write: {error}"))
            .at(Place::file(path.display().to_string()))
            .hint(hint)
            .caused_by(error)
    }

    /// A limit that the work does not fit into: nothing is wrong with the file.
    fn out_of_handles(what: &str, path: &Path, error: std::io::Error) -> Self {
        Self::new(ErrorKind::Usage, format!("{what}: {error}"))
            .at(Place::file(path.display().to_string()))
            .hint("raise the limit of open files (ulimit -n), or use fewer --threads")
            .caused_by(error)
    }

    /// Makes the same error one of another kind.
    #[must_use]
    pub fn of_kind(mut self, kind: ErrorKind) -> Self {
        self.0.kind = kind;
        self
    }

    /// Adds a place; parts that are known already stay.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.0.place.fill_from(place);
        self
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds to the end of the message.
    #[must_use]
    pub fn add_message(mut self, more: &str) -> Self {
        self.0.message.push_str(more);
        self
    }

    /// Adds the underlying failure.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(source));
        self
    }

    /// Returns the class of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns where it happened.
    pub fn place(&self) -> &Place {
        &self.0.place
    }

    /// Returns the message with its place, but for the file.
    pub fn reason(&self) -> String {
        let place = Place {
            file: None,
            ..self.0.place.clone()
        };
        match place.to_string() {
            place if place.is_empty() => self.0.message.clone(),
            place => format!("{place}: {}", self.0.message),
        }
    }

    /// Returns what the user can do, where that is known.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Says whether the failure is a closed pipe: the reader of our output has gone.
    pub fn is_broken_pipe(&self) -> bool {
        self.0
            .source
            .as_deref()
            .and_then(|source| source.downcast_ref::<std::io::Error>())
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.0.place.to_string();
        if place.is_empty() {
            write!(f, "{}", self.0.message)
        } else {
            write!(f, "{place}: {}", self.0.message)
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The message quotes the source already; naming it again would print it twice.
        None
    }
}

/// Says whether the process or the system can't open any more files.
fn is_out_of_handles(error: &std::io::Error) -> bool {
    let code = error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error);
    matches!(
        code,
        Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)
    )
}

/// Shows bytes from data so that a terminal can't be fooled, cut to a readable length.
pub fn quote_value(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let cut = bytes.len() > SHOWN;
    let text = String::from_utf8_lossy(if cut { &bytes[..SHOWN] } else { bytes });
    let escaped: String = text.chars().flat_map(char::escape_debug).collect();
    if cut {
        format!("\"{escaped}...\" ({} bytes)", bytes.len())
    } else {
        format!("\"{escaped}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inner_place_wins_and_outer_place_completes_it() {
        let error = Error::new(ErrorKind::DataRefused, "found NaN, expected degrees")
            .at(Place {
                row: Some(7),
                column: Some("ra".into()),
                ..Place::default()
            })
            .at(Place {
                file: Some("x.parquet".into()),
                row: Some(9),
                ..Place::default()
            });
        assert_eq!(
            error.to_string(),
            "x.parquet, row 7, column ra: found NaN, expected degrees"
        );
        assert_eq!(error.kind().exit_code(), 1);
    }

    #[test]
    fn values_from_data_are_escaped_and_cut() {
        assert_eq!(quote_value(b"a\x1b[31m\n"), "\"a\\u{1b}[31m\\n\"");
        assert!(quote_value(&[b'x'; 500]).ends_with("...\" (500 bytes)"));
    }
}
