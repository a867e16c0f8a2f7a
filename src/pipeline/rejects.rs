//! Rejects: bad rows are set aside, up to a limit over the whole command, and listed in a file.
//!
//! The lines of the list are one more stream of the exchange. So they come in input order whatever
//! the threads, and take bounded memory; where the limit is passed is seen where lines arrive in
//! order. Together with the rule that the first failure in input order counts, the outcome does
//! not depend on threads, memory or sizes of packets.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::table::TableReport;
use crate::convert::BadRow;
use crate::error::{Error, ErrorKind, Place, Result};
use crate::exchange::{Packet, PacketShape, RunEnd, Sink};
use crate::publish::AtomicFile;
use crate::values::TextBuffer;

/// What a file of rejects calls itself.
const FORMAT: &str = "skyprep-rejects";

/// Returns the first line of each list of rejects.
pub(crate) fn list_head() -> String {
    json!({"format": FORMAT, "version": 1}).to_string()
}

/// How many bad rows a command may set aside, where they are listed, and how many there were.
#[derive(Debug, Default)]
pub struct Rejects {
    most: u64,
    file: Option<PathBuf>,
    books: Mutex<Books>,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Books {
    /// Rows of passes that are over, and of tables that stood already.
    rows: u64,
    /// The first bad row, unless it has been the error of a pass.
    first: Option<BadRow>,
    /// Tables whose lines in the file are true: they stood already, or this command made them.
    listed: BTreeSet<String>,
    /// Whether this command has written the file.
    is_written: bool,
}

/// A line of the file.
#[derive(Serialize)]
struct Line<'a> {
    table: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row_group: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Rejects {
    /// Lets `most` rows be set aside; they are listed in `file`.
    pub fn new(most: u64, file: Option<PathBuf>) -> Self {
        Self {
            most,
            file,
            books: Mutex::default(),
        }
    }

    /// Returns the number of rows that may be set aside.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// Returns the file of rejects as an absolute path.
    pub fn listed_in(&self) -> Option<String> {
        let file = self.file.as_ref()?;
        let path = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        Some(path.display().to_string())
    }

    /// Counts what was set aside when tables were made that stand already.
    ///
    /// # Errors
    /// It was more than may be now.
    pub fn add_standing<'t>(
        &self,
        tables: impl IntoIterator<Item = &'t TableReport>,
    ) -> Result<()> {
        let mut books = self.books();
        let own = self.listed_in();
        for table in tables.into_iter().filter(|table| table.rejected > 0) {
            books.rows += table.rejected;
            let rows = match table.rejected {
                1 => "1 row was".to_owned(),
                rows => format!("{rows} rows were"),
            };
            if table.reject_file == own {
                books.listed.insert(table.table.clone());
            }
            if books.rows > self.most {
                let hint = match &table.reject_file {
                    Some(file) => format!("see {file}; "),
                    None => String::new(),
                };
                return Err(Error::new(
                    ErrorKind::DataRefused,
                    format!(
                        "{rows} rejected when this was made, but --max-rejects allows {}",
                        self.most
                    ),
                )
                .at(Place::file(table.table.as_str()))
                .hint(format!(
                    "{hint}allow more, or put the input right and use --force"
                )));
            }
        }
        Ok(())
    }

