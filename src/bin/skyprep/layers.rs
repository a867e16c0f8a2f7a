//! Options from four layers: command line, environment, configuration file, defaults.
//!
//! What the lower layers say is turned into arguments and put behind those of the command line, as
//! far as that is silent, so that every option is read and checked in one place: by clap. Nothing
//! here knows any option by name, except the one that names the file.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, ColorChoice, Command, CommandFactory, FromArgMatches};
use serde_json::{Map, Value};
use skyprep::error::{Error, Place};

use crate::args::Arguments;

/// What was asked for, and where each option came from.
pub struct Resolved {
    /// The arguments.
    pub arguments: Arguments,
    /// Name of the command.
    pub command: String,
    /// All options that have a value, by their long names.
    pub options: Map<String, Value>,
    /// Where options that were set came from.
    pub origins: Origins,
}

/// Where an option came from, in words; by long name.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    by_option: BTreeMap<String, String>,
    /// The configuration file, if there is one.
    pub config: Option<PathBuf>,
}

impl Origins {
    /// Returns where the option came from, if it was set.
    pub fn of(&self, long: &str) -> Option<&str> {
        self.by_option.get(long).map(String::as_str)
    }
}

/// Why arguments can't be used.
pub enum Refusal {
    /// clap's message (which may be the help), and notes on where options came from.
    Usage(Box<clap::Error>, Vec<String>),
    /// The environment or the configuration file is wrong.
    Layer(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Layer(error)
    }
}

/// Returns the name of the environment variable of an option.
pub fn variable(long: &str) -> String {
    format!("SKYPREP_{}", long.to_uppercase().replace('-', "_"))
}

/// Returns all commands and options.
pub fn command(color: ColorChoice) -> Command {
    Arguments::command().color(color)
}

/// Reads the command line and the layers below it.
pub fn resolve(arguments: &[OsString]) -> Result<Resolved, Refusal> {
    let color = color_wanted(arguments);
    let mut origins = Origins::default();
    let mut all = arguments.to_vec();
    // A first look, which passes over faults, tells what the command line says.
    let first = command(color).ignore_errors(true);
    if let Ok(matches) = first.try_get_matches_from(arguments)
        && let Some((name, matches)) = innermost(&matches)
    {
        let added = lower_layers(&name, matches, &mut origins)?;
        let end = all.iter().position(|argument| argument == "--");
        let end = end.unwrap_or(all.len());
        all.splice(end..end, added);
    }
    let refuse = |error: clap::Error| {
        let said = error.to_string();
        let concerned = origins.by_option.iter().filter(|(long, origin)| {
            *origin != ON_COMMAND_LINE && said.contains(&format!("--{long}"))
        });
        let notes = concerned.map(|(long, origin)| format!("--{long} comes from {origin}"));
        Refusal::Usage(Box::new(error), notes.collect())
    };
    let matches = command(color).try_get_matches_from(all).map_err(refuse)?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(refuse)?;
    let (name, options) = match innermost(&matches) {
        Some((name, matches)) => {
            let options = options_of(&name, matches);
            (name, options)
        }
        None => (String::new(), Map::new()),
    };
    Ok(Resolved {
        arguments,
        command: name,
        options,
        origins,
    })
}

const ON_COMMAND_LINE: &str = "the command line";

