//! Order, failures and memory, without files.

use super::*;
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keeps the text of all runs.
#[derive(Default)]
struct Kept(Mutex<(Vec<u8>, usize)>);

impl Sink for Kept {
    fn write_run(&self, packets: &[Packet], _: RunEnd<'_>) -> Result<()> {
        let mut kept = self.0.lock().unwrap();
        for packet in packets {
            kept.0.extend_from_slice(packet.text());
        }
        kept.1 += 1;
        Ok(())
    }
}

fn shape() -> PacketShape {
    PacketShape {
        text_bytes: 256,
        rows: 16,
        slots: 0,
        is_routed: false,
        has_sides: false,
        has_keys: false,
    }
}

/// Makes a collector of one output.
fn collector(gate: Arc<MemoryGate>, sink: &dyn Sink) -> Collector<'_> {
    Collector::new(CollectorOptions {
        gate,
        cancel: Cancel::default(),
        sinks: vec![sink],
        shapes: vec![shape()],
        starts: vec![None],
        ahead: u64::MAX,
    })
}

#[test]
fn overlong_rows_of_younger_pieces_do_not_block_the_oldest() {
    let kept = Kept::default();
    let gate = MemoryGate::new(shape().bytes() * 4);
    let collector = collector(gate, &kept);
    let mut long = collector.packet(1, 0).unwrap();
    long.text_mut().extend(&[b'x'; 1 << 20]);
    long.end_row();
    collector.submit(1, 0, long);
    collector.finish(1, vec![OutputCounts::default()]);
    write_piece(&collector, 0, 3);
    collector.complete().unwrap();
    let text = kept.0.into_inner().unwrap().0;
    assert!(text.starts_with(b"0:0\n0:1\n0:2\nxxx") && text.len() == (1 << 20) + 12);
}

/// Writes `rows[n]` rows for piece n with some threads, and returns text and number of runs.
fn collected(rows: &[usize], threads: usize, packets_at_once: u64) -> (Vec<u8>, usize) {
    let kept = Kept::default();
    let gate = MemoryGate::new(shape().bytes() * packets_at_once);
    let collector = collector(gate, &kept);
    let next = AtomicU64::new(0);
    let handing_out = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let guard = handing_out.lock().unwrap();
                    let piece = next.fetch_add(1, Ordering::SeqCst);
                    let Some(count) = rows.get(piece as usize) else {
                        return;
                    };
                    let _memory = collector.lease_piece(piece, 64).unwrap();
                    drop(guard);
                    write_piece(&collector, piece, *count);
                }
            });
        }
    });
    collector.complete().unwrap();
    kept.0.into_inner().unwrap()
}

fn write_piece(collector: &Collector<'_>, piece: u64, count: usize) {
    let mut packet: Option<Packet> = None;
    for row in 0..count {
        if packet.as_ref().is_some_and(Packet::is_full) {
            collector.submit(piece, 0, packet.take().unwrap());
        }
        let current = packet.get_or_insert_with(|| collector.packet(piece, 0).unwrap());
        current
            .text_mut()
            .extend(format!("{piece}:{row}\n").as_bytes());
        current.end_row();
    }
    if let Some(packet) = packet {
        collector.submit(piece, 0, packet);
    }
    collector.finish(piece, vec![OutputCounts::default()]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn order_is_that_of_the_input(
        rows in proptest::collection::vec(0usize..60, 0..40),
        threads in 1usize..6,
        packets_at_once in 3u64..40,
    ) {
        let mut expected = Vec::new();
        for (piece, count) in rows.iter().enumerate() {
            for row in 0..*count {
                expected.extend_from_slice(format!("{piece}:{row}\n").as_bytes());
            }
        }
        let (text, _) = collected(&rows, threads, packets_at_once);
        prop_assert_eq!(text, expected);
    }
}

#[test]
fn ample_memory_makes_one_run_and_little_makes_several() {
    assert_eq!(collected(&[50; 40], 2, 1000).1, 1);
    assert!(collected(&[50; 40], 2, 4).1 > 1);
}

#[test]
fn the_first_failure_in_input_order_counts() {
    let kept = Kept::default();
    let gate = MemoryGate::new(1 << 20);
    let collector = collector(gate, &kept);
    collector.fail(5, Error::usage("later"));
    assert!(collector.is_overtaken(6) && !collector.is_overtaken(5));
    collector.fail(2, Error::usage("first"));
    collector.fail(3, Error::usage("between"));
    assert_eq!(collector.complete().unwrap_err().to_string(), "first");
}

/// A fault in the code that writes.
struct Faulty;

impl Sink for Faulty {
    fn write_run(&self, _: &[Packet], _: RunEnd<'_>) -> Result<()> {
        panic!("a fault");
    }
}

#[test]
fn a_fault_while_a_run_is_written_ends_all() {
    let collector = collector(MemoryGate::new(shape().bytes() * 4), &Faulty);
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let piece = next.fetch_add(1, Ordering::SeqCst);
                    let Ok(mut packet) = collector.packet(piece, 0) else {
                        return;
                    };
                    while !packet.is_full() {
                        packet.text_mut().extend(&[b'x'; 8]);
                        packet.end_row();
                    }
                    collector.submit(piece, 0, packet);
                    collector.finish(piece, vec![OutputCounts::default()]);
                }
            });
        }
    });
    let error = collector.complete().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn a_limit_that_cant_be_kept_is_refused_with_the_figure() {
    let kept = Kept::default();
    let gate = MemoryGate::new(1 << 20);
    let collector = collector(gate, &kept);
    match collector.lease_piece(0, 1 << 20) {
        Err(Stop::Failed(error)) => {
            assert!(error.hint_text().unwrap().contains("--memory-limit 2MiB"));
        }
        other => panic!("{other:?}"),
    }
}

