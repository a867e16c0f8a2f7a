//! Random catalogues, how they are to be partitioned, and where their rows must go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, LargeStringArray, StringArray};
use skyprep::dialect::Dialect;

use super::harness::{Bench, words};
use super::loading::parquet;
use super::naive_chunker::{NaiveChunker, Pair};
use super::naive_tokenizer::tokenize;
use super::random_text::{Value, one_in, options, pick, random_dialect, random_value, written};
use super::routing::{Random, division};

/// A column of the input.
struct Column {
    name: &'static str,
    content: Content,
    values: Vec<Value>,
}

/// What a column holds, and so its type in Parquet.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    Whole,
    Degrees,
    Text,
}

/// Where a row goes: a file, and what is filled in there.
pub(crate) struct Target {
    place: Pair,
    pub(crate) is_overlap: bool,
    flags: u32,
}

/// A random table, how it is to be partitioned, and where its rows must go.
pub(crate) struct Case {
    columns: Vec<Column>,
    pub(crate) copies: Vec<Vec<Target>>,
    /// The places of a director's rows, if an index is wanted: column of the key, and these.
    index: Option<(&'static str, Vec<Pair>)>,
    /// Kind, columns of positions and keys, indexes.
    pub(crate) options: Vec<String>,
    /// Columns to write, if they are chosen.
    chosen: Option<Vec<&'static str>>,
    is_match: bool,
    pub(crate) input: Dialect,
    pub(crate) output: Dialect,
    has_header: bool,
}

pub(crate) const CHUNK_COLUMNS: [&str; 3] = ["chunkId", "subChunkId", "partitioningFlags"];

pub(crate) fn random_chunker(random: &mut Random) -> NaiveChunker {
    NaiveChunker {
        stripes: 1 + random.below(9) as i64,
        sub_stripes: 1 + random.below(3) as i64,
        overlap: pick(random, &[0.0, 0.02, 0.5, 1.5]),
    }
}

/// A position as text and as where it is; with `wraps` the text may be some turns off.
fn random_position(random: &mut Random, wraps: bool) -> ([Value; 2], (f64, f64)) {
    let (mut ra, dec) = random.position();
    if wraps {
        ra += 360.0 * (random.below(5) as f64 - 2.0);
    }
    let texts = [ra, dec].map(|degrees| Some(degrees.to_string().into_bytes()));
    // Whole turns are taken off; 360 itself may stay.
    if !(0.0..=360.0).contains(&ra) {
        ra %= 360.0;
        ra = if ra < 0.0 { ra + 360.0 } else { ra };
    }
    (texts, (ra, dec))
}

/// Keys that differ: whole numbers, or texts.
fn random_keys(random: &mut Random, rows: usize) -> (Content, Vec<Value>) {
    if one_in(random, 2) {
        let number = |row| (row as i64 * 1_000_003 - 50_000_000).to_string();
        let keys = (0..rows).map(|row| Some(number(row).into_bytes()));
        return (Content::Whole, keys.collect());
    }
    let key = |row: usize| {
        let mut key = random_value(random).unwrap_or_default();
        key.extend(format!("#{row}").as_bytes());
        Some(key)
    };
    (Content::Text, (0..rows).map(key).collect())
}

/// Columns by name, filled row by row.
struct Table {
    columns: Vec<Column>,
}

impl Table {
    fn new(columns: &[(&'static str, Content)]) -> Self {
        let columns = columns.iter().map(|(name, content)| Column {
            name,
            content: *content,
            values: Vec::new(),
        });
        Self {
            columns: columns.collect(),
        }
    }

    fn push(&mut self, row: impl IntoIterator<Item = Value>) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.values.push(value);
        }
    }

    fn rows(&self) -> usize {
        self.columns[0].values.len()
    }

