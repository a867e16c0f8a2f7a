//! Warnings of keys of matches that no director has.

use skyprep::partition::RouteBy;
use skyprep::pipeline::TableJob;
use skyprep::report::grouped;

use crate::session::Session;

/// Warns of keys that were taken for NULL because their index lacks them.
pub fn warn_of_unknown_keys<'t>(tables: impl IntoIterator<Item = &'t TableJob>, session: &Session) {
    let routed = tables.into_iter();
    for routing in routed.filter_map(|table| table.target.routing.as_ref()) {
        let RouteBy::MatchKeys { keys, .. } = &routing.by else {
            continue;
        };
        for (side, key) in keys.iter().enumerate() {
            let Some(unknown) = routing.unknown_keys.on_side(side) else {
                continue;
            };
            let rows = match unknown.rows {
                1 => "1 row has".to_owned(),
                rows => format!("{} rows have", grouped(rows)),
            };
            session.printer.warn(&format!(
                "column {}: {rows} keys that {} lacks, and that count as NULL, such as {}",
                key.id,
                key.index.shown(),
                unknown.keys.join(", ")
            ));
        }
    }
}
