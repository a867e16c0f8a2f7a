//! What `sph-htm-index`, `sph-duplicate` and `sph-estimate-stats` do beside the pipeline.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use skyprep::error::{Error, ErrorKind, Place};
use skyprep::exchange::{ChunkNames, FileSummary, SubChunkCount};
use skyprep::partition::chunk_index_record;
use skyprep::partition::geometry::ChunkId;
use skyprep::pipeline::Repetition;
use skyprep::publish::{OutputFolder, create_folders, write_atomically};
use skyprep::source::{GeneratedText, Input};
use skyprep::sph::{
    Copies, DuplicateSettings, EstimateSettings, HtmIndex, HtmIndexSettings, HtmSources,
    StatisticsForm, SubChunkRows, estimated_rows, statistics_json,
};

use crate::session::Session;

/// Returns the rows of all copies as an input of the pipeline.
pub fn copies(settings: &DuplicateSettings) -> Input {
    let chunker = Arc::clone(&settings.tool.chunker);
    let copies = Copies::new(settings.source.clone(), chunker, settings.chunks.clone());
    Input::generated(GeneratedText::new("the copies", Box::new(copies)))
}

/// Refuses to fill a chunk a second time, unless it is meant.
pub fn check_new(
    settings: &DuplicateSettings,
    repetition: Repetition,
    folder: &OutputFolder,
) -> Result<()> {
    if repetition == Repetition::Allowed {
        return Ok(());
    }
    let root = folder.root();
    let files = folder.record().sets.values().flat_map(|set| &set.files);
    let there: BTreeSet<Cow<'_, str>> = files.map(FileSummary::path).collect();
    let tool = &settings.tool;
    let names = ChunkNames::new("", &tool.prefix, tool.nodes);
    let is_there = |chunk: &&ChunkId| {
        let own = [false, true].map(|is_overlap| names.file(chunk.0, is_overlap));
        own.iter().any(|name| there.contains(name.as_str()))
    };
    match settings.chunks.iter().find(is_there) {
        None => Ok(()),
        Some(chunk) => {
            let message = format!("chunk {chunk} is filled already");
            Err(Error::new(ErrorKind::OutputRefused, message)
                .at(Place::file(root.display().to_string()))
                .hint(
                    "nothing was appended; to start anew remove the folder, to have the rows twice \
                     set SKYPREP_APPEND=always",
                )
                .into())
        }
    }
}

/// Prints what sph-htm-index tells of the rows of this run, whose records begin at byte `from` of the
/// index `path`.
pub fn tell_triangles(
    settings: &HtmIndexSettings,
    path: &Path,
    from: u64,
    session: &Session,
) -> Result<()> {
    let bytes = std::fs::read(path).unwrap_or_default();
    let of_run = usize::try_from(from)
        .ok()
        .and_then(|from| bytes.get(from..));
    let index = match of_run.filter(|records| !records.is_empty()) {
        Some(records) => HtmIndex::from_bytes(records),
        None => HtmIndex::new(settings.level),
    };
    let index = index.map_err(|fault| {
        Error::new(ErrorKind::Corrupt, fault.to_string())
            .at(Place::file(path.display().to_string()))
    })?;
    session.printer.data(index.json().as_bytes())
}

/// Does what sph-estimate-stats does.
pub fn estimate(settings: &EstimateSettings, session: &Session) -> Result<()> {
    let tool = &settings.tool;
    if tool.is_verbose {
        let chunks = settings.chunks.len();
        session.printer.note(&format!("Processing {chunks} chunks"));
    }
    let sources: HtmSources = settings.part_index.sources();
    let mut rows: Vec<SubChunkRows> = Vec::new();
    for chunk in &settings.chunks {
        session.limits().cancel.check()?;
        let of_chunk = estimated_rows(&tool.chunker, *chunk, &settings.index, &sources);
        rows.extend(of_chunk.unwrap_or_default());
    }
    write_index(&tool.folder, &tool.prefix, &rows)?;
    let form = StatisticsForm::of(tool.is_verbose);
    session.printer.data(statistics_json(rows, form).as_bytes())
}

/// Writes the index of chunks, over one that stands there.
fn write_index(folder: &Path, prefix: &str, rows: &[SubChunkRows]) -> Result<()> {
    create_folders(folder)?;
    let mut bytes = Vec::new();
    for row in rows {
        let count = SubChunkCount {
            rows: row.rows,
            overlap_rows: row.overlap_rows,
        };
        bytes.extend(chunk_index_record((row.chunk, row.sub_chunk), count));
    }
    match bytes.is_empty() {
        true => Ok(()),
        false => Ok(write_atomically(
            &folder.join(format!("{prefix}_index.bin")),
            &bytes,
        )?),
    }
}
