//! What differs between two manifests: contributions that came, went, changed or moved.

use std::cmp::Ordering;
use std::fmt::Write;

use serde::Serialize;

use super::line::Contribution;
use super::listing::Listing;
use super::names::{path_in_table, without_query};
use crate::exchange::HexDigest;

/// A contribution that differs; absent in the old manifest it is new, in the new one it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Name of the table.
    pub table: String,
    /// Chunk; none for regular tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk: Option<i32>,
    /// Whether the rows are overlap rows.
    pub overlap: bool,
    /// The URL in the old manifest, without signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_url: Option<String>,
    /// The URL in the new manifest, without signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_url: Option<String>,
    /// Rows in the old manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_rows: Option<u64>,
    /// Rows in the new manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_rows: Option<u64>,
    /// What is other than it was: `content`, `dialect`, `charset`, `kind`, `url`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<&'static str>,
}

/// The counts of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TableDiff {
    /// Name of the table.
    pub table: String,
    /// Contributions that only the new manifest has.
    pub added: u64,
    /// Contributions that only the old manifest has.
    pub removed: u64,
    /// Contributions whose content, dialect, character set or kind differs.
    pub changed: u64,
    /// Contributions that are the same but for the URL.
    pub moved: u64,
    /// Contributions that are the same.
    pub same: u64,
}

/// All that differs between two manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ManifestDiff {
    /// What differs in the headers: `database`, `partitioning`.
    pub header: Vec<&'static str>,
    /// All tables, in the order of their names.
    pub tables: Vec<TableDiff>,
    /// All contributions that differ, by table, chunk and overlap.
    pub changes: Vec<Change>,
}

/// By what contributions of two manifests are found to be the same.
#[derive(PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Key {
    table: String,
    chunk: Option<i32>,
    overlap: bool,
}

