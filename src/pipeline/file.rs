//! The pipeline file: TOML in, checked sections out. Paths in it are relative to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::bad_inputs::BadInputs;
use crate::dialect::{Dialect, DialectOptions};
use crate::error::{Error, Place, Result};
use crate::partition::UnknownKeyRule;
use crate::partition::key_index::IndexFormat;
use crate::place::PlaceUrl;
use crate::publish::STATE_FOLDER;
use crate::schema::{TableKind, TableSchema, check_name, check_together};
use crate::source::{Input, InputList};
use crate::stage::{FetchUrls, Retention, check_public_url, parse_span};
use crate::values::{
    BinaryForm, BoolPolicy, Charset, FractionPolicy, InfPolicy, InvalidTextPolicy, NanPolicy,
    NestedPolicy, OverflowPolicy, TruncatePolicy, ValuePolicy,
};

/// A pipeline file as it was read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineFile {
    /// The database and its division of the sky.
    pub database: DatabaseSection,
    /// Sets of input files.
    #[serde(default)]
    pub product: BTreeMap<String, ProductSection>,
    /// Target tables.
    #[serde(default)]
    pub table: BTreeMap<String, TableSection>,
    /// Where the files go.
    pub stage: StageSection,
    /// Folder of the file.
    #[serde(skip)]
    base: PathBuf,
}

/// `[database]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSection {
    /// Name of the database.
    pub name: String,
    /// Number of stripes; needed for partitioned tables.
    pub stripes: Option<u32>,
    /// Sub-stripes per stripe.
    pub sub_stripes: Option<u32>,
    /// Overlap in degrees.
    pub overlap: Option<f64>,
    /// Folder of table JSON files, one per table, or a Felis file with all of them.
    pub tables: Option<PathBuf>,
}

/// `[product.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductSection {
    /// Files, folders and patterns.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// A file that lists inputs, one a line.
    pub files_from: Option<PathBuf>,
    /// Names of the fields of headerless text.
    pub fields: Option<Vec<String>>,
    dialect: Option<String>,
    delimiter: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    null: Option<String>,
    header: Option<bool>,
    charset: Option<Charset>,
    hdu: Option<Hdu>,
}

/// Name or number of a table in FITS files.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected the name or the number of a table")]
enum Hdu {
    Name(String),
    Number(u32),
}

/// `[table.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSection {
    /// What the table is to Qserv; the schema may tell it too.
    pub kind: Option<TableKind>,
    /// Products in order.
    pub products: Vec<String>,
    /// Name of the director, for a child.
    pub director: Option<String>,
    /// Column of the director's key.
    pub id: Option<String>,
    /// Column of the right ascension.
    pub ra: Option<String>,
    /// Column of the declination.
    pub dec: Option<String>,
    /// Format of a director's index.
    pub index_format: Option<IndexFormat>,
    /// Index of a director that another command has made, for a child.
    pub index: Option<PathBuf>,
    /// Director of the first side, for a match.
    pub director1: Option<String>,
    /// Director of the second side.
    pub director2: Option<String>,
    /// Column of the first director's key.
    pub id1: Option<String>,
    /// Column of the second director's key.
    pub id2: Option<String>,
    /// Index of the first side, made by another command.
    pub index1: Option<PathBuf>,
    /// Index of the second side, made by another command.
    pub index2: Option<PathBuf>,
    /// Column of the first side's right ascension.
    pub ra1: Option<String>,
    /// Column of the first side's declination.
    pub dec1: Option<String>,
    /// Column of the second side's right ascension.
    pub ra2: Option<String>,
    /// Column of the second side's declination.
    pub dec2: Option<String>,
    /// What becomes of a match's keys that no index has.
    pub unknown_keys: Option<UnknownKeyRule>,
    /// Name of the column that tells the sides of a match.
    pub flags_column: Option<String>,
    /// Table JSON, or Felis YAML.
    pub schema: Option<PathBuf>,
    /// Columns in order.
    pub columns: Option<Vec<String>>,
    /// Columns to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Columns that a product may lack.
    #[serde(default)]
    pub optional: Vec<String>,
    /// New names of columns: old to new.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// Columns that hold the same value in all rows.
    #[serde(default)]
    constant: BTreeMap<String, Constant>,
    /// Takes right ascensions modulo 360.
    #[serde(default)]
    pub wrap_ra: bool,
    /// Lets a director have VARCHAR and VARBINARY columns.
    #[serde(default)]
    pub allow_varchar: bool,
    /// Writes `chunk_index.bin`.
    #[serde(default)]
    pub chunk_index: bool,
    dialect: Option<String>,
    delimiter: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    null: Option<String>,
    charset: Option<Charset>,
    bool: Option<BoolPolicy>,
    inf: Option<InfPolicy>,
    nan: Option<NanPolicy>,
    overflow: Option<OverflowPolicy>,
    truncate: Option<TruncatePolicy>,
    fraction: Option<FractionPolicy>,
    nested: Option<NestedPolicy>,
    binary: Option<BinaryForm>,
    srid: Option<u32>,
    invalid_text: Option<InvalidTextPolicy>,
    #[serde(default)]
    null_text: Vec<String>,
}