    /// Writes a file without lines if there was work to do and nothing was set aside, so that the
    /// list of another run is not taken for this one's.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn close(&self) -> Result<()> {
        let is_written = self.books().is_written;
        match &self.file {
            Some(path) if !is_written => {
                let list = List::begin(path, &self.books().listed)?;
                list.commit(path)?;
                self.books().is_written = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Returns how the books stand, to go back to if a pass has to be made anew.
    pub(super) fn snapshot(&self) -> Books {
        self.books().clone()
    }

    /// Goes back to how the books stood.
    pub(super) fn restore(&self, books: Books) {
        *self.books() = books;
    }

    /// Begins a pass; nothing if the first bad row is simply the run's error.
    pub(super) fn begin_pass(&self) -> Option<PassRejects<'_>> {
        (self.most > 0 || self.file.is_some()).then(|| PassRejects {
            rejects: self,
            before: self.books().rows,
            first: Mutex::default(),
            files: Mutex::default(),
            state: Mutex::default(),
        })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rejects of one pass: the sink of their lines.
pub(super) struct PassRejects<'r> {
    rejects: &'r Rejects,
    /// Rows set aside before this pass.
    before: u64,
    /// Of the pieces that have bad rows the first, and its first bad row.
    first: Mutex<Option<(u64, BadRow)>>,
    /// Files that have bad rows.
    files: Mutex<BTreeSet<String>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: u64,
    is_exceeded: bool,
    list: Option<List>,
}

impl PassRejects<'_> {
    /// Text and rows of a packet of lines: bad rows are few.
    const PACKET: PacketShape = PacketShape {
        text_bytes: 32 << 10,
        rows: 256,
        slots: 0,
        is_routed: false,
        has_sides: false,
        has_keys: false,
    };

    /// Returns the shape of the packets that lines come in.
    pub(super) fn shape() -> PacketShape {
        Self::PACKET
    }

    /// Writes the line of a bad row.
    ///
    /// # Errors
    /// The line can't be expressed, which is a fault of skyprep.
    pub(super) fn write_line(table: &str, row: &BadRow, out: &mut TextBuffer) -> Result<()> {
        let BadRow { place, fault } = row;
        let line = Line {
            table,
            file: place.file.as_deref(),
            row_group: place.row_group,
            line: place.line,
            row: place.row,
            column: place.column.as_deref(),
            value: fault.value(),
            reason: fault.reason(),
            hint: fault.hint(),
        };
        out.append_with(|bytes| {
            serde_json::to_writer(&mut *bytes, &line)?;
            bytes.push(b'\n');
            Ok(())
        })
        .map_err(|error: serde_json::Error| {
            Error::new(ErrorKind::Internal, format!("rejects: {error}"))
        })
    }

    /// Takes note of the first bad row of piece number `piece`.
    pub(super) fn note_first(&self, piece: u64, row: &BadRow) {
        if let Some(file) = &row.place.file {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            if !files.contains(file) {
                files.insert(file.clone());
            }
        }
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        if first.as_ref().is_none_or(|(earlier, _)| piece < *earlier) {
            *first = Some((piece, row.clone()));
        }
    }

    /// Returns the files with bad rows, if there were too many rows.
    pub(super) fn files_of_too_many(&self) -> BTreeSet<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match state.is_exceeded {
            true => std::mem::take(&mut files),
            false => BTreeSet::new(),
        }
    }

    /// Says whether so many bad rows of one piece are too many, whatever was before.
    pub(super) fn are_too_many(&self, rows: u64) -> bool {
        self.before.saturating_add(rows) > self.rejects.most
    }

    /// Returns the error that ends a pass with too many bad rows.
    pub(super) fn too_many(&self) -> Error {
        let of_command = self.rejects.books().first.clone();
        let first = of_command.or_else(|| {
            let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.as_ref().map(|(_, row)| row.clone())
        });
        let unknown = || Error::new(ErrorKind::DataRefused, "too many rows are bad");
        let first = first.map_or_else(unknown, |row| row.to_error());
        match self.rejects.most {
            0 => first,
            most => first.add_message(&format!(
                " (the first bad row; there are more than the {most} that --max-rejects allows)"
            )),
        }
    }

    /// Ends the pass: what was set aside counts, and the file gets its name. A pass that is to be
    /// begun anew is dropped instead.
    ///
    /// # Errors
    /// The file can't be written, or lines were lost, which is a fault of skyprep.
    pub(super) fn settle(self, tables: &[&str], rejected: Option<u64>) -> Result<()> {
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if rejected.is_some_and(|rejected| rejected != state.rows) {
            let message = format!("{} rejected rows were listed", state.rows);
            return Err(Error::new(ErrorKind::Integrity, message).hint("please report this"));
        }
        let mut books = self.rejects.books();
        books.rows += state.rows;
        if state.is_exceeded {
            books.first = None;
        } else if books.first.is_none() {
            let first = self.first.into_inner();
            let first = first.unwrap_or_else(PoisonError::into_inner);
            books.first = first.map(|(_, row)| row);
        }
        let list = match (state.list.take(), &self.rejects.file) {
            // Before anything is published: a list of another run is not this one's.
            (None, Some(path)) if rejected.is_some() && !books.is_written => {
                Some(List::begin(path, &books.listed)?)
            }
            (list, _) => list,
        };
        if let (Some(list), Some(path)) = (list, &self.rejects.file) {
            list.commit(path)?;
            books.is_written = true;
            books
                .listed
                .extend(tables.iter().map(|name| (*name).to_owned()));
        }
        Ok(())
    }

