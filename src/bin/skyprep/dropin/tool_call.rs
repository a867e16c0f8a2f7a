//! A call of one of the tools that partition: what it settles, for the pipeline.

use std::ffi::OsString;
use std::sync::Arc;

use serde_json::json;
use skyprep::convert::{RowTarget, TextForm};
use skyprep::dialect::Dialect;
use skyprep::error::Result;
use skyprep::partition::key_index::{DuplicateRule, IndexFormat, IndexSource};
use skyprep::partition::{
    DirectorIndex, OnlyChunks, OverlapRule, PositionColumns, RaRule, Routing, RoutingOptions,
    UnknownKeyRule,
};
use skyprep::pipeline::{
    Arrangement, PassInput, PassJob, ReadAs, Repetition, TableJob, TableParts, TextNames,
};
use skyprep::publish::StandingFiles;
use skyprep::resources::available_memory;
use skyprep::schema::{ChunkColumns, TableKind};
use skyprep::source::{Input, InputFormat};
use skyprep::sph::{
    DuplicateSettings, EstimateSettings, FieldPair, HtmIndexSettings, MatchRouting, MatchSettings,
    PartitionRouting, PartitionSettings, ToolSettings,
};
use skyprep::values::{BoolPolicy, Charset, InfPolicy, NanPolicy, ValuePolicy};

/// Name of the table in the record of the output folder: the tools know none.
const TABLE: &str = "table";

/// Less memory than this is not asked for: `mr.pool-size` is about rows alone, and this about all.
const LEAST_MEMORY_MIB: u64 = 512;

/// More threads than this are not begun, whatever a script asks for.
const MOST_WORKERS: usize = 1024;

/// Set to `always`, it lets the same input be appended again.
const APPEND: &str = "SKYPREP_APPEND";

/// What a call asks for.
#[derive(Debug)]
pub struct ToolCall {
    /// Name of the tool.
    pub name: &'static str,
    /// What the tool does.
    pub work: ToolWork,
    /// What becomes of inputs whose rows are in the output already.
    pub repetition: Repetition,
}

/// What a tool does.
#[derive(Debug)]
pub enum ToolWork {
    /// `sph-partition`
    Partition(PartitionSettings),
    /// `sph-partition-matches`
    Matches(MatchSettings),
    /// `sph-htm-index`
    HtmIndex(HtmIndexSettings),
    /// `sph-duplicate`
    Duplicate(Box<DuplicateSettings>),
    /// `sph-estimate-stats`, which the pipeline has no part in
    Estimate(Box<EstimateSettings>),
}

impl ToolCall {
    /// Makes a call of the tool `name`.
    pub fn new(name: &'static str, work: ToolWork) -> Self {
        let is_always = std::env::var(APPEND).is_ok_and(|value| value == "always");
        Self {
            name,
            work,
            repetition: match is_always {
                true => Repetition::Allowed,
                false => Repetition::Refused,
            },
        }
    }

    /// Returns what all tools are told.
    pub fn tool(&self) -> &ToolSettings {
        match &self.work {
            ToolWork::Partition(settings) => &settings.tool,
            ToolWork::Matches(settings) => &settings.tool,
            ToolWork::HtmIndex(settings) => &settings.tool,
            ToolWork::Duplicate(settings) => &settings.tool,
            ToolWork::Estimate(settings) => &settings.tool,
        }
    }

    /// Returns arguments of `skyprep partition` that give the work its limits and its voice; of the
    /// command itself they say nothing.
    pub fn session_arguments(&self) -> Vec<OsString> {
        let tool = self.tool();
        let mut output = OsString::from("--output=");
        output.push(&tool.folder);
        let mut arguments = vec!["skyprep".into(), "partition".into(), output];
        match tool.workers {
            Some(workers) => {
                let workers = workers.min(MOST_WORKERS);
                arguments.push(format!("--threads={workers}").into());
            }
            // As the tools have it, unless the environment knows better.
            None if std::env::var_os("SKYPREP_THREADS").is_none() => {
                arguments.push("--threads=1".into());
            }
            None => {}
        }
        if let Some(pool) = tool.pool_mib {
            let at_hand = available_memory().map_or(u64::MAX, |bytes| (bytes >> 20) / 5 * 4);
            let size = pool.max(LEAST_MEMORY_MIB).min(at_hand);
            arguments.push(format!("--memory-limit={size}MiB").into());
        }
        if !tool.is_verbose {
            arguments.push("--log-level=warn".into());
        }
        arguments
    }