impl ManifestDiff {
    /// Compares two manifests. Signatures are not compared: they differ each time.
    pub fn between(old: &Listing, new: &Listing) -> Self {
        let mut diff = Self::default();
        let (old_header, new_header) = (old.header(), new.header());
        if old_header.database != new_header.database {
            diff.header.push("database");
        }
        if old_header.partitioning != new_header.partitioning {
            diff.header.push("partitioning");
        }
        let (left, right) = (Sorted::of(old), Sorted::of(new));
        let (mut l, mut r) = (left.groups().peekable(), right.groups().peekable());
        loop {
            let order = match (l.peek(), r.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((left, _)), Some((right, _))) => left.cmp(right),
            };
            let group = |wanted: bool, listing: &Listing, numbers: Option<&[u32]>| {
                let numbers = numbers.filter(|_| wanted).unwrap_or_default().iter();
                numbers
                    .filter_map(|number| listing.contribution(*number as usize))
                    .collect::<Vec<_>>()
            };
            let takes_left = order != Ordering::Greater;
            let takes_right = order != Ordering::Less;
            let olds = group(takes_left, old, l.peek().map(|(_, numbers)| *numbers));
            let news = group(takes_right, new, r.peek().map(|(_, numbers)| *numbers));
            if takes_left {
                l.next();
            }
            if takes_right {
                r.next();
            }
            diff.compare_group(olds, news);
        }
        diff
    }

    /// Says whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.header.is_empty() && self.changes.is_empty()
    }

    /// Compares the files of one chunk, of which there may be several on either side.
    fn compare_group(&mut self, mut olds: Vec<Contribution>, mut news: Vec<Contribution>) {
        let Some(table) = olds.first().or(news.first()).map(|line| line.table.clone()) else {
            return;
        };
        if self.tables.last().is_none_or(|last| last.table != table) {
            self.tables.push(TableDiff {
                table,
                ..TableDiff::default()
            });
        }
        // The same file first, then the same content elsewhere, then what has the same place; so
        // a part that came in between does not make all further ones look changed.
        let is_same = |old: &Contribution, new: &Contribution| differences(old, new).is_empty();
        self.pair(&mut olds, &mut news, is_same);
        let has_moved = |old: &Contribution, new: &Contribution| {
            old.sha256.is_some() && differences(old, new) == ["url"]
        };
        self.pair(&mut olds, &mut news, has_moved);
        let has_place = |old: &Contribution, new: &Contribution| {
            path_in_table(old, &old.url) == path_in_table(new, &new.url)
        };
        self.pair(&mut olds, &mut news, has_place);
        for old in &olds {
            self.add(Some(old), None);
        }
        for new in &news {
            self.add(None, Some(new));
        }
    }

    /// Takes out what belongs together.
    fn pair(
        &mut self,
        olds: &mut Vec<Contribution>,
        news: &mut Vec<Contribution>,
        belong: impl Fn(&Contribution, &Contribution) -> bool,
    ) {
        olds.retain(|old| match news.iter().position(|new| belong(old, new)) {
            Some(at) => {
                let new = news.remove(at);
                self.add(Some(old), Some(&new));
                false
            }
            None => true,
        });
    }

    fn add(&mut self, old: Option<&Contribution>, new: Option<&Contribution>) {
        let (Some(line), Some(table)) = (new.or(old), self.tables.last_mut()) else {
            return;
        };
        let differs = match (old, new) {
            (Some(old), Some(new)) => differences(old, new),
            _ => Vec::new(),
        };
        let count = match (old, new, differs.as_slice()) {
            (None, ..) => &mut table.added,
            (_, None, _) => &mut table.removed,
            (_, _, []) => &mut table.same,
            (_, _, ["url"]) => &mut table.moved,
            _ => &mut table.changed,
        };
        *count += 1;
        if old.is_some() && new.is_some() && differs.is_empty() {
            return;
        }
        self.changes.push(Change {
            table: line.table.clone(),
            chunk: line.chunk,
            overlap: line.overlap,
            old_url: old.map(Contribution::shown_url),
            new_url: new.map(Contribution::shown_url),
            old_rows: old.map(|line| line.rows),
            new_rows: new.map(|line| line.rows),
            differs,
        });
    }

    /// Returns the difference in words, a line for each change, and one for each table.
    pub fn in_words(&self) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        for what in &self.header {
            let _ = writeln!(text, "{what} differs");
        }
        for change in &self.changes {
            let what = match (&change.old_url, &change.new_url) {
                (None, _) => "added",
                (_, None) => "removed",
                _ if change.differs == ["url"] => "moved",
                _ => "changed",
            };
            let _ = write!(text, "{what} {}", change.table);
            if let Some(chunk) = change.chunk {
                let _ = write!(text, " chunk {chunk}");
            }
            if change.overlap {
                text.push_str(" overlap");
            }
            let differs: Vec<&str> = change
                .differs
                .iter()
                .copied()
                .filter(|d| *d != "url")
                .collect();
            if !differs.is_empty() {
                let _ = write!(text, " ({})", differs.join(", "));
            }
            let urls = [change.old_url.as_deref(), change.new_url.as_deref()];
            match urls {
                [Some(old), Some(new)] if old != new => {
                    let _ = writeln!(text, ": {old} -> {new}");
                }
                _ => {
                    let _ = writeln!(text, ": {}", urls[1].or(urls[0]).unwrap_or_default());
                }
            }
        }
        for table in &self.tables {
            let _ = writeln!(
                text,
                "{}: {} added, {} removed, {} changed, {} moved, {} the same",
                table.table, table.added, table.removed, table.changed, table.moved, table.same
            );
        }
        text
    }

    /// Returns the difference as JSON.
    pub fn as_json(&self) -> serde_json::Value {
        serde_json::json!({
            "format": "skyprep-manifest-diff",
            "version": 1,
            "equal": self.is_empty(),
            "header": self.header,
            "tables": self.tables,
            "changes": self.changes,
        })
    }
}

/// Names what differs between two contributions.
fn differences(old: &Contribution, new: &Contribution) -> Vec<&'static str> {
    let mut differs = Vec::new();
    let digests: [Option<HexDigest<32>>; 2] = [old.sha256, new.sha256];
    let same_digest = match digests {
        [Some(old), Some(new)] => old == new,
        // Where one has none, sizes must do.
        _ => true,
    };
    if !same_digest || (old.bytes, old.rows) != (new.bytes, new.rows) {
        differs.push("content");
    }
    if old.dialect != new.dialect {
        differs.push("dialect");
    }
    if old.charset != new.charset {
        differs.push("charset");
    }
    if old.kind != new.kind {
        differs.push("kind");
    }
    if without_query(&old.url) != without_query(&new.url) {
        differs.push("url");
    }
    differs
}

/// The numbers of a listing's contributions, in the order of their keys.
struct Sorted {
    keys: Vec<Key>,
    numbers: Vec<u32>,
    /// Where each group begins among the numbers, and the end of all.
    starts: Vec<usize>,
}

impl Sorted {
    fn of(listing: &Listing) -> Self {
        let mut all: Vec<(Key, u32)> = listing
            .contributions()
            .enumerate()
            .map(|(number, line)| {
                let key = Key {
                    table: line.table,
                    chunk: line.chunk,
                    overlap: line.overlap,
                };
                (key, number as u32)
            })
            .collect();
        all.sort_unstable();
        let mut sorted = Self {
            keys: Vec::new(),
            numbers: Vec::with_capacity(all.len()),
            starts: Vec::new(),
        };
        for (key, number) in all {
            if sorted.keys.last() != Some(&key) {
                sorted.keys.push(key);
                sorted.starts.push(sorted.numbers.len());
            }
            sorted.numbers.push(number);
        }
        sorted.starts.push(sorted.numbers.len());
        sorted
    }

