//! The calls of the frontend for user tables: one for each table, with everything in it.
//!
//! The frontend partitions by itself and makes its own directors, so only tables that are not
//! partitioned come from a manifest.

use std::io;

use serde_json::json;

use super::call::Call;
use super::controller::{form_of, parts, rows_from};
use super::listed::ListedFiles;
use super::registration::columns_json;
use super::{DatabaseState, LoadPlan, PlanOptions, Sending};
use crate::error::{Error, Result};
use crate::schema::TableKind;

/// What names of databases must begin with.
const PREFIX: &str = "user_";

/// Checks that the frontend takes the tables.
///
/// # Errors
/// It would not.
pub(super) fn check(database: &str, listing: &ListedFiles, options: &PlanOptions) -> Result<()> {
    if !database.to_ascii_lowercase().starts_with(PREFIX) || database.len() == PREFIX.len() {
        let message = format!("the frontend takes only databases {PREFIX}<name>, not {database}");
        return Err(Error::usage(message).hint("stage with --database user_<name>"));
    }
    if options.database == DatabaseState::Published {
        let message = "the frontend publishes by itself, so --published says nothing";
        return Err(Error::usage(message));
    }
    if options.sending == Sending::ByReference {
        return Err(Error::usage("the frontend fetches nothing")
            .hint("say --by-value csv, or --by-value json"));
    }
    for (at, table) in listing.tables.iter().enumerate() {
        if table.kind != TableKind::Regular {
            let message = format!(
                "table {} is a {} table, and the frontend partitions by itself",
                table.name,
                table.kind.name()
            );
            return Err(Error::usage(message)
                .hint("stage it as one file with --kind regular, or use --api controller"));
        }
        let files = listing.files.iter().filter(|file| file.table == at).count();
        if files != 1 {
            let message = format!(
                "table {} has {files} files, and the frontend takes one call for a table",
                table.name
            );
            return Err(Error::usage(message).hint("convert the inputs into one file"));
        }
    }
    Ok(())
}

/// Emits a call for each table.
pub(super) fn calls(
    plan: &LoadPlan,
    emit: &mut dyn FnMut(Call) -> io::Result<()>,
) -> io::Result<()> {
    let listing = &plan.listing;
    for table in &plan.tables {
        let known = listing.files.iter();
        let mut files = known.filter(|file| listing.tables[file.table].name == table.name);
        let Some(file) = files.next() else { continue };
        let form = &listing.forms[file.form];
        let schema = &table.definition.schema;
        let columns = columns_json(schema);
        let mut indexes = plan.indexes.clone();
        indexes.retain(|index| index["table"] == table.name.as_str());
        for index in indexes
            .iter_mut()
            .filter_map(serde_json::Value::as_object_mut)
        {
            index.retain(|key, _| !matches!(key.as_str(), "database" | "table" | "overlap"));
        }
        let mut values = json!({
            "database": listing.header.database,
            "table": table.name,
            "collation_name": schema.collation,
        });
        let call = |path: &str| Call {
            login: Some("basic"),
            ..Call::new("user-table", "POST", format!("${{czar}}{path}"))
        };
        if plan.options.sending == Sending::Json {
            values["schema"] = columns;
            values["indexes"] = json!(indexes);
            emit(Call {
                rows_from: Some(rows_from(&file.url, table, form)),
                ..call("/ingest/data").with_body(values)
            })?;
            continue;
        }
        for (name, value) in form_of(form) {
            values[name] = value;
        }
        let mut all = parts(values, &file.url);
        let rows = all.pop();
        let json_file = |name: &str, value: &serde_json::Value| {
            json!({
                "name": name,
                "value": value.to_string(),
                "filename": format!("{name}.json"),
                "content_type": "application/json",
            })
        };
        all.push(json_file("schema", &columns));
        all.push(json_file("indexes", &json!(indexes)));
        all.extend(rows);
        emit(Call {
            parts: Some(all),
            ..call("/ingest/csv")
        })?;
    }
    Ok(())
}