    fn write(&self, state: &mut State, lines: &[u8]) -> Result<()> {
        let Some(path) = &self.rejects.file else {
            return Ok(());
        };
        let list = match &mut state.list {
            Some(list) => list,
            None => {
                let listed = &self.rejects.books().listed;
                state.list.insert(List::begin(path, listed)?)
            }
        };
        list.write(path, lines)
    }
}

impl Sink for PassRejects<'_> {
    fn is_stream(&self) -> bool {
        true
    }

    fn write_run(&self, packets: &[Packet], _: RunEnd<'_>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in packets {
            if state.is_exceeded {
                // The run has ended with an earlier line.
                return Ok(());
            }
            let rows = packet.rows() as u64;
            let left = self.rejects.most.saturating_sub(self.before + state.rows);
            if rows <= left {
                state.rows += rows;
                self.write(&mut state, packet.text())?;
                continue;
            }
            // Up to the row that is one too many, so that the list is the same each time.
            state.rows += left + 1;
            state.is_exceeded = true;
            let ends = memchr::memchr_iter(b'\n', packet.text());
            let end = ends
                .map(|at| at + 1)
                .nth(usize::try_from(left).unwrap_or(0));
            let lines = packet.text().get(..end.unwrap_or(0)).unwrap_or_default();
            self.write(&mut state, lines)?;
            return Err(self.too_many());
        }
        Ok(())
    }
}

/// A file of rejects being written.
struct List {
    out: BufWriter<AtomicFile>,
}

impl List {
    /// Begins a list with the lines of `listed` tables that stand in the file already.
    fn begin(path: &Path, listed: &BTreeSet<String>) -> Result<Self> {
        let mut list = Self {
            out: BufWriter::new(AtomicFile::create(path)?),
        };
        let head = list_head();
        list.write(path, head.as_bytes())?;
        list.write(path, b"\n")?;
        if !listed.is_empty() {
            list.take_over(path, listed)?;
        }
        Ok(list)
    }

