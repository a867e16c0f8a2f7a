//! The rows of the copies, as text in the dialect of the sample.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use super::index::{HtmIndex, HtmSources};
use super::new_ids::{SourceIds, new_id};
use super::sample::Sample;
use super::targets::{Target, targets_of_chunk};
use crate::dialect::{BlockReader, Dialect, Fields, Records};
use crate::error::{Error, ErrorKind, Place, Result, quote_value};
use crate::partition::geometry::{ChunkId, Chunker, check_position};
use crate::partition::htm::{HtmId, row_id, triangle_file};
use crate::sph::double_text::write_double;
use crate::values::position_of;

/// Fields of the sample that copies have values of their own for, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedFields {
    /// Number of fields of a record.
    pub count: usize,
    /// Names of all fields, for messages.
    pub names: Vec<String>,
    /// The position that decides where a row goes: right ascension and declination.
    pub position: (usize, usize),
    /// Further positions.
    pub further: Vec<(usize, usize)>,
    /// The rows' own key.
    pub id: Option<usize>,
    /// The key of the table that decides which triangles stand in for others.
    pub part_id: Option<usize>,
}

/// A folder of what sph-htm-index has made: `htm_<triangle>.txt` and `.ids`, in folders of nodes if there are
/// several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriangleFolder {
    root: PathBuf,
    /// Folder of each file that lies in that of a node: where a triangle's are follows from the number of
    /// nodes, which nothing tells, for nodes without rows have no folder.
    in_nodes: HashMap<OsString, Arc<Path>>,
}

impl TriangleFolder {
    /// Finds the folder of an index, and what lies in folders of nodes there.
    pub fn of(index: &Path) -> Self {
        let root = index.parent().map_or_else(PathBuf::new, Path::to_path_buf);
        let place = match root.as_os_str().is_empty() {
            true => Path::new("."),
            false => &root,
        };
        let list = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
        let is_node = |entry: &std::fs::DirEntry| {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("node_"));
            number.is_some_and(|number| number.len() == 5 && number.parse::<u32>().is_ok())
        };
        let mut in_nodes = HashMap::new();
        for node in list(place).filter(is_node) {
            let folder: Arc<Path> = root.join(node.file_name()).into();
            let files = list(&node.path()).map(|file| (file.file_name(), Arc::clone(&folder)));
            in_nodes.extend(files);
        }
        Self { root, in_nodes }
    }

    /// Returns the path of a triangle's file.
    fn file(&self, triangle: HtmId, ending: &str) -> PathBuf {
        let name = triangle_file(triangle.number(), 1, ending);
        match self.in_nodes.get(OsStr::new(&name)) {
            Some(folder) => folder.join(name),
            None => self.root.join(name),
        }
    }
}

/// What is copied.
#[derive(Debug, Clone)]
pub struct CopySource {
    /// Rows of each triangle of the table that is copied.
    pub index: HtmIndex,
    /// Folder of its files.
    pub folder: TriangleFolder,
    /// Rows of each triangle of the table that decides which triangles stand in for others.
    pub part_index: HtmIndex,
    /// Folder of that one's `.ids`.
    pub part_folder: TriangleFolder,
    /// Dialect of the files.
    pub dialect: Dialect,
    /// What is changed in copies.
    pub fields: CopiedFields,
    /// Which rows are copied.
    pub sample: Sample,
}

impl CopySource {
    /// Returns all that decides the copies, for a record.
    pub fn fingerprint(&self) -> Value {
        let digest = |index: &HtmIndex| format!("{:032x}", xxh3_128(&index.to_bytes()));
        let fields = &self.fields;
        json!({
            "folder": self.folder.root,
            "part_folder": self.part_folder.root,
            "index": digest(&self.index),
            "part_index": digest(&self.part_index),
            "position": fields.position,
            "further": fields.further,
            "id": fields.id,
            "part_id": fields.part_id,
            "sample": format!("{:?}", self.sample),
        })
    }
}

/// Makes the rows of all triangles near some chunks, triangle by triangle.
///
/// Each triangle is made once, whatever the number of chunks that it is near; rows of it may lie in
/// other chunks, too.
pub struct Copies {
    source: CopySource,
    stand_ins: HtmSources,
    chunker: Arc<Chunker>,
    /// Chunks that are still to come, in order.
    chunks: VecDeque<ChunkId>,
    /// A bit for each triangle of the level that is done.
    is_done: Vec<u64>,
    /// Triangles near the chunk at hand, by their sources.
    waiting: BTreeMap<HtmId, Vec<Target>>,
    rows: Option<SourceRows>,
}

