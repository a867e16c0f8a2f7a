//! Names of jobs and of their tasks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Characters that the name of a job has at most.
const MOST_CHARACTERS: usize = 100;

/// The name of a job: what its folder is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for JobId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let is_good = !text.is_empty()
            && text.len() <= MOST_CHARACTERS
            && text.chars().all(is_known)
            && text.starts_with(|c: char| c.is_ascii_alphanumeric());
        match is_good {
            true => Ok(Self(text.to_owned())),
            false => Err(Error::usage(format!(
                "'{}' can't be the name of a job",
                text.escape_debug()
            ))
            .hint(format!(
                "a name has up to {MOST_CHARACTERS} letters, digits, points, hyphens and \
                 underscores, and begins with a letter or digit"
            ))),
        }
    }
}

impl TryFrom<String> for JobId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Makes the rows of some inputs into one exchange file.
    Map,
    /// Makes several exchange files into one, where there are too many for one reduce task.
    Merge,
    /// Makes the final files of some chunks, of an index, or of a table that is not partitioned.
    Reduce,
}

impl TaskKind {
    /// All kinds, in the order in which they come within a stage.
    pub const ALL: [Self; 3] = [Self::Map, Self::Merge, Self::Reduce];

    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Merge => "merge",
            Self::Reduce => "reduce",
        }
    }
}

/// The name of a task: its kind, and its number among those of its kind, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskName {
    /// What it does.
    pub kind: TaskKind,
    /// Its number, from 1.
    pub number: u32,
}

impl TaskName {
    /// Names a task.
    pub fn new(kind: TaskKind, number: u32) -> Self {
        Self { kind, number }
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.word(), self.number)
    }
}

impl FromStr for TaskName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (word, number) = text.split_once('-').ok_or(())?;
        let kind = TaskKind::ALL.into_iter().find(|kind| kind.word() == word);
        let number = number.parse().map_err(|_| ())?;
        let name = Self::new(kind.ok_or(())?, number);
        (name.to_string() == text).then_some(name).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_are_names_of_folders() {
        for good in ["a", "stars-2026.11", "7_x"] {
            assert_eq!(good.parse::<JobId>().unwrap().as_str(), good);
        }
        for bad in ["", ".a", "a/b", "-x", "é", "a b", &"x".repeat(101)] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_tasks_are_read_back() {
        let name = TaskName::new(TaskKind::Reduce, 12);
        assert_eq!(name.to_string(), "reduce-12");
        assert_eq!("reduce-12".parse(), Ok(name));
        for bad in ["reduce", "reduce-", "reduce-012", "Map-1", "map--1"] {
            assert!(bad.parse::<TaskName>().is_err(), "{bad}");
        }
    }
}
