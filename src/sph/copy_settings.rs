//! What sph-htm-index, sph-duplicate and sph-estimate-stats need before they start, checked as far as
//! that can be done without reading data.

use std::path::{Path, PathBuf};

use super::config::{SphConfig, SphPart};
use super::duplicate::{
    CopiedFields, CopySource, HTM_INDEX, HTM_INDEX_RECORD, HtmIndex, Sample, SphCopies,
    TriangleFolder, chunks_in,
};
use super::fields::{FieldPair, Fields};
use super::settings::{ToolSettings, input_fields, missing, sub_chunk};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::partition::geometry::ChunkId;
use crate::partition::htm::{MAX_LEVEL, SkyBox};

/// What sph-htm-index needs.
#[derive(Debug, Clone)]
pub struct HtmIndexSettings {
    /// What the tools have in common.
    pub tool: ToolSettings,
    /// Columns of the position.
    pub position: FieldPair,
    /// Column of the key.
    pub id: String,
    /// Level of the triangles.
    pub level: u32,
}

/// What sph-duplicate needs.
#[derive(Debug, Clone)]
pub struct DuplicateSettings {
    /// What the tools have in common.
    pub tool: ToolSettings,
    /// Columns of the position.
    pub position: FieldPair,
    /// What is copied.
    pub source: CopySource,
    /// The chunks that are filled.
    pub chunks: Vec<ChunkId>,
}

/// What sph-estimate-stats needs.
#[derive(Debug, Clone)]
pub struct EstimateSettings {
    /// What the tools have in common.
    pub tool: ToolSettings,
    /// Rows of each triangle of the table that would be copied.
    pub index: HtmIndex,
    /// Rows of each triangle of the table that decides which triangles stand in for others.
    pub part_index: HtmIndex,
    /// The chunks that would be filled.
    pub chunks: Vec<ChunkId>,
}

impl HtmIndexSettings {
    /// Settles what sph-htm-index does.
    ///
    /// # Errors
    /// Something is missing, or contradicts the rest.
    pub fn new(config: &SphConfig, copies: &SphCopies) -> Result<Self> {
        let names = input_fields(config)?;
        let mut fields = Fields::new(&names)?;
        let pos = config.part.pos.as_deref();
        let pos = pos.ok_or_else(|| missing("part.pos", "the columns of positions"))?;
        let position = fields.claim_pair("part.pos", pos)?;
        let id = copies.id.clone();
        let id = id.ok_or_else(|| missing("id", "the column of the key"))?;
        fields.claim_input("id", &id)?;
        // Nobody asks for chunks, whatever a file says of them.
        let mut own = config.clone();
        own.part = SphPart {
            pos: config.part.pos.clone(),
            ..SphPart::default()
        };
        let level = copies.level.unwrap_or(8);
        let level = u32::try_from(level).ok().filter(|it| *it <= MAX_LEVEL);
        let level = level.ok_or_else(|| {
            let found = copies.level.unwrap_or_default();
            Error::usage(format!("htm.level is {found}, expected 0 to {MAX_LEVEL}"))
        })?;
        let tool = ToolSettings::new(&own, &names, fields, &[])?;
        check_level(&tool.folder, level)?;
        Ok(Self {
            tool,
            position,
            id,
            level,
        })
    }
}

impl DuplicateSettings {
    /// Settles what sph-duplicate does.
    ///
    /// # Errors
    /// Something is missing, or contradicts the rest, or an index can't be read.
    pub fn new(config: &SphConfig, copies: &SphCopies) -> Result<Self> {
        let names = input_fields(config)?;
        let mut fields = Fields::new(&names)?;
        let part = &config.part;
        let pos = part.pos.as_deref();
        let pos = pos.ok_or_else(|| missing("part.pos", "the columns of positions"))?;
        let position = fields.claim_pair("part.pos", pos)?;
        let further: Result<Vec<FieldPair>> = copies
            .positions
            .iter()
            .map(|pair| fields.claim_pair("pos", pair))
            .collect();
        let further = further?;
        let (id, part_id) = (copies.id.as_deref(), part.id.as_deref());
        if id.is_none() && part_id.is_none() {
            return Err(missing("id", "the column of the key; or part.id"));
        }
        if let Some(id) = id {
            fields.claim_input("id", id)?;
        }
        if let Some(part_id) = part_id.filter(|part_id| Some(*part_id) != id) {
            fields.claim_input("part.id", part_id)?;
        }
        let number = |name: &str| names.iter().position(|field| field == name);
        let pair = |pair: &FieldPair| {
            let both = number(&pair.ra).zip(number(&pair.dec));
            both.ok_or_else(|| Error::of_ours("a field was lost"))
        };
        let copied = CopiedFields {
            count: names.len(),
            names: names.clone(),
            position: pair(&position)?,
            further: further.iter().map(pair).collect::<Result<_>>()?,
            id: id.and_then(number),
            part_id: part_id.and_then(number),
        };
        let sample = sample(copies)?;
        let indexes = Indexes::read(copies)?;
        let chunk = part.chunk.as_deref();
        let chunk = chunk.ok_or_else(|| missing("part.chunk", "the column of chunks"))?;
        let added = [("part.chunk", chunk), ("part.sub-chunk", sub_chunk(config))];
        let config = with_input(config, &indexes.path);
        let tool = ToolSettings::new(&config, &names, fields, &added)?;
        Ok(Self {
            chunks: chunks(copies, &tool)?,
            source: CopySource {
                folder: TriangleFolder::of(&indexes.path),
                part_folder: TriangleFolder::of(&indexes.part_path),
                index: indexes.index,
                part_index: indexes.part_index,
                dialect: tool.input.clone(),
                fields: copied,
                sample,
            },
            tool,
            position,
        })
    }
}