/// Bytes of a sample that are copied at a time.
const BLOCK: usize = 256 << 10;

/// The rows of a triangle that others take theirs from, block by block.
struct SourceRows {
    path: PathBuf,
    blocks: BlockReader<File>,
    block: Vec<u8>,
    first_line: u64,
    targets: Vec<Target>,
    /// The first of them that lacks the block.
    next: usize,
    ids: Option<SourceIds>,
    part_ids: Option<SourceIds>,
    /// Rows so far, and those that the index tells of.
    rows: u64,
    expected: u64,
}

impl Copies {
    /// Makes the rows near `chunks`.
    pub fn new(source: CopySource, chunker: Arc<Chunker>, chunks: Vec<ChunkId>) -> Self {
        let triangles = 8_usize << (2 * source.part_index.level());
        Self {
            stand_ins: source.part_index.sources(),
            source,
            chunker,
            chunks: chunks.into(),
            is_done: vec![0; triangles.div_ceil(64)],
            waiting: BTreeMap::new(),
            rows: None,
        }
    }

    /// Returns some rows of the next triangle; nothing when all are made.
    fn next_rows(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(rows) = &mut self.rows {
                if let Some(made) = rows.next(&self.source)? {
                    return Ok(Some(made));
                }
                self.rows = None;
            }
            if let Some((triangle, targets)) = self.waiting.pop_first() {
                self.rows = SourceRows::open(triangle, targets, &self.source)?;
                continue;
            }
            let Some(chunk) = self.chunks.pop_front() else {
                return Ok(None);
            };
            let level = self.source.part_index.level();
            let targets = targets_of_chunk(&self.chunker, chunk, level, &self.stand_ins);
            let mut targets = targets.unwrap_or_default();
            for of_source in targets.values_mut() {
                of_source.retain(|target| take(&mut self.is_done, target.triangle));
            }
            targets.retain(|_, of_source| !of_source.is_empty());
            self.waiting = targets;
        }
    }
}

impl Iterator for Copies {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_rows().transpose()
    }
}

/// Says whether a triangle was not done yet, and marks it as done.
fn take(is_done: &mut [u64], triangle: HtmId) -> bool {
    let number = triangle.number() as usize & ((8 << (2 * triangle.level())) - 1);
    let Some(word) = is_done.get_mut(number / 64) else {
        return false;
    };
    let bit = 1 << (number % 64);
    let is_new = *word & bit == 0;
    *word |= bit;
    is_new
}

impl SourceRows {
    /// Opens the rows of a triangle; nothing if the table has none there.
    fn open(triangle: HtmId, targets: Vec<Target>, source: &CopySource) -> Result<Option<Self>> {
        let expected = source.index.rows(triangle);
        if expected == 0 {
            return Ok(None);
        }
        let path = source.folder.file(triangle, "txt");
        let file = File::open(&path).map_err(|error| Error::reading(&path, error))?;
        let ids_of = |folder: &TriangleFolder, index: &HtmIndex| {
            let path = folder.file(triangle, "ids");
            let bytes = std::fs::read(&path).map_err(|error| Error::reading(&path, error))?;
            SourceIds::from_bytes(&bytes, index.rows(triangle)).map_err(|fault| {
                Error::new(ErrorKind::Corrupt, fault.to_string())
                    .at(Place::file(path.display().to_string()))
            })
        };
        let fields = &source.fields;
        Ok(Some(Self {
            ids: match fields.id {
                Some(_) => Some(ids_of(&source.folder, &source.index)?),
                None => None,
            },
            part_ids: match fields.part_id {
                Some(_) => Some(ids_of(&source.part_folder, &source.part_index)?),
                None => None,
            },
            blocks: BlockReader::new(file, &source.dialect, BLOCK),
            block: Vec::new(),
            first_line: 1,
            next: targets.len(),
            targets,
            path,
            rows: 0,
            expected,
        }))
    }

