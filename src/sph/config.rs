//! What configuration files and options of Qserv's tools say, without what a tool requires.
//!
//! The same struct serves the tools themselves and `skyprep partition`, where a file gives what the
//! command line does not; so nothing here has a default, and nothing is missing.

use super::tree::SphTree;
use crate::dialect::{Dialect, DialectFault};
use crate::error::{Error, Result};

/// All that was said; what was not is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SphConfig {
    /// `verbose`: statistics are printed.
    pub verbose: Option<bool>,
    /// `in.*`
    pub input: SphInput,
    /// `out.*`
    pub output: SphOutput,
    /// `mr.*`
    pub work: SphWork,
    /// `part.*`
    pub part: SphPart,
}

/// `in.*`: what is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SphInput {
    /// `in.path`: files.
    pub paths: Option<Vec<String>>,
    /// `in.is-parquet`: files of that name are Parquet.
    pub is_parquet: Option<bool>,
    /// `in.parq2csv-quote`: values of Parquet files are put in quotes on their way to text.
    pub quotes_parquet: Option<bool>,
    /// `in.csv.optional`: columns that a Parquet file may lack.
    pub optional: Option<Vec<String>>,
    /// `in.csv.*`: names and dialect of fields.
    pub csv: SphCsv,
}

/// `out.*`: what is written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SphOutput {
    /// `out.dir`: the folder.
    pub folder: Option<String>,
    /// `out.num-nodes`: number of folders that chunks are spread over.
    pub nodes: Option<i64>,
    /// `out.csv.*`: names and dialect of fields.
    pub csv: SphCsv,
}

/// `in.csv.*` or `out.csv.*`: fields and their dialect.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SphCsv {
    /// `field`: names, in order.
    pub fields: Option<Vec<String>>,
    /// `null`: how NULL is spelt.
    pub null: Option<String>,
    /// `delimiter`: between fields.
    pub delimiter: Option<u8>,
    /// `quote`: around fields.
    pub quote: Option<u8>,
    /// `no-quote`: there are no quotes.
    pub no_quote: Option<bool>,
    /// `escape`: takes the meaning of the next byte.
    pub escape: Option<u8>,
    /// `no-escape`: there are no escapes.
    pub no_escape: Option<bool>,
}

/// `mr.*`: how the work is done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SphWork {
    /// `mr.block-size`: MiB that are read at once.
    pub block_mib: Option<i64>,
    /// `mr.num-workers`: threads.
    pub workers: Option<i64>,
    /// `mr.pool-size`: MiB of rows in memory.
    pub pool_mib: Option<i64>,
}

/// `part.*`: where rows go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SphPart {
    /// `part.num-stripes`
    pub stripes: Option<i64>,
    /// `part.num-sub-stripes`: in each stripe.
    pub sub_stripes: Option<i64>,
    /// `part.overlap`: in degrees.
    pub overlap: Option<f64>,
    /// `part.prefix`: what names of files begin with.
    pub prefix: Option<String>,
    /// `part.chunk`: name of the column of chunks.
    pub chunk: Option<String>,
    /// `part.sub-chunk`: name of the column of sub-chunks.
    pub sub_chunk: Option<String>,
    /// `part.flags`: name of the column that says which side of a match a row is for.
    pub flags: Option<String>,
    /// `part.pos`: columns of right ascension and declination, with a comma.
    pub pos: Option<String>,
    /// `part.id`: column of the director's key.
    pub id: Option<String>,
    /// `part.id-url`: director index.
    pub id_url: Option<String>,
    /// `part.disable-chunks`: only the director index is written.
    pub disable_chunks: Option<bool>,
    /// `part.pos1`, `part.pos2`: columns of the positions of a match.
    pub match_pos: [Option<String>; 2],
    /// `part.id1`, `part.id2`: columns of the keys of a match.
    pub match_id: [Option<String>; 2],
    /// `part.id1-url`, `part.id2-url`: director indexes of a match.
    pub match_id_url: [Option<String>; 2],
    /// `part.id1-missing-abort`, `part.id2-missing-abort`: an unknown key is an error.
    pub match_aborts: [Option<bool>; 2],
}