    fn take_over(&mut self, path: &Path, listed: &BTreeSet<String>) -> Result<()> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        #[derive(Deserialize)]
        struct Named {
            table: String,
        }
        // A list that is gone has nothing to tell.
        let Ok(old) = File::open(path) else {
            return Ok(());
        };
        let mut lines = BufReader::new(old).split(b'\n');
        let head = lines.next().and_then(std::io::Result::ok);
        let head = head.and_then(|line| serde_json::from_slice::<Head>(&line).ok());
        if head.is_none_or(|head| head.format != FORMAT) {
            return Ok(());
        }
        for line in lines {
            let mut line = line.map_err(|error| Error::reading(path, error))?;
            let named = serde_json::from_slice::<Named>(&line);
            if named.is_ok_and(|named| listed.contains(&named.table)) {
                line.push(b'\n');
                self.write(path, &line)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let written = self.out.write_all(bytes);
        written.map_err(|error| Error::writing(path, error))
    }

    fn commit(self, path: &Path) -> Result<()> {
        let file = self.out.into_inner();
        let file = file.map_err(|error| Error::writing(path, error.into_error()))?;
        file.commit()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::exchange::{Collector, CollectorOptions, Stop};
    use crate::resources::{Cancel, MemoryGate};
    use crate::values::CellFault;

    const PIECES: u64 = 12;

    /// Bad rows of a piece.
    fn rows_of(piece: u64) -> u64 {
        [0, 3, 0, 1, 7, 0, 2][piece as usize % 7]
    }

    /// A piece as a worker does it; one of them ends with another failure.
    fn work_on(
        piece: u64,
        failing: u64,
        rows: usize,
        rejects: &PassRejects<'_>,
        to: &Collector<'_>,
    ) {
        let mut packet = None;
        for number in 1..=rows_of(piece) {
            let place = Place {
                row: Some(piece * 10 + number),
                ..Place::file("x")
            };
            let fault = CellFault::found(number.to_string(), ", expected less");
            let row = BadRow { place, fault };
            if number == 1 {
                rejects.note_first(piece, &row);
            }
            let mut lines: Packet = match packet.take() {
                Some(lines) => lines,
                None => match to.packet(piece, 0) {
                    Ok(lines) => lines,
                    Err(Stop::Overtaken) => return,
                    Err(Stop::Failed(error)) => panic!("{error}"),
                },
            };
            PassRejects::write_line("t", &row, lines.text_mut()).unwrap();
            lines.end_row();
            match lines.rows() >= rows {
                true => to.submit(piece, 0, lines),
                false => packet = Some(lines),
            }
            if rejects.are_too_many(number) {
                packet
                    .into_iter()
                    .for_each(|lines| to.submit(piece, 0, lines));
                return to.fail(piece, row.to_error());
            }
        }
        packet
            .into_iter()
            .for_each(|lines| to.submit(piece, 0, lines));
        match piece == failing {
            true => to.fail(piece, Error::usage("something else")),
            false => to.finish(piece, Vec::new()),
        }
    }

    /// The outcome and the list, with packets of `rows` and pieces done in the order of `order`.
    fn outcome(most: u64, failing: u64, rows: usize, order: &[u64]) -> (String, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bad");
        let rejects = Rejects::new(most, Some(file.clone()));
        let pass = rejects.begin_pass().unwrap();
        let collector = Collector::new(CollectorOptions {
            gate: MemoryGate::new(64 << 20),
            cancel: Cancel::default(),
            sinks: vec![&pass],
            shapes: vec![PassRejects::shape()],
            starts: vec![None],
            ahead: u64::MAX,
        });
        for piece in order {
            if !collector.is_overtaken(*piece) {
                work_on(*piece, failing, rows, &pass, &collector);
            }
        }
        let said = match collector.complete() {
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        pass.settle(&["t"], None).unwrap();
        (said, std::fs::read(file).unwrap_or_default())
    }

    #[test]
    fn the_outcome_does_not_depend_on_packets_and_order() {
        let in_order: Vec<u64> = (0..PIECES).collect();
        let backwards: Vec<u64> = (0..PIECES).rev().collect();
        let mixed: Vec<u64> = (0..PIECES).map(|piece| piece * 7 % PIECES).collect();
        for most in [0, 1, 2, 3, 4, 10, 11, 13, 100] {
            for failing in [0, 1, 4, 9, PIECES] {
                let expected = outcome(most, failing, 1, &in_order);
                // Counted by hand: what comes first in the order of the input.
                let before: u64 = (0..=failing.min(PIECES - 1)).map(rows_of).sum();
                let said = match (before > most, failing < PIECES) {
                    (true, _) => "x, row 11: found 1, expected less",
                    (false, true) => "something else",
                    (false, false) => "done",
                };
                assert!(
                    expected.0.starts_with(said),
                    "{most} {failing}: {}",
                    expected.0
                );
                let lines = expected.1.split(|byte| *byte == b'\n').count() as u64;
                let listed = before.min(most + 1);
                assert_eq!(lines, if listed > 0 { listed + 2 } else { 1 });
                for order in [&in_order, &backwards, &mixed] {
                    for rows in [1, 2, 5, 100] {
                        assert_eq!(outcome(most, failing, rows, order), expected, "{order:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn lists_of_others_are_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bad");
        let head = format!("{{\"format\":\"{FORMAT}\",\"version\":1}}\n");
        let (old, new) = ("{\"table\":\"old\"}\n", "{\"table\":\"new\"}\n");
        for (text, kept) in [
            (format!("{head}{new}{old}"), old),
            (format!("{{\"format\":\"other\"}}\n{old}"), ""),
            (String::new(), ""),
        ] {
            crate::publish::write_atomically(&file, text.as_bytes()).unwrap();
            let list = List::begin(&file, &BTreeSet::from(["old".to_owned()])).unwrap();
            list.commit(&file).unwrap();
            let made = std::fs::read_to_string(&file).unwrap();
            assert_eq!(made, format!("{head}{kept}"));
        }
        let rejects = Arc::new(Rejects::new(0, None));
        assert!(rejects.begin_pass().is_none());
    }
}
