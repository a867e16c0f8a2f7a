//! Configuration files of Qserv's tools, merged into one tree of JSON values.
//!
//! Files are merged as RFC 7396 has it, in order, so that the last one wins and null takes a value
//! away. Names with dots are paths: `part.chunk` is `chunk` in the object `part`. What no tool
//! knows stays in the tree and is not looked at.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Place, Result, quote_value};

/// Merged configuration.
///
/// # Examples
/// ```
/// use serde_json::json;
/// use skyprep::sph::{SphConfig, SphTree};
///
/// let mut tree = SphTree::default();
/// tree.merge("a.json", json!({"part": {"num-stripes": 18, "prefix": "c"}}));
/// tree.merge("b.json", json!({"part": {"num-stripes": 85, "prefix": null}}));
/// let config = SphConfig::new(&tree)?;
/// assert_eq!((config.part.stripes, config.part.prefix), (Some(85), None));
/// # Ok::<(), skyprep::error::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct SphTree {
    merged: Map<String, Value>,
    /// What each source said, to name the one at fault.
    sources: Vec<(String, Value)>,
}

impl SphTree {
    /// Reads a file and merges it over what is there. Only its first JSON value counts.
    ///
    /// # Errors
    /// The file can't be read, or does not begin with a JSON object or null.
    pub fn merge_file(&mut self, path: &Path) -> Result<()> {
        let bytes = std::fs::read(path).map_err(|error| Error::reading(path, error))?;
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let name = path.display().to_string();
        let wrong = |message: String| {
            Error::new(ErrorKind::Usage, message)
                .at(Place::file(name.clone()))
                .hint("configuration files of Qserv's tools are strict JSON: no comments")
        };
        let first = serde_json::Deserializer::from_slice(text)
            .into_iter::<Value>()
            .next();
        match first {
            None => Err(wrong(
                "the file is empty, expected a JSON object".to_owned(),
            )),
            Some(Err(error)) => Err(wrong(format!("not valid JSON: {error}"))),
            Some(Ok(patch @ (Value::Object(_) | Value::Null))) => {
                self.merge(&name, patch);
                Ok(())
            }
            Some(Ok(other)) => Err(wrong(format!(
                "found {}, expected a JSON object",
                shown(&other)
            ))),
        }
    }

    /// Merges what `source` says over what is there; anything but an object means nothing.
    pub fn merge(&mut self, source: &str, patch: Value) {
        if let Value::Object(patch) = &patch {
            merge_objects(&mut self.merged, patch);
        }
        self.sources.push((source.to_owned(), patch));
    }

    /// Returns the value of a dotted name.
    fn get(&self, name: &str) -> Option<&Value> {
        let (first, rest) = name
            .split_once('.')
            .map_or((name, None), |(f, r)| (f, Some(r)));
        let value = self.merged.get(first)?;
        rest.map_or(Some(value), |rest| find(value, rest))
    }

    /// Returns a value as `convert` understands it.
    fn typed<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        convert(value).map(Some).ok_or_else(|| {
            let message = format!("parameter {name} is {}, expected {expected}", shown(value));
            let has_it = |source: &&(String, Value)| find(&source.1, name).is_some();
            match self.sources.iter().rfind(has_it) {
                Some((source, _)) => Error::usage(message).at(Place::file(source.clone())),
                None => Error::usage(message),
            }
        })
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        self.typed(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>> {
        self.typed(name, "a list of texts", |value| {
            let texts = value.as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        })
    }

    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(super) fn real(&self, name: &str) -> Result<Option<f64>> {
        self.typed(name, "a number", Value::as_f64)
    }

    /// Takes numbers with a fraction, too, which is cut off.
    pub(super) fn whole(&self, name: &str) -> Result<Option<i64>> {
        self.typed(name, "a whole number", whole_of)
    }

    /// Returns a whole number that is not below zero.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn natural(&self, name: &str) -> Result<Option<u64>> {
        self.typed(name, "a whole number of 64 bits", |value| {
            let whole = || whole_of(value).and_then(|number| u64::try_from(number).ok());
            value.as_u64().or_else(whole)
        })
    }

    /// Returns a list of whole numbers.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn wholes(&self, name: &str) -> Result<Option<Vec<i64>>> {
        self.typed(name, "a list of whole numbers", |value| {
            value.as_array()?.iter().map(whole_of).collect()
        })
    }

    /// Takes a text of one character, or the number of one.
    pub(super) fn character(&self, name: &str) -> Result<Option<u8>> {
        self.typed(name, "one ASCII character", |value| {
            let byte = match (value.as_str().map(str::as_bytes), value.as_u64()) {
                (Some([byte]), _) => *byte,
                (None, Some(number)) => u8::try_from(number).ok()?,
                _ => return None,
            };
            byte.is_ascii().then_some(byte)
        })
    }
}

