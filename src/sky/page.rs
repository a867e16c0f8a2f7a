//! A page with a picture of each table, and its heaviest chunks.

use std::fmt::Write as _;

use super::picture::{Measure, Picture};
use super::svg::escaped;
use super::tables::SkyTables;
use crate::error::Result;
use crate::report::grouped;

/// Chunks that are listed of each table.
const HEAVIEST: usize = 10;
const STYLE: &str = "body{font-family:sans-serif;margin:2em auto;max-width:1240px;color:#222}\
                     svg{max-width:100%;height:auto}table{border-collapse:collapse;margin:1em 0}\
                     th,td{text-align:right;padding:.2em .8em;border-bottom:1px solid #ddd}\
                     th:first-child,td:first-child{text-align:left}";

/// Makes an HTML page that shows all tables; it needs nothing but itself.
///
/// # Errors
/// A table can't be drawn.
pub fn page(found: &SkyTables, measure: Measure, width: u32) -> Result<String> {
    let name = found.database.as_deref().unwrap_or("chunks");
    let mut page = String::new();
    let _ = writeln!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{name}</h1>",
        name = escaped(name)
    );
    summary(&mut page, found);
    for table in &found.tables {
        let mut heaviest: Vec<(i32, u64)> = table
            .chunks
            .iter()
            .map(|(chunk, load)| (*chunk, measure.of(*load)))
            .filter(|(_, number)| *number > 0)
            .collect();
        let _ = writeln!(page, "<h2>{}</h2>", escaped(&table.name));
        if heaviest.is_empty() {
            let _ = writeln!(page, "<p>No {measure}.</p>");
            continue;
        }
        let picture = Picture::new(table.clone(), measure, width)?;
        page.push_str(&picture.svg());
        heaviest.sort_by_key(|(chunk, number)| (std::cmp::Reverse(*number), *chunk));
        let _ = writeln!(
            page,
            "<table><tr><th>heaviest chunks</th><th>{measure}</th></tr>"
        );
        for (chunk, number) in heaviest.iter().take(HEAVIEST) {
            let _ = writeln!(
                page,
                "<tr><td>{chunk}</td><td>{}</td></tr>",
                grouped(*number)
            );
        }
        page.push_str("</table>\n");
    }
    page.push_str("</body></html>\n");
    Ok(page)
}

fn summary(page: &mut String, found: &SkyTables) {
    page.push_str(
        "<table><tr><th>table</th><th>kind</th><th>rows</th><th>overlap rows</th><th>bytes</th>\
         <th>chunks</th><th>rows per chunk: least</th><th>median</th><th>most</th></tr>\n",
    );
    for table in &found.tables {
        let loads = table.chunks.values();
        let sum = |number: fn(&super::ChunkLoad) -> u64| {
            grouped(loads.clone().map(number).fold(0, u64::saturating_add))
        };
        let mut rows: Vec<u64> = loads
            .clone()
            .map(|load| load.rows)
            .filter(|n| *n > 0)
            .collect();
        rows.sort_unstable();
        let at = |place: usize| rows.get(place).copied().map(grouped).unwrap_or_default();
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td></tr>",
            escaped(&table.name),
            table.kind.name(),
            sum(|load| load.rows),
            sum(|load| load.overlap_rows),
            sum(|load| load.bytes),
            grouped(rows.len() as u64),
            at(0),
            at(rows.len() / 2),
            at(rows.len().saturating_sub(1)),
        );
    }
    page.push_str("</table>\n");
}
