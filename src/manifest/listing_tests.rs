//! Tests of reading, and what tests of the manifest's tools begin with.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;
use crate::dialect::Dialect;
use crate::error::ErrorKind;
use crate::exchange::HexDigest;
use crate::schema::TableKind;

pub(super) fn header() -> ManifestHeader {
    ManifestHeader::new("d".into())
}

/// A contribution to the director `T`, or to the regular table `R`.
pub(super) fn line(url: &str, chunk: Option<i32>) -> Contribution {
    let (table, kind) = match chunk {
        Some(_) => ("T", TableKind::Director),
        None => ("R", TableKind::Regular),
    };
    Contribution {
        database: "d".into(),
        table: table.into(),
        kind,
        chunk,
        overlap: is_overlap_url(url),
        url: url.into(),
        stored_at: None,
        bytes: 20,
        rows: 2,
        sha256: None,
        dialect: IngestDialect::from(&Dialect::qserv()),
        charset: "latin1".into(),
    }
}

fn is_overlap_url(url: &str) -> bool {
    url.contains("_overlap.txt")
}

fn text_of(listing: &Listing) -> Vec<u8> {
    let mut bytes = Vec::new();
    listing.write_to(&mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> crate::error::Result<Listing> {
    Listing::read(Cursor::new(bytes), "m.jsonl")
}

fn fault(text: &str) -> (ErrorKind, String) {
    let error = read(text.as_bytes()).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let listing = Listing::of(
        &header(),
        [
            line("file:///x/d/T/chunk_7.txt", Some(7)),
            line("file:///x/d/R/R.txt", None),
        ],
    );
    let good = String::from_utf8(text_of(&listing)).unwrap();
    read(good.as_bytes()).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let first = &good[..=good.find('\n').unwrap()];
    let cases = [
        (String::new(), ErrorKind::Corrupt, "the file is empty"),
        (
            "PAR1\n".into(),
            ErrorKind::Corrupt,
            "m.jsonl, line 1: this is not JSON",
        ),
        (
            "{}\n".into(),
            ErrorKind::Corrupt,
            "not a manifest's first line",
        ),
        (
            good.replace("\"version\":1", "\"version\":2"),
            ErrorKind::Corrupt,
            "version 2, this skyprep reads 1",
        ),
        (
            good[..good.len() - 1].into(),
            ErrorKind::Integrity,
            "line 3: the manifest ends in the middle",
        ),
        (
            format!("{first}{}\n", lines[1]),
            ErrorKind::Integrity,
            "ends after 1 contributions, expected 2",
        ),
        (
            format!("{good}{}\n", lines[1]),
            ErrorKind::Integrity,
            "line 4: there is a line more than the 2 expected",
        ),
        (
            format!("{first}{0}\n{0}\n", lines[1]),
            ErrorKind::Integrity,
            "line 3: file:///x/d/T/chunk_7.txt was listed before",
        ),
        (
            good.replace("\"chunk\":7", "\"chunk\":\"7\""),
            ErrorKind::Corrupt,
            "line 2: this is not a line of a manifest",
        ),
        (
            good.replace("\"chunk\":7,", ""),
            ErrorKind::Corrupt,
            "do not suit a director",
        ),
        (
            good.replace("\"chunk\":7", "\"chunk\":-7"),
            ErrorKind::Corrupt,
            "do not suit",
        ),
        (
            good.replace("\"table\":\"R\"", "\"table\":\"T\""),
            ErrorKind::Corrupt,
            "table T is a regular here and was a director",
        ),
        (
            good.replace("x/d/R", "x y/d/R"),
            ErrorKind::Corrupt,
            "line 3: a URL has",
        ),
        (
            good.replacen("\"database\":\"d\"", "\"database\":\"e\"", 1),
            ErrorKind::Corrupt,
            "the database is \"d\", expected \"e\"",
        ),
    ];
    for (text, kind, said) in cases {
        let (found, message) = fault(&text);
        assert_eq!(found, kind, "{message}");
        assert!(message.contains(said), "'{said}' is not in: {message}");
    }
    // Fields that later versions add are passed over.
    read(
        good.replace("\"rows\":2", "\"rows\":2,\"later\":[1]")
            .as_bytes(),
    )
    .unwrap();
}

#[test]
fn signatures_do_not_show_in_faults() {
    let url = "https://h/d/T/chunk_7.txt?X-Amz-Signature=5ec3e7";
    let listing = Listing::of(&header(), [line(url, Some(7)), line(url, Some(7))]);
    let good = String::from_utf8(text_of(&listing)).unwrap();
    assert!(good.contains("5ec3e7"));
    for text in [
        good.clone(),
        good.replace("\"kind\":\"director\"", &format!("\"kind\":\"{url}\"")),
    ] {
        let error = read(text.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("5ec3e7"), "{error}");
    }
    assert!(!format!("{listing:?} {:?}", listing.contribution(0)).contains("5ec3e7"));
}

#[test]
fn tables_come_in_the_order_of_loading() {
    let of = |table: &str, kind, url: &str, chunk| Contribution {
        table: table.into(),
        kind,
        ..line(url, chunk)
    };
    let listing = Listing::of(
        &header(),
        [
            of("M", TableKind::Match, "file:///1", Some(1)),
            of("C", TableKind::Child, "file:///2", Some(1)),
            of("R", TableKind::Regular, "file:///3", None),
            of("D2", TableKind::Director, "file:///4", Some(1)),
            of("D1", TableKind::Director, "file:///5", Some(1)),
            of("C", TableKind::Child, "file:///6", Some(2)),
        ],
    );
    let names: Vec<String> = listing
        .tables()
        .into_iter()
        .map(|table| table.name)
        .collect();
    assert_eq!(names, ["D2", "D1", "C", "M", "R"]);
    assert_eq!(listing.tables()[2].rows, 4);
    assert_eq!(listing.only(|line| line.table == "C").len(), 2);
}

prop_compose! {
    fn any_line()(
        number in 0..1_000_000_u32,
        chunk in proptest::option::of(0..200_000_i32),
        overlap in any::<bool>(),
        folder in "[a-z/%20]{0,12}",
        name in prop_oneof![Just(None), "[!-~]{0,30}".prop_map(Some)],
        place in proptest::option::of("[!-~]{0,20}"),
        bytes in any::<u64>(),
        rows in any::<u64>(),
        digest in proptest::option::of(any::<[u8; 32]>()),
        is_csv in any::<bool>(),
    ) -> Contribution {
        let overlap = overlap && chunk.is_some();
        let end = if overlap { "_overlap" } else { "" };
        let name = name.unwrap_or_else(|| format!("chunk_{}{end}.txt", chunk.unwrap_or(0)));
        let dialect = if is_csv { Dialect::qserv_csv() } else { Dialect::qserv() };
        Contribution {
            overlap,
            url: format!("http://h/{number}/{folder}/{name}"),
            stored_at: place.map(|place| format!("s3://b/{place}")),
            bytes,
            rows,
            sha256: digest.map(HexDigest),
            dialect: IngestDialect::from(&dialect),
            ..line("", chunk)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read_again(
        lines in proptest::collection::vec(any_line(), 0..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut seen = std::collections::HashSet::new();
        let lines: Vec<Contribution> =
            lines.into_iter().filter(|line| seen.insert(line.url.clone())).collect();
        let listing = Listing::of(&header(), lines.clone());
        prop_assert_eq!(listing.contributions().collect::<Vec<_>>(), lines.clone());
        let bytes = text_of(&listing);
        let again = read(&bytes).unwrap();
        prop_assert_eq!(again.contributions().collect::<Vec<_>>(), lines);
        prop_assert_eq!(text_of(&again), bytes.clone());
        // No piece of a manifest passes for a whole one.
        prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
    }
}
