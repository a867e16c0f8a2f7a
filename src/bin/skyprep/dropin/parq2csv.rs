//! `sph-parq2csv`: a Parquet file to text with TABs and without a header.

use std::ffi::OsString;
use std::path::Path;

use super::boost::{Known, Takes, Words, option, parse, short};

pub const NAME: &str = "sph-parq2csv";

pub const HELP: &str = "\
sph-parq2csv [options] PARQ CONFIG CSV

skyprep in place of Qserv's sph-parq2csv.

  --parq FILE             Parquet file to read
  --config FILE           JSON: {\"columns\": [...], \"optional\": [...]}
  --csv FILE              text file to write; one that stands is replaced when the new one is whole
  --csv-quote-fields      put all values but NULL in quotes
  --fix                   escape what MariaDB would not read back (sph-parq2csv can't)
  --max-proc-mem-mb N     memory to use, 512 at least
  --buf-size-mb N         taken for the sake of old scripts (1 to 1024)
  -v, --verbose           say more
  -h, --help              print this";

/// Less memory than this is not asked for: sph-parq2csv took no notice of the option.
const LEAST_MEMORY_MB: u64 = 512;

const KNOWN: [Known; 9] = [
    option("parq", Takes::Text),
    option("config", Takes::Text),
    option("csv", Takes::Text),
    option("csv-quote-fields", Takes::Nothing),
    option("fix", Takes::Nothing),
    option("max-proc-mem-mb", Takes::Whole),
    option("buf-size-mb", Takes::Whole),
    short("verbose", 'v', Takes::Nothing),
    short("help", 'h', Takes::Nothing),
];

/// Returns the arguments of `skyprep convert` that do the same; nothing if help is asked for.
pub fn translate(arguments: &[OsString]) -> Result<Option<Vec<OsString>>, String> {
    let said = parse(&KNOWN, Words::Of(&["parq", "config", "csv"]), arguments)?;
    if said.has("help") {
        return Ok(None);
    }
    let needed = |name: &str| {
        said.value(name)
            .ok_or_else(|| format!("the option '--{name}' is required but missing"))
    };
    let (parq, config, csv) = (needed("parq")?, needed("config")?, needed("csv")?);
    if Path::new(csv).is_dir() {
        return Err(format!("{} is a folder", csv.display()));
    }
    let number = |name: &str| said.parsed::<u64>(name);
    if number("buf-size-mb")?.is_some_and(|size| !(1..=1024).contains(&size)) {
        return Err("the value of --buf-size-mb must be between 1 and 1024".to_owned());
    }
    let form = match (said.has("csv-quote-fields"), said.has("fix")) {
        (false, false) => "bare",
        (false, true) => "bare-fixed",
        (true, false) => "quoted",
        (true, true) => "quoted-fixed",
    };
    let mut own: Vec<OsString> = [
        "skyprep",
        "convert",
        "--input-format",
        "parquet",
        "--force",
        "--bool",
        "1",
        "--nan",
        "keep",
        "--inf",
        "keep",
        "--charset",
        "binary",
        "--drop-in",
        form,
    ]
    .map(OsString::from)
    .to_vec();
    own.push(if said.has("verbose") { "-v" } else { "-q" }.into());
    if let Some(size) = number("max-proc-mem-mb")? {
        let size = size.max(LEAST_MEMORY_MB);
        own.extend(["--memory-limit".into(), format!("{size}MiB").into()]);
    }
    own.extend(["--columns-file".into(), config.clone()]);
    own.extend(["--output".into(), as_path(csv)]);
    own.extend(["--".into(), as_path(parq)]);
    Ok(Some(own))
}

/// Names are names here: neither stdin nor patterns nor URLs.
fn as_path(name: &OsString) -> OsString {
    if Path::new(name).is_absolute() {
        return name.clone();
    }
    let mut path = OsString::from("./");
    path.push(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<Option<Vec<OsString>>, String> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        translate(&arguments)
    }

    #[test]
    fn named_and_positional() {
        let named = translated("--parq=a --config=b --csv=c").unwrap();
        assert_eq!(named, translated("a b c").unwrap());
        assert_eq!(named, translated("--csv c a b").unwrap());
        assert!(translated("--help").unwrap().is_none());
    }

    #[test]
    fn what_is_missing_or_wrong() {
        assert!(translated("a b").unwrap_err().contains("--csv"));
        assert!(translated("a b c --buf-size-mb 0").is_err());
        assert!(translated("a b c --max-proc-mem-mb x").is_err());
    }
}