/// A value as TOML may write it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Constant {
    Text(String),
    Flag(bool),
    Whole(i64),
    Number(f64),
}

impl Constant {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Flag(flag) => u8::from(*flag).to_string(),
            Self::Whole(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// `[stage]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageSection {
    /// Folder or URL below which the database's folder is made.
    pub dest: String,
    /// Folder where a copy of all files stays, if `dest` is no folder.
    pub keep_local: Option<PathBuf>,
    /// Folder where tables grow before they are brought to `dest`, if that is no folder and no copy
    /// is kept.
    pub work: Option<PathBuf>,
    /// What `dest` is called where Qserv fetches the files.
    pub public_url: Option<String>,
    /// How long signed URLs in the manifest are to be good.
    presign: Option<String>,
    /// Until when the files are to be kept.
    retain_until: Option<String>,
}

impl PipelineFile {
    /// Reads a pipeline file.
    ///
    /// # Errors
    /// The file is missing, is no TOML, or has unknown keys.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_as(path, path)
    }

    /// Reads the copy `copy` of a pipeline file; paths in it are relative to the original.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_as(copy: &Path, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(copy).map_err(|error| Error::reading(copy, error))?;
        let mut file: Self = toml::from_str(&text).map_err(|error| {
            Error::usage(format!("not a pipeline file:\n{error}"))
                .at(Place::file(path.display().to_string()))
        })?;
        file.base = path.parent().map(Path::to_owned).unwrap_or_default();
        file.check()
            .map_err(|error| error.at(Place::file(path.display().to_string())))?;
        Ok(file)
    }

    /// Returns the folder that paths in the file are relative to.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Returns where the files are to be.
    ///
    /// # Errors
    /// It is no place that is known.
    pub fn destination(&self) -> Result<PlaceUrl> {
        let dest = PlaceUrl::parse(&self.stage.dest)?;
        Ok(match dest {
            PlaceUrl::Folder(path) => PlaceUrl::Folder(self.base.join(path)),
            other => other,
        })
    }

    /// Returns the folder where the tables are made: the destination, if that is a folder.
    ///
    /// # Errors
    /// The destination is no place that is known.
    pub fn root(&self) -> Result<PathBuf> {
        if let PlaceUrl::Folder(path) = self.destination()? {
            return Ok(path);
        }
        let usual = || Path::new(STATE_FOLDER).join(&self.database.name);
        let named = self.stage.keep_local.as_ref().or(self.stage.work.as_ref());
        Ok(self.base.join(named.cloned().unwrap_or_else(usual)))
    }

    /// Returns by which URLs the files are fetched.
    ///
    /// # Errors
    /// `presign` is no time.
    pub fn fetch_urls(&self) -> Result<FetchUrls> {
        let wrong = |reason| Error::usage(format!("presign: {reason}"));
        Ok(match (&self.stage.public_url, &self.stage.presign) {
            (Some(base), _) => FetchUrls::Base(base.clone()),
            (None, Some(text)) => FetchUrls::Signed(parse_span(text).map_err(wrong)?),
            (None, None) => FetchUrls::Own,
        })
    }

    /// Returns until when the files are to be kept, if that is limited.
    ///
    /// # Errors
    /// `retain_until` is no time.
    pub fn retention(&self) -> Result<Option<Retention>> {
        let wrong = |reason| Error::usage(format!("retain_until: {reason}"));
        let text = self.stage.retain_until.as_deref();
        text.map(str::parse).transpose().map_err(wrong)
    }

    /// Returns the inputs of the product `name`, with format and stamp.
    ///
    /// # Errors
    /// An input is missing or unreadable, and is not to be passed over.
    pub fn inputs_of(&self, name: &str, bad: BadInputs) -> Result<Vec<Input>> {
        self.input_list(name, bad)?.resolve()
    }

    /// Returns the inputs of the product `name` by name, not yet looked at.
    ///
    /// # Errors
    /// An input is missing, and is not to be passed over.
    pub fn input_list(&self, name: &str, bad: BadInputs) -> Result<InputList> {
        let product = self
            .product
            .get(name)
            .ok_or_else(|| unknown_product(name, &self.product))?;
        let mut list = InputList::default();
        if bad == BadInputs::PassOver {
            list.keep_unreadable();
        }
        for input in &product.inputs {
            list.add(&self.beside(input))?;
        }
        if let Some(path) = &product.files_from {
            let path = self.base.join(path);
            let bytes = std::fs::read(&path).map_err(|error| Error::reading(&path, error))?;
            list.add_list(&bytes, b'\n')?;
        }
        Ok(list)
    }

    /// Returns the dialect that text of the product `name` is in.
    ///
    /// # Errors
    /// The dialect can't be.
    pub fn text_dialect_of(&self, name: &str) -> Result<Dialect> {
        let product = self
            .product
            .get(name)
            .ok_or_else(|| unknown_product(name, &self.product))?;
        let options = DialectOptions {
            dialect: product.dialect.clone(),
            delimiter: product.delimiter.clone(),
            quote: product.quote.clone(),
            escape: product.escape.clone(),
            null: product.null.clone(),
            line_terminator: None,
            header: product.header,
            rules: None,
        };
        Ok(options.resolve(&Dialect::qserv())?)
    }

    /// Returns the character set of text of the product `name`, if one is given.
    pub fn charset_of(&self, name: &str) -> Option<Charset> {
        self.product.get(name).and_then(|product| product.charset)
    }

    /// Returns which table of a product's FITS files is meant.
    pub fn hdu_of(&self, name: &str) -> Option<String> {
        let product = self.product.get(name)?;
        product.hdu.as_ref().map(|hdu| match hdu {
            Hdu::Name(name) => name.clone(),
            Hdu::Number(number) => number.to_string(),
        })
    }

    /// Reads the schema of a table, if it has one.
    ///
    /// # Errors
    /// The file is missing or no table definition.
    pub fn schema_of(&self, name: &str, table: &TableSection) -> Result<Option<TableSchema>> {
        if let Some(path) = &table.schema {
            return TableSchema::read_for(&self.base.join(path), name).map(Some);
        }
        let Some(tables) = &self.database.tables else {
            return Ok(None);
        };
        let tables = self.base.join(tables);
        if tables.is_file() {
            return TableSchema::read_table(&tables, Some(name)).map(Some);
        }
        let path = tables.join(format!("{name}.json"));
        match path.exists() {
            true => TableSchema::read_for(&path, name).map(Some),
            false => Ok(None),
        }
    }

    /// Returns a name relative to the file as one relative to the working folder.
    fn beside(&self, input: &str) -> String {
        if Path::new(input).is_absolute() || input.contains("://") || self.base == Path::new("") {
            return input.to_owned();
        }
        let base = self.base.display().to_string();
        // Special characters of the folder's own name must not act as a pattern.
        let is_pattern = input.contains(['*', '?', '[']);
        let base = if is_pattern {
            glob::Pattern::escape(&base)
        } else {
            base
        };
        format!("{base}/{input}")
    }

    fn check(&self) -> Result<()> {
        check_name("database", &self.database.name)?;
        if self.table.is_empty() {
            return Err(Error::usage("there is no [table.NAME] section"));
        }
        for (name, table) in &self.table {
            check_name("table", name)?;
            check_together(Some(&self.database.name), name)?;
            if table.products.is_empty() {
                return Err(Error::usage(format!("table {name} has no products")));
            }
            for product in &table.products {
                if !self.product.contains_key(product) {
                    return Err(unknown_product(product, &self.product)
                        .at(Place::file(format!("table {name}"))));
                }
            }
            let mut directors = table.directors();
            if let Some(director) = directors.find(|director| !self.table.contains_key(*director)) {
                return Err(Error::usage(format!(
                    "table {name} names a director {director} that has no section"
                )));
            }
        }
        for (name, product) in &self.product {
            if product.inputs.is_empty() && product.files_from.is_none() {
                return Err(Error::usage(format!("product {name} has no inputs")));
            }
        }
        self.stage_check()
    }

    fn stage_check(&self) -> Result<()> {
        let stage = &self.stage;
        let is_folder = self.destination()?.is_folder();
        if is_folder && (stage.keep_local.is_some() || stage.work.is_some()) {
            let message = "keep_local and work are for a dest that is no folder";
            return Err(Error::usage(message));
        }
        if stage.keep_local.is_some() && stage.work.is_some() {
            let message = "with keep_local the tables grow there; leave work out";
            return Err(Error::usage(message));
        }
        if stage.public_url.is_some() && stage.presign.is_some() {
            return Err(Error::usage("public_url and presign exclude each other"));
        }
        if stage.presign.is_some() && !stage.dest.starts_with("s3://") {
            return Err(Error::usage("only S3 places have signed URLs").hint("leave presign out"));
        }
        if let FetchUrls::Base(base) = self.fetch_urls()? {
            check_public_url(&base)?;
        }
        self.retention()?;
        Ok(())
    }
}