impl SphConfig {
    /// Takes what the tools know out of a tree.
    ///
    /// # Errors
    /// A value has another type than its parameter.
    pub fn new(tree: &SphTree) -> Result<Self> {
        Ok(Self {
            verbose: tree.switch("verbose")?,
            input: SphInput {
                paths: tree.texts("in.path")?,
                is_parquet: tree.switch("in.is-parquet")?,
                quotes_parquet: tree.switch("in.parq2csv-quote")?,
                optional: tree.texts("in.csv.optional")?,
                csv: SphCsv::new(tree, "in.csv")?,
            },
            output: SphOutput {
                folder: tree.text("out.dir")?,
                nodes: tree.whole("out.num-nodes")?,
                csv: SphCsv::new(tree, "out.csv")?,
            },
            work: SphWork {
                block_mib: tree.whole("mr.block-size")?,
                workers: tree.whole("mr.num-workers")?,
                pool_mib: tree.whole("mr.pool-size")?,
            },
            part: SphPart::new(tree)?,
        })
    }
}

impl SphPart {
    fn new(tree: &SphTree) -> Result<Self> {
        Ok(Self {
            stripes: tree.whole("part.num-stripes")?,
            sub_stripes: tree.whole("part.num-sub-stripes")?,
            overlap: tree.real("part.overlap")?,
            prefix: tree.text("part.prefix")?,
            chunk: tree.text("part.chunk")?,
            sub_chunk: tree.text("part.sub-chunk")?,
            flags: tree.text("part.flags")?,
            pos: tree.text("part.pos")?,
            id: tree.text("part.id")?,
            id_url: tree.text("part.id-url")?,
            disable_chunks: tree.switch("part.disable-chunks")?,
            match_pos: [tree.text("part.pos1")?, tree.text("part.pos2")?],
            match_id: [tree.text("part.id1")?, tree.text("part.id2")?],
            match_id_url: [tree.text("part.id1-url")?, tree.text("part.id2-url")?],
            match_aborts: [
                tree.switch("part.id1-missing-abort")?,
                tree.switch("part.id2-missing-abort")?,
            ],
        })
    }

    /// Says whether any position is named: the overlap counts only then.
    pub fn has_positions(&self) -> bool {
        self.pos.is_some() || self.match_pos.iter().any(Option::is_some)
    }
}

impl SphCsv {
    fn new(tree: &SphTree, prefix: &str) -> Result<Self> {
        let name = |key: &str| format!("{prefix}.{key}");
        Ok(Self {
            fields: tree.texts(&name("field"))?,
            null: tree.text(&name("null"))?,
            delimiter: tree.character(&name("delimiter"))?,
            quote: tree.character(&name("quote"))?,
            no_quote: tree.switch(&name("no-quote"))?,
            escape: tree.character(&name("escape"))?,
            no_escape: tree.switch(&name("no-escape"))?,
        })
    }

    /// Returns the dialect, with the tools' defaults: TAB, quote `"`, escape `\`.
    ///
    /// # Errors
    /// Its characters clash.
    pub fn dialect(&self) -> Result<Dialect, DialectFault> {
        let unless = |is_off: Option<bool>, byte: u8| (is_off != Some(true)).then_some(byte);
        Dialect::sph(
            self.delimiter.unwrap_or(b'\t'),
            unless(self.no_quote, self.quote.unwrap_or(b'"')),
            unless(self.no_escape, self.escape.unwrap_or(b'\\')),
            self.null.as_deref(),
        )
    }

