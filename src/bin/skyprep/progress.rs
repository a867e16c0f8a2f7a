//! How long work shows that it gets on: a bar on a terminal, lines elsewhere, always on stderr.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use skyprep::pipeline::{Events, RunEvents};

use crate::args::ProgressForm;
use crate::printer::{Printer, grouped};
use crate::settings::Session;

/// Time between two lines of plain progress.
const INTERVAL: Duration = Duration::from_secs(10);

/// Shows progress in the form that was asked for.
pub struct Progress<'p> {
    form: ProgressForm,
    printer: &'p Printer,
    bar: ProgressBar,
    bytes: AtomicU64,
    rows: AtomicU64,
    total: AtomicU64,
    last_line: Mutex<Instant>,
}

impl<'p> Progress<'p> {
    /// Makes a display; nothing is shown before there is something to tell.
    pub fn new(session: &'p Session) -> Self {
        let printer = &session.printer;
        let form = match session.progress {
            _ if printer.is_quiet() => ProgressForm::None,
            ProgressForm::Auto if printer.is_terminal() => ProgressForm::Bar,
            ProgressForm::Auto => ProgressForm::Plain,
            form => form,
        };
        Self {
            form,
            printer,
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            bytes: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            total: AtomicU64::new(0),
            last_line: Mutex::new(Instant::now()),
        }
    }

    /// Begins work on so many bytes.
    pub fn start(&self, what: &str, bytes: u64) {
        self.bytes.store(0, Ordering::Relaxed);
        self.rows.store(0, Ordering::Relaxed);
        self.total.store(bytes, Ordering::Relaxed);
        if self.form == ProgressForm::Bar {
            let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style.progress_chars("=> "));
            }
            self.bar.set_length(bytes);
            self.bar.set_position(0);
            self.bar.set_message(what.to_owned());
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        } else if self.form == ProgressForm::Plain && bytes > 0 {
            self.printer
                .note(&format!("{what}: {} bytes to read", grouped(bytes)));
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if self.form == ProgressForm::Bar {
            self.bar.finish_and_clear();
            self.bar.reset();
        }
    }

    fn line_if_due(&self) {
        let Ok(mut last) = self.last_line.try_lock() else {
            return;
        };
        if last.elapsed() < INTERVAL {
            return;
        }
        *last = Instant::now();
        let read = self.bytes.load(Ordering::Relaxed);
        let total = self.total.load(Ordering::Relaxed);
        let share = if total > 0 {
            read as f64 / total as f64 * 100.0
        } else {
            0.0
        };
        let rows = grouped(self.rows.load(Ordering::Relaxed));
        self.printer.note(&format!(
            "{share:.0} %: {rows} rows, {} bytes read",
            grouped(read)
        ));
    }
}

impl Events for Progress<'_> {
    fn advance(&self, bytes: u64, rows: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        match self.form {
            ProgressForm::Bar => self.bar.inc(bytes),
            ProgressForm::Plain => self.line_if_due(),
            _ => {}
        }
    }
}

impl RunEvents for Progress<'_> {
    fn pass_starts(&self, tables: &[String], bytes: u64) {
        self.start(&tables.join(", "), bytes);
    }

    fn pass_ends(&self) {
        self.end();
    }

    fn warn(&self, message: &str) {
        self.printer.warn(message);
    }
}