    /// Returns the rows of the block as they are in the next triangle, and goes on to the next block when
    /// all have it; nothing at the end.
    fn next(&mut self, source: &CopySource) -> Result<Option<Vec<u8>>> {
        if self.next >= self.targets.len() {
            let read = self.blocks.next_block(&mut self.block);
            let read = read.map_err(|error| error.at(self.place()))?;
            let Some(info) = read else {
                return self.check_rows().map(|()| None);
            };
            self.first_line = info.first_line;
            self.next = 0;
        }
        let Some(target) = self.targets.get(self.next).copied() else {
            return Ok(None);
        };
        let (made, rows) = self.copy(&target, source)?;
        if self.next == 0 {
            self.rows += rows;
        }
        self.next += 1;
        Ok(Some(made))
    }

    fn place(&self) -> Place {
        Place::file(self.path.display().to_string())
    }

    /// Compares the rows that were there with what the index says.
    fn check_rows(&self) -> Result<()> {
        if self.rows == self.expected {
            return Ok(());
        }
        let message = format!(
            "has {} rows, but the HTM index tells of {}",
            self.rows, self.expected
        );
        Err(Error::new(ErrorKind::Corrupt, message)
            .at(self.place())
            .hint("make the index and its files again, into a new folder"))
    }

    /// Returns the rows of the block as they are in a triangle, and how many there were.
    fn copy(&self, target: &Target, source: &CopySource) -> Result<(Vec<u8>, u64)> {
        let (dialect, wanted) = (&source.dialect, &source.fields);
        let mut out = Vec::with_capacity(self.block.len() + self.block.len() / 8);
        let mut records = Records::new(dialect, &self.block).at_line(self.first_line);
        let mut fields = Fields::new();
        let mut row = Row {
            file: self,
            line: self.first_line,
            source,
            fields: Vec::with_capacity(wanted.count),
            scratch: Vec::new(),
        };
        let mut rows = 0;
        loop {
            let found = records.next(&mut fields).map_err(|fault| {
                let error = Error::new(ErrorKind::DataRefused, fault.to_string());
                error.at(row.place(None))
            })?;
            let Some(record) = found else {
                return Ok((out, rows));
            };
            if record.stands_for_no_row(dialect, wanted.count) {
                continue;
            }
            rows += 1;
            row.line = record.line();
            if fields.count() != wanted.count {
                let message = format!(
                    "the record has {} fields, expected {}",
                    fields.count(),
                    wanted.count
                );
                return Err(Error::new(ErrorKind::DataRefused, message).at(row.place(None)));
            }
            row.fields.clear();
            let ranges = (0..wanted.count).filter_map(|field| fields.range(field));
            row.fields.extend(ranges.map(Piece::Own));
            let value = |field: usize, scratch: &mut Vec<u8>| -> Option<Vec<u8>> {
                let field = fields.get(field, &self.block)?;
                let is_null = dialect.is_null(field);
                (!is_null).then(|| dialect.value(field, scratch).to_vec())
            };
            if row.change(target, value)? {
                row.write(&mut out);
            }
        }
    }
}

/// A field of a row that is being copied.
enum Piece {
    /// As it stands in the source.
    Own(Range<usize>),
    /// Another text.
    New(Vec<u8>),
}

/// A row that is being copied.
struct Row<'r> {
    file: &'r SourceRows,
    line: u64,
    source: &'r CopySource,
    fields: Vec<Piece>,
    scratch: Vec<u8>,
}

