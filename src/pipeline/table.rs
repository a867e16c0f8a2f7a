//! One output table: its sink, its files, and what is reported of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bad_inputs::PassedOver;
use super::duplicates::duplicates_of;
use super::finishing::{ArrangedColumns, Arrangement};
use super::pass::{PassLimits, TargetCounts};
use super::stream::frame;
use crate::convert::RowTarget;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::{
    ChunkNames, ChunkRows, ChunkSink, ChunkSinkOptions, Digests, FileDigest, FileSummary, Finish,
    JournalPlace, Mark, Parts, Sink, StreamSink, TriangleSink, TriangleSinkOptions,
};
use crate::partition::key_index::{
    DuplicateRule, DuplicatedKeys, IndexColumns, IndexFormat, write_compact_index,
    write_parquet_index,
};
use crate::partition::{DirectorIndex, Partitioning, Routing, chunk_index_record};
use crate::publish::{
    InputStamp, OutputFolder, StagingPlace, TableIdentity, append, remove_optional,
};
use crate::schema::{OutputColumn, TableKind, row_steps};
use crate::sph::{HTM_INDEX, SubChunkRows, htm_index_record};
use crate::typed::{ParquetSink, TypedColumn, parquet_memory};

const EXCHANGE: &str = "exchange";

/// A table to be made, and where its files go.
#[derive(Debug, Clone)]
pub struct TableJob {
    /// How its rows are made.
    pub target: RowTarget,
    /// What it is to Qserv.
    pub kind: TableKind,
    /// How the sky is divided, for partitioned tables.
    pub partitioning: Option<Partitioning>,
    /// Name of its database, where there is one.
    pub database: Option<String>,
    /// Folder of its files, relative to the output folder; empty or ended by `/`.
    pub folder: String,
    /// What the names of its chunk files and indexes begin with.
    pub prefix: String,
    /// Nodes that its chunks are spread over, each with a folder of its own if there are several.
    pub nodes: u32,
    /// Name of the file of a table that is not partitioned.
    pub file_name: String,
    /// Whether `chunk_index.bin` is written.
    pub has_chunk_index: bool,
    /// Format of the director index, for directors that have one.
    pub index_format: IndexFormat,
    /// What a key that occurs twice means to a director.
    pub duplicates: DuplicateRule,
    /// What of the table is published.
    pub writes: TableParts,
    /// Whether the report tells the rows of each sub-chunk.
    pub tells_sub_chunks: bool,
    /// How the rows of each chunk file are arranged.
    pub arrangement: Arrangement,
}

/// What of a partitioned table is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TableParts {
    /// All of it.
    #[default]
    All,
    /// The director index alone; the rest is only counted.
    DirectorIndex,
    /// The chunk files alone; keys of a director are only compared.
    Chunks,
}

/// What was made of a table; printed, reported and recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableReport {
    /// Name of the table.
    pub table: String,
    /// What it is to Qserv.
    pub kind: TableKind,
    /// Columns of the text, in order.
    pub columns: Vec<String>,
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that were written, without overlap.
    pub rows_out: u64,
    /// Those of them that are second rows: of matches whose sides lie in two chunks.
    #[serde(default)]
    pub second_rows: u64,
    /// Rows whose own chunk was not to be made.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub elsewhere: u64,
    /// Overlap rows.
    pub overlap_rows: u64,
    /// Rows that were refused.
    pub rejected: u64,
    /// The file that lists them: an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reject_file: Option<String>,
    /// Inputs that were passed over: the table lacks their rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// Files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Seconds that the pass took, which may have made other tables too.
    pub seconds: f64,
    /// The most bytes that the table's buffers held at once.
    pub memory_peak: u64,
    /// Changes by column and rule.
    pub changes: BTreeMap<String, BTreeMap<String, u64>>,
    /// Rows of each sub-chunk, where they are wanted; not written anywhere.
    #[serde(skip)]
    pub sub_chunks: Vec<SubChunkRows>,
}

/// Where the rows of a table go while it is being made.
pub(super) enum TableSink {
    Chunks(Box<ChunkSink>),
    Stream { sink: Box<StreamSink> },
    Parquet(Box<ParquetSink>),
    Triangles(Box<TriangleSink>),
}

impl TableJob {
    /// Returns what the files are to Qserv.
    pub(crate) fn identity(&self) -> TableIdentity {
        TableIdentity {
            table: self.target.name.clone(),
            database: self.database.clone(),
            kind: self.kind,
            partitioning: self.partitioning,
            dialect: self.target.dialect.clone(),
            charset: self.target.policy.charset,
        }
    }

