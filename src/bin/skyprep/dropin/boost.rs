//! Options as Boost's `program_options` reads them: `--name=value`, `--name value`, `-nvalue`,
//! short switches run together, names cut short where that is unique, `--` before words.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde_json::{Map, Value};

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: it is a switch.
    Nothing,
    /// A text.
    Text,
    /// A text, any number of times.
    Texts,
    /// A whole number.
    Whole,
    /// A whole number that is not below zero.
    Natural,
    /// A whole number, any number of times.
    Wholes,
    /// A number.
    Real,
    /// One character.
    Character,
}

/// An option that a tool knows.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub name: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
}

/// Makes an option without a short form.
pub const fn option(name: &'static str, takes: Takes) -> Known {
    Known {
        name,
        short: None,
        takes,
    }
}

/// Makes an option with a short form.
pub const fn short(name: &'static str, short: char, takes: Takes) -> Known {
    Known {
        name,
        short: Some(short),
        takes,
    }
}

/// What words without a name are.
#[derive(Debug, Clone, Copy)]
pub enum Words<'a> {
    /// Values of these options, in order.
    Of(&'a [&'static str]),
    /// All of them values of this option.
    AllOf(&'static str),
    /// Nothing, as far as the tool is concerned.
    Ignored,
}

/// What was said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    values: BTreeMap<&'static str, Vec<OsString>>,
}

impl Said {
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Returns the value of an option that takes one.
    pub fn value(&self, name: &str) -> Option<&OsString> {
        self.values(name).first()
    }

    /// Returns the values of an option that takes several.
    pub fn values(&self, name: &str) -> &[OsString] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the value of an option as what it is written as.
    pub fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        self.value(name)
            .map(|value| parsed(name, value))
            .transpose()
    }

    /// Returns what was said of `known` as a tree: dots in names are its levels.
    pub fn tree(&self, known: &[Known]) -> Result<Value, String> {
        let mut tree = Map::new();
        for option in known {
            let Some(values) = self.values.get(option.name) else {
                continue;
            };
            set(&mut tree, option.name, json(option, values)?);
        }
        Ok(Value::Object(tree))
    }

    fn add(&mut self, known: &Known, value: OsString) -> Result<(), String> {
        let name = known.name;
        let values = self.values.entry(name).or_default();
        if !matches!(known.takes, Takes::Texts | Takes::Wholes) && !values.is_empty() {
            return Err(format!(
                "option '--{name}' cannot be specified more than once"
            ));
        }
        values.push(value);
        Ok(())
    }
}

fn parsed<T: std::str::FromStr>(name: &str, value: &OsStr) -> Result<T, String> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| invalid(name, value))
}

fn invalid(name: &str, value: &OsStr) -> String {
    let value = skyprep::error::quote_value(value.as_bytes());
    format!("the argument ({value}) for option '--{name}' is invalid")
}

fn json(option: &Known, values: &[OsString]) -> Result<Value, String> {
    let name = option.name;
    let text = |value: &OsString| match value.to_str() {
        Some(text) => Ok(Value::from(text)),
        None => Err(invalid(name, value)),
    };
    let Some(first) = values.first() else {
        return Ok(Value::Null);
    };
    match option.takes {
        Takes::Nothing => Ok(Value::Bool(true)),
        Takes::Text => text(first),
        Takes::Texts => values
            .iter()
            .map(text)
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Takes::Whole => parsed::<i64>(name, first).map(Value::from),
        Takes::Natural => parsed::<u64>(name, first).map(Value::from),
        Takes::Wholes => values
            .iter()
            .map(|value| parsed::<i64>(name, value).map(Value::from))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Takes::Real => match parsed::<f64>(name, first)? {
            number if number.is_finite() => Ok(Value::from(number)),
            _ => Err(invalid(name, first)),
        },
        Takes::Character if first.len() == 1 => text(first),
        Takes::Character => Err(invalid(name, first)),
    }
}

/// Sets a value in a tree, below objects that its name asks for.
fn set(tree: &mut Map<String, Value>, name: &str, value: Value) {
    match name.split_once('.') {
        None => {
            tree.insert(name.to_owned(), value);
        }
        Some((first, rest)) => {
            let place = tree
                .entry(first)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(below) = place {
                set(below, rest, value);
            }
        }
    }
}

