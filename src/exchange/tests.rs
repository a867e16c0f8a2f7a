//! All finishes of the exchange give the files that a naive program gives.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::resources::{Cancel, MemoryGate};

/// A row: its text, chunk, sub-chunk and overlap places.
#[derive(Debug, Clone)]
struct Row {
    text: String,
    chunk: u32,
    sub_chunk: i32,
    overlaps: Vec<(u32, i32)>,
}

const CHUNKS: u32 = 9;

fn row() -> impl Strategy<Value = Row> {
    let place = || (0..CHUNKS, 0..4i32);
    let overlaps = proptest::collection::vec(place(), 0..3);
    ("[a-z]{0,40}", place(), overlaps).prop_map(|(text, (chunk, sub_chunk), overlaps)| Row {
        text,
        chunk,
        sub_chunk,
        overlaps,
    })
}

type Files = BTreeMap<String, String>;
type Counts = BTreeMap<(i32, i32), SubChunkCount>;

fn naive(pieces: &[Vec<Row>]) -> (Files, Counts) {
    let (mut files, mut counts) = (Files::new(), Counts::new());
    for row in pieces.iter().flatten() {
        let number = |chunk: u32| 100 + chunk.cast_signed();
        let key = (number(row.chunk), row.sub_chunk);
        let text = format!("{}\t{}\t{}\n", row.text, key.0, key.1);
        *files.entry(format!("chunk_{}.txt", key.0)).or_default() += &text;
        counts.entry(key).or_default().rows += 1;
        *files.entry("index.txt".into()).or_default() += &text;
        for (chunk, sub_chunk) in &row.overlaps {
            let key = (number(*chunk), *sub_chunk);
            let text = format!("{}\t{}\t{}\n", row.text, key.0, key.1);
            *files
                .entry(format!("chunk_{}_overlap.txt", key.0))
                .or_default() += &text;
            counts.entry(key).or_default().overlap_rows += 1;
        }
    }
    (files, counts)
}

/// Limits of a run: packets in memory, open files, bytes of a small segment.
type Limits = (u64, usize, usize);

fn shape() -> PacketShape {
    PacketShape {
        text_bytes: 128,
        rows: 8,
        slots: 1,
        is_routed: true,
        has_sides: false,
        has_keys: true,
    }
}

fn chunk_rows() -> ChunkRows {
    let slot = vec![
        SlotPart::Delimiter,
        SlotPart::Chunk,
        SlotPart::Delimiter,
        SlotPart::SubChunk,
    ];
    ChunkRows {
        chunk_numbers: (100..100 + CHUNKS.cast_signed()).collect(),
        names: ChunkNames::new("", ChunkNames::PREFIX, 1),
        slots: vec![slot],
        delimiter: b'\t',
        line_end: b"\n",
        digests: Digests::Both,
        counts_sub_chunks: true,
        has_keys_of_all: false,
    }
}

/// Writes pieces in order; `kills` says after how many pieces each attempt but the last ends.
fn exchanged(
    pieces: &[Vec<Row>],
    finish: Finish,
    (packets, open, small_segment): Limits,
    kills: &[usize],
) -> (Files, Counts) {
    let folder = tempfile::tempdir().unwrap();
    let staging = folder.path().join("staging");
    std::fs::create_dir(&staging).unwrap();
    let place = JournalPlace {
        path: folder.path().join("journal"),
        identity: "test".into(),
        spill: Some(folder.path().join("exchange")),
    };
    let shape = shape();
    let sink_of = |packets: u64| {
        let gate = MemoryGate::new(match finish {
            Finish::Memory => 1 << 30,
            _ => shape.bytes() * packets,
        });
        let options = ChunkSinkOptions {
            rows: chunk_rows(),
            staging: staging.clone(),
            key_index: Some("index.txt".into()),
            gate: Arc::clone(&gate),
            cancel: Cancel::default(),
            max_open_files: open,
            exchange_path: folder.path().join("exchange"),
            finish,
            small_segment,
        };
        let (sink, start) = ChunkSink::resumable(options, place.clone()).unwrap();
        (sink, start, gate)
    };
    for kill in kills {
        let (sink, start, gate) = sink_of(packets + *kill as u64 % 5);
        let collector = collector_of(&sink, gate, shape.clone(), start.clone());
        write_pieces(&collector, pieces, start, *kill, &|_| 0);
        drop(collector);
        // Half of a run that was not noted any more.
        for entry in std::fs::read_dir(&staging).unwrap() {
            let path = entry.unwrap().path();
            let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
            std::io::Write::write_all(&mut file, b"half a r").unwrap();
        }
        std::fs::write(staging.join("chunk_999.txt"), "new").unwrap();
    }
    let (sink, start, gate) = sink_of(packets);
    let collector = collector_of(&sink, gate, shape.clone(), start.clone());
    write_pieces(&collector, pieces, start, usize::MAX, &|_| 0);
    let totals = collector.complete().unwrap();
    let rows: usize = pieces.iter().map(Vec::len).sum();
    assert_eq!(
        totals[0].counts.rows_in, rows as u64,
        "every row is counted once"
    );
    let mut counts = Vec::new();
    let summaries = sink
        .finish(&mut |key, count| {
            counts.push((key, count));
            Ok(())
        })
        .unwrap();
    assert!(
        counts.is_sorted_by_key(|(key, _)| *key),
        "counts come in order"
    );
    let mut files = Files::new();
    for entry in std::fs::read_dir(&staging).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
    }
    for summary in &summaries {
        let text = &files[&*summary.path()];
        assert_eq!(summary.rows, text.lines().count() as u64);
        let mut digest = FileDigest::default();
        digest.add_rows(summary.rows);
        digest.update(text.as_bytes());
        let expected = digest.finish(summary.path(), summary.chunk(), summary.is_overlap());
        assert_eq!(*summary, expected);
    }
    assert_eq!(
        summaries.len(),
        files.len(),
        "every file is told of, no other is left"
    );
    (files, counts.into_iter().collect())
}