    /// Makes the table's sink in the staging area of `folder`. With `identity`, a digest of all that
    /// decides the bytes, it keeps a journal and goes on where an earlier run was ended; how far
    /// that one came is returned.
    pub(super) fn sink(
        &self,
        columns: &[OutputColumn],
        folder: &OutputFolder,
        limits: &PassLimits,
        identity: Option<&str>,
    ) -> Result<(TableSink, Option<Mark>)> {
        let journal = match identity {
            Some(identity) => Some(JournalPlace {
                path: self.journal_path(folder)?,
                identity: identity.to_owned(),
                spill: match self.target.routing {
                    Some(_) => Some(self.exchange_path(folder, limits)?),
                    None => None,
                },
            }),
            None => None,
        };
        let Some(routing) = &self.target.routing else {
            return self.stream_sink(columns, folder, journal);
        };
        if routing.is_to_triangles() {
            return Ok((self.triangle_sink(folder, limits)?, None));
        }
        let options = ChunkSinkOptions {
            rows: self.chunk_rows(routing, columns),
            staging: self.chunk_staging(&folder.staging_place())?,
            key_index: routing
                .director_key
                .as_ref()
                .map(|_| self.key_index(IndexFormat::Text)),
            gate: Arc::clone(&limits.gate),
            cancel: limits.cancel.clone(),
            max_open_files: limits.max_open_files,
            exchange_path: self.exchange_path(folder, limits)?,
            finish: limits.finish,
            small_segment: Finish::SMALL_SEGMENT,
        };
        let (sink, start) = match journal {
            Some(journal) => ChunkSink::resumable(options, journal)?,
            None => (ChunkSink::new(options), None),
        };
        Ok((TableSink::Chunks(Box::new(sink)), start))
    }

    /// Says how the table's rows become those of chunks.
    pub(crate) fn chunk_rows(&self, routing: &Routing, columns: &[OutputColumn]) -> ChunkRows {
        ChunkRows {
            chunk_numbers: routing.chunk_numbers(),
            names: self.chunk_names(),
            slots: row_steps(columns).1,
            delimiter: self.target.dialect.delimiter(),
            line_end: self.target.dialect.line_terminator().as_bytes(),
            digests: match self.database {
                // A manifest will name the files.
                Some(_) => Digests::Both,
                None => Digests::Xxh3,
            },
            counts_sub_chunks: self.has_chunk_index || self.tells_sub_chunks,
            has_keys_of_all: self.writes == TableParts::Chunks,
        }
    }

    fn chunk_names(&self) -> ChunkNames {
        ChunkNames::new(&self.folder, &self.prefix, self.nodes)
    }

    /// Makes the staging folder of chunk files, with those of nodes in it, and returns its path.
    pub(super) fn chunk_staging(&self, staging: &StagingPlace) -> Result<PathBuf> {
        for node in self.chunk_names().node_folders() {
            staging.staged(&format!("{}{node}{}", self.folder, self.file_name))?;
        }
        // Any name will do: what counts is that the folder is there.
        let staged = staging.staged(&format!("{}{}", self.folder, self.chunk_index()))?;
        Ok(staged.parent().map_or_else(PathBuf::new, PathBuf::from))
    }

    /// Makes the sink of rows that go to triangles, which a later run begins anew.
    fn triangle_sink(&self, folder: &OutputFolder, limits: &PassLimits) -> Result<TableSink> {
        // What an earlier run has left there would be appended to.
        folder.clear_staging()?;
        Ok(TableSink::Triangles(Box::new(TriangleSink::new(
            TriangleSinkOptions {
                staging: self.chunk_staging(&folder.staging_place())?,
                nodes: self.nodes,
                line_end: self.target.dialect.line_terminator().as_bytes(),
                gate: Arc::clone(&limits.gate),
            },
        ))))
    }

    /// Makes the sink of a Parquet file, which a later run begins anew.
    pub(super) fn parquet_sink(
        &self,
        columns: Vec<TypedColumn>,
        folder: &OutputFolder,
        limits: &PassLimits,
    ) -> Result<TableSink> {
        let path = self.part_path(0);
        let out = begin_anew(&folder.staged(&path)?)?;
        let (shown, dialect) = (folder.root().join(path), self.target.dialect.clone());
        let paid = limits.gate.charge(parquet_memory(columns.len()));
        let sink = ParquetSink::new(shown, out, columns, dialect, paid)?;
        Ok(TableSink::Parquet(Box::new(sink)))
    }

