//! What the stand-in of the ingest service is asked: calls, keys, versions, tables.

use std::collections::BTreeMap;

use axum::extract::Request;
use serde_json::{Value, json};

pub(crate) const KEY: &str = "the key";
pub(crate) const ADMIN_KEY: &str = "the admin's key";
const VERSIONS: std::ops::RangeInclusive<u64> = 12..=55;

/// A request as the service sees it.
pub(super) struct Call {
    pub(super) method: String,
    /// Parts of the path.
    pub(super) path: Vec<String>,
    pub(super) query: BTreeMap<String, String>,
    pub(super) body: Value,
    /// The file of a multipart body.
    pub(super) file: Option<Vec<u8>>,
}

impl Call {
    pub(super) async fn read(request: Request) -> Result<Self, String> {
        let (parts, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let kind = parts.headers.get("content-type");
        let kind = kind.map_or("", |kind| kind.to_str().unwrap());
        let (body, file) = match kind.split_once("boundary=") {
            Some((_, boundary)) => multipart(&bytes, boundary)?,
            None if bytes.is_empty() => (json!({}), None),
            None if kind != "application/json" => return Err("not JSON".into()),
            None => (
                serde_json::from_slice(&bytes).map_err(|e| e.to_string())?,
                None,
            ),
        };
        let query = parts.uri.query().unwrap_or_default().split('&');
        let query = query.filter_map(|pair| pair.split_once('='));
        let path = parts.uri.path().trim_start_matches('/').split('/');
        Ok(Self {
            method: parts.method.to_string(),
            path: path.map(str::to_owned).collect(),
            query: query.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            body,
            file,
        })
    }
}

/// Key/value parts and JSON files, then exactly one file.
fn multipart(bytes: &[u8], boundary: &str) -> Result<(Value, Option<Vec<u8>>), String> {
    let mut body = json!({"is_multipart": true});
    let mut file = None;
    let line = format!("\r\n--{boundary}").into_bytes();
    let mut rest = &[b"\r\n", bytes].concat()[..];
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|w| w == what);
    while let Some(at) = find(rest, &line) {
        rest = &rest[at + line.len()..];
        if rest.starts_with(b"--") {
            return Ok((body, file));
        }
        let head_end = find(rest, b"\r\n\r\n").ok_or("a part without a head")?;
        let end = find(rest, &line).ok_or("a part without an end")?;
        let head = String::from_utf8_lossy(&rest[..head_end]).into_owned();
        let content = rest[head_end + 4..end].to_vec();
        let name = head
            .split("name=\"")
            .nth(1)
            .and_then(|name| name.split('"').next());
        let name = name.ok_or("a part without a name")?;
        if file.is_some() {
            return Err("the file must be the last part".into());
        }
        if head.contains("application/json") {
            body[name] = serde_json::from_slice(&content).map_err(|error| error.to_string())?;
        } else if head.contains("filename=") {
            file = Some(content);
        } else {
            body[name] = json!(String::from_utf8(content).map_err(|error| error.to_string())?);
        }
    }
    Err("the body has no end".into())
}

pub(super) fn check_key(call: &Call) -> Result<(), String> {
    if call.method == "GET" {
        return Ok(());
    }
    let key = |name: &str, right: &str| call.body[name].as_str().map(|key| key == right);
    match key("admin_auth_key", ADMIN_KEY).or_else(|| key("auth_key", KEY)) {
        Some(true) => Ok(()),
        _ => Err("Authorization key in the request doesn't match the one of the server".into()),
    }
}

pub(super) fn check_admin(call: &Call) -> Result<(), String> {
    match call.body["admin_auth_key"] == ADMIN_KEY {
        true => Ok(()),
        false => Err("this requires administrator's privileges".into()),
    }
}

pub(super) fn check_version(call: &Call) -> Result<(), String> {
    let wanted = call
        .query
        .get("version")
        .and_then(|version| version.parse().ok());
    match wanted.is_none_or(|version: u64| VERSIONS.contains(&version)) {
        true => Ok(()),
        false => Err("The requested version of the API is not in the range".into()),
    }
}