/// A stream that keeps nothing.
struct Gone;

impl Sink for Gone {
    fn write_run(&self, _: &[Packet], _: RunEnd<'_>) -> Result<()> {
        Ok(())
    }

    fn is_stream(&self) -> bool {
        true
    }
}

#[test]
fn pieces_of_streams_do_not_run_far_ahead() {
    let shape = PacketShape {
        text_bytes: 1 << 20,
        ..shape()
    };
    let gate = MemoryGate::new(1 << 40);
    let ahead = 4 * shape.bytes();
    let collector = Collector::new(CollectorOptions {
        gate: Arc::clone(&gate),
        cancel: Cancel::default(),
        sinks: vec![&Gone],
        shapes: vec![shape.clone()],
        starts: vec![None],
        ahead,
    });
    std::thread::scope(|scope| {
        // Forty packets.
        scope.spawn(|| write_piece(&collector, 1, 40 * 16));
        std::thread::sleep(std::time::Duration::from_millis(50));
        write_piece(&collector, 0, 16);
    });
    collector.complete().unwrap();
    let most = LEAST_OPEN + ahead + 2 * shape.bytes();
    assert!(gate.peak() <= most, "{} bytes", gate.peak());
}

/// A stream that takes its time once.
#[derive(Default)]
struct Slow(std::sync::atomic::AtomicBool);

impl Sink for Slow {
    fn write_run(&self, _: &[Packet], _: RunEnd<'_>) -> Result<()> {
        if !self.0.swap(true, Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        Ok(())
    }

    fn is_stream(&self) -> bool {
        true
    }
}

#[test]
fn a_slow_reader_makes_all_wait() {
    let shape = PacketShape {
        text_bytes: 1 << 20,
        ..shape()
    };
    let gate = MemoryGate::new(1 << 40);
    let ahead = 4 * shape.bytes();
    let slow = Slow::default();
    let collector = Collector::new(CollectorOptions {
        gate: Arc::clone(&gate),
        cancel: Cancel::default(),
        sinks: vec![&slow],
        shapes: vec![shape.clone()],
        starts: vec![None],
        ahead,
    });
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        // While one thread is writing, the others' pieces become the oldest, one by one.
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let piece = next.fetch_add(1, Ordering::SeqCst);
                    if piece >= 60 {
                        return;
                    }
                    write_piece(&collector, piece, 16);
                }
            });
        }
    });
    collector.complete().unwrap();
    let most = LEAST_OPEN + ahead + 2 * shape.bytes();
    assert!(gate.peak() <= most, "{} bytes", gate.peak());
}

#[test]
fn a_piece_may_be_announced_again_where_nothing_was_found() {
    let position = |offset| PiecePosition {
        input: 0,
        offset,
        line: 0,
    };
    let start = |offset| {
        Some(Mark {
            piece: 3,
            position: Some(position(offset)),
            rows: 0,
            counts: OutputCounts::default(),
        })
    };
    let collector = Collector::new(CollectorOptions {
        gate: MemoryGate::new(1 << 20),
        cancel: Cancel::default(),
        sinks: vec![&Gone, &Gone],
        shapes: vec![shape(), shape()],
        starts: vec![start(7), start(9)],
        ahead: u64::MAX,
    });
    assert!(collector.announce(3, position(8)).is_err());
    collector.announce(3, position(7)).unwrap();
    collector.announce(3, position(8)).unwrap();
    collector.announce(3, position(9)).unwrap();
}