    fn stream_sink(
        &self,
        columns: &[OutputColumn],
        folder: &OutputFolder,
        journal: Option<JournalPlace>,
    ) -> Result<(TableSink, Option<Mark>)> {
        let staged = folder.staged(&self.part_path(0))?;
        let shown = folder.root().join(self.part_path(0));
        // What is cut into parts is begun anew after a kill.
        let (sink, start) = match journal.filter(|_| self.target.split.is_none()) {
            Some(journal) => StreamSink::resumable(shown, &staged, journal)?,
            None => (StreamSink::new(shown, begin_anew(&staged)?), None),
        };
        let parts = match self.target.split {
            None => None,
            Some(limit) => {
                let (job, place) = (self.clone(), folder.staging_place());
                Some(Parts {
                    limit,
                    open: Box::new(move |part| begin_anew(&place.staged(&job.part_path(part))?)),
                })
            }
        };
        let sink = Box::new(sink.framed(frame(&self.target, columns)?, parts)?);
        Ok((TableSink::Stream { sink }, start))
    }

    /// Returns the name of the director index in some format.
    pub(super) fn key_index(&self, format: IndexFormat) -> String {
        format!("{}_object_index.{}", self.prefix, format.ending())
    }

    /// Returns the name of the rows-per-sub-chunk index.
    pub(crate) fn chunk_index(&self) -> String {
        format!("{}_index.bin", self.prefix)
    }

    /// Returns the path of the index that counts the rows of sub-chunks, or of triangles, relative to the
    /// output folder.
    pub fn chunk_index_path(&self) -> String {
        let routing = self.target.routing.as_ref();
        match routing.is_some_and(Routing::is_to_triangles) {
            true => HTM_INDEX.to_owned(),
            false => format!("{}{}", self.folder, self.chunk_index()),
        }
    }

    /// Returns the path of the journal.
    pub(super) fn journal_path(&self, folder: &OutputFolder) -> Result<PathBuf> {
        folder.staged(&self.hidden_name("journal"))
    }

    /// Returns the path of a part of a table that is not partitioned.
    pub(super) fn part_path(&self, part: usize) -> String {
        match part.checked_sub(1) {
            None => format!("{}{}", self.folder, self.file_name),
            Some(further) => format!("{}{further:03}/{}", self.folder, self.file_name),
        }
    }

    /// Removes what waits outside the staging folder of `root` for rows to get into their files.
    pub(super) fn clear_spill(&self, root: &Path, limits: &PassLimits) -> Result<()> {
        match &limits.spill_folder {
            Some(spill) if self.target.routing.is_some() => {
                remove_optional(&self.spill_path(spill, root))
            }
            _ => Ok(()),
        }
    }

    fn exchange_path(&self, folder: &OutputFolder, limits: &PassLimits) -> Result<PathBuf> {
        match &limits.spill_folder {
            Some(spill) => Ok(self.spill_path(spill, folder.root())),
            None => folder.staged(&self.hidden_name(EXCHANGE)),
        }
    }

    /// Returns the exchange file's path in a folder that many runs share.
    fn spill_path(&self, spill: &Path, root: &Path) -> PathBuf {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        let id = xxhash_rust::xxh3::xxh3_64(root.as_os_str().as_encoded_bytes());
        spill.join(format!("skyprep-{id:016x}{}", self.hidden_name(EXCHANGE)))
    }

    /// Returns where a hidden file of this table may be made for a while.
    pub(super) fn scratch(&self, staging: &StagingPlace, what: &str) -> Result<PathBuf> {
        staging.staged(&self.hidden_name(what))
    }

    /// Returns the stamps of the indexes in which the table's keys are looked up.
    pub(crate) fn index_stamps(&self) -> Result<Vec<InputStamp>> {
        let (siblings, others): (Vec<_>, Vec<_>) =
            self.indexes().partition(|index| index.sibling().is_some());
        let all = others.into_iter().chain(siblings);
        all.map(DirectorIndex::stamp).collect()
    }

    /// Returns how many of these stamps, at their end, are of indexes that the same pipeline makes.
    pub(super) fn sibling_indexes(&self) -> usize {
        let indexes = self.indexes();
        indexes.filter(|index| index.sibling().is_some()).count()
    }

