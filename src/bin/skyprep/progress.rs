//! How long work shows that it gets on: a bar on a terminal, lines elsewhere, always on stderr.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use skyprep::pipeline::{Events, RunEvents};
use skyprep::report::grouped;

use crate::args::ProgressForm;
use crate::logging;
use crate::printer::Printer;
use crate::session::Session;

/// Version of the lines of `--progress json`.
const VERSION: u32 = 1;

/// Shows progress in the form that was asked for.
pub struct Progress<'p> {
    form: ProgressForm,
    is_asked_for: bool,
    printer: &'p Printer,
    interval: Duration,
    bar: ProgressBar,
    counts: Arc<Counts>,
    work: Mutex<Option<Work>>,
}

/// What has been done; counted by workers, told by a thread of its own.
#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    rows: AtomicU64,
}

/// Work that is going on.
struct Work {
    teller: Teller,
    /// Tells now and then, until it is told to stop.
    thread: Option<(Arc<Bell>, JoinHandle<()>)>,
}

#[derive(Default)]
struct Bell {
    is_over: Mutex<bool>,
    rung: Condvar,
}

impl<'p> Progress<'p> {
    /// Makes a display; nothing is shown before there is something to tell.
    pub fn new(session: &'p Session) -> Self {
        let printer = &session.printer;
        let form = match session.progress {
            ProgressForm::Auto if printer.is_quiet() => ProgressForm::None,
            ProgressForm::Auto if printer.is_terminal() => ProgressForm::Bar,
            ProgressForm::Auto => ProgressForm::Plain,
            form => form,
        };
        Self {
            form,
            is_asked_for: session.progress != ProgressForm::Auto,
            printer,
            interval: session.progress_interval,
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            counts: Arc::default(),
            work: Mutex::new(None),
        }
    }

    /// Begins work whose rows go to stdout: there only who asks for progress is shown any.
    pub fn start_beside_data(&self, what: &str, bytes: u64) {
        if self.is_asked_for {
            self.start(what, bytes);
        }
    }

    /// Begins work on so many bytes; 0 if nobody knows.
    pub fn start(&self, what: &str, bytes: u64) {
        self.end();
        self.counts.bytes.store(0, Ordering::Relaxed);
        self.counts.rows.store(0, Ordering::Relaxed);
        let teller = Teller {
            what: what.to_owned(),
            total: Some(bytes).filter(|bytes| *bytes > 0),
            start: Instant::now(),
            form: self.form,
            counts: Arc::clone(&self.counts),
        };
        match self.form {
            ProgressForm::Bar => self.show_bar(what, teller.total),
            ProgressForm::Plain if bytes > 0 => self
                .printer
                .note(&format!("{what}: {} bytes to read", grouped(bytes))),
            _ => {}
        }
        let thread = match self.form {
            ProgressForm::Plain | ProgressForm::Json => {
                tell_in_background(teller.clone(), self.interval)
            }
            _ => None,
        };
        *self.lock() = Some(Work { teller, thread });
    }

    /// Takes the bar away, or tells a last time.
    pub fn end(&self) {
        let Some(work) = self.lock().take() else {
            return;
        };
        if let Some((bell, thread)) = work.thread {
            *bell.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
            bell.rung.notify_all();
            // A teller that died has nothing more to tell.
            let _ = thread.join();
        }
        if self.form == ProgressForm::Json {
            work.teller.tell(true);
        }
        if self.form == ProgressForm::Bar {
            logging::set_bar(None);
            self.bar.finish_and_clear();
            self.bar.reset();
        }
    }

    fn show_bar(&self, what: &str, total: Option<u64>) {
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}, {eta} left",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(0);
        self.bar.set_message(what.to_owned());
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        logging::set_bar(Some(self.bar.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// Tells at each interval until the bell rings; without a thread there are no lines in between.
fn tell_in_background(teller: Teller, interval: Duration) -> Option<(Arc<Bell>, JoinHandle<()>)> {
    let bell = Arc::new(Bell::default());
    let own = Arc::clone(&bell);
    let work = move || {
        let mut is_over = own.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*is_over {
            let waited = own.rung.wait_timeout(is_over, interval);
            let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            is_over = state;
            if timeout.timed_out() && !*is_over {
                teller.tell(false);
            }
        }
    };
    let thread = std::thread::Builder::new()
        .name("progress".into())
        .spawn(work);
    Some((bell, thread.ok()?))
}

/// Puts the state of work into words.
#[derive(Clone)]
struct Teller {
    what: String,
    total: Option<u64>,
    start: Instant,
    form: ProgressForm,
    counts: Arc<Counts>,
}

impl Teller {
    fn tell(&self, is_last: bool) {
        let bytes = self.counts.bytes.load(Ordering::Relaxed);
        let rows = self.counts.rows.load(Ordering::Relaxed);
        let seconds = self.start.elapsed().as_secs_f64();
        if self.form == ProgressForm::Json {
            logging::line_to_stderr(&self.as_json(bytes, rows, seconds, is_last));
            return;
        }
        let share = match self.total {
            // Compressed text gives more bytes than its file has.
            Some(total) => format!(
                "{:.0} %: ",
                (bytes as f64 / total as f64 * 100.0).min(100.0)
            ),
            None => String::new(),
        };
        let rate = rows as f64 / seconds.max(1e-9);
        tracing::info!(
            "{}: {share}{} rows, {} bytes read, {} rows/s",
            self.what,
            grouped(rows),
            grouped(bytes),
            grouped(rate as u64)
        );
    }

    fn as_json(&self, bytes: u64, rows: u64, seconds: f64, is_last: bool) -> String {
        let left = self.total.and_then(|total| total.checked_sub(bytes));
        let eta = match left {
            Some(left) if bytes > 0 => Some(seconds * left as f64 / bytes as f64),
            _ => None,
        };
        let line = json!({
            "format": "skyprep-progress",
            "version": VERSION,
            "what": self.what,
            "seconds": seconds,
            "bytes": bytes,
            "bytes_total": self.total,
            "rows": rows,
            "rows_per_second": rows as f64 / seconds.max(1e-9),
            "eta_seconds": eta,
            "is_last": is_last,
        });
        line.to_string()
    }
}

impl Events for Progress<'_> {
    fn advance(&self, bytes: u64, rows: u64) {
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counts.rows.fetch_add(rows, Ordering::Relaxed);
        if self.form == ProgressForm::Bar {
            self.bar.inc(bytes);
        }
    }

    fn goes_on(&self, rows: u64) {
        self.printer.note(&format!(
            "going on where an earlier run was ended: {} rows are done",
            grouped(rows)
        ));
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