    /// Adds texts and, now and then, chunk columns full of something else; puts all in any order.
    fn into_columns(mut self, random: &mut Random) -> Vec<Column> {
        let rows = self.rows();
        for name in ["a", "b"] {
            let values = (0..rows).map(|_| random_value(random)).collect();
            let content = Content::Text;
            self.columns.push(Column {
                name,
                content,
                values,
            });
        }
        for name in CHUNK_COLUMNS {
            if one_in(random, 4) {
                let number = |_| Some(random.below(100).to_string().into_bytes());
                let values = (0..rows).map(number).collect();
                let content = Content::Whole;
                self.columns.push(Column {
                    name,
                    content,
                    values,
                });
            }
        }
        for at in (1..self.columns.len()).rev() {
            let other = random.below(at as u64 + 1) as usize;
            self.columns.swap(at, other);
        }
        self.columns
    }
}

/// A chunk column is made anew only for the kind that has it.
fn is_made(name: &str, is_match: bool) -> bool {
    CHUNK_COLUMNS[..if is_match { 3 } else { 2 }].contains(&name)
}

impl Case {
    pub(crate) fn new(
        kind: usize,
        bench: &Bench,
        chunker: &NaiveChunker,
        random: &mut Random,
    ) -> Self {
        let wraps = one_in(random, 3);
        let output = random_dialect(random);
        let mut case = Self {
            columns: Vec::new(),
            copies: Vec::new(),
            index: None,
            options: words(&division(chunker)),
            chosen: None,
            is_match: kind == 2,
            input: random_dialect(random),
            output,
            has_header: one_in(random, 2),
        };
        let table = match kind {
            0 => case.director(chunker, wraps, random),
            1 => case.child(bench, chunker, wraps, random),
            _ if one_in(random, 2) => case.match_by_position(chunker, wraps, random),
            _ => case.match_by_key(bench, chunker, random),
        };
        // Without a position it is refused.
        let is_ra = |option: &String| matches!(option.as_str(), "--ra" | "--ra1");
        if wraps && case.options.iter().any(is_ra) {
            case.options.push("--wrap-ra".to_owned());
        }
        case.columns = table.into_columns(random);
        let names: Vec<&'static str> = case.columns.iter().map(|column| column.name).collect();
        if one_in(random, 2) {
            let count = 1 + random.below(6);
            let mut chosen: Vec<_> = (0..count).map(|_| pick(random, &names)).collect();
            // A chunk column stands once, or there would be two to fill.
            let mut seen = BTreeSet::new();
            chosen.retain(|name| !is_made(name, case.is_match) || seen.insert(*name));
            case.options.push(format!("--columns={}", chosen.join(",")));
            case.chosen = Some(chosen);
        }
        case.options.extend(options(&case.input, "in-"));
        case.options.extend(options(&case.output, ""));
        case.options.push("--charset=utf8mb4".to_owned());
        case.options.push(match case.has_header {
            true => "--in-header".to_owned(),
            false => format!("--fields={}", names.join(",")),
        });
        case
    }

    fn director(&mut self, chunker: &NaiveChunker, wraps: bool, random: &mut Random) -> Table {
        let rows = random.below(150) as usize;
        let (content, keys) = random_keys(random, rows);
        let (has_key, has_overlap) = (one_in(random, 2), random.below(4) > 0);
        self.options.extend(words("--kind director --ra r --dec d"));
        if !has_overlap {
            self.options.push("--no-overlap".to_owned());
        }
        let mut table = Table::new(&[
            ("k", content),
            ("r", Content::Degrees),
            ("d", Content::Degrees),
        ]);
        let mut homes = Vec::new();
        for key in keys {
            let (texts, (ra, dec)) = random_position(random, wraps);
            table.push([key].into_iter().chain(texts));
            let own = chunker.number(chunker.find(ra, dec));
            homes.push(own);
            let mut copies = vec![Target::own(own, 0)];
            if has_overlap {
                let places = chunker.overlaps(ra, dec).into_iter();
                copies.extend(places.map(|place| Target {
                    place,
                    is_overlap: true,
                    flags: 0,
                }));
            }
            self.copies.push(copies);
        }
        if has_key {
            self.options.extend(words("--id k"));
            self.index = Some(("k", homes));
        }
        table
    }

    fn child(
        &mut self,
        bench: &Bench,
        chunker: &NaiveChunker,
        wraps: bool,
        random: &mut Random,
    ) -> Table {
        let rows = random.below(150) as usize;
        let is_keyed = random.below(3) > 0;
        let has_fallback = !is_keyed || one_in(random, 2);
        let (content, keys) = random_keys(random, 60);
        let homes = self.index_of(bench, "index.txt", &keys[..50], chunker, random);
        self.options.extend(words("--kind child"));
        if is_keyed {
            self.options.extend(words("--id k --index index.txt"));
        }
        if has_fallback {
            self.options.extend(words("--ra r --dec d"));
        }
        let mut table = Table::new(&[
            ("k", content),
            ("r", Content::Degrees),
            ("d", Content::Degrees),
        ]);
        for _ in 0..rows {
            // The last keys are not in the index; without a key there is no director either.
            let limit = if has_fallback { 70 } else { 50 };
            let key = keys.get(random.below(limit) as usize).cloned().flatten();
            let (texts, (ra, dec)) = random_position(random, wraps);
            let known = key
                .as_ref()
                .and_then(|key| homes.get(key))
                .filter(|_| is_keyed);
            let place = known.copied();
            let place = place.unwrap_or_else(|| chunker.number(chunker.find(ra, dec)));
            table.push([key].into_iter().chain(texts));
            self.copies.push(vec![Target::own(place, 0)]);
        }
        table
    }

