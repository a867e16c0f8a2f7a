//! Options as Boost's `program_options` reads them: `--name=value`, `--name value`, `-nvalue`,
//! names cut short where that is unique.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// An option that a tool knows.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub name: &'static str,
    pub short: Option<char>,
    pub takes_value: bool,
}

/// What was said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    values: BTreeMap<&'static str, OsString>,
}

impl Said {
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub fn value(&self, name: &str) -> Option<&OsString> {
        self.values.get(name)
    }

    fn set(&mut self, known: &Known, value: OsString) -> Result<(), String> {
        match self.values.insert(known.name, value) {
            None => Ok(()),
            Some(_) => Err(format!(
                "option '--{}' cannot be specified more than once",
                known.name
            )),
        }
    }
}

/// Reads `arguments`; words without a name are the values of `positional`, in order.
pub fn parse(
    known: &[Known],
    positional: &[&'static str],
    arguments: &[OsString],
) -> Result<Said, String> {
    let mut said = Said::default();
    let mut words = positional.iter();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let text = argument.to_str().unwrap_or_default();
        if let Some(long) = text.strip_prefix("--").filter(|long| !long.is_empty()) {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (long, None),
            };
            let option = find(known, name)?;
            let value = match (option.takes_value, value) {
                (false, None) => OsString::new(),
                (false, Some(_)) => {
                    let name = option.name;
                    return Err(format!("option '--{name}' does not take any arguments"));
                }
                (true, Some(value)) => value,
                (true, None) => next_value(&mut rest, option)?,
            };
            said.set(option, value)?;
        } else if let Some(short) = text.strip_prefix('-').filter(|short| !short.is_empty()) {
            let letter = short.chars().next();
            let option = known.iter().find(|option| option.short == letter);
            let option = option.ok_or_else(|| format!("unrecognised option '{text}'"))?;
            let attached = short.get(1..).unwrap_or_default();
            let value = match (option.takes_value, attached) {
                (true, "") => next_value(&mut rest, option)?,
                (true, attached) => OsString::from(attached),
                (false, "") => OsString::new(),
                (false, _) => return Err(format!("unrecognised option '{text}'")),
            };
            said.set(option, value)?;
        } else {
            let name = words
                .find(|name| !said.has(name))
                .ok_or("too many positional options have been specified on the command line")?;
            said.values.insert(name, argument.clone());
        }
    }
    Ok(said)
}

fn next_value<'a>(
    rest: &mut impl Iterator<Item = &'a OsString>,
    option: &Known,
) -> Result<OsString, String> {
    rest.next().cloned().ok_or_else(|| {
        let name = option.name;
        format!("the required argument for option '--{name}' is missing")
    })
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
    use super::*;

    const KNOWN: [Known; 3] = [
        Known {
            name: "in.path",
            short: Some('i'),
            takes_value: true,
        },
        Known {
            name: "in.is-parquet",
            short: None,
            takes_value: false,
        },
        Known {
            name: "verbose",
            short: Some('v'),
            takes_value: false,
        },
    ];

    fn read(line: &str) -> Result<String, String> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let said = parse(&KNOWN, &["in.path"], &arguments)?;
        let all = said.values.iter();
        let all = all.map(|(name, value)| format!("{name}={}", value.display()));
        Ok(all.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_ways_to_say_a_thing() {
        for line in ["--in.path=a", "--in.path a", "-ia", "-i a", "--in.p a", "a"] {
            assert_eq!(read(line).unwrap(), "in.path=a", "{line}");
        }
        assert_eq!(read("-v --in.is").unwrap(), "in.is-parquet= verbose=");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, expected) in [
            ("--in a", "ambiguous"),
            ("--out", "unrecognised option '--out'"),
            ("-x", "unrecognised option '-x'"),
            ("--verbose=1", "does not take any arguments"),
            ("--in.path", "is missing"),
            ("a b", "too many positional"),
            ("-ia -ib", "more than once"),
        ] {
            assert!(read(line).unwrap_err().contains(expected), "{line}");
        }
    }
}
