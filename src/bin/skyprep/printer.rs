//! Results to stdout; everything else becomes a message with a level.

use std::io::{IsTerminal, Write};

use skyprep::error::{Error, ErrorKind};
use skyprep::pipeline::TableReport;
use skyprep::report::grouped;

use tracing::level_filters::LevelFilter;

use crate::args::GlobalArgs;
use crate::logging;

/// Exit code of a process whose reader has gone: 128 and the number of SIGPIPE.
const CLOSED_PIPE: u8 = 141;

/// Prints for people.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    is_quiet: bool,
    is_terminal: bool,
}

impl Printer {
    /// Makes a printer as the options say.
    pub fn new(global: &GlobalArgs) -> Self {
        Self {
            is_quiet: logging::level_of(global) < LevelFilter::INFO,
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Says whether results for people are left out.
    pub fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Says whether stderr is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Prints a line for people, on stderr.
    pub fn note(&self, message: &str) {
        tracing::info!("{message}");
    }

    /// Prints a line for the curious, on stderr.
    pub fn detail(&self, message: &str) {
        tracing::debug!("{message}");
    }

    /// Prints a warning, on stderr.
    pub fn warn(&self, message: &str) {
        tracing::warn!("{message}");
    }

    /// Prints that a file was passed over, on stderr.
    pub fn passed_over(&self, file: &str, reason: &str) {
        tracing::error!(label = "passed over", "{file}: {reason}");
    }

    /// Prints a result for people, on stdout.
    ///
    /// # Errors
    /// stdout is closed or full.
    pub fn result(&self, text: &str) -> anyhow::Result<()> {
        if self.is_quiet {
            return Ok(());
        }
        self.data(text.as_bytes())
    }

    /// Prints what was asked for, on stdout, however quiet.
    ///
    /// # Errors
    /// stdout is closed or full.
    pub fn data(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let written = out.write_all(bytes).and_then(|()| out.flush());
        written.map_err(|error| Error::writing(std::path::Path::new("stdout"), error).into())
    }
}

/// Which hints are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hints {
    /// All.
    All,
    /// Those that may help who calls a C++ tool: what is said about data and columns names options
    /// of skyprep's own commands.
    OfTools,
}

/// Prints an error and returns its exit code.
pub fn failure(error: &anyhow::Error, hints: Hints) -> u8 {
    let known = error.downcast_ref::<Error>();
    if known.is_some_and(Error::is_broken_pipe) {
        return CLOSED_PIPE;
    }
    tracing::error!("{error:#}");
    let is_of_data =
        |error: &&Error| matches!(error.kind(), ErrorKind::DataRefused | ErrorKind::Usage);
    let hinting = known.filter(|error| hints == Hints::All || !is_of_data(error));
    if let Some(hint) = hinting.and_then(Error::hint_text) {
        tracing::error!(label = "hint", "{hint}");
    }
    known.map_or(ErrorKind::Internal, Error::kind).exit_code()
}

/// Prints an error before messages are passed on.
pub fn early_failure(error: &Error) -> u8 {
    logging::line_to_stderr(&format!("error: {error}"));
    if let Some(hint) = error.hint_text() {
        logging::line_to_stderr(&format!("hint: {hint}"));
    }
    error.kind().exit_code()
}

/// Prints clap's message, with notes; help and version are no errors.
pub fn print_usage(message: &clap::Error, notes: &[String]) -> u8 {
    // A closed stdout can't be told anything more.
    let _ = message.print();
    for note in notes {
        logging::line_to_stderr(&format!("note: {note}"));
    }
    if message.use_stderr() {
        ErrorKind::Usage.exit_code()
    } else {
        0
    }
}

/// Returns the table of what was made of each table.
pub fn format_tables(tables: &[TableReport]) -> String {
    let heads = [
        "table", "rows in", "out", "overlap", "rejected", "files", "bytes", "MB/s", "memory",
    ];
    let mut lines = vec![heads.map(str::to_owned)];
    for table in tables {
        let rate = table.bytes as f64 / 1e6 / table.seconds.max(1e-9);
        lines.push([
            table.table.clone(),
            grouped(table.rows_in),
            grouped(table.rows_out),
            grouped(table.overlap_rows),
            grouped(table.rejected),
            grouped(table.files),
            grouped(table.bytes),
            format!("{rate:.1}"),
            format!("{:.1} MiB", table.memory_peak as f64 / f64::from(1 << 20)),
        ]);
    }
    let mut text = aligned(&lines);
    for table in tables.iter().filter(|table| table.elsewhere > 0) {
        let rows = grouped(table.elsewhere);
        text.push_str(&format!(
            "{}: {rows} rows belong to chunks that were not asked for\n",
            table.table
        ));
    }
    text
}

/// Lays out a table: its first column to the left, all others, which are numbers, to the right.
pub fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.chars().count());
            let (before, after) = if column == 0 {
                ("", padding)
            } else {
                (&*padding, String::new())
            };
            let gap = if column == 0 { "" } else { "  " };
            text.push_str(&format!("{gap}{before}{cell}{after}"));
        }
        text.push('\n');
    }
    text
}
