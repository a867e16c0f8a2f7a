//! Rows sorted into the triangles of the sky's mesh, as sph-htm-index does: two files for each, its rows
//! and their keys.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::digest::{FileDigest, FileSummary};
use super::sub_chunk_fillings::Filling;
use super::{Packet, RunEnd, Sink};
use crate::error::{Error, Result};
use crate::partition::htm::{row_id, triangle_file};
use crate::publish::append;
use crate::resources::{Lease, MemoryGate};

/// Text that is gathered of a triangle before it is written.
const BLOCK: usize = 1 << 20;

/// What a sink of triangles works with.
pub struct TriangleSinkOptions {
    /// Staging folder of the files; those of nodes are there already.
    pub staging: PathBuf,
    /// Nodes that triangles are spread over by their numbers, each with a folder if there are several.
    pub nodes: u32,
    /// What ends a row.
    pub line_end: &'static [u8],
    /// Where memory is paid for.
    pub gate: Arc<MemoryGate>,
}

/// Takes rows that are routed to triangles: in place of chunks, packets have their numbers.
pub struct TriangleSink {
    options: TriangleSinkOptions,
    state: Mutex<State>,
}

struct State {
    triangles: BTreeMap<u32, Files>,
    paid: Lease,
}

/// The two files of a triangle.
#[derive(Default)]
struct Files {
    rows: FileDigest,
    ids: FileDigest,
}

impl TriangleSink {
    /// Makes a sink for files that are not there yet.
    pub fn new(options: TriangleSinkOptions) -> Self {
        let state = State {
            triangles: BTreeMap::new(),
            paid: options.gate.charge(0),
        };
        Self {
            options,
            state: Mutex::new(state),
        }
    }

    /// Returns the files, and the rows of each triangle.
    pub fn finish(self) -> (Vec<FileSummary>, Vec<(u32, u64)>) {
        let state = self.state.into_inner();
        let state = state.unwrap_or_else(PoisonError::into_inner);
        let mut files = Vec::with_capacity(state.triangles.len() * 2);
        let mut rows = Vec::with_capacity(state.triangles.len());
        for (triangle, both) in state.triangles {
            rows.push((triangle, both.rows.rows()));
            for (ending, digest) in [("txt", both.rows), ("ids", both.ids)] {
                let path = triangle_file(triangle, self.options.nodes, ending);
                files.push(digest.finish(path, None, false));
            }
        }
        (files, rows)
    }
}

impl Sink for TriangleSink {
    fn write_run(&self, packets: &[Packet], _: RunEnd<'_>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = packets.iter().enumerate().flat_map(|(number, packet)| {
            let triangles = packet.chunks().iter().enumerate();
            triangles.map(move |(row, triangle)| (*triangle, number as u32, row as u32))
        });
        // In each triangle in the order of the input.
        let mut rows: Vec<(u32, u32, u32)> = rows.collect();
        rows.sort_unstable();
        let (mut text, mut ids) = (Vec::new(), Vec::new());
        for of_triangle in rows.chunk_by(|a, b| a.0 == b.0) {
            let mut waiting = 0;
            for (at, (triangle, packet, row)) in of_triangle.iter().enumerate() {
                let (Some(packet), row) = (packets.get(*packet as usize), *row as usize) else {
                    continue;
                };
                packet.write_row(row, Filling::default(), self.options.line_end, &mut text);
                let key = packet.key(row).and_then(row_id);
                // The router has seen to it.
                let key = key.ok_or_else(|| Error::of_ours("a key is no whole number"))?;
                ids.extend_from_slice(&key.to_le_bytes());
                waiting += 1;
                if text.len() >= BLOCK || at + 1 == of_triangle.len() {
                    self.put(&mut state, *triangle, waiting, (&text, &ids))?;
                    waiting = 0;
                    text.clear();
                    ids.clear();
                }
            }
        }
        Ok(())
    }
}

impl TriangleSink {
    /// Appends rows and keys of a triangle to its files.
    fn put(
        &self,
        state: &mut State,
        triangle: u32,
        rows: u64,
        (text, ids): (&[u8], &[u8]),
    ) -> Result<()> {
        if !state.triangles.contains_key(&triangle) {
            state
                .paid
                .absorb(self.options.gate.charge(2 * FileDigest::MEMORY));
        }
        let files = state.triangles.entry(triangle).or_default();
        for (ending, bytes, digest) in
            [("txt", text, &mut files.rows), ("ids", ids, &mut files.ids)]
        {
            let path = triangle_file(triangle, self.options.nodes, ending);
            let path = self.options.staging.join(path);
            let mut file = append(&path)?;
            let written = file.write_all(bytes);
            written.map_err(|error| Error::writing(&path, error))?;
            digest.update(bytes);
        }
        files.rows.add_rows(rows);
        Ok(())
    }
}