    /// Returns the indexes in which the table's keys are looked up.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = &DirectorIndex> {
        let keys = self.target.routing.iter().flat_map(Routing::keys);
        keys.map(|key| key.index.as_ref())
    }

    /// Returns a short name for a hidden file of this table.
    fn hidden_name(&self, what: &str) -> String {
        let id = xxhash_rust::xxh3::xxh3_64(self.target.name.as_bytes());
        format!(".{id:016x}.{what}")
    }

    /// Finishes the files and checks that the books balance; tells which keys of a director occur
    /// twice, and then the files are of no use.
    ///
    /// # Errors
    /// The last bytes can't be written, or rows were lost, which is a fault of skyprep.
    pub(super) fn finish(
        &self,
        sink: TableSink,
        (columns, arranged): (&[OutputColumn], Option<&ArrangedColumns>),
        counts: &TargetCounts,
        staging: &StagingPlace,
        limits: &PassLimits,
    ) -> Result<FinishedTable> {
        let mut sub_chunks = Vec::new();
        let mut files: Vec<FileSummary> = match sink {
            TableSink::Stream { sink } => {
                let parts = sink.finish()?.into_iter().enumerate();
                parts
                    .map(|(part, digest)| digest.finish(self.part_path(part), None, false))
                    .collect()
            }
            TableSink::Triangles(sink) => finish_triangles(*sink, staging)?,
            TableSink::Parquet(sink) => {
                vec![sink.finish()?.finish(self.part_path(0), None, false)]
            }
            TableSink::Chunks(sink) => self.finish_chunks(*sink, staging, &mut sub_chunks)?,
        };
        let duplicates = self.finish_index(&mut files, staging, limits)?;
        if let (Some(columns), None) = (arranged, &duplicates) {
            self.arrange(&mut files, columns, staging, limits)?;
        }
        let data = files
            .iter()
            .filter(|file| self.kind == TableKind::Regular || file.chunk().is_some());
        let rows = |overlap: bool| {
            let chosen = data.clone().filter(|file| file.is_overlap() == overlap);
            chosen.map(|file| file.rows).sum::<u64>()
        };
        let (rows_out, overlap_rows) = (rows(false), rows(true));
        match self.writes {
            TableParts::All => {}
            TableParts::DirectorIndex => files.retain(|file| file.chunk().is_none()),
            TableParts::Chunks => files.retain(|file| file.chunk().is_some()),
        }
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let report = TableReport {
            table: self.target.name.clone(),
            kind: self.kind,
            rows_in: counts.rows_in,
            rows_out,
            second_rows: counts.second_rows,
            elsewhere: counts.elsewhere,
            overlap_rows,
            rejected: counts.rejected,
            reject_file: None,
            passed_over: Vec::new(),
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
            seconds: 0.0,
            memory_peak: counts.memory_peak,
            changes: counts.changes.named(&names),
            sub_chunks,
            columns: names,
        };
        report.check_balance()?;
        Ok(FinishedTable {
            files,
            report,
            duplicates,
        })
    }

    /// Finishes chunk files and the index that counts their rows.
    fn finish_chunks(
        &self,
        sink: ChunkSink,
        staging: &StagingPlace,
        sub_chunks: &mut Vec<SubChunkRows>,
    ) -> Result<Vec<FileSummary>> {
        let mut index = StagedFile::new(staging, self.chunk_index_path())?;
        let writes_index = self.has_chunk_index && self.writes == TableParts::All;
        let mut files = sink.finish(&mut |key, count| {
            if self.tells_sub_chunks {
                sub_chunks.push(SubChunkRows {
                    chunk: key.0,
                    sub_chunk: key.1,
                    rows: count.rows,
                    overlap_rows: count.overlap_rows,
                });
            }
            match writes_index {
                true => index.write(&chunk_index_record(key, count)),
                false => Ok(()),
            }
        })?;
        files.extend(index.finish()?);
        Ok(files)
    }

    /// Looks for keys that occur twice in the index of a director, and brings it into the format
    /// that was asked for.
    pub(super) fn finish_index(
        &self,
        files: &mut [FileSummary],
        staging: &StagingPlace,
        limits: &PassLimits,
    ) -> Result<Option<DuplicatedKeys>> {
        let path = format!("{}{}", self.folder, self.key_index(IndexFormat::Text));
        let Some(file) = files.iter_mut().find(|file| file.path() == path) else {
            return Ok(None);
        };
        let (text, scratch) = (staging.staged(&path)?, self.scratch(staging, "keys")?);
        if self.duplicates == DuplicateRule::Refuse {
            let found = duplicates_of(self, &text, &scratch, limits)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        let limits = limits.for_index();
        let path = format!("{}{}", self.folder, self.key_index(self.index_format));
        let text = (text.as_path(), &self.target.dialect);
        let out = staging.staged(&path)?;
        let rows = match (self.index_format, &self.target.routing) {
            (IndexFormat::Parquet, Some(routing)) => {
                let columns = IndexColumns {
                    key: routing.director_key.clone().unwrap_or_default(),
                    chunk: routing.columns.chunk.clone().unwrap_or_default(),
                    sub_chunk: routing.columns.sub_chunk.clone(),
                    key_type: None,
                };
                write_parquet_index(text, &out, &columns, &limits)?
            }
            (IndexFormat::Binary, _) => write_compact_index(text, &out, self.duplicates, &limits)?,
            _ => return Ok(None),
        };
        *file = FileDigest::of_file(&out, rows)?.finish(path, None, false);
        Ok(None)
    }
}