    fn match_by_position(
        &mut self,
        chunker: &NaiveChunker,
        wraps: bool,
        random: &mut Random,
    ) -> Table {
        self.options
            .extend(words("--kind match --ra1 r --dec1 d --ra2 x --dec2 y"));
        let names = ["r", "d", "x", "y"].map(|name| (name, Content::Degrees));
        let mut table = Table::new(&names);
        for _ in 0..random.below(150) {
            let (mut first, (ra, dec)) = random_position(random, wraps);
            // Two stars at one place, or one and a neighbour to the north or the south.
            let near = chunker.overlap * 0.9 * (random.share() * 2.0 - 1.0);
            let (mut second, mut other) = (first.clone(), (ra, dec));
            if chunker.overlap > 0.0 && (dec + near).abs() <= 90.0 {
                other.1 = dec + near;
                second[1] = Some(other.1.to_string().into_bytes());
            } else if chunker.overlap == 0.0 {
                // Nothing is near enough then.
                second[0] = None;
            }
            let lost = pick(random, &[None, None, Some(0), Some(1)]);
            let coordinate = random.below(2) as usize;
            match lost {
                Some(0) if second[0].is_some() => first[coordinate] = None,
                Some(1) => second[coordinate] = None,
                _ => {}
            }
            let place = |texts: &[Value; 2], (ra, dec)| {
                let is_whole = texts.iter().all(Option::is_some);
                is_whole.then(|| chunker.number(chunker.find(ra, dec)))
            };
            let sides = [place(&first, (ra, dec)), place(&second, other)];
            table.push(first.into_iter().chain(second));
            self.copies.push(both_sides(sides));
        }
        table
    }

    fn match_by_key(
        &mut self,
        bench: &Bench,
        chunker: &NaiveChunker,
        random: &mut Random,
    ) -> Table {
        let knows_all = one_in(random, 2);
        self.options.extend(words(
            "--kind match --id1 k --index1 one.txt --id2 m --index2 two.txt",
        ));
        if !knows_all {
            self.options.extend(words("--unknown-keys null"));
        }
        let (first, firsts) = random_keys(random, 60);
        let (second, seconds) = random_keys(random, 60);
        let one = self.index_of(bench, "one.txt", &firsts[..50], chunker, random);
        let two = self.index_of(bench, "two.txt", &seconds[..50], chunker, random);
        let mut table = Table::new(&[("k", first), ("m", second)]);
        for _ in 0..random.below(150) {
            let (at, to) = (random.below(50), random.below(50));
            // One side is always there; the other may be unknown, or NULL.
            let lost = if knows_all { 50 } else { 60 };
            let (at, to) = match random.below(3) {
                0 => (random.below(lost), to),
                1 => (at, random.below(lost)),
                _ => (at, to),
            };
            let (mut key, mut other) = (firsts[at as usize].clone(), seconds[to as usize].clone());
            match random.below(8) {
                0 if to < 50 => key = None,
                1 if at < 50 => other = None,
                _ => {}
            }
            let side = |homes: &BTreeMap<Vec<u8>, Pair>, key: &Value| {
                key.as_ref().and_then(|key| homes.get(key)).copied()
            };
            self.copies
                .push(both_sides([side(&one, &key), side(&two, &other)]));
            table.push([key, other]);
        }
        table
    }

    /// Writes an index of keys all over the sky; returns where they are.
    fn index_of(
        &self,
        bench: &Bench,
        name: &str,
        keys: &[Value],
        chunker: &NaiveChunker,
        random: &mut Random,
    ) -> BTreeMap<Vec<u8>, Pair> {
        let mut homes = BTreeMap::new();
        let mut rows = Vec::new();
        for key in keys {
            let (ra, dec) = random.position();
            let (chunk, sub) = chunker.number(chunker.find(ra, dec));
            homes.insert(key.clone().unwrap(), (chunk, sub));
            let numbers = [chunk, sub].map(|number| Some(number.to_string().into_bytes()));
            rows.push([key.clone()].into_iter().chain(numbers).collect());
        }
        bench.write(name, written(&self.output, &rows, random).concat());
        homes
    }