/// Takes a number as a whole one, as the tools do: without the digits behind the point.
fn whole_of(value: &Value) -> Option<i64> {
    let cut = |number: f64| (number.abs() < 9e18).then_some(number as i64);
    value.as_i64().or_else(|| value.as_f64().and_then(cut))
}

fn find<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    name.split('.').try_fold(value, |value, key| value.get(key))
}

fn merge_objects(into: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, change) in patch {
        match change {
            Value::Null => {
                into.remove(key);
            }
            Value::Object(change) => {
                let place = into.entry(key.clone()).or_insert(Value::Null);
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                if let Value::Object(object) = place {
                    merge_objects(object, change);
                }
            }
            other => {
                into.insert(key.clone(), other.clone());
            }
        }
    }
}

/// Shows a value in a message.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) => quote_value(text.as_bytes()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(patches: &[Value]) -> SphTree {
        let mut tree = SphTree::default();
        for (number, patch) in patches.iter().enumerate() {
            tree.merge(&format!("{number}.json"), patch.clone());
        }
        tree
    }

    #[test]
    fn later_files_win_and_null_takes_away() {
        let tree = merged(&[
            json!({"part": {"a": 1, "b": {"c": 2}, "list": [1, 2]}, "null": null}),
            json!({}),
            Value::Null,
            json!({"part": {"a": {"x": 5}, "b": {"c": null, "d": 3}, "list": [3]}}),
            json!({"in": {"new": {"gone": null}}}),
        ]);
        let expected =
            json!({"part": {"a": {"x": 5}, "b": {"d": 3}, "list": [3]}, "in": {"new": {}}});
        assert_eq!(Value::Object(tree.merged), expected);
    }

    #[test]
    fn names_with_dots_are_paths() {
        let tree = merged(&[json!({"part": {"n": 85.7, "minus": -3}, "part.n": 5, "in": 7})]);
        assert_eq!(tree.whole("part.n").unwrap(), Some(85));
        assert_eq!(tree.whole("part.minus").unwrap(), Some(-3));
        assert_eq!(tree.whole("in.n").unwrap(), None);
        assert_eq!(tree.whole("none").unwrap(), None);
    }

    #[test]
    fn characters_are_texts_or_numbers() {
        let tree = merged(&[json!({"a": ",", "b": 9, "c": "ab", "d": 200, "e": "", "f": "é"})]);
        assert_eq!(tree.character("a").unwrap(), Some(b','));
        assert_eq!(tree.character("b").unwrap(), Some(b'\t'));
        for name in ["c", "d", "e", "f"] {
            let error = tree.character(name).unwrap_err().to_string();
            assert!(error.contains("expected one ASCII character"), "{error}");
        }
    }

    #[test]
    fn the_source_at_fault_is_named() {
        let tree = merged(&[
            json!({"n": 1, "s": true}),
            json!({"n": "18"}),
            json!({"l": "x"}),
        ]);
        for (error, expected) in [
            (
                tree.whole("n").unwrap_err(),
                "1.json: parameter n is \"18\", expected a whole number",
            ),
            (
                tree.text("s").unwrap_err(),
                "0.json: parameter s is true, expected a text",
            ),
            (
                tree.texts("l").unwrap_err(),
                "2.json: parameter l is \"x\", expected a list of texts",
            ),
            (
                tree.switch("n").unwrap_err(),
                "1.json: parameter n is \"18\", expected true or false",
            ),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a file to read")]
    fn only_the_first_value_of_a_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let mut tree = SphTree::default();
        for text in ["\u{feff} {\"n\": 3} and more", "null", "{}{\"n\": 4}"] {
            std::fs::write(&path, text).unwrap();
            tree.merge_file(&path).unwrap();
        }
        assert_eq!(tree.whole("n").unwrap(), Some(3));
        for (text, expected) in [
            ("", "the file is empty"),
            ("{\"part\": }", "not valid JSON"),
            ("{\"part\": 1, // x", "not valid JSON"),
            ("[1]", "found a list"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = tree.merge_file(&path).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.kind(), ErrorKind::Usage);
        }
        let missing = tree.merge_file(&folder.path().join("none")).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::InputMissing);
    }
}