/// A table whose files are staged.
pub(super) struct FinishedTable {
    pub(super) files: Vec<FileSummary>,
    pub(super) report: TableReport,
    /// Keys of a director that occur more than once.
    pub(super) duplicates: Option<DuplicatedKeys>,
}

impl TableReport {
    /// Returns the report of a table that was not made, since all its inputs were passed over.
    pub(crate) fn of_nothing(job: &TableJob) -> Self {
        Self::empty(&job.target.name, job.kind)
    }

    /// Returns the report of a table that nothing was counted of yet.
    pub(crate) fn empty(table: &str, kind: TableKind) -> Self {
        Self {
            table: table.to_owned(),
            kind,
            columns: Vec::new(),
            rows_in: 0,
            rows_out: 0,
            second_rows: 0,
            elsewhere: 0,
            overlap_rows: 0,
            rejected: 0,
            reject_file: None,
            passed_over: Vec::new(),
            files: 0,
            bytes: 0,
            seconds: 0.0,
            memory_peak: 0,
            changes: BTreeMap::new(),
            sub_chunks: Vec::new(),
        }
    }

    /// Checks that every row that came in was written once or refused, or belongs to a chunk that was
    /// not to be made; second rows come on top.
    pub(crate) fn check_balance(&self) -> Result<()> {
        let placed = self.rows_out + self.rejected + self.elsewhere;
        if self.rows_in + self.second_rows == placed {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Integrity,
            format!(
                "table {}: {} rows came in, but {} were written ({} a second time), {} refused and {} \
                 left to other chunks",
                self.table,
                self.rows_in,
                self.rows_out,
                self.second_rows,
                self.rejected,
                self.elsewhere
            ),
        )
        .hint("nothing was published; please report this"))
    }
}

/// Writes the index that counts the rows of triangles, and returns it with their files.
fn finish_triangles(sink: TriangleSink, staging: &StagingPlace) -> Result<Vec<FileSummary>> {
    let (mut files, rows) = sink.finish();
    let mut index = StagedFile::new(staging, HTM_INDEX.to_owned())?;
    for (triangle, rows) in rows {
        index.write(&htm_index_record(triangle, rows))?;
    }
    files.extend(index.finish()?);
    Ok(files)
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl TableSink {
    pub(super) fn as_sink(&self) -> &dyn Sink {
        match self {
            Self::Chunks(sink) => sink.as_ref(),
            Self::Stream { sink } => sink.as_ref(),
            Self::Parquet(sink) => sink.as_ref(),
            Self::Triangles(sink) => sink.as_ref(),
        }
    }
}

/// Opens a staged file without what an earlier run may have left there.
fn begin_anew(staged: &Path) -> Result<Box<dyn Write + Send>> {
    remove_optional(staged)?;
    Ok(Box::new(append(staged)?))
}

/// A staged file that is written record by record; without any record there is no file.
pub(crate) struct StagedFile {
    path: String,
    staged: PathBuf,
    file: Option<BufWriter<File>>,
    digest: FileDigest,
}

impl StagedFile {
    pub(crate) fn new(staging: &StagingPlace, path: String) -> Result<Self> {
        Ok(Self {
            staged: staging.staged(&path)?,
            path,
            file: None,
            digest: FileDigest::default(),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(append(&self.staged)?)),
        };
        file.write_all(bytes)
            .map_err(|error| Error::writing(&self.staged, error))?;
        self.digest.update(bytes);
        Ok(())
    }

    /// Ends a file that is there whether or not anything was written, and holds so many rows.
    pub(super) fn finish_with(mut self, rows: u64) -> Result<FileSummary> {
        self.digest.add_rows(rows);
        if self.file.is_none() {
            self.file = Some(BufWriter::new(append(&self.staged)?));
        }
        let path = self.path.clone();
        let finished = self.finish()?;
        finished.ok_or_else(|| {
            Error::new(ErrorKind::Internal, format!("{path} was not written"))
                .hint("please report this")
        })
    }

    pub(crate) fn finish(self) -> Result<Option<FileSummary>> {
        let Some(mut file) = self.file else {
            return Ok(None);
        };
        file.flush()
            .map_err(|error| Error::writing(&self.staged, error))?;
        Ok(Some(self.digest.finish(self.path, None, false)))
    }
}