/// Finds the colour choice before anything is parsed: messages of the parser have colours too.
fn color_wanted(arguments: &[OsString]) -> ColorChoice {
    let mut wanted = std::env::var_os(variable("color"));
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            break;
        } else if argument == "--color" {
            wanted = rest.next().cloned();
        } else if let Some(value) = argument.to_str().and_then(|a| a.strip_prefix("--color=")) {
            wanted = Some(value.into());
        }
    }
    match wanted.as_deref().and_then(OsStr::to_str) {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

/// Returns the command that was named, such as `manifest export`, and what was said to it.
fn innermost(matches: &ArgMatches) -> Option<(String, &ArgMatches)> {
    let (name, matches) = matches.subcommand()?;
    match innermost(matches) {
        Some((inner, matches)) => Some((format!("{name} {inner}"), matches)),
        None => Some((name.to_owned(), matches)),
    }
}

/// Returns the command `name` with the options of all commands in it.
fn command_named(name: &str) -> Option<Command> {
    let mut all = Arguments::command();
    all.build();
    let mut names = name.split(' ');
    let found = names.try_fold(&all, |command, name| command.find_subcommand(name));
    found.cloned()
}

/// Returns a command and those below it.
fn with_inner(command: &Command) -> impl Iterator<Item = &Command> {
    std::iter::once(command).chain(command.get_subcommands())
}

/// Returns the options of a command that have a long name.
fn long_options(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let is_own = |action: &ArgAction| {
        matches!(
            action,
            ArgAction::Set
                | ArgAction::Append
                | ArgAction::SetTrue
                | ArgAction::SetFalse
                | ArgAction::Count
        )
    };
    command
        .get_arguments()
        .filter(move |arg| is_own(arg.get_action()))
        .filter_map(|arg| Some((arg.get_long()?, arg)))
}

/// Returns what environment and configuration file add to the command line.
fn lower_layers(
    name: &str,
    matches: &ArgMatches,
    origins: &mut Origins,
) -> Result<Vec<OsString>, Error> {
    let Some(command) = command_named(name) else {
        return Ok(Vec::new());
    };
    let mut stack = Stack {
        command: &command,
        given: BTreeSet::new(),
        added: Vec::new(),
        origins,
    };
    for (long, arg) in long_options(&command) {
        let id = arg.get_id().as_str();
        if matches.ids().any(|known| known.as_str() == id)
            && matches.value_source(id) == Some(ValueSource::CommandLine)
        {
            stack.given.insert(long.to_owned());
            let origin = ON_COMMAND_LINE.to_owned();
            stack.origins.by_option.insert(long.to_owned(), origin);
        }
    }
    stack.add_environment()?;
    let config = match matches.get_one::<PathBuf>("config") {
        Some(path) => Some(path.clone()),
        None => std::env::var_os(variable("config"))
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
    };
    if let Some(path) = config {
        stack.add_file(name, &path)?;
        stack.origins.config = Some(path);
    }
    Ok(stack.added)
}

/// A command line that grows by what lower layers say.
struct Stack<'a> {
    command: &'a Command,
    /// Options that a higher layer has decided.
    given: BTreeSet<String>,
    added: Vec<OsString>,
    origins: &'a mut Origins,
}

