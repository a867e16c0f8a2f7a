//! What file names and URLs tell: to the tools that read them, and about the layout of a place.

use super::line::Contribution;

/// Returns the name that Qserv's tools expect of a chunk's file.
pub(super) fn chunk_file_name(chunk: i32, overlap: bool) -> String {
    let end = if overlap { "_overlap" } else { "" };
    format!("chunk_{chunk}{end}.txt")
}

/// Returns what the scripts of DP0.2, DP1 and DP2 take for chunk and overlap of a URL; nothing
/// where they would fail.
///
/// They cut six characters in front of the last part of the URL, and four behind, without looking
/// at these; what is left is a number, with `_overlap` or without.
pub(super) fn sliced_chunk(url: &str) -> Option<(i32, bool)> {
    let name = url.rsplit('/').next()?;
    let name = name.get(6..name.len().checked_sub(4)?)?;
    let (digits, is_overlap) = match name.strip_suffix("_overlap") {
        Some(digits) if !digits.is_empty() => (digits, true),
        _ => (name, false),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let chunk = digits.parse().ok()?;
    is_number.then_some((chunk, is_overlap))
}

/// Says whether these scripts find the right chunk in the URL.
pub(super) fn is_sliced_right(line: &Contribution) -> bool {
    sliced_chunk(&line.url) == line.chunk.map(|chunk| (chunk, line.overlap))
}

/// Returns a URL without the query, where signatures stand.
pub(super) fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(path, _)| path)
}

/// Splits a URL without query into folder, ended by `/`, and name.
pub(super) fn split_name(url: &str) -> (&str, &str) {
    url.split_at(url.rfind('/').map_or(0, |slash| slash + 1))
}

/// Returns where in a URL the part `<database>/<table>/` begins, as the layout of a staged database
/// has it; the last such part where there are several.
pub(super) fn layout_start(line: &Contribution, url: &str) -> Option<usize> {
    let part = format!("/{}/{}/", escaped(&line.database), escaped(&line.table));
    without_query(url).rfind(&part).map(|at| at + 1)
}

/// Returns the path of a contribution below its table's folder; just its name where the URL has
/// another layout.
pub(super) fn path_in_table<'u>(line: &Contribution, url: &'u str) -> &'u str {
    let url = without_query(url);
    let table = format!("/{}/", escaped(&line.table));
    match url.rfind(&table) {
        Some(at) => url.get(at + table.len()..).unwrap_or_default(),
        None => split_name(url).1,
    }
}

/// Escapes a name as places do.
fn escaped(name: &str) -> String {
    let place = crate::place::PlaceUrl::Folder("/".into());
    let url = place.object(name);
    url.strip_prefix("file:///").unwrap_or(&url).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_as_the_scripts_cut_them() {
        for (url, found) in [
            ("http://h/a/chunk_12.txt", Some((12, false))),
            ("http://h/a/chunk_12_overlap.txt", Some((12, true))),
            ("http://h/a/chunk_012.csv", Some((12, false))),
            ("http://h/a/sector12.txt", Some((12, false))),
            ("http://h/a/chunk_12.txt?X-Amz-Expires=60", None),
            ("http://h/a/chunk_12.part0001.txt", None),
            ("http://h/a/chunk__overlap.txt", None),
            ("http://h/a/x", None),
            ("http://h/a/\u{e9}\u{e9}\u{e9}.t", None),
        ] {
            assert_eq!(sliced_chunk(url), found, "{url}");
        }
    }

    #[test]
    fn the_layout_is_found_behind_any_base() {
        let line = Contribution {
            database: "my db".into(),
            table: "Star".into(),
            ..crate::manifest::listing_tests::line(
                "https://h/x/my%20db/Star/000/chunk_7.txt?s=/a/b",
                Some(7),
            )
        };
        assert_eq!(layout_start(&line, &line.url), Some("https://h/x/".len()));
        assert_eq!(path_in_table(&line, &line.url), "000/chunk_7.txt");
        assert_eq!(
            path_in_table(&line, "https://h/other/chunk_7.txt"),
            "chunk_7.txt"
        );
    }
}