    /// The names of the columns to write, chunk columns included.
    pub(crate) fn output_names(&self) -> Vec<&'static str> {
        let of_input = || self.columns.iter().map(|column| column.name).collect();
        let mut names: Vec<&'static str> = self.chosen.clone().unwrap_or_else(of_input);
        for name in CHUNK_COLUMNS {
            if is_made(name, self.is_match) && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The rows of each file, as values.
    pub(crate) fn expected(&self) -> BTreeMap<String, Vec<Vec<Value>>> {
        let names = self.output_names();
        let mut files: BTreeMap<String, Vec<Vec<Value>>> = BTreeMap::new();
        for (row, copies) in self.copies.iter().enumerate() {
            for copy in copies {
                let kind = if copy.is_overlap { "_overlap" } else { "" };
                let made = [copy.place.0, copy.place.1, i64::from(copy.flags)];
                let values = names.iter().map(|name| {
                    let number = CHUNK_COLUMNS.iter().position(|column| column == name);
                    match number.filter(|_| is_made(name, self.is_match)) {
                        Some(number) => Some(made[number].to_string().into_bytes()),
                        None => self.column(name).values[row].clone(),
                    }
                });
                let name = format!("chunk_{}{kind}.txt", copy.place.0);
                files.entry(name).or_default().push(values.collect());
            }
        }
        if let Some((key, homes)) = &self.index {
            let keys = self.column(key).values.iter();
            let lines: Vec<Vec<Value>> = keys
                .zip(homes)
                .map(|(key, (chunk, sub))| {
                    let numbers = [chunk, sub].map(|number| Some(number.to_string().into_bytes()));
                    [key.clone()].into_iter().chain(numbers).collect()
                })
                .collect();
            if !lines.is_empty() {
                files.insert("chunk_object_index.txt".to_owned(), lines);
            }
        }
        files
    }

    fn column(&self, name: &str) -> &Column {
        let column = self.columns.iter().find(|column| column.name == name);
        column.unwrap()
    }

    /// The rows as lines of text, in the dialect of the input.
    pub(crate) fn lines(&self, random: &mut Random) -> Vec<Vec<u8>> {
        let row = |row: usize| self.columns.iter().map(|c| c.values[row].clone()).collect();
        let rows: Vec<Vec<Value>> = (0..self.copies.len()).map(row).collect();
        let lines = written(&self.input, &rows, random);
        let (read, fault) = tokenize(&self.input, &lines.concat());
        assert_eq!((read.len(), fault), (rows.len(), None), "{:?}", self.input);
        for (record, row) in read.iter().zip(&rows) {
            let values = record.fields.iter().map(|field| &field.value);
            assert!(values.eq(row), "{record:?} for {row:?}");
        }
        lines
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name).collect();
        let delimiter = char::from(self.input.delimiter()).to_string();
        match self.has_header {
            true => format!("{}\n", names.join(&delimiter)).into_bytes(),
            false => Vec::new(),
        }
    }

    /// The rows from `from` to `to` as a Parquet file.
    pub(crate) fn parquet(&self, from: usize, to: usize) -> Vec<u8> {
        let columns = self.columns.iter().map(|column| {
            let values = column.values[from..to].iter().map(|value| {
                let text = |value: &Vec<u8>| String::from_utf8(value.clone()).unwrap();
                value.as_ref().map(text)
            });
            let array: ArrayRef = match (column.content, column.name) {
                (Content::Whole, _) => {
                    let numbers = values.map(|value| Some(value?.parse::<i64>().unwrap()));
                    Arc::new(numbers.collect::<Int64Array>())
                }
                (Content::Degrees, _) => {
                    let numbers = values.map(|value| Some(value?.parse::<f64>().unwrap()));
                    Arc::new(numbers.collect::<Float64Array>())
                }
                (Content::Text, "b") => Arc::new(values.collect::<LargeStringArray>()),
                (Content::Text, _) => Arc::new(values.collect::<StringArray>()),
            };
            (column.name, array)
        });
        parquet(columns)
    }
}

impl Target {
    fn own(place: Pair, flags: u32) -> Self {
        Self {
            place,
            is_overlap: false,
            flags,
        }
    }
}

/// A match lies with the first side, if both are in one chunk; else with each of its sides.
fn both_sides(sides: [Option<Pair>; 2]) -> Vec<Target> {
    match sides {
        [Some(one), Some(two)] if one.0 == two.0 => vec![Target::own(one, 3)],
        [one, two] => {
            let copies = one.map(|place| Target::own(place, 1)).into_iter();
            copies
                .chain(two.map(|place| Target::own(place, 2)))
                .collect()
        }
    }
}