    /// Returns the pass that does the work.
    ///
    /// # Errors
    /// What is asked for contradicts itself.
    pub fn job(&self, inputs: Vec<Input>) -> Result<PassJob> {
        let tool = self.tool();
        let text = Arc::new(ReadAs {
            dialect: tool.input.clone(),
            charset: None,
            names: TextNames {
                fields: Some(tool.fields.clone()),
                ..TextNames::default()
            },
            hdu: None,
        });
        let mut target = RowTarget::new(TABLE, tool.output.clone());
        target.policy = ValuePolicy {
            nan: NanPolicy::Keep,
            inf: InfPolicy::Keep,
            bool: BoolPolicy::Number,
            charset: Charset::Binary,
            reference_style: true,
            ..ValuePolicy::default()
        };
        target.columns = Some(tool.columns.clone());
        let optional = tool.new_columns.iter().chain(&tool.optional);
        target.optional = optional.cloned().collect();
        let has_parquet = inputs
            .iter()
            .any(|input| input.format == InputFormat::Parquet);
        // Between two dialects the quotes are taken off again.
        if tool.quotes_parquet && has_parquet && tool.output.copies_fields_of(&tool.input) {
            target.form = TextForm::AllInQuotes;
        }
        let (kind, routing) = self.routing()?;
        target.routing = Some(routing);
        let writes = match &self.work {
            ToolWork::Partition(settings) if !settings.writes_chunks => TableParts::DirectorIndex,
            _ => TableParts::All,
        };
        let options = json!({
            "command": self.name,
            "kind": kind,
            "partitioning": tool.partitioning,
            "prefix": tool.prefix,
            "nodes": tool.nodes,
            "writes_chunks": writes == TableParts::All,
            "copies": self.copies(),
            "target": target.fingerprint(),
            "text": text.as_ref(),
        });
        let fed = inputs
            .into_iter()
            .map(|input| PassInput::whole(input, &text, vec![0]));
        Ok(PassJob {
            inputs: fed.collect(),
            tables: vec![TableJob {
                target,
                kind,
                partitioning: (kind != TableKind::Regular).then_some(tool.partitioning),
                database: None,
                folder: String::new(),
                prefix: tool.prefix.clone(),
                nodes: tool.nodes,
                file_name: format!("{TABLE}.txt"),
                has_chunk_index: kind != TableKind::Regular,
                index_format: IndexFormat::Text,
                duplicates: DuplicateRule::FirstWins,
                writes,
                tells_sub_chunks: self.tells_sub_chunks(),
                arrangement: Arrangement::default(),
            }],
            options: vec![options],
            outdated: Vec::new(),
            is_sole: false,
            standing: StandingFiles::Extended,
        })
    }

    /// Returns what tells copies apart, for the record.
    fn copies(&self) -> serde_json::Value {
        match &self.work {
            ToolWork::Duplicate(settings) => {
                let chunks: Vec<i32> = settings.chunks.iter().map(|chunk| chunk.0).collect();
                json!({"source": settings.source.fingerprint(), "chunks": chunks})
            }
            _ => serde_json::Value::Null,
        }
    }

    /// Says whether the rows of each sub-chunk are told; sph-duplicate always tells something of them.
    pub fn tells_sub_chunks(&self) -> bool {
        let is_duplicate = matches!(self.work, ToolWork::Duplicate(_));
        is_duplicate || self.tool().is_verbose
    }

    /// Settles how rows find their chunks.
    fn routing(&self) -> Result<(TableKind, Routing)> {
        let tool = self.tool();
        if let ToolWork::HtmIndex(settings) = &self.work {
            let position = PositionColumns {
                ra: settings.position.ra.clone(),
                dec: settings.position.dec.clone(),
            };
            let routing = Routing::to_triangles(position, settings.id.clone(), settings.level)?;
            return Ok((TableKind::Regular, routing));
        }
        let mut options = RoutingOptions {
            chunker: Arc::clone(&tool.chunker),
            kind: TableKind::Director,
            position: (None, None),
            position2: (None, None),
            id: None,
            id2: None,
            indexes: Vec::new(),
            unknown: [UnknownKeyRule::Error; 2],
            schema: None,
            overlap: OverlapRule::Write,
            ra_rule: RaRule::Checked,
            columns: ChunkColumns {
                chunk: tool.chunk_column.clone(),
                sub_chunk: tool.sub_chunk_column.clone(),
                flags: None,
            },
        };
        let both = |pair: &FieldPair| (Some(pair.ra.clone()), Some(pair.dec.clone()));
        match &self.work {
            ToolWork::Partition(settings) => match &settings.routing {
                PartitionRouting::ByPosition { position, key } => {
                    options.position = both(position);
                    options.id.clone_from(key);
                }
                PartitionRouting::ByKey { key, index } => {
                    options.kind = TableKind::Child;
                    options.id = Some(key.clone());
                    options.indexes.push(director_index(index, &tool.input));
                }
            },
            ToolWork::Duplicate(settings) => options.position = both(&settings.position),
            ToolWork::HtmIndex(_) | ToolWork::Estimate(_) => {}
            ToolWork::Matches(settings) => {
                options.kind = TableKind::Match;
                options.columns.flags = Some(settings.flags_column.clone());
                match &settings.routing {
                    MatchRouting::ByPositions([first, second]) => {
                        (options.position, options.position2) = (both(first), both(second));
                    }
                    MatchRouting::ByKeys(sides) => {
                        let [first, second] = sides;
                        options.id = Some(first.key.clone());
                        options.id2 = Some(second.key.clone());
                        options.indexes = sides
                            .iter()
                            .map(|side| director_index(&side.index, &tool.output))
                            .collect();
                        options.unknown =
                            [first.aborts, second.aborts].map(|aborts| match aborts {
                                true => UnknownKeyRule::Error,
                                false => UnknownKeyRule::Null,
                            });
                    }
                }
            }
        }
        let kind = options.kind;
        let mut routing = Routing::resolve(options)?;
        if let ToolWork::Duplicate(settings) = &self.work {
            let chunks = settings.chunks.iter().map(|chunk| chunk.0).collect();
            let only = OnlyChunks::new(&tool.chunker, chunks)?;
            routing.only = Some(Arc::new(only));
        }
        Ok((kind, routing))
    }
}

/// Names an index; of a key that it has twice the first place counts, as with the tools.
fn director_index(path: &std::path::Path, dialect: &Dialect) -> Arc<DirectorIndex> {
    let source = IndexSource {
        path: path.to_owned(),
        dialect: dialect.clone(),
    };
    Arc::new(DirectorIndex::new(source, DuplicateRule::FirstWins))
}