impl TableSection {
    /// Returns the directors that the section names.
    pub(super) fn directors(&self) -> impl Iterator<Item = &String> {
        let all = [&self.director, &self.director1, &self.director2];
        all.into_iter().flatten()
    }

    /// Returns the dialect that the table is written in.
    ///
    /// # Errors
    /// The dialect can't be, or Qserv can't load it.
    pub fn output_dialect(&self) -> Result<Dialect> {
        let options = DialectOptions {
            dialect: self.dialect.clone(),
            delimiter: self.delimiter.clone(),
            quote: self.quote.clone(),
            escape: self.escape.clone(),
            null: self.null.clone(),
            line_terminator: None,
            header: None,
            rules: None,
        };
        let dialect = options.resolve(&Dialect::qserv())?;
        if let Some(reason) = dialect.refusal_by_numbers() {
            return Err(Error::usage(reason).hint("choose another for the output"));
        }
        match dialect.refusal_by_qserv() {
            None => Ok(dialect),
            Some(reason) => Err(
                Error::usage(format!("Qserv can't load this dialect: {reason}"))
                    .hint("use qserv or qserv-csv"),
            ),
        }
    }

    /// Returns the columns that hold the same value in all rows, and the values.
    pub fn constants(&self) -> Vec<(String, String)> {
        let constants = self.constant.iter();
        constants
            .map(|(name, value)| (name.clone(), value.text()))
            .collect()
    }

