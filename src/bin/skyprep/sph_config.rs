//! `skyprep partition --sph-config`: what configuration files of Qserv's tools say stands for what
//! the command line does not say. Rules of values and outputs are skyprep's own.

use std::path::PathBuf;

use anyhow::Result;
use skyprep::dialect::Dialect;
use skyprep::error::{Error, Place};
use skyprep::partition::UnknownKeyRule;
use skyprep::sph::{FieldPair, SphConfig, SphPart, SphTree, index_path};

use crate::partition_args::{PartitionArgs, UnknownKeysArg};
use crate::table_args::KindArg;

/// What the command line and the files come to.
pub struct Completed {
    /// The arguments, with what the files say where the command line says nothing.
    pub args: PartitionArgs,
    /// Inputs, where the command line names none.
    pub inputs: Vec<String>,
    /// Folder of the output, if it is given.
    pub output: Option<PathBuf>,
    /// Dialect of text inputs, before options refine it.
    pub input_dialect: Dialect,
    /// Dialect of the output, before options refine it.
    pub output_dialect: Dialect,
    /// Names of fields of headerless text.
    pub fields: Option<Vec<String>>,
    /// Columns to write, where neither the command line nor a schema names them.
    pub columns: Option<Vec<String>>,
    /// The same, where only the command line does not name them.
    pub chosen_columns: Option<Vec<String>>,
    /// Columns that an input may lack.
    pub optional: Vec<String>,
    /// What becomes of a match's keys that no index has.
    pub unknown_keys: [UnknownKeyRule; 2],
}

impl Completed {
    /// Returns the folder of the output.
    ///
    /// # Errors
    /// None is given.
    pub fn root(&self) -> Result<PathBuf> {
        let output = self.output.clone();
        let missing = || {
            let hint = match self.args.sph_config.is_empty() {
                true => "name it with -o DIR",
                false => "name it with -o DIR, or as out.dir in the file",
            };
            Error::usage("no output folder is given").hint(hint)
        };
        Ok(output.ok_or_else(missing)?)
    }
}

/// Reads the files and completes the arguments.
///
/// # Errors
/// A file can't be read, or says what `partition` can't do.
pub fn complete(said: &PartitionArgs) -> Result<Completed> {
    let mut tree = SphTree::default();
    for file in &said.sph_config {
        tree.merge_file(file)?;
    }
    let config = SphConfig::new(&tree)?;
    let completed = with_config(said, &config);
    completed.map_err(|error| match said.sph_config.last() {
        // Which of several files said it is not known; the last one is where to begin.
        Some(file) if error.place().file.is_none() => {
            error.at(Place::file(file.display().to_string())).into()
        }
        _ => error.into(),
    })
}

fn with_config(said: &PartitionArgs, config: &SphConfig) -> Result<Completed, Error> {
    let part = &config.part;
    let mut args = said.clone();
    if part.disable_chunks == Some(true) {
        return Err(
            Error::usage("part.disable-chunks is for sph-partition alone")
                .hint("--dry-run tells what would be done"),
        );
    }
    args.stripes = args.stripes.or(number("part.num-stripes", part.stripes)?);
    let sub_stripes = number("part.num-sub-stripes", part.sub_stripes)?;
    args.sub_stripes = args.sub_stripes.or(sub_stripes);
    // As with the tools, the overlap is nothing to rows that have no position.
    let overlap =
        match !said.sph_config.is_empty() && !part.has_positions() && part.overlap.is_none() {
            true => Some(0.0),
            false => part.overlap,
        };
    if !args.no_overlap {
        args.overlap = args.overlap.or(overlap);
    }
    args.num_nodes = args
        .num_nodes
        .or(number("out.num-nodes", config.output.nodes)?);
    args.prefix = args.prefix.or_else(|| part.prefix.clone());
    args.chunk_column = args.chunk_column.or_else(|| part.chunk.clone());
    args.sub_chunk_column = args.sub_chunk_column.or_else(|| part.sub_chunk.clone());
    complete_routing(&mut args, part)?;
    let csv = (&config.input.csv, &config.output.csv);
    let has_files = !said.sph_config.is_empty();
    let input_dialect = match has_files {
        true => csv
            .0
            .dialect()
            .map_err(|fault| of_dialect("in.csv", fault))?,
        false => Dialect::qserv(),
    };
    let output_dialect = match has_files {
        true => own_dialect(
            &csv.1
                .dialect()
                .map_err(|fault| of_dialect("out.csv", fault))?,
        )?,
        false => Dialect::qserv(),
    };
    let fields = csv.0.fields.clone();
    let chosen = csv.1.fields.clone();
    let known = fields.as_deref().unwrap_or_default();
    let chosen_list = chosen.as_deref().unwrap_or_default();
    let new = chosen_list.iter().filter(|name| !known.contains(name));
    let optional = new
        .chain(config.input.optional.iter().flatten())
        .cloned()
        .collect();
    let output = said
        .output
        .clone()
        .or_else(|| config.output.folder.as_ref().map(PathBuf::from));
    Ok(Completed {
        inputs: config.input.paths.clone().unwrap_or_default(),
        output,
        input_dialect,
        output_dialect,
        columns: chosen.clone().or_else(|| fields.clone()),
        chosen_columns: chosen,
        fields,
        optional,
        unknown_keys: unknown_keys(said, part),
        args,
    })
}