/// Reads `arguments`.
pub fn parse(known: &[Known], words: Words<'_>, arguments: &[OsString]) -> Result<Said, String> {
    let mut said = Said::default();
    let mut rest = arguments.iter();
    let mut are_all_words = false;
    while let Some(argument) = rest.next() {
        let bytes = argument.as_bytes();
        match bytes {
            b"--" if !are_all_words => are_all_words = true,
            [b'-', b'-', long @ ..] if !are_all_words => {
                let end = long.iter().position(|byte| *byte == b'=');
                let (name, value) = match end.and_then(|end| long.split_at_checked(end)) {
                    Some((name, [_, value @ ..])) => (name, Some(OsStr::from_bytes(value))),
                    _ => (long, None),
                };
                let option = find(known, &String::from_utf8_lossy(name))?;
                let value = match (option.takes, value) {
                    (Takes::Nothing, None) => OsString::new(),
                    (Takes::Nothing, Some(_)) => {
                        let name = option.name;
                        return Err(format!("option '--{name}' does not take any arguments"));
                    }
                    (_, Some(value)) => value.to_owned(),
                    (_, None) => next_value(known, &mut rest, option)?,
                };
                said.add(option, value)?;
            }
            [b'-', letters @ ..] if !are_all_words && !letters.is_empty() => {
                read_letters(known, letters, &mut rest, &mut said)?;
            }
            _ => take_word(known, words, argument, &mut said)?,
        }
    }
    Ok(said)
}

/// Reads short options: switches, and at the end one that takes a value.
fn read_letters<'a>(
    known: &[Known],
    letters: &[u8],
    rest: &mut (impl Iterator<Item = &'a OsString> + Clone),
    said: &mut Said,
) -> Result<(), String> {
    let mut letters = letters;
    while let [letter, attached @ ..] = letters {
        let letter = char::from(*letter);
        let option = known.iter().find(|option| option.short == Some(letter));
        let option = option.ok_or_else(|| format!("unrecognised option '-{letter}'"))?;
        if option.takes == Takes::Nothing {
            said.add(option, OsString::new())?;
            letters = attached;
            continue;
        }
        let value = match attached {
            [] => next_value(known, rest, option)?,
            attached => OsStr::from_bytes(attached).to_owned(),
        };
        return said.add(option, value);
    }
    Ok(())
}

fn take_word(
    known: &[Known],
    words: Words<'_>,
    word: &OsString,
    said: &mut Said,
) -> Result<(), String> {
    let name = match words {
        Words::Ignored => return Ok(()),
        Words::AllOf(name) => name,
        Words::Of(names) => names
            .iter()
            .find(|name| !said.has(name))
            .ok_or("too many positional options have been specified on the command line")?,
    };
    said.add(find(known, name)?, word.clone())
}

/// Takes the argument behind an option, unless that is an option itself.
fn next_value<'a>(
    known: &[Known],
    rest: &mut (impl Iterator<Item = &'a OsString> + Clone),
    option: &Known,
) -> Result<OsString, String> {
    let is_option = |argument: &&OsString| match argument.as_bytes() {
        [b'-', b'-', name @ ..] => {
            let name = name.split(|byte| *byte == b'=').next().unwrap_or_default();
            find(known, &String::from_utf8_lossy(name)).is_ok()
        }
        [b'-', letter, ..] => known
            .iter()
            .any(|option| option.short == Some(char::from(*letter))),
        _ => false,
    };
    let next = rest.clone().next().filter(|argument| !is_option(argument));
    next.ok_or_else(|| {
        let name = option.name;
        format!("the required argument for option '--{name}' is missing")
    })?;
    Ok(rest.next().cloned().unwrap_or_default())
}