    /// Returns what becomes of values.
    pub fn policy(&self) -> ValuePolicy {
        ValuePolicy {
            bool: self.bool.unwrap_or_default(),
            inf: self.inf.unwrap_or_default(),
            nan: self.nan.unwrap_or_default(),
            overflow: self.overflow.unwrap_or_default(),
            truncate: self.truncate.unwrap_or_default(),
            fraction: self.fraction,
            nested: self.nested.unwrap_or_default(),
            binary: self.binary.unwrap_or_default(),
            srid: self.srid,
            invalid_text: self.invalid_text.unwrap_or_default(),
            charset: self.charset.unwrap_or_default(),
            null_text: self.null_text.clone(),
            reference_style: false,
        }
    }
}

fn unknown_product(name: &str, known: &BTreeMap<String, ProductSection>) -> Error {
    let known: Vec<&str> = known.keys().map(String::as_str).collect();
    Error::usage(format!("there is no [product.{name}] section"))
        .hint(format!("the products are: {}", known.join(", ")))
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "tests make their inputs as they like"
)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<PipelineFile> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("prep.toml");
        std::fs::write(&path, text).unwrap();
        PipelineFile::read(&path)
    }

    const HEAD: &str = "[database]\nname = \"d\"\n[stage]\ndest = \"out\"\n";

    #[test]
    fn unknown_keys_and_missing_sections_are_usage_errors() {
        for (text, said) in [
            ("[database]\nname = \"d\"\nspripes = 18\n", "spripes"),
            (HEAD, "[table.NAME]"),
            ("[table.T]\nproducts = [\"p\"]\n", "product.p"),
            ("[table.qservT]\nproducts = []\n", "reserves"),
            ("[table.\"a/b\"]\nproducts = []\n", "table name"),
        ] {
            let text = if text.starts_with("[table") {
                format!("{HEAD}{text}")
            } else {
                text.into()
            };
            let error = read(&text).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::Usage, "{text}");
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn a_dialect_that_qserv_cant_load_is_refused() {
        let text = format!(
            "{HEAD}[product.p]\ninputs = [\"x\"]\n[table.T]\nkind = \"regular\"\n\
             products = [\"p\"]\ndialect = \"rfc4180\"\n"
        );
        let file = read(&text).unwrap();
        assert!(file.table["T"].output_dialect().is_err());
    }
}