/// Fills in columns of positions and keys, indexes, and what kind of table they make.
fn complete_routing(args: &mut PartitionArgs, part: &SphPart) -> Result<(), Error> {
    let pair = |option: &str, value: &Option<String>| {
        let pair = value
            .as_deref()
            .map(|value| FieldPair::parse(option, value));
        let pair = pair.transpose()?;
        Ok::<_, Error>(pair.map_or((None, None), |pair| (Some(pair.ra), Some(pair.dec))))
    };
    let index = |option: &str, url: &Option<String>| {
        url.as_deref()
            .map(|url| index_path(option, Some(url)))
            .transpose()
    };
    let [pos1, pos2] = &part.match_pos;
    let [id1, id2] = &part.match_id;
    let [url1, url2] = &part.match_id_url;
    let is_match = [pos1, pos2, id1, id2].into_iter().any(Option::is_some);
    let own_kind = match (is_match, &part.pos, &part.id) {
        (true, ..) => Some(KindArg::Match),
        (false, None, Some(_)) => Some(KindArg::Child),
        // Children are partitioned by their director's position, and have no overlap.
        (false, Some(_), None) if part.overlap == Some(0.0) => Some(KindArg::Child),
        (false, Some(_), _) => Some(KindArg::Director),
        (false, None, None) => None,
    };
    if args.values.schema.is_none() {
        args.kind = args.kind.or(own_kind);
    }
    if args.kind == Some(KindArg::Regular) {
        return Ok(());
    }
    let fill = |own: &mut Option<String>, other: Option<String>| {
        if own.is_none() {
            *own = other;
        }
    };
    let (ra, dec) = pair("part.pos", &part.pos)?;
    fill(&mut args.ra, ra);
    fill(&mut args.dec, dec);
    let (ra, dec) = pair("part.pos1", pos1)?;
    fill(&mut args.ra1, ra);
    fill(&mut args.dec1, dec);
    let (ra, dec) = pair("part.pos2", pos2)?;
    fill(&mut args.ra2, ra);
    fill(&mut args.dec2, dec);
    fill(&mut args.id, part.id.clone());
    fill(&mut args.id1, id1.clone());
    fill(&mut args.id2, id2.clone());
    if is_match {
        fill(&mut args.flags_column, part.flags.clone());
    }
    // Where there are both, the tool goes by position.
    if part.pos.is_none() && args.index.is_none() {
        args.index = index("part.id-url", &part.id_url)?;
    }
    for (own, option, url) in [
        (&mut args.index1, "part.id1-url", url1),
        (&mut args.index2, "part.id2-url", url2),
    ] {
        if own.is_none() {
            *own = index(option, url)?;
        }
    }
    Ok(())
}

/// What was said counts; else an unknown key is an error, as ever with skyprep.
fn unknown_keys(said: &PartitionArgs, part: &SphPart) -> [UnknownKeyRule; 2] {
    match said.unknown_keys {
        Some(UnknownKeysArg::Error) => [UnknownKeyRule::Error; 2],
        Some(UnknownKeysArg::Null) => [UnknownKeyRule::Null; 2],
        None => part.match_aborts.map(|aborts| match aborts {
            Some(false) => UnknownKeyRule::Null,
            Some(true) | None => UnknownKeyRule::Error,
        }),
    }
}

/// Returns the dialect with the same characters that skyprep's own commands write.
fn own_dialect(dialect: &Dialect) -> Result<Dialect, Error> {
    let null = String::from_utf8_lossy(dialect.null());
    let (delimiter, quote, escape) = (dialect.delimiter(), dialect.quote(), dialect.escape());
    Dialect::custom(delimiter, quote, escape, Some(&null))
        .map_err(|fault| of_dialect("out.csv", fault))
}

fn of_dialect(prefix: &str, fault: impl std::fmt::Display) -> Error {
    Error::usage(format!("{prefix}: {fault}"))
}

fn number(option: &str, value: Option<i64>) -> Result<Option<u32>, Error> {
    value
        .map(|value| {
            u32::try_from(value)
                .ok()
                .filter(|value| *value > 0)
                .ok_or_else(|| {
                    Error::usage(format!("{option} is {value}, expected 1 to {}", u32::MAX))
                })
        })
        .transpose()
}