impl Stack<'_> {
    fn add_environment(&mut self) -> Result<(), Error> {
        let mut layer = Vec::new();
        for (long, arg) in long_options(self.command) {
            let name = variable(long);
            let Some(value) = std::env::var_os(&name).filter(|value| !value.is_empty()) else {
                continue;
            };
            let setting = match arg.get_action() {
                ArgAction::Set => Setting::Values(vec![value]),
                // Values of an option that may be repeated stand on lines of their own.
                ArgAction::Append => Setting::Values(lines_of(&value)),
                action => {
                    let text = value.to_string_lossy().to_ascii_lowercase();
                    let times = match (action, text.as_str()) {
                        (_, "1" | "true" | "yes" | "on") => 1,
                        (_, "0" | "false" | "no" | "off") => 0,
                        (ArgAction::Count, count) => count.parse().unwrap_or(u8::MAX),
                        _ => u8::MAX,
                    };
                    if times > 9 {
                        return Err(Error::usage(format!(
                            "{name}={text}: expected 1, 0, true, false, yes or no"
                        )));
                    }
                    Setting::Flag(times)
                }
            };
            layer.push((
                long.to_owned(),
                setting,
                format!("environment variable {name}"),
            ));
        }
        self.add_layer(layer);
        Ok(())
    }

    fn add_file(&mut self, name: &str, path: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::reading(path, error))?;
        let at_file = |error: Error| error.at(Place::file(path.display().to_string()));
        let table: toml::Table = text.parse().map_err(|error| {
            at_file(Error::usage(format!("not a configuration file:\n{error}")))
        })?;
        let own = settings_of(&table, name, self.command).map_err(at_file)?;
        let origin = format!("configuration file {}", path.display());
        let layer = own.into_iter();
        let layer = layer.map(|(long, setting)| (long, setting, origin.clone()));
        self.add_layer(layer.collect());
        Ok(())
    }

    /// Adds what no higher layer has decided or excludes.
    fn add_layer(&mut self, layer: Vec<(String, Setting, String)>) {
        let options: Vec<(&str, &Arg)> = long_options(self.command).collect();
        let excluded = |long: &str, given: &BTreeSet<String>| {
            let Some((_, arg)) = options.iter().find(|(name, _)| *name == long) else {
                return true;
            };
            let conflicts = |of: &Arg, with: &Arg| {
                let mut all = self.command.get_arg_conflicts_with(of).into_iter();
                all.any(|other| other.get_id() == with.get_id())
            };
            let mut given = options.iter().filter(|(name, _)| given.contains(*name));
            given.any(|(_, other)| conflicts(arg, other) || conflicts(other, arg))
        };
        let above = self.given.clone();
        for (long, setting, origin) in layer {
            if above.contains(&long) || excluded(&long, &above) {
                continue;
            }
            let is_set = setting.add_to(&long, &mut self.added);
            if is_set {
                self.origins.by_option.insert(long.clone(), origin);
            }
            self.given.insert(long);
        }
    }
}

/// What a layer says of an option.
enum Setting {
    /// A flag, so many times.
    Flag(u8),
    Values(Vec<OsString>),
}

impl Setting {
    /// Adds the arguments that say the same; says whether there are any.
    fn add_to(self, long: &str, arguments: &mut Vec<OsString>) -> bool {
        let before = arguments.len();
        match self {
            Self::Flag(times) => {
                let flag = OsString::from(format!("--{long}"));
                arguments.extend(std::iter::repeat_n(flag, usize::from(times)));
            }
            Self::Values(values) => arguments.extend(values.into_iter().map(|value| {
                let mut argument = OsString::from(format!("--{long}="));
                argument.push(value);
                argument
            })),
        }
        arguments.len() > before
    }
}

fn lines_of(value: &OsStr) -> Vec<OsString> {
    use std::os::unix::ffi::OsStrExt;
    value
        .as_bytes()
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| OsStr::from_bytes(line).to_owned())
        .collect()
}

/// Returns what a configuration file says for the command `name`; its section counts more.
fn settings_of(
    table: &toml::Table,
    name: &str,
    command: &Command,
) -> Result<BTreeMap<String, Setting>, Error> {
    let mut all = Arguments::command();
    all.build();
    let mut settings = BTreeMap::new();
    let (mut base, mut section) = (None, None);
    let own_name = name.split(' ').next();
    for (key, value) in table {
        if let toml::Value::Table(own) = value {
            let Some(of) = all.find_subcommand(key) else {
                return Err(unknown(
                    &format!("[{key}]"),
                    all.get_subcommands().map(Command::get_name),
                ));
            };
            for key in own.keys() {
                let options = || with_inner(of).flat_map(long_options);
                if !with_inner(of).any(|command| find(command, key).is_some()) {
                    return Err(unknown(key, options().map(|(long, _)| long)));
                }
            }
            if own_name == Some(key.as_str()) {
                section = Some(own);
            } else if own_name == Some("estimate") && key == "partition" {
                // What partition is told counts for what it would make.
                base = Some(own);
            }
            continue;
        }
        let commands = || all.get_subcommands().flat_map(with_inner);
        let mut everywhere = commands().flat_map(long_options);
        if !everywhere.any(|(long, _)| is_key_of(long, key)) || is_key_of("config", key) {
            let all = commands().flat_map(long_options);
            return Err(unknown(key, all.map(|(long, _)| long)));
        }
        if let Some((long, arg)) = find(command, key) {
            settings.insert(long.to_owned(), setting(key, arg, value)?);
        }
    }
    let sections = base.into_iter().chain(section);
    for (key, value) in sections.flatten() {
        if let Some((long, arg)) = find(command, key) {
            settings.insert(long.to_owned(), setting(key, arg, value)?);
        }
    }
    Ok(settings)
}