fn find<'k>(known: &'k [Known], name: &str) -> Result<&'k Known, String> {
    if let Some(exact) = known.iter().find(|option| option.name == name) {
        return Ok(exact);
    }
    let mut similar = known.iter().filter(|option| option.name.starts_with(name));
    match (similar.next(), similar.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(format!("option '--{name}' is ambiguous")),
        (None, _) => Err(format!("unrecognised option '--{name}'")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KNOWN: [Known; 8] = [
        short("in.path", 'i', Takes::Texts),
        option("in.is-parquet", Takes::Nothing),
        short("verbose", 'v', Takes::Nothing),
        option("in.csv.quote", Takes::Character),
        option("in.csv.field", Takes::Texts),
        option("part.overlap", Takes::Real),
        option("part.stripes", Takes::Whole),
        short("config", 'c', Takes::Text),
    ];

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn read(line: &str) -> Result<String, String> {
        let said = parse(&KNOWN, Words::Of(&["config"]), &arguments(line))?;
        let all = said.values.iter();
        let all = all.map(|(name, values)| {
            let values: Vec<_> = values.iter().map(|value| value.to_str().unwrap()).collect();
            format!("{name}={}", values.join("+"))
        });
        Ok(all.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_ways_to_say_a_thing() {
        for line in [
            "--config=a",
            "--config a",
            "-ca",
            "-c a",
            "--co a",
            "a",
            "-- a",
        ] {
            assert_eq!(read(line).unwrap(), "config=a", "{line}");
        }
        assert_eq!(read("-v --in.is").unwrap(), "in.is-parquet= verbose=");
        assert_eq!(read("-vca").unwrap(), "config=a verbose=");
        assert_eq!(read("-vc a").unwrap(), "config=a verbose=");
        assert_eq!(read("-- -v").unwrap(), "config=-v");
        assert_eq!(read("--config -9").unwrap(), "config=-9");
        assert_eq!(read("--config=a=b").unwrap(), "config=a=b");
        assert_eq!(read("-").unwrap(), "config=-");
        assert_eq!(
            read("-i a -ib --in.path=c --in.path d").unwrap(),
            "in.path=a+b+c+d"
        );
    }

    #[test]
    fn words_may_be_many_or_nothing() {
        let many = parse(&KNOWN, Words::AllOf("in.path"), &arguments("a -v b")).unwrap();
        assert_eq!(many.values("in.path"), ["a", "b"]);
        let none = parse(&KNOWN, Words::Ignored, &arguments("a b -v c")).unwrap();
        assert!(none.values.len() == 1 && none.has("verbose"));
    }

    #[test]
    fn what_is_said_makes_a_tree() {
        let line = "-ia -i b --in.csv.quote=' --part.overlap 5e-1 --part.stripes=-7 -v -cx";
        let said = parse(&KNOWN, Words::Ignored, &arguments(line)).unwrap();
        let (settings, _) = KNOWN.split_at(7);
        let expected = json!({
            "in": {"path": ["a", "b"], "csv": {"quote": "'"}},
            "part": {"overlap": 0.5, "stripes": -7},
            "verbose": true
        });
        assert_eq!(said.tree(settings).unwrap(), expected);
        for line in [
            "--in.csv.quote=ab",
            "--in.csv.quote=",
            "--part.overlap=x",
            "--part.overlap=nan",
            "--part.stripes=85.7",
            "--part.stripes=abc",
        ] {
            let said = parse(&KNOWN, Words::Ignored, &arguments(line)).unwrap();
            let error = said.tree(&KNOWN).unwrap_err();
            assert!(error.contains("is invalid"), "{error}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept_or_refused() {
        let path = OsString::from(OsStr::from_bytes(b"--config=\xff"));
        let said = parse(&KNOWN, Words::Ignored, &[path]).unwrap();
        assert_eq!(said.value("config").unwrap().as_bytes(), b"\xff");
        assert!(said.tree(&KNOWN).unwrap_err().contains("--config"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, expected) in [
            ("--in a", "ambiguous"),
            ("--out", "unrecognised option '--out'"),
            ("-x", "unrecognised option '-x'"),
            ("-vx", "unrecognised option '-x'"),
            ("--verbose=1", "does not take any arguments"),
            ("--in.path", "is missing"),
            ("--in.path --verbose", "is missing"),
            ("-c -v", "is missing"),
            ("a b", "too many positional"),
            ("-ca -cb", "more than once"),
            ("-v -v", "more than once"),
        ] {
            assert!(read(line).unwrap_err().contains(expected), "{line}");
        }
    }
}