    /// The same, and an error says of which dialect it speaks.
    pub(super) fn dialect_of(&self, prefix: &str) -> Result<Dialect> {
        self.dialect()
            .map_err(|fault| Error::usage(format!("{prefix}: {fault}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_is_said_is_taken_over() {
        let mut tree = SphTree::default();
        tree.merge(
            "x",
            json!({
                "verbose": true, "id": 7, "dirTable": "Object",
                "in": {"path": ["a", "b"], "is-parquet": true, "parq2csv-quote": false,
                    "csv": {"field": ["x"], "optional": ["o"], "null": "", "delimiter": ",",
                        "quote": "'", "no-quote": false, "escape": 94, "no-escape": false}},
                "out": {"dir": "d", "num-nodes": 3, "csv": {"no-quote": true, "field": ["y"]}},
                "mr": {"block-size": 1, "num-workers": 2, "pool-size": 3},
                "part": {"num-stripes": 4, "num-sub-stripes": 5, "overlap": 0.5, "prefix": "p",
                    "chunk": "c", "sub-chunk": "s", "flags": "f", "pos": "ra,dec", "id": "i",
                    "id-url": "u", "disable-chunks": true, "pos1": "a,b", "pos2": "c,d",
                    "id1": "i1", "id2": "i2", "id1-url": "u1", "id2-url": "u2",
                    "id1-missing-abort": true, "id2-missing-abort": false,
                    "default-overlap": "no matter"}
            }),
        );
        let text = |text: &str| Some(text.to_owned());
        let texts = |all: &[&str]| Some(all.iter().map(|text| (*text).to_owned()).collect());
        let expected = SphConfig {
            verbose: Some(true),
            input: SphInput {
                paths: texts(&["a", "b"]),
                is_parquet: Some(true),
                quotes_parquet: Some(false),
                optional: texts(&["o"]),
                csv: SphCsv {
                    fields: texts(&["x"]),
                    null: text(""),
                    delimiter: Some(b','),
                    quote: Some(b'\''),
                    no_quote: Some(false),
                    escape: Some(b'^'),
                    no_escape: Some(false),
                },
            },
            output: SphOutput {
                folder: text("d"),
                nodes: Some(3),
                csv: SphCsv {
                    fields: texts(&["y"]),
                    no_quote: Some(true),
                    ..SphCsv::default()
                },
            },
            work: SphWork {
                block_mib: Some(1),
                workers: Some(2),
                pool_mib: Some(3),
            },
            part: SphPart {
                stripes: Some(4),
                sub_stripes: Some(5),
                overlap: Some(0.5),
                prefix: text("p"),
                chunk: text("c"),
                sub_chunk: text("s"),
                flags: text("f"),
                pos: text("ra,dec"),
                id: text("i"),
                id_url: text("u"),
                disable_chunks: Some(true),
                match_pos: [text("a,b"), text("c,d")],
                match_id: [text("i1"), text("i2")],
                match_id_url: [text("u1"), text("u2")],
                match_aborts: [Some(true), Some(false)],
            },
        };
        assert_eq!(SphConfig::new(&tree).unwrap(), expected);
        assert_eq!(
            SphConfig::new(&SphTree::default()).unwrap(),
            SphConfig::default()
        );
    }

    #[test]
    fn dialects_have_the_defaults_of_the_tools() {
        let null_of = |csv: SphCsv| csv.dialect().unwrap().null().to_vec();
        assert_eq!(null_of(SphCsv::default()), b"NULL");
        let bare = SphCsv {
            no_quote: Some(true),
            ..SphCsv::default()
        };
        assert_eq!(null_of(bare.clone()), b"\\N");
        let barest = SphCsv {
            no_escape: Some(true),
            ..bare
        };
        assert_eq!(null_of(barest.clone()), b"");
        let dialect = barest.dialect().unwrap();
        assert_eq!((dialect.delimiter(), dialect.quote()), (b'\t', None));
        let clash = SphCsv {
            escape: Some(b'"'),
            ..SphCsv::default()
        };
        let error = clash.dialect_of("in.csv").unwrap_err().to_string();
        assert_eq!(error, "in.csv: quote and escape are the same character");
    }
}