fn find<'c>(command: &'c Command, key: &str) -> Option<(&'c str, &'c Arg)> {
    long_options(command).find(|(long, _)| is_key_of(long, key) && !is_key_of("config", key))
}

fn is_key_of(long: &str, key: &str) -> bool {
    long == key.replace('_', "-")
}

/// Makes the error for a key that no option has, with those that look like it.
fn unknown<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Error {
    let error = Error::usage(format!("unknown key '{key}'"));
    let wanted = key.replace('_', "-");
    let wanted = wanted.trim_matches(['[', ']']);
    let start: String = wanted.chars().take(3).collect();
    let near: BTreeSet<&str> = known.filter(|name| name.starts_with(&start)).collect();
    if near.is_empty() {
        return error.hint("keys are the long names of options, sections those of commands");
    }
    let near: Vec<&str> = near.into_iter().collect();
    error.hint(format!("do you mean {}?", near.join(" or ")))
}

fn setting(key: &str, arg: &Arg, value: &toml::Value) -> Result<Setting, Error> {
    let found = value.type_str();
    let wrong = |expected: &str| {
        Error::usage(format!(
            "key '{key}': found a value of type {found}, expected {expected}"
        ))
    };
    match (arg.get_action(), value) {
        (ArgAction::Set | ArgAction::Append, value) if text_of(value).is_some() => {
            Ok(Setting::Values(text_of(value).into_iter().collect()))
        }
        (ArgAction::Append, toml::Value::Array(values)) => {
            let texts: Option<Vec<OsString>> = values.iter().map(text_of).collect();
            texts
                .map(Setting::Values)
                .ok_or_else(|| wrong("a list of texts"))
        }
        (ArgAction::Append, _) => Err(wrong("a text or a list of texts")),
        (ArgAction::Set, _) => Err(wrong("a text or a number")),
        (_, toml::Value::Boolean(is_set)) => Ok(Setting::Flag(u8::from(*is_set))),
        (ArgAction::Count, toml::Value::Integer(times @ 0..=9)) => Ok(Setting::Flag(*times as u8)),
        _ => Err(wrong("true or false")),
    }
}

fn text_of(value: &toml::Value) -> Option<OsString> {
    match value {
        toml::Value::String(text) => Some(text.into()),
        toml::Value::Integer(number) => Some(number.to_string().into()),
        toml::Value::Float(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// Returns all options that have a value, for the report.
fn options_of(name: &str, matches: &ArgMatches) -> Map<String, Value> {
    let mut options = Map::new();
    let Some(command) = command_named(name) else {
        return options;
    };
    for (long, arg) in long_options(&command) {
        let id = arg.get_id().as_str();
        if matches.ids().all(|known| known.as_str() != id) {
            continue;
        }
        let value = match arg.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => Value::Bool(matches.get_flag(id)),
            ArgAction::Count => Value::from(matches.get_count(id)),
            action => {
                let raw = matches.get_raw(id).into_iter().flatten();
                let mut texts: Vec<Value> = raw
                    .map(|text| Value::String(text.to_string_lossy().into_owned()))
                    .collect();
                match action {
                    ArgAction::Append => Value::Array(texts),
                    _ => texts.pop().unwrap_or_default(),
                }
            }
        };
        options.insert(long.to_owned(), value);
    }
    options
}
