//! Messages with levels: to stderr for people, and to a log file with the time.
#![allow(
    clippy::print_stderr,
    reason = "this file owns printing messages to stderr"
)]

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use indicatif::ProgressBar;
use skyprep::error::Result;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::args::{ColorWhen, GlobalArgs, LogLevel};

/// The progress bar that is shown now, if any; lines are printed above it.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Starts passing messages on.
pub fn start(global: &GlobalArgs) -> Result<()> {
    let level = level_of(global);
    let console = Console {
        level,
        has_color: has_color(global.color),
    };
    let file = match &global.log_file {
        None => None,
        Some(path) => Some(LogFile {
            // A quiet terminal is no reason for a quiet file.
            level: match global.log_level {
                Some(_) => level,
                None => level.max(LevelFilter::INFO),
            },
            file: Mutex::new(skyprep::publish::append(path)?),
        }),
    };
    let all = tracing_subscriber::registry().with(console).with(file);
    // Only the first subscriber of a process counts, and this is the first.
    let _ = tracing::subscriber::set_global_default(all);
    Ok(())
}

/// Returns the level that the options say.
pub fn level_of(global: &GlobalArgs) -> LevelFilter {
    match (global.log_level, global.quiet, global.verbose) {
        (Some(LogLevel::Error), ..) | (None, true, _) => LevelFilter::ERROR,
        (Some(LogLevel::Warn), ..) => LevelFilter::WARN,
        (Some(LogLevel::Info), ..) | (None, false, 0) => LevelFilter::INFO,
        (Some(LogLevel::Debug), ..) | (None, false, 1) => LevelFilter::DEBUG,
        (Some(LogLevel::Trace), ..) | (None, false, _) => LevelFilter::TRACE,
    }
}

fn has_color(when: ColorWhen) -> bool {
    match when {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => {
            let choice = anstream::AutoStream::choice(&std::io::stderr());
            choice != anstream::ColorChoice::Never
        }
    }
}

/// Shows messages to people: a line each, with its level only where it matters.
struct Console {
    level: LevelFilter,
    has_color: bool,
}

impl<S: Subscriber> Layer<S> for Console {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > self.level || !is_ours(event) {
            return;
        }
        let Message { text, label } = Message::of(event);
        let (label, color) = match (label, level) {
            (Some(label), _) => (Some(label), "36"),
            (None, Level::ERROR) => (Some("error".to_owned()), "31"),
            (None, Level::WARN) => (Some("warning".to_owned()), "33"),
            _ => (None, ""),
        };
        line_to_stderr(&match label {
            None => text,
            Some(label) if self.has_color => format!("\x1b[1;{color}m{label}:\x1b[0m {text}"),
            Some(label) => format!("{label}: {text}"),
        });
    }
}

/// Appends messages to a file, each with time and level.
struct LogFile {
    level: LevelFilter,
    file: Mutex<File>,
}

impl<S: Subscriber> Layer<S> for LogFile {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > self.level || !is_ours(event) {
            return;
        }
        let Message { text, label } = Message::of(event);
        let label = label.map(|label| format!("{label}: ")).unwrap_or_default();
        let text = text.replace('\n', "\n    ");
        let line = format!("{} {level:5} {label}{text}\n", now());
        // A log that can't be written is no reason to stop the work.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = file.write_all(line.as_bytes());
    }
}

/// Says whether a message is of this program, not of a library that it uses.
fn is_ours(event: &Event<'_>) -> bool {
    event.metadata().target().starts_with("skyprep")
}

/// Returns the time as RFC 3339 writes it, in UTC.
fn now() -> String {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(0);
    chrono::DateTime::from_timestamp(seconds, since.subsec_millis() * 1_000_000)
        .map(|time| format!("{:?}", time))
        .unwrap_or_default()
}

/// The parts of an event.
#[derive(Default)]
struct Message {
    text: String,
    /// What stands before the text instead of the level's name.
    label: Option<String>,
}

impl Message {
    fn of(event: &Event<'_>) -> Self {
        let mut message = Self::default();
        event.record(&mut message);
        message
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "label" {
            self.label = Some(value.to_owned());
        } else {
            self.record_debug(field, &format_args!("{value}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.text, "{value:?}");
        } else {
            let _ = write!(self.text, " {}={value:?}", field.name());
        }
    }
}

/// Writes a line to stderr, above the bar; a stderr that is closed or full can't be told so.
pub fn line_to_stderr(line: &str) {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner);
    let write = || {
        let _ = writeln!(std::io::stderr(), "{line}");
    };
    match bar.as_ref() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Says which bar lines are to be printed above.
pub fn set_bar(bar: Option<ProgressBar>) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = bar;
}