/// A required text; multipart bodies have nothing else.
pub(super) fn text(body: &Value, key: &str) -> Result<String, String> {
    let text = body[key].as_str().map(str::to_owned);
    text.ok_or_else(|| format!("'{key}' is required"))
}

/// A required number, which multipart bodies have as text.
pub(super) fn number(body: &Value, key: &str) -> Result<u64, String> {
    let value = &body[key];
    let of_text = || {
        value
            .as_str()
            .filter(|_| body["is_multipart"] == true)?
            .parse()
            .ok()
    };
    let number = value.as_u64().or_else(of_text);
    number.ok_or_else(|| format!("'{key}' is required, and must be a number"))
}

pub(super) fn is_director(table: &Value) -> bool {
    let director = table["director_table"].as_str().unwrap_or_default();
    table["is_partitioned"] == 1 && director.is_empty()
}

/// What the real service checks when a table is registered.
pub(super) fn check_table(
    known: &dyn Fn(&str) -> bool,
    name: &str,
    table: &str,
    body: &Value,
) -> Result<(), String> {
    let ensure = |is_right: bool, message: &str| match is_right {
        true => Ok(()),
        false => Err(message.to_owned()),
    };
    let has = |key: &str| body[key].as_str().is_some_and(|text| !text.is_empty());
    ensure(
        name.len() + table.len() <= 56,
        "the combined size of the names exceeds 56",
    )?;
    ensure(!table.to_lowercase().starts_with("qserv"), "reserved name")?;
    ensure(
        body["is_partitioned"].is_number(),
        "'is_partitioned' is required",
    )?;
    let columns = body["schema"]
        .as_array()
        .ok_or("table schema is not defined as an array")?;
    let mut names = Vec::new();
    for column in columns {
        let (name, kind) = (text(column, "name")?, text(column, "type")?.to_uppercase());
        ensure(name != "qserv_trans_id", "reserved column")?;
        let is_prohibited = kind.contains("BLOB") || kind.contains("TEXT");
        ensure(!(is_director(body) && is_prohibited), "the prohibited type")?;
        names.push(name);
    }
    if body["is_partitioned"] != 1 {
        return Ok(());
    }
    let mut needed = vec!["director_key"];
    let is_known_director = |key: &str| known(body[key].as_str().unwrap_or_default());
    if is_director(body) {
        needed.extend(["longitude_key", "latitude_key"]);
        ensure(
            names.iter().any(|name| name == "subChunkId"),
            "subChunkId is missing",
        )?;
    } else if has("director_table2") {
        needed.extend(["director_key2", "flag"]);
        ensure(is_known_director("director_table"), "non-existing director")?;
        ensure(
            is_known_director("director_table2"),
            "non-existing second director",
        )?;
        ensure(
            body["director_key"] != body["director_key2"],
            "the keys can't be the same",
        )?;
        ensure(
            body["ang_sep"].as_f64().unwrap_or(0.0) > 0.0,
            "ang_sep must be more than 0",
        )?;
        let has_position = has("longitude_key") || has("latitude_key");
        ensure(
            !has_position,
            "the RefMatch table can't have spatial coordinate columns",
        )?;
    } else {
        ensure(
            is_known_director("director_table"),
            "non-existing director table",
        )?;
        let is_even = has("longitude_key") == has("latitude_key");
        ensure(is_even, "both spatial columns or none")?;
        needed.extend(has("longitude_key").then_some("longitude_key"));
        needed.extend(has("latitude_key").then_some("latitude_key"));
    }
    for key in needed {
        let column = text(body, key)?;
        ensure(!column.is_empty(), &format!("'{key}' is required"))?;
        ensure(
            names.contains(&column),
            &format!("no column '{column}' for '{key}'"),
        )?;
    }
    Ok(())
}