fn collector_of<'s>(
    sink: &'s dyn Sink,
    gate: Arc<MemoryGate>,
    shape: PacketShape,
    start: Option<Mark>,
) -> Collector<'s> {
    Collector::new(CollectorOptions {
        gate,
        cancel: Cancel::default(),
        sinks: vec![sink],
        shapes: vec![shape],
        starts: vec![start],
        ahead: u64::MAX,
    })
}

/// Writes pieces from where `start` says, `most` of them; `order` tells the stretch of each.
fn write_pieces(
    collector: &Collector<'_>,
    pieces: &[Vec<Row>],
    start: Option<Mark>,
    most: usize,
    order: &dyn Fn(usize) -> u32,
) {
    let first = usize::try_from(first_piece(&[start])).unwrap();
    for (at, rows) in pieces.iter().enumerate().skip(first).take(most) {
        let number = at as u64;
        let position = PiecePosition {
            input: 0,
            offset: number,
            line: 0,
        };
        collector.announce(number, position).unwrap();
        let mut packet: Option<Packet> = None;
        for row in rows {
            if packet.as_ref().is_some_and(Packet::is_full) {
                collector.submit(number, 0, packet.take().unwrap());
            }
            let current = packet.get_or_insert_with(|| {
                let mut packet = collector.packet(number, 0).unwrap();
                packet.set_order(order(at));
                packet
            });
            current.text_mut().extend(row.text.as_bytes());
            current.mark_slot();
            current.end_row();
            current.key_mut().extend(row.text.as_bytes());
            current.end_key();
            for (chunk, sub_chunk) in &row.overlaps {
                current.route_further(*chunk, *sub_chunk);
            }
            current.route(row.chunk, row.sub_chunk);
        }
        if let Some(packet) = packet {
            collector.submit(number, 0, packet);
        }
        let counts = OutputCounts {
            rows_in: rows.len() as u64,
            ..OutputCounts::default()
        };
        collector.finish(number, vec![counts]);
    }
}

/// A sink that must give its memory back after some runs.
struct Pressed<'a> {
    sink: &'a TaskChunkSink,
    runs: AtomicUsize,
}

impl Sink for Pressed<'_> {
    fn write_run(&self, packets: &[Packet], end: RunEnd<'_>) -> crate::error::Result<()> {
        self.sink.write_run(packets, end)?;
        let runs = self.runs.fetch_add(1, Ordering::Relaxed);
        if runs % 3 == 1 {
            self.sink.release()?;
            assert!(!self.sink.release()?, "nothing is left after a release");
        }
        Ok(())
    }
}