impl Row<'_> {
    /// Gives the row the place and the keys that it has in a triangle; says whether it is copied.
    fn change(
        &mut self,
        target: &Target,
        value: impl Fn(usize, &mut Vec<u8>) -> Option<Vec<u8>>,
    ) -> Result<bool> {
        let wanted = &self.source.fields;
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut of = |field: usize| value(field, &mut scratch);
        let id = self.key(wanted.id, &mut of)?;
        let part_id = self.key(wanted.part_id, &mut of)?;
        if let Some(key) = part_id.or(id)
            && !self.source.sample.keeps(key)
        {
            self.scratch = scratch;
            return Ok(false);
        }
        for (field, key, ids) in [
            (wanted.id, id, &self.file.ids),
            (wanted.part_id, part_id, &self.file.part_ids),
        ] {
            let (Some(field), Some(key), Some(ids)) = (field, key, ids) else {
                continue;
            };
            let rank = ids.rank(key).map_err(|fault| {
                let error = Error::new(ErrorKind::DataRefused, fault.to_string());
                error.at(self.place(Some(field)))
            })?;
            self.set(
                field,
                new_id(target.triangle, rank).to_string().into_bytes(),
            );
        }
        let moved = |place: (f64, f64)| target.rotation.map(|it| it.moved_deg(place.0, place.1));
        let (lon, lat) = wanted.position;
        let place = (self.degrees(lon, &mut of)?, self.degrees(lat, &mut of)?);
        match place {
            (Some(ra), Some(dec)) => {
                self.check((lon, lat), (ra, dec))?;
                self.set_position((lon, lat), moved((ra, dec)));
            }
            (None, _) => return Err(self.null_position(lon)),
            (_, None) => return Err(self.null_position(lat)),
        }
        for (lon, lat) in &wanted.further {
            match (self.degrees(*lon, &mut of)?, self.degrees(*lat, &mut of)?) {
                (Some(ra), Some(dec)) => {
                    self.check((*lon, *lat), (ra, dec))?;
                    self.set_position((*lon, *lat), moved((ra, dec)));
                }
                _ => {
                    let null = self.source.dialect.null().to_vec();
                    self.set(*lon, null.clone());
                    self.set(*lat, null);
                }
            }
        }
        self.scratch = scratch;
        Ok(true)
    }

    fn set(&mut self, field: usize, text: Vec<u8>) {
        if let Some(piece) = self.fields.get_mut(field) {
            *piece = Piece::New(text);
        }
    }

    /// A row that is not moved keeps its text.
    fn set_position(&mut self, (lon, lat): (usize, usize), moved: Option<(f64, f64)>) {
        let Some((ra, dec)) = moved else { return };
        for (field, degrees) in [(lon, ra), (lat, dec)] {
            let mut text = Vec::new();
            write_double(&mut text, degrees);
            self.set(field, text);
        }
    }

    fn key(
        &self,
        field: Option<usize>,
        of: &mut impl FnMut(usize) -> Option<Vec<u8>>,
    ) -> Result<Option<i64>> {
        let Some((field, text)) = field.and_then(|field| Some((field, of(field)?))) else {
            return Ok(None);
        };
        match row_id(&text) {
            Some(number) => Ok(Some(number)),
            None => Err(self.refused(field, &text, "a whole number of 64 bits")),
        }
    }

    fn degrees(
        &self,
        field: usize,
        of: &mut impl FnMut(usize) -> Option<Vec<u8>>,
    ) -> Result<Option<f64>> {
        let Some(text) = of(field) else {
            return Ok(None);
        };
        match position_of(&text) {
            Some(degrees) => Ok(Some(degrees)),
            None => Err(self.refused(field, &text, "degrees")),
        }
    }

    /// Refuses a position off the sphere.
    fn check(&self, (lon, lat): (usize, usize), (ra, dec): (f64, f64)) -> Result<()> {
        check_position(ra, dec).map_err(|fault| {
            let field = if fault.is_of_dec() { lat } else { lon };
            Error::new(ErrorKind::DataRefused, fault.to_string()).at(self.place(Some(field)))
        })
    }

    fn refused(&self, field: usize, text: &[u8], expected: &str) -> Error {
        let message = format!("found {}, expected {expected}", quote_value(text));
        Error::new(ErrorKind::DataRefused, message).at(self.place(Some(field)))
    }

    fn null_position(&self, field: usize) -> Error {
        let message = "found NULL, expected degrees";
        Error::new(ErrorKind::DataRefused, message).at(self.place(Some(field)))
    }

    fn place(&self, field: Option<usize>) -> Place {
        let names = &self.source.fields.names;
        Place {
            line: Some(self.line),
            column: field.and_then(|field| names.get(field).cloned()),
            ..Place::file(self.file.path.display().to_string())
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (number, piece) in self.fields.iter().enumerate() {
            if number > 0 {
                out.push(self.source.dialect.delimiter());
            }
            let text = match piece {
                Piece::Own(range) => self.file.block.get(range.clone()).unwrap_or_default(),
                Piece::New(text) => text,
            };
            out.extend_from_slice(text);
        }
        out.push(b'\n');
    }
}