    fn groups(&self) -> impl Iterator<Item = (&Key, &[u32])> {
        let ranges = self.starts.windows(2);
        self.keys.iter().zip(ranges).map(|(key, range)| {
            let numbers = match range {
                [start, end] => self.numbers.get(*start..*end),
                _ => None,
            };
            (key, numbers.unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::listing_tests::{header, line};
    use super::*;

    fn with(url: &str, chunk: Option<i32>, digest: u8, rows: u64) -> Contribution {
        Contribution {
            sha256: Some(HexDigest([digest; 32])),
            rows,
            ..line(url, chunk)
        }
    }

    fn between(old: &[Contribution], new: &[Contribution]) -> ManifestDiff {
        let listing = |lines: &[Contribution]| Listing::of(&header(), lines.to_vec());
        ManifestDiff::between(&listing(old), &listing(new))
    }

    #[test]
    fn each_kind_of_difference_is_told_once() {
        let old = [
            with("http://a/d/T/chunk_1.txt", Some(1), 1, 10),
            with("http://a/d/T/chunk_2.txt", Some(2), 2, 10),
            with("http://a/d/T/chunk_3.txt", Some(3), 3, 10),
            with("http://a/d/T/chunk_4.txt?sig=1", Some(4), 4, 10),
            with("http://a/d/T/chunk_5.txt", Some(5), 5, 10),
            with("http://a/d/R/R.txt", None, 9, 10),
        ];
        let new = [
            with("http://a/d/R/R.txt", None, 9, 10),
            with("http://a/d/T/chunk_4.txt?sig=2", Some(4), 4, 10),
            with("http://b/d/T/chunk_3.txt", Some(3), 3, 10),
            with("http://a/d/T/chunk_2.txt", Some(2), 22, 11),
            with("http://a/d/T/chunk_6_overlap.txt", Some(6), 6, 10),
            Contribution {
                charset: "utf8mb4".into(),
                ..with("http://a/d/T/chunk_5.txt", Some(5), 5, 10)
            },
        ];
        let diff = between(&old, &new);
        let table = TableDiff {
            table: "T".into(),
            added: 1,
            removed: 1,
            changed: 2,
            moved: 1,
            same: 1,
        };
        assert_eq!(diff.tables[1], table);
        assert_eq!(diff.tables[0].same, 1);
        let words = "removed T chunk 1: http://a/d/T/chunk_1.txt\n\
                     changed T chunk 2 (content): http://a/d/T/chunk_2.txt\n\
                     moved T chunk 3: http://a/d/T/chunk_3.txt -> http://b/d/T/chunk_3.txt\n\
                     changed T chunk 5 (charset): http://a/d/T/chunk_5.txt\n\
                     added T chunk 6 overlap: http://a/d/T/chunk_6_overlap.txt\n\
                     R: 0 added, 0 removed, 0 changed, 0 moved, 1 the same\n";
        // Tables are told in the order of their names.
        let text = diff.in_words();
        let (changes, counts) = text.split_at(text.find("R: 0").unwrap());
        assert_eq!(
            format!("{changes}{}", &counts[..counts.find("T: ").unwrap()]),
            words
        );
        assert_eq!(diff.as_json()["equal"], false);
        assert!(between(&old, &old).is_empty());
        assert!(!diff.in_words().contains("sig="));
    }

    #[test]
    fn a_part_in_between_leaves_the_others_alone() {
        let old = [
            with("file:///d/T/chunk_1.txt", Some(1), 1, 1),
            with("file:///d/T/000/chunk_1.txt", Some(1), 2, 1),
        ];
        let new = [
            with("file:///d/T/chunk_1.txt", Some(1), 1, 1),
            with("file:///d/T/000/chunk_1.txt", Some(1), 3, 1),
            with("file:///d/T/001/chunk_1.txt", Some(1), 2, 1),
        ];
        let diff = between(&old, &new);
        let table = &diff.tables[0];
        assert_eq!(
            (table.same, table.moved, table.added),
            (1, 1, 1),
            "{diff:?}"
        );
        assert_eq!((table.changed, table.removed), (0, 0));
    }

    #[test]
    fn other_headers_are_a_difference() {
        let old = Listing::of(&header(), []);
        let mut new = old.clone();
        new.header_mut().database = "e".into();
        assert_eq!(ManifestDiff::between(&old, &new).header, ["database"]);
    }
}
