//! What sph-partition and sph-partition-matches need before they start: defaults filled in, all
//! that can be checked without reading data checked.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::SphConfig;
use super::fields::{FieldPair, Fields};
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result};
use crate::exchange::ChunkNames;
use crate::partition::Partitioning;
use crate::partition::geometry::Chunker;

/// Most folders that chunks are spread over.
const MOST_NODES: i64 = 99_999;

/// Most MiB that are read at once.
const MOST_BLOCK_MIB: i64 = 1024;

/// What both tools need.
#[derive(Debug, Clone)]
pub struct ToolSettings {
    /// Files and folders to read.
    pub inputs: Vec<String>,
    /// Names that are no input: missing or empty files, which the tools pass over.
    pub passed_over: Vec<String>,
    /// Whether inputs with the name of a Parquet file are Parquet.
    pub is_parquet: bool,
    /// Whether values of Parquet files are put in quotes on their way to text.
    pub quotes_parquet: bool,
    /// Fields of the input, in order.
    pub fields: Vec<String>,
    /// Fields that a Parquet file may lack.
    pub optional: Vec<String>,
    /// Dialect of the input.
    pub input: Dialect,
    /// Columns of the output, in order; the columns of chunks are among them.
    pub columns: Vec<String>,
    /// Columns of the output that no input has: they are NULL.
    pub new_columns: Vec<String>,
    /// Dialect of the output.
    pub output: Dialect,
    /// Folder of the output.
    pub folder: PathBuf,
    /// Number of folders that chunks are spread over.
    pub nodes: u32,
    /// Threads, if it was said; the tools have one then.
    pub workers: Option<usize>,
    /// MiB of rows in memory, if it was said.
    pub pool_mib: Option<u64>,
    /// Whether statistics are printed.
    pub is_verbose: bool,
    /// The division of the sky; without positions its overlap is 0.
    pub partitioning: Partitioning,
    /// The same, laid out.
    pub chunker: Arc<Chunker>,
    /// What names of files begin with.
    pub prefix: String,
    /// Column of chunks; sph-partition-matches can do without.
    pub chunk_column: Option<String>,
    /// Column of sub-chunks.
    pub sub_chunk_column: String,
}

/// What sph-partition needs.
#[derive(Debug, Clone)]
pub struct PartitionSettings {
    /// What both tools need.
    pub tool: ToolSettings,
    /// How rows find their chunk.
    pub routing: PartitionRouting,
    /// Whether chunks are written; else only the director index is.
    pub writes_chunks: bool,
}

/// How rows of sph-partition find their chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionRouting {
    /// By their position.
    ByPosition {
        /// Columns of the position.
        position: FieldPair,
        /// Column of the director's key, if a director index is written.
        key: Option<String>,
    },
    /// By the director's key.
    ByKey {
        /// Column of the key.
        key: String,
        /// File of the director index, in the dialect of the input.
        index: PathBuf,
    },
}

/// What sph-partition-matches needs.
#[derive(Debug, Clone)]
pub struct MatchSettings {
    /// What both tools need.
    pub tool: ToolSettings,
    /// How rows find their chunks.
    pub routing: MatchRouting,
    /// Column that says which side a row is for.
    pub flags_column: String,
}

/// How rows of sph-partition-matches find their chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchRouting {
    /// By the positions of both sides.
    ByPositions([FieldPair; 2]),
    /// By the keys of both sides.
    ByKeys([KeySide; 2]),
}

/// One side of a match by keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySide {
    /// Column of the key.
    pub key: String,
    /// File of the director index, in the dialect of the output.
    pub index: PathBuf,
    /// Whether an unknown key is an error; else the side is missing.
    pub aborts: bool,
}

