//! The database as the service is told of it: by the manifest, and by Qserv's database JSON.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Api, DatabaseState, PlanOptions};
use crate::error::{Error, Place, Result};
use crate::partition::Partitioning;

const HINT: &str = "it is the JSON with which Qserv registers a database: database, num_stripes, \
                    num_sub_stripes, overlap, auto_build_secondary_index";

/// The body of the call that registers a database.
#[derive(Debug)]
pub(super) struct DatabaseJson {
    pub(super) body: Map<String, Value>,
    pub(super) partitioning: Option<Partitioning>,
}

impl DatabaseJson {
    /// Joins what the manifest and the file say.
    ///
    /// # Errors
    /// They disagree, or something is missing.
    pub(super) fn of(
        name: &str,
        partitioning: Option<Partitioning>,
        file: Option<&Path>,
        options: &PlanOptions,
    ) -> Result<Self> {
        let mut body = match file {
            Some(path) => read(path)?,
            None => Map::new(),
        };
        let at = |error: Error| match file {
            Some(path) => error.at(Place::file(path.display().to_string())),
            None => error,
        };
        let said = body.get("database");
        if let Some(said) = said.filter(|said| *said != name) {
            let message = format!("this is database {said}, the manifest says {name:?}");
            return Err(at(Error::usage(message)));
        }
        body.insert("database".into(), json!(name));
        if let Some(known) = partitioning {
            let numbers = [
                ("num_stripes", json!(known.stripes)),
                ("num_sub_stripes", json!(known.sub_stripes)),
                ("overlap", json!(known.overlap)),
            ];
            for (key, value) in numbers {
                let said = body.get(key);
                if said.is_some_and(|said| said.as_f64() != value.as_f64()) {
                    let said = said.map(Value::to_string).unwrap_or_default();
                    let message = format!("{key} is {said}, the manifest says {value}");
                    return Err(at(
                        Error::usage(message).hint("chunks were made with the manifest's numbers")
                    ));
                }
                body.insert(key.into(), value);
            }
        }
        let numbers = (
            whole(&body, "num_stripes"),
            whole(&body, "num_sub_stripes"),
            body.get("overlap").and_then(Value::as_f64),
        );
        let partitioning = match numbers {
            (Some(stripes), Some(sub_stripes), Some(overlap)) => Some(Partitioning {
                stripes,
                sub_stripes,
                overlap,
            }),
            _ => None,
        };
        let is_made = options.database == DatabaseState::New && options.api == Api::Controller;
        if is_made && partitioning.is_none() {
            let message = "neither the manifest nor --database-json says how the sky is divided";
            return Err(at(Error::usage(message).hint(HINT)));
        }
        Ok(Self { body, partitioning })
    }

    /// Says whether the service builds the indexes of directors when transactions are committed.
    pub(super) fn builds_indexes(&self) -> bool {
        self.body
            .get("auto_build_secondary_index")
            .is_none_or(|flag| flag.as_f64() != Some(0.0))
    }
}

fn whole(body: &Map<String, Value>, key: &str) -> Option<u32> {
    u32::try_from(body.get(key)?.as_u64()?).ok()
}

fn read(path: &Path) -> Result<Map<String, Value>> {
    let text = std::fs::read(path).map_err(|error| Error::reading(path, error))?;
    let mut body: Map<String, Value> = serde_json::from_slice(&text).map_err(|error| {
        Error::usage(format!("not a database JSON: {error}"))
            .at(Place::file(path.display().to_string()))
            .hint(HINT)
    })?;
    // Keys have no place in a plan.
    body.retain(|key, _| !key.ends_with("auth_key"));
    Ok(body)
}