/// Gives each piece to one of several tasks, and merges what they have made in ranges of files.
fn by_tasks(
    pieces: &[Vec<Row>],
    task_of: &[usize],
    packets: u64,
    fan_in: usize,
    cuts: &[usize],
) -> (Files, Counts) {
    let folder = tempfile::tempdir().unwrap();
    let mut sealed = Vec::new();
    let tasks = task_of.iter().max().map_or(0, |last| last + 1);
    for task in 0..tasks {
        let own: Vec<usize> = (0..pieces.len())
            .filter(|at| task_of[*at] == task)
            .collect();
        let own_pieces: Vec<Vec<Row>> = own.iter().map(|at| pieces[*at].clone()).collect();
        let order = |at: usize| {
            let mut first = at;
            while first > 0 && own[first - 1] + 1 == own[first] {
                first -= 1;
            }
            own[first] as u32
        };
        let gate = MemoryGate::new(shape().bytes() * packets);
        let path = folder.path().join(format!("{task}.exchange"));
        let writer = SealedWriter::create(&path, [7; 16]).unwrap();
        let writer = Arc::new(Mutex::new(writer));
        let options = TaskSinkOptions {
            sealed: Arc::clone(&writer),
            table: "T".into(),
            scratch: folder.path().join(format!("{task}")),
            gate: Arc::clone(&gate),
            cancel: Cancel::default(),
        };
        let sink = TaskChunkSink::new(options, chunk_rows(), true);
        let pressed = Pressed {
            sink: &sink,
            runs: AtomicUsize::new(task),
        };
        let collector = collector_of(&pressed, gate, shape(), None);
        write_pieces(&collector, &own_pieces, None, usize::MAX, &order);
        collector.complete().unwrap();
        sink.finish().unwrap();
        let writer = Arc::into_inner(writer).unwrap().into_inner().unwrap();
        writer.finish().unwrap();
        let opened = SealedFile::open(&path, [7; 16]).unwrap();
        opened.verify().unwrap();
        sealed.push(opened);
    }
    let cancel = Cancel::default();
    let work = |staging| MergeWork {
        staging,
        memory: 1 << 20,
        cancel: &cancel,
    };
    let mut level = 0;
    while sealed.len() > fan_in {
        let mut next = Vec::new();
        for group in sealed.chunks(fan_in) {
            let path = folder.path().join(format!("{level}-{}.merged", next.len()));
            let mut writer = SealedWriter::create(&path, [7; 16]).unwrap();
            join_sealed(group, &work(folder.path()), &mut writer).unwrap();
            writer.finish().unwrap();
            next.push(SealedFile::open(&path, [7; 16]).unwrap());
        }
        sealed = next;
        level += 1;
    }
    let staging = folder.path().join("staging");
    std::fs::create_dir(&staging).unwrap();
    let mut bounds: Vec<usize> = cuts.iter().map(|cut| cut * 2).collect();
    bounds.extend([0, CHUNKS as usize * 2]);
    bounds.sort_unstable();
    let mut counts = Counts::new();
    for range in bounds.windows(2) {
        let files = range[0]..range[1];
        let runs = SealedRuns::find(&sealed, "T", SectionContent::Chunks, &files).unwrap();
        let mut count = |key, count| {
            assert!(
                counts.insert(key, count).is_none(),
                "{key:?} is counted once"
            );
            Ok(())
        };
        let rows = chunk_rows();
        runs.merge(&rows, &|_| true, &work(&staging), &mut count)
            .unwrap();
    }
    let keys = SealedRuns::find(&sealed, "T", SectionContent::Keys, &(0..1)).unwrap();
    let mut index = Vec::new();
    let mut out = |part: &[u8]| {
        index.extend_from_slice(part);
        Ok(())
    };
    keys.stream(&work(&staging), &mut out).unwrap();
    let mut files = Files::new();
    for entry in std::fs::read_dir(&staging).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
    }
    if !index.is_empty() {
        files.insert("index.txt".into(), String::from_utf8(index).unwrap());
    }
    (files, counts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_finish_gives_the_same_files(
        pieces in proptest::collection::vec(proptest::collection::vec(row(), 0..60), 0..12),
        packets in 3u64..30,
        open in 0usize..8,
        // Small enough for runs to be appended first and to go into the exchange file later.
        small_segment in 0usize..200,
    ) {
        let expected = naive(&pieces);
        for finish in [Finish::Memory, Finish::Append, Finish::Exchange, Finish::Auto] {
            let found = exchanged(&pieces, finish, (packets, open, small_segment), &[]);
            prop_assert_eq!(&found, &expected, "{:?}", finish);
        }
    }

    #[test]
    fn tasks_give_the_same_files_however_pieces_are_dealt_out(
        pieces in proptest::collection::vec(proptest::collection::vec(row(), 0..40), 0..14),
        seeds in proptest::collection::vec(0usize..5, 14),
        packets in 3u64..30,
        fan_in in 2usize..6,
        cuts in proptest::collection::vec(0usize..CHUNKS as usize, 0..4),
    ) {
        let found = by_tasks(&pieces, &seeds[..pieces.len()], packets, fan_in, &cuts);
        prop_assert_eq!(found, naive(&pieces));
    }

    #[test]
    fn a_run_that_was_killed_again_and_again_gives_the_same_files(
        pieces in proptest::collection::vec(proptest::collection::vec(row(), 0..60), 0..12),
        packets in 3u64..12,
        small_segment in 0usize..200,
        kills in proptest::collection::vec(1usize..10, 1..4),
    ) {
        let expected = naive(&pieces);
        for finish in [Finish::Append, Finish::Exchange, Finish::Auto] {
            let found = exchanged(&pieces, finish, (packets, 3, small_segment), &kills);
            prop_assert_eq!(&found, &expected, "{:?}", finish);
        }
    }
}