impl PartitionSettings {
    /// Settles what sph-partition does.
    ///
    /// # Errors
    /// Something is missing, or contradicts the rest.
    pub fn new(config: &SphConfig) -> Result<Self> {
        let part = &config.part;
        let names = input_fields(config)?;
        let mut fields = Fields::new(&names)?;
        let key = part.id.as_deref();
        let routing = match (&part.pos, key) {
            (Some(pos), _) => PartitionRouting::ByPosition {
                position: fields.claim_pair("part.pos", pos)?,
                key: key.map(str::to_owned),
            },
            (None, Some(key)) => PartitionRouting::ByKey {
                key: key.to_owned(),
                index: index_path("part.id-url", part.id_url.as_deref())?,
            },
            (None, None) => {
                return Err(Error::usage("neither part.pos nor part.id is given")
                    .hint("name the columns of positions, or the director's key"));
            }
        };
        if let Some(key) = key {
            fields.claim_input("part.id", key)?;
        }
        let chunk = part
            .chunk
            .as_deref()
            .ok_or_else(|| missing("part.chunk", "the column of chunks"))?;
        let added = [("part.chunk", chunk), ("part.sub-chunk", sub_chunk(config))];
        let tool = ToolSettings::new(config, &names, fields, &added)?;
        Ok(Self {
            tool,
            routing,
            writes_chunks: part.disable_chunks != Some(true),
        })
    }
}

impl MatchSettings {
    /// Settles what sph-partition-matches does.
    ///
    /// # Errors
    /// Something is missing, or contradicts the rest.
    pub fn new(config: &SphConfig) -> Result<Self> {
        let part = &config.part;
        let names = input_fields(config)?;
        let mut fields = Fields::new(&names)?;
        let routing = match (&part.match_pos, &part.match_id) {
            ([Some(first), Some(second)], [None, None]) => MatchRouting::ByPositions([
                fields.claim_pair("part.pos1", first)?,
                fields.claim_pair("part.pos2", second)?,
            ]),
            ([None, None], [Some(first), Some(second)]) => {
                fields.claim_input("part.id1", first)?;
                fields.claim_input("part.id2", second)?;
                let side = |key: &str, option: &str, number: usize| -> Result<KeySide> {
                    let url = part.match_id_url.get(number).and_then(Option::as_deref);
                    let aborts = part.match_aborts.get(number).copied().flatten();
                    Ok(KeySide {
                        key: key.to_owned(),
                        index: index_path(option, url)?,
                        aborts: aborts == Some(true),
                    })
                };
                MatchRouting::ByKeys([
                    side(first, "part.id1-url", 0)?,
                    side(second, "part.id2-url", 1)?,
                ])
            }
            _ => {
                return Err(Error::usage(
                    "expected part.pos1 and part.pos2, or part.id1 and part.id2, and not both",
                )
                .hint("name the columns of both sides of a match"));
            }
        };
        let flags = part.flags.as_deref().unwrap_or("partitioningFlags");
        let chunk = part.chunk.as_deref().map(|chunk| ("part.chunk", chunk));
        let others = [("part.sub-chunk", sub_chunk(config)), ("part.flags", flags)];
        let added: Vec<_> = chunk.into_iter().chain(others).collect();
        let tool = ToolSettings::new(config, &names, fields, &added)?;
        Ok(Self {
            tool,
            routing,
            flags_column: flags.to_owned(),
        })
    }
}