impl EstimateSettings {
    /// Settles what sph-estimate-stats does.
    ///
    /// # Errors
    /// Something is missing, or contradicts the rest, or an index can't be read.
    pub fn new(config: &SphConfig, copies: &SphCopies) -> Result<Self> {
        let indexes = Indexes::read(copies)?;
        let names = Vec::new();
        let fields = Fields::new(&names)?;
        let config = with_input(config, &indexes.path);
        let tool = ToolSettings::new(&config, &names, fields, &[])?;
        Ok(Self {
            chunks: chunks(copies, &tool)?,
            tool,
            index: indexes.index,
            part_index: indexes.part_index,
        })
    }
}

/// Refuses to mix triangles of two levels: nothing could be made of them.
fn check_level(folder: &Path, level: u32) -> Result<()> {
    let path = folder.join(HTM_INDEX);
    let Ok(bytes) = std::fs::read(&path) else {
        return Ok(());
    };
    let first = bytes.get(..HTM_INDEX_RECORD).unwrap_or(&bytes);
    match HtmIndex::from_bytes(first) {
        Ok(index) if index.level() != level => {
            let message = format!(
                "its triangles are of level {}, htm.level is {level}",
                index.level()
            );
            Err(Error::usage(message)
                .at(Place::file(path.display().to_string()))
                .hint("choose another output folder, or the same level"))
        }
        _ => Ok(()),
    }
}

/// The indexes of the table that is copied and of the one that decides which triangles stand in for
/// others; where one is not named, the other is both.
struct Indexes {
    path: PathBuf,
    index: HtmIndex,
    part_path: PathBuf,
    part_index: HtmIndex,
}

impl Indexes {
    fn read(copies: &SphCopies) -> Result<Self> {
        let (index, part) = (copies.index.as_deref(), copies.part_index.as_deref());
        let (Some(path), Some(part_path)) = (index.or(part), part.or(index)) else {
            return Err(missing("index", "the HTM index; or part.index"));
        };
        let read = |path: &Path| {
            let bytes = std::fs::read(path).map_err(|error| Error::reading(path, error))?;
            HtmIndex::from_bytes(&bytes).map_err(|fault| {
                Error::new(ErrorKind::Corrupt, fault.to_string())
                    .at(Place::file(path.display().to_string()))
            })
        };
        let (path, part_path) = (PathBuf::from(path), PathBuf::from(part_path));
        let part_index = read(&part_path)?;
        let index = match path == part_path {
            true => part_index.clone(),
            false => read(&path)?,
        };
        if index.level() != part_index.level() {
            let message = format!(
                "its triangles are of level {}, those of part.index of level {}",
                index.level(),
                part_index.level()
            );
            return Err(Error::usage(message).at(Place::file(path.display().to_string())));
        }
        Ok(Self {
            path,
            index,
            part_path,
            part_index,
        })
    }
}

fn sample(copies: &SphCopies) -> Result<Sample> {
    let sample = Sample::new(copies.fraction.unwrap_or(1.0), copies.seed.unwrap_or(0));
    sample.map_err(|fault| Error::usage(format!("sample.fraction: {fault}")))
}

/// Returns the chunks that are named, or those of the region.
fn chunks(copies: &SphCopies, tool: &ToolSettings) -> Result<Vec<ChunkId>> {
    let chunker = &tool.chunker;
    if let Some(named) = copies.chunks.as_ref().filter(|named| !named.is_empty()) {
        let mut named: Vec<ChunkId> = named.iter().copied().map(ChunkId).collect();
        named.sort_unstable();
        named.dedup();
        let is_none = |chunk: &&ChunkId| chunker.dense_index(**chunk).is_none();
        return match named.iter().find(is_none) {
            None => Ok(named),
            Some(chunk) => Err(Error::usage(format!(
                "chunk-id is {chunk}, which no chunk has with these stripes"
            ))
            .hint("sph-layout and `skyprep locate` tell numbers of chunks")),
        };
    }
    let [lon_min, lon_max, lat_min, lat_max] = copies.region;
    let region = SkyBox::new(
        lon_min.unwrap_or(0.0),
        lon_max.unwrap_or(360.0),
        lat_min.unwrap_or(-90.0),
        lat_max.unwrap_or(90.0),
    );
    let region = region.map_err(|fault| Error::usage(format!("the region: {fault}")))?;
    let node = match copies.node {
        None => None,
        Some(node) => {
            let number = u32::try_from(node).ok().filter(|node| *node < tool.nodes);
            let number = number.ok_or_else(|| {
                let most = tool.nodes - 1;
                Error::usage(format!("out.node is {node}, expected 0 to {most}"))
                    .hint("out.num-nodes tells how many nodes there are")
            });
            Some(number?)
        }
    };
    let is_of_node =
        |chunk: &ChunkId| node.is_none_or(|node| chunk.0.unsigned_abs() % tool.nodes == node);
    let chunks: Vec<ChunkId> = chunks_in(chunker, &region).filter(is_of_node).collect();
    match chunks.is_empty() {
        false => Ok(chunks),
        true => Err(Error::usage("no chunk of that node touches the region")),
    }
}

/// What tells that there is something to read is the index.
fn with_input(config: &SphConfig, index: &Path) -> SphConfig {
    let mut config = config.clone();
    config.input.paths = Some(vec![index.display().to_string()]);
    config
}