impl ToolSettings {
    /// Settles what the tools have in common; `added` names the columns that the output gets beside
    /// the input's, and by which option.
    pub(super) fn new(
        config: &SphConfig,
        names: &[String],
        mut fields: Fields<'_>,
        added: &[(&'static str, &str)],
    ) -> Result<Self> {
        let part = &config.part;
        let mut columns = match &config.output.csv.fields {
            Some(columns) => columns.clone(),
            None => names.to_vec(),
        };
        let mut own = Vec::new();
        for (option, name) in added {
            fields.claim(option, name)?;
            own.push(*name);
            if !columns.iter().any(|column| column == name) {
                columns.push((*name).to_owned());
            }
        }
        let column_of = |option: &str| {
            let column = added.iter().find(|(other, _)| *other == option);
            column.map(|(_, name)| (*name).to_owned())
        };
        let is_new = |column: &&String| !names.contains(column) && !own.contains(&column.as_str());
        let new_columns = columns.iter().filter(is_new).cloned().collect();
        let folder = config.output.folder.as_deref();
        let folder = folder.ok_or_else(|| missing("out.dir", "the folder of the output"))?;
        let work = &config.work;
        in_range(
            "mr.block-size",
            work.block_mib.unwrap_or(4),
            1..=MOST_BLOCK_MIB,
        )?;
        let workers = work
            .workers
            .map(|number| in_range("mr.num-workers", number, 1..=i64::from(i32::MAX)))
            .transpose()?;
        let pool_mib = work
            .pool_mib
            .map(|size| in_range("mr.pool-size", size, 1..=i64::MAX >> 20))
            .transpose()?;
        let nodes = in_range(
            "out.num-nodes",
            config.output.nodes.unwrap_or(1),
            1..=MOST_NODES,
        )?;
        let partitioning = partitioning(config)?;
        let output = config.output.csv.dialect_of("out.csv")?;
        let quotes_parquet = config.input.quotes_parquet == Some(true);
        if quotes_parquet && output.quote().is_none() {
            return Err(Error::usage(
                "in.parq2csv-quote needs quotes in the output, and there are none",
            )
            .hint("leave out in.parq2csv-quote, or set out.csv.no-quote to false"));
        }
        let prefix = prefix(part.prefix.as_deref())?;
        let (inputs, passed_over) =
            usable_inputs(config.input.paths.as_deref().unwrap_or_default())?;
        Ok(Self {
            inputs,
            passed_over,
            is_parquet: config.input.is_parquet == Some(true),
            quotes_parquet,
            fields: names.to_vec(),
            optional: config.input.optional.clone().unwrap_or_default(),
            input: config.input.csv.dialect_of("in.csv")?,
            columns,
            new_columns,
            output,
            folder: PathBuf::from(folder),
            nodes: u32::try_from(nodes).unwrap_or(u32::MAX),
            workers: workers.map(|number| usize::try_from(number).unwrap_or(usize::MAX)),
            pool_mib,
            is_verbose: config.verbose == Some(true),
            partitioning,
            chunker: partitioning.chunker()?,
            prefix,
            chunk_column: column_of("part.chunk"),
            sub_chunk_column: column_of("part.sub-chunk").unwrap_or_default(),
        })
    }
}

/// Returns the name of the column of sub-chunks.
pub(super) fn sub_chunk(config: &SphConfig) -> &str {
    config.part.sub_chunk.as_deref().unwrap_or("subChunkId")
}

/// Returns the names of the input's fields.
pub(super) fn input_fields(config: &SphConfig) -> Result<Vec<String>> {
    let fields = config.input.csv.fields.clone().unwrap_or_default();
    match fields.is_empty() {
        true => Err(missing("in.csv.field", "the names of the input's fields")),
        false => Ok(fields),
    }
}

fn partitioning(config: &SphConfig) -> Result<Partitioning> {
    let part = &config.part;
    let most = i64::from(u32::MAX);
    let stripes = in_range("part.num-stripes", part.stripes.unwrap_or(18), 1..=most)?;
    let sub_stripes = part.sub_stripes.unwrap_or(100);
    let sub_stripes = in_range("part.num-sub-stripes", sub_stripes, 1..=most)?;
    Ok(Partitioning {
        stripes: u32::try_from(stripes).unwrap_or(u32::MAX),
        sub_stripes: u32::try_from(sub_stripes).unwrap_or(u32::MAX),
        overlap: match part.has_positions() {
            true => part.overlap.unwrap_or(0.01),
            false => 0.0,
        },
    })
}

fn prefix(said: Option<&str>) -> Result<String> {
    let prefix = said.unwrap_or(ChunkNames::PREFIX);
    match prefix.starts_with('.') || prefix.contains(['/', '\0']) {
        false => Ok(prefix.to_owned()),
        true => Err(Error::usage(format!(
            "part.prefix is {prefix:?}, expected the beginning of a file name, without / or a \
             leading ."
        ))),
    }
}

fn in_range(option: &str, value: i64, range: std::ops::RangeInclusive<i64>) -> Result<u64> {
    let fault = || {
        let (least, most) = (range.start(), range.end());
        Error::usage(format!("{option} is {value}, expected {least} to {most}"))
    };
    let inside = range.contains(&value).then_some(value);
    inside
        .and_then(|value| u64::try_from(value).ok())
        .ok_or_else(fault)
}

pub(super) fn missing(option: &str, what: &str) -> Error {
    Error::usage(format!("{option} is missing: {what}"))
        .hint(format!("say --{option}, or set it in a configuration file"))
}

/// Tells names of files and folders from those of nothing, which the tools pass over.
fn usable_inputs(paths: &[String]) -> Result<(Vec<String>, Vec<String>)> {
    if paths.is_empty() {
        return Err(missing("in.path", "the files to read"));
    }
    let is_usable = |path: &String| {
        let found = std::fs::metadata(path);
        found.is_ok_and(|found| found.is_dir() || (found.is_file() && found.len() > 0))
    };
    let (inputs, passed_over): (Vec<_>, Vec<_>) = paths.iter().cloned().partition(is_usable);
    if inputs.is_empty() {
        let names = passed_over.join(", ");
        let message = format!("none of these is a file with anything in it: {names}");
        return Err(Error::new(ErrorKind::InputMissing, message).hint("check in.path"));
    }
    Ok((inputs, passed_over))
}

/// Takes the path out of the URL of a director index that `option` gives.
///
/// What stands behind `file://` is the path as it is, as the C++ tools have it: `%20` is no blank.
///
/// # Errors
/// There is no URL, or it is not `file://` and an absolute path.
pub fn index_path(option: &str, url: Option<&str>) -> Result<PathBuf> {
    let url = url.ok_or_else(|| missing(option, "the file of the director index"))?;
    let path = url.strip_prefix("file://").map(Path::new);
    let path = path.filter(|path| path.is_absolute()).ok_or_else(|| {
        let message = format!("{option} is {url:?}, expected file:// and an absolute path");
        Error::usage(message)
    })?;
    Ok(path.to_owned())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files to read")]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::sph::SphTree;

    /// What is said of a file with something in it, with one thing said otherwise.
    fn config(patch: Value) -> (tempfile::TempDir, SphConfig) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.csv");
        std::fs::write(&path, "1,2,3,4\n").unwrap();
        std::fs::write(folder.path().join("empty.csv"), "").unwrap();
        let mut tree = SphTree::default();
        tree.merge(
            "a",
            json!({
                "in": {"path": [path, folder.path().join("empty.csv"), "none"],
                    "csv": {"field": ["id", "ra", "dec", "x"], "delimiter": ","}},
                "out": {"dir": "out"},
                "part": {"pos": "ra, dec", "chunk": "chunkId", "overlap": 0.05}
            }),
        );
        tree.merge("b", patch);
        (folder, SphConfig::new(&tree).unwrap())
    }

    fn partition(patch: Value) -> Result<PartitionSettings> {
        let (_folder, config) = config(patch);
        PartitionSettings::new(&config)
    }

    fn matches(patch: Value) -> Result<MatchSettings> {
        let (_folder, config) = config(patch);
        MatchSettings::new(&config)
    }

    #[test]
    fn what_is_not_said_has_the_defaults_of_the_tools() {
        let settings = partition(json!({})).unwrap();
        let tool = &settings.tool;
        assert!(settings.writes_chunks);
        assert_eq!((tool.inputs.len(), tool.passed_over.len()), (1, 2));
        assert_eq!((tool.workers, tool.nodes, tool.pool_mib), (None, 1, None));
        assert_eq!((tool.prefix.as_str(), tool.is_verbose), ("chunk", false));
        let columns = ["id", "ra", "dec", "x", "chunkId", "subChunkId"];
        assert_eq!(tool.columns, columns);
        let expected = Partitioning {
            stripes: 18,
            sub_stripes: 100,
            overlap: 0.05,
        };
        assert_eq!(tool.partitioning, expected);
        let position = FieldPair {
            ra: "ra".into(),
            dec: "dec".into(),
        };
        let routing = PartitionRouting::ByPosition {
            position,
            key: None,
        };
        assert_eq!(settings.routing, routing);
    }

    #[test]
    fn columns_may_be_chosen_and_new() {
        let patch = json!({"out": {"csv": {"field": ["subChunkId", "x", "y", "x"]}}});
        let tool = partition(patch).unwrap().tool;
        assert_eq!(tool.columns, ["subChunkId", "x", "y", "x", "chunkId"]);
        assert_eq!(tool.new_columns, ["y"]);
    }

    #[test]
    fn keys_route_without_positions_and_without_overlap() {
        let patch = json!({"part": {"pos": null, "id": "id", "id-url": "file:///a/i.txt"}});
        let settings = partition(patch).unwrap();
        assert_eq!(settings.tool.partitioning.overlap, 0.0);
        let routing = PartitionRouting::ByKey {
            key: "id".into(),
            index: "/a/i.txt".into(),
        };
        assert_eq!(settings.routing, routing);
    }

    #[test]
    fn matches_have_two_sides() {
        let part = json!({"pos": null, "chunk": null, "id1": "id", "id2": "x",
            "id1-url": "file:///1", "id2-url": "file:///2", "id2-missing-abort": true});
        let settings = matches(json!({"part": part})).unwrap();
        let side = |key: &str, index: &str, aborts| KeySide {
            key: key.into(),
            index: index.into(),
            aborts,
        };
        let sides = [side("id", "/1", false), side("x", "/2", true)];
        assert_eq!(settings.routing, MatchRouting::ByKeys(sides));
        let columns = ["id", "ra", "dec", "x", "subChunkId", "partitioningFlags"];
        assert_eq!(settings.tool.columns, columns);

        let part = json!({"pos": null, "pos1": "id,ra", "pos2": "dec,x", "overlap": 0.05});
        let settings = matches(json!({"part": part})).unwrap();
        assert_eq!(settings.tool.partitioning.overlap, 0.05);
        assert!(matches!(settings.routing, MatchRouting::ByPositions(_)));
        for part in [
            json!({"pos1": "id,ra"}),
            json!({"id1": "id", "id2": "x", "id1-url": "file:///1"}),
            json!({"pos1": "id,ra", "pos2": "dec,x", "id1": "id", "id2": "x"}),
            json!({"pos1": "id,ra", "pos2": "ra,x"}),
            json!({}),
        ] {
            matches(json!({"part": part})).unwrap_err();
        }
    }

    #[test]
    fn what_the_tools_refuse() {
        for (patch, expected) in [
            (json!({"in": {"path": null}}), "in.path is missing"),
            (json!({"in": {"path": ["none"]}}), "anything in it: none"),
            (json!({"out": {"dir": null}}), "out.dir is missing"),
            (json!({"part": {"chunk": null}}), "part.chunk is missing"),
            (
                json!({"part": {"pos": null}}),
                "neither part.pos nor part.id",
            ),
            (json!({"part": {"pos": "ra"}}), "expected two field names"),
            (
                json!({"part": {"pos": "ra,nope"}}),
                "nope, which the input lacks",
            ),
            (
                json!({"part": {"pos": "ra,ra"}}),
                "names the field ra twice",
            ),
            (
                json!({"part": {"sub-chunk": "chunkId"}}),
                "part.chunk names already",
            ),
            (json!({"part": {"num-stripes": 0}}), "part.num-stripes is 0"),
            (
                json!({"part": {"num-stripes": -1}}),
                "part.num-stripes is -1",
            ),
            (json!({"part": {"overlap": 11}}), "overlap is 11"),
            (json!({"part": {"overlap": 2}}), "height of a sub-stripe"),
            (
                json!({"part": {"pos": null, "id": "id"}}),
                "part.id-url is missing",
            ),
            (
                json!({"part": {"pos": null, "id": "id", "id-url": "http://a/b"}}),
                "expected file://",
            ),
            (json!({"mr": {"num-workers": 0}}), "mr.num-workers is 0"),
            (json!({"mr": {"block-size": 2000}}), "expected 1 to 1024"),
            (
                json!({"out": {"num-nodes": 100_000}}),
                "expected 1 to 99999",
            ),
            (
                json!({"in": {"csv": {"delimiter": "n"}}}),
                "in.csv: delimiter is 'n'",
            ),
            (
                json!({"in": {"csv": {"escape": ","}}}),
                "delimiter and escape",
            ),
            (
                json!({"in": {"csv": {"null": "a,b"}}}),
                "must not hold CR, LF",
            ),
            (
                json!({"in": {"csv": {"null": "\"a"}}}),
                "a quote that does not close",
            ),
            (
                json!({"in": {"csv": {"field": ["a", "a"]}}}),
                "names a twice",
            ),
            (
                json!({"in": {"csv": {"field": null}}}),
                "in.csv.field is missing",
            ),
        ] {
            let error = partition(patch).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected} is not in {error}");
        }
    }
}
