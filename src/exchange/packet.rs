//! A packet: some rows as text, and where each of them goes.

use super::fetch::{fetch_ahead, fetch_item};
use super::sub_chunk_fillings::Filling;
use crate::dialect::MAX_RECORD_BYTES;
use crate::resources::Lease;
use crate::values::TextBuffer;

/// One further place of a row: the overlap file of another sub-chunk, or, for a match whose sides
/// lie in two chunks, the chunk of the second side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FurtherPlace {
    /// Row within the packet.
    pub row: u32,
    /// Dense index of the chunk.
    pub chunk: u32,
    /// Sub-chunk that the row is written with.
    pub sub_chunk: i32,
}

/// In place of a dense chunk index: the row has further places only.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Which sides of a match lie in the chunk that its row is written to: the bits of Qserv's
/// `partitioningFlags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MatchSides {
    /// Only the first.
    First = 1,
    /// Only the second.
    Second = 2,
    /// Both.
    Both = 3,
}

/// A piece of the text that differs between the copies of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotPart {
    /// The chunk's number.
    Chunk,
    /// The sub-chunk's number.
    SubChunk,
    /// Which sides of a match lie in the chunk.
    MatchSides,
    /// The dialect's delimiter.
    Delimiter,
}

/// What is filled in at one place of every row.
pub type SlotText = Vec<SlotPart>;

/// How large packets are and what they carry.
#[derive(Debug, Clone)]
pub struct PacketShape {
    /// Text bytes after which a packet is full.
    pub text_bytes: usize,
    /// Rows after which a packet is full.
    pub rows: usize,
    /// Places in a row where chunk numbers are filled in later.
    pub slots: usize,
    /// Whether rows have a chunk.
    pub is_routed: bool,
    /// Whether rows are matches: further places are then no overlap but second rows.
    pub has_sides: bool,
    /// Whether the director's key is kept beside the row.
    pub has_keys: bool,
}

impl PacketShape {
    /// Text that is added to a row later: two numbers, delimiters, line end.
    const IDS_AND_LINE_END: usize = 32;
    /// Room for the last row, which may pass the mark.
    const SLACK: usize = 16 * 1024;
    /// Further places after which a packet is full, per row.
    const FURTHER_PER_ROW: usize = 1;

    /// Returns the bytes that a packet is charged with at the memory gate, the grouping index
    /// that a run needs later included.
    pub fn bytes(&self) -> u64 {
        let per_row = 4 + 4 * self.slots + usize::from(self.is_routed) * (4 + 4 + 8);
        let sides = usize::from(self.has_sides);
        let per_further = usize::from(self.is_routed) * (size_of::<FurtherPlace>() + 8);
        let keys = usize::from(self.has_keys) * (24 + 4);
        let rows = self.rows * (per_row + sides + per_further * Self::FURTHER_PER_ROW + keys);
        (self.text_bytes + Self::SLACK + rows) as u64
    }
}

/// Rows of one piece for one output, with their routes.
#[derive(Debug)]
pub struct Packet {
    text: TextBuffer,
    row_ends: Vec<u32>,
    splits: Vec<u32>,
    chunks: Vec<u32>,
    sub_chunks: Vec<i32>,
    /// Sides of each row, where rows are matches.
    sides: Vec<MatchSides>,
    further: Vec<FurtherPlace>,
    keys: TextBuffer,
    key_ends: Vec<u32>,
    shape: PacketShape,
    /// Place of the rows among the stretches of inputs that are read apart from each other.
    order: u32,
    /// Rows that have gone to chunks that nobody wants, or keep a further place only.
    elsewhere: u64,
    lease: Lease,
    /// Paid for a text that outgrew the shape.
    overweight: Option<Lease>,
}

impl Packet {
    /// Makes an empty packet whose memory `lease` has paid for.
    pub fn new(shape: PacketShape, lease: Lease) -> Self {
        let routed = if shape.is_routed { shape.rows } else { 0 };
        let keyed = if shape.has_keys { shape.rows } else { 0 };
        Self {
            text: TextBuffer::with_capacity(shape.text_bytes + PacketShape::SLACK),
            row_ends: Vec::with_capacity(shape.rows),
            splits: Vec::with_capacity(shape.rows * shape.slots),
            chunks: Vec::with_capacity(routed),
            sub_chunks: Vec::with_capacity(routed),
            sides: Vec::with_capacity(if shape.has_sides { shape.rows } else { 0 }),
            further: Vec::with_capacity(routed * PacketShape::FURTHER_PER_ROW),
            keys: TextBuffer::with_capacity(keyed * 24),
            key_ends: Vec::with_capacity(keyed),
            shape,
            order: 0,
            elsewhere: 0,
            lease,
            overweight: None,
        }
    }

    /// Returns the number of whole rows.
    pub fn rows(&self) -> usize {
        self.row_ends.len()
    }

    /// Returns the bytes charged at the gate.
    pub fn bytes(&self) -> u64 {
        self.lease.bytes() + self.overweight.as_ref().map_or(0, Lease::bytes)
    }

    /// Returns the bytes of memory by which the text has outgrown what was paid for.
    pub fn unpaid(&self) -> u64 {
        let paid = self.shape.text_bytes + PacketShape::SLACK;
        let extra = self.text.capacity().saturating_sub(paid) as u64;
        let keys = if self.shape.has_keys {
            self.shape.rows * 24
        } else {
            0
        };
        let extra = extra + self.keys.capacity().saturating_sub(keys) as u64;
        extra.saturating_sub(self.overweight.as_ref().map_or(0, Lease::bytes))
    }

    /// Pays for what outgrew the shape.
    pub fn pay(&mut self, lease: Lease) {
        match &mut self.overweight {
            Some(paid) => paid.absorb(lease),
            None => self.overweight = Some(lease),
        }
    }

    /// Says which stretch of the inputs the rows come from; stretches that other tasks read may lie
    /// between two of them.
    pub fn set_order(&mut self, order: u32) {
        self.order = order;
    }

    /// Returns which stretch of the inputs the rows come from.
    pub fn order(&self) -> u32 {
        self.order
    }

    /// Says whether the next row belongs into another packet.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.text.len() >= self.shape.text_bytes
            || self.row_ends.len() >= self.shape.rows
            || self.further.len() >= self.shape.rows * PacketShape::FURTHER_PER_ROW
    }

    /// Forgets all rows and gives back what outgrew the shape.
    pub fn clear(&mut self) {
        self.text.truncate(0);
        self.row_ends.clear();
        self.splits.clear();
        self.chunks.clear();
        self.sub_chunks.clear();
        self.sides.clear();
        self.further.clear();
        self.keys.truncate(0);
        self.key_ends.clear();
        self.elsewhere = 0;
        if self.overweight.take().is_some() {
            self.text
                .shrink_to(self.shape.text_bytes + PacketShape::SLACK);
            if self.shape.has_keys {
                self.keys.shrink_to(self.shape.rows * 24);
            }
        }
    }

    /// Returns the text that the next row is written into.
    #[inline]
    pub fn text_mut(&mut self) -> &mut TextBuffer {
        &mut self.text
    }

    /// Marks the place of the next slot in the row being written.
    #[inline]
    pub fn mark_slot(&mut self) {
        self.splits.push(self.text.len() as u32);
    }

    /// Says whether the row being written is longer than Qserv's ingest server takes, the chunk
    /// numbers and the line's end included.
    #[inline]
    pub fn is_row_too_long(&self) -> bool {
        let start = self.row_ends.last().copied().unwrap_or(0) as usize;
        self.text.len() - start > MAX_RECORD_BYTES - PacketShape::IDS_AND_LINE_END
    }

    /// Ends the row being written.
    #[inline]
    pub fn end_row(&mut self) {
        self.row_ends.push(self.text.len() as u32);
    }

    /// Forgets what was written of a row that turned out to be bad.
    pub fn abandon_row(&mut self) {
        self.text
            .truncate(self.row_ends.last().copied().unwrap_or(0) as usize);
        self.splits.truncate(self.row_ends.len() * self.shape.slots);
        self.keys
            .truncate(self.key_ends.last().copied().unwrap_or(0) as usize);
    }

    /// Routes the row that ended last.
    #[inline]
    pub fn route(&mut self, chunk: u32, sub_chunk: i32) {
        self.chunks.push(chunk);
        self.sub_chunks.push(sub_chunk);
    }

    /// Says which sides of a match lie in the chunk that the row is routed to next.
    #[inline]
    pub fn note_sides(&mut self, sides: MatchSides) {
        self.sides.push(sides);
    }

    /// Adds a further place of the row that is routed next.
    #[inline]
    pub fn route_further(&mut self, chunk: u32, sub_chunk: i32) {
        let row = self.chunks.len() as u32;
        self.further.push(FurtherPlace {
            row,
            chunk,
            sub_chunk,
        });
    }

    /// Of the row that ended last keeps the places in chunks that `is_wanted` names by their dense
    /// index, and counts it as [`elsewhere`](Self::elsewhere) if its own is not among them; a row
    /// without any is forgotten.
    pub fn keep_places(&mut self, is_wanted: impl Fn(u32) -> bool) {
        let Some(row) = self.chunks.len().checked_sub(1) else {
            return;
        };
        let first = self
            .further
            .partition_point(|place| (place.row as usize) < row);
        let mut kept = first;
        for at in first..self.further.len() {
            if is_wanted(self.further[at].chunk) {
                self.further[kept] = self.further[at];
                kept += 1;
            }
        }
        self.further.truncate(kept);
        if is_wanted(self.chunks[row]) {
            return;
        }
        self.elsewhere += 1;
        if kept > first {
            self.chunks[row] = NOWHERE;
            return;
        }
        self.chunks.truncate(row);
        self.sub_chunks.truncate(row);
        self.sides.truncate(row);
        self.row_ends.truncate(row);
        self.key_ends.truncate(row);
        self.abandon_row();
    }

    /// Returns the number of rows whose own chunk nobody wants.
    pub fn elsewhere(&self) -> u64 {
        self.elsewhere
    }

    /// Returns the text that the next row's key is written into.
    pub fn key_mut(&mut self) -> &mut TextBuffer {
        &mut self.keys
    }

    /// Returns the key that was written and not ended yet.
    pub fn open_key(&self) -> &[u8] {
        let start = self.key_ends.last().copied().unwrap_or(0) as usize;
        self.keys.as_slice().get(start..).unwrap_or_default()
    }

    /// Ends the key of the row written last.
    pub fn end_key(&mut self) {
        self.key_ends.push(self.keys.len() as u32);
    }

    /// Returns the whole text: rows that need no slot filled, one after another.
    pub fn text(&self) -> &[u8] {
        self.text.as_slice()
    }

    /// Returns where each row ends in [`Self::text`].
    pub fn row_ends(&self) -> &[u32] {
        &self.row_ends
    }

    /// Returns the dense chunk index of each row; [`NOWHERE`] where nobody wants that chunk.
    pub fn chunks(&self) -> &[u32] {
        &self.chunks
    }

    /// Returns the dense chunk index of each row whose own chunk is wanted.
    pub(super) fn own_chunks(&self) -> impl Iterator<Item = u32> {
        self.chunks
            .iter()
            .copied()
            .filter(|chunk| *chunk != NOWHERE)
    }

    /// Returns the sub-chunk of each row.
    pub fn sub_chunks(&self) -> &[i32] {
        &self.sub_chunks
    }

    /// Says whether rows are matches, so that further places are second rows and no overlap.
    pub fn has_sides(&self) -> bool {
        self.shape.has_sides
    }

    /// Returns which sides of each match lie in the chunk of its row; empty where rows are none.
    pub fn sides(&self) -> &[MatchSides] {
        &self.sides
    }

    /// Returns the number of rows that are written a second time, as matches may be.
    pub fn second_rows(&self) -> u64 {
        match self.shape.has_sides {
            true => self.further.len() as u64,
            false => 0,
        }
    }

    /// Returns the further places, in row order.
    pub fn further(&self) -> &[FurtherPlace] {
        &self.further
    }

    /// Returns the key of each row.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.key_ends.iter().map(move |end| {
            let key = &self.keys.as_slice()[start..*end as usize];
            start = *end as usize;
            key
        })
    }

    /// Returns the key of row number `row`, if rows have keys.
    pub(super) fn key(&self, row: usize) -> Option<&[u8]> {
        let end = *self.key_ends.get(row)? as usize;
        self.keys
            .as_slice()
            .get(end_before(&self.key_ends, row)..end)
    }

    /// Has what is known of row number `row` brought into the cache: where its text is, first of all.
    #[inline]
    pub(super) fn fetch_marks(&self, row: usize) {
        fetch_item(&self.row_ends, row);
        fetch_item(&self.sub_chunks, row);
        if self.shape.slots > 0 {
            fetch_item(&self.splits, row * self.shape.slots);
        }
    }

    /// Has row number `row` brought into the cache.
    #[inline]
    pub fn fetch_row(&self, row: usize) {
        fetch_ahead(&self.text.as_slice()[self.start_of(row)..self.row_ends[row] as usize]);
    }

    /// Returns where row number `row` begins in the text.
    #[inline]
    pub fn start_of(&self, row: usize) -> usize {
        end_before(&self.row_ends, row)
    }

    /// Appends row number `row` with its slots filled in, ended by `line_end`.
    #[inline]
    pub(super) fn write_row(
        &self,
        row: usize,
        filling: Filling<'_>,
        line_end: &[u8],
        out: &mut Vec<u8>,
    ) {
        let text = self.text.as_slice();
        let mut from = self.start_of(row);
        let splits = &self.splits[row * self.shape.slots..(row + 1) * self.shape.slots];
        for (split, filling) in splits.iter().zip(filling.slots()) {
            out.extend_from_slice(&text[from..*split as usize]);
            out.extend_from_slice(filling);
            from = *split as usize;
        }
        // Slots are the last thing of most rows, and one byte needs no copying.
        let end = self.row_ends[row] as usize;
        if from < end {
            out.extend_from_slice(&text[from..end]);
        }
        match line_end {
            [byte] => out.push(*byte),
            _ => out.extend_from_slice(line_end),
        }
    }

    /// Forgets the first `rows` rows.
    pub fn drop_front(&mut self, rows: usize) {
        let Some(last) = rows.checked_sub(1) else {
            return;
        };
        let text = self.row_ends.get(last).copied().unwrap_or(0);
        self.text.drop_front(text as usize);
        drop_front(&mut self.row_ends, rows, text);
        drop_front(&mut self.splits, rows * self.shape.slots, text);
        if self.shape.is_routed {
            self.chunks.drain(..rows);
            self.sub_chunks.drain(..rows);
            self.sides.drain(..rows.min(self.sides.len()));
            let rows = rows as u32;
            self.further.retain(|place| place.row >= rows);
            for place in &mut self.further {
                place.row -= rows;
            }
        }
        if self.shape.has_keys {
            let keys = self.key_ends.get(last).copied().unwrap_or(0);
            self.keys.drop_front(keys as usize);
            drop_front(&mut self.key_ends, rows, keys);
        }
    }

    /// Takes over all rows of `other` if they fit; says whether it did.
    pub fn absorb(&mut self, other: &Packet) -> bool {
        let fits = self.order == other.order
            && self.text.len() + other.text.len() <= self.shape.text_bytes
            && self.rows() + other.rows() <= self.shape.rows
            && self.further.len() + other.further.len() <= self.shape.rows
            && self.keys.len() + other.keys.len() <= self.keys.capacity();
        if !fits {
            return false;
        }
        let row_base = self.chunks.len() as u32;
        shift_into(&mut self.row_ends, &other.row_ends, self.text.len());
        shift_into(&mut self.splits, &other.splits, self.text.len());
        shift_into(&mut self.key_ends, &other.key_ends, self.keys.len());
        self.text.extend(other.text());
        self.keys.extend(other.keys.as_slice());
        self.chunks.extend_from_slice(&other.chunks);
        self.sub_chunks.extend_from_slice(&other.sub_chunks);
        self.sides.extend_from_slice(&other.sides);
        self.further
            .extend(other.further.iter().map(|place| FurtherPlace {
                row: place.row + row_base,
                ..*place
            }));
        true
    }
}

/// Returns where item number `item` begins, of those that end at `ends` one behind the other.
#[inline]
fn end_before(ends: &[u32], item: usize) -> usize {
    match item {
        0 => 0,
        _ => ends[item - 1] as usize,
    }
}

fn drop_front(ends: &mut Vec<u32>, count: usize, base: u32) {
    ends.drain(..count);
    for end in ends {
        *end -= base;
    }
}

fn shift_into(own: &mut Vec<u32>, others: &[u32], base: usize) {
    own.extend(others.iter().map(|offset| offset + base as u32));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::MemoryGate;

    fn packet() -> Packet {
        let shape = PacketShape {
            text_bytes: 64,
            rows: 8,
            slots: 1,
            is_routed: true,
            has_sides: false,
            has_keys: true,
        };
        let lease = MemoryGate::new(1 << 20)
            .try_lease(shape.bytes(), 0)
            .unwrap();
        Packet::new(shape, lease)
    }

    fn add(packet: &mut Packet, head: &[u8], tail: &[u8], chunk: u32) {
        packet.text_mut().extend(head);
        packet.mark_slot();
        packet.text_mut().extend(tail);
        packet.end_row();
        packet.key_mut().extend(head);
        packet.end_key();
        packet.route_further(chunk + 1, 5);
        packet.route(chunk, 7);
    }

    fn row(packet: &Packet, row: usize) -> String {
        let mut out = Vec::new();
        packet.write_row(row, Filling::new(b"<>", &[2]), b"\n", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn slots_are_filled_where_they_were_marked() {
        let mut packet = packet();
        add(&mut packet, b"ab", b"", 0);
        packet.text_mut().extend(b"half a row");
        packet.mark_slot();
        packet.abandon_row();
        add(&mut packet, b"c", b"\td", 1);
        assert_eq!(row(&packet, 0), "ab<>\n");
        assert_eq!(row(&packet, 1), "c<>\td\n");
        assert_eq!(
            packet.further()[1],
            FurtherPlace {
                row: 1,
                chunk: 2,
                sub_chunk: 5
            }
        );
    }

    #[test]
    fn what_follows_dropped_rows_stays() {
        let mut packet = packet();
        for (head, chunk) in [(&b"ab"[..], 0), (b"c", 3), (b"def", 5)] {
            add(&mut packet, head, b"x", chunk);
        }
        packet.drop_front(0);
        assert_eq!(packet.rows(), 3);
        packet.drop_front(2);
        assert_eq!((packet.rows(), row(&packet, 0)), (1, "def<>x\n".to_owned()));
        assert_eq!(packet.chunks(), [5]);
        assert_eq!((packet.further()[0].row, packet.further()[0].chunk), (0, 6));
        assert_eq!(packet.keys().collect::<Vec<_>>(), [b"def"]);
    }

    #[test]
    fn rows_without_a_wanted_place_are_forgotten() {
        let mut packet = packet();
        // Each has a further place in the next chunk.
        for (head, chunk) in [(&b"ab"[..], 4), (b"c", 3), (b"def", 5), (b"g", 2)] {
            add(&mut packet, head, b"x", chunk);
            packet.keep_places(|chunk| chunk == 4);
        }
        assert_eq!(packet.chunks(), [4, NOWHERE]);
        assert_eq!(packet.own_chunks().collect::<Vec<_>>(), [4]);
        assert_eq!(packet.further().len(), 1, "of row 'c', in chunk 4");
        assert_eq!((packet.further()[0].row, packet.further()[0].chunk), (1, 4));
        assert_eq!((packet.rows(), packet.elsewhere()), (2, 3));
        assert_eq!(row(&packet, 1), "c<>x\n");
        assert_eq!(packet.keys().collect::<Vec<_>>(), [&b"ab"[..], b"c"]);
        packet.clear();
        assert_eq!(packet.elsewhere(), 0);
    }

    #[test]
    fn absorbed_rows_are_the_same_rows() {
        let (mut first, mut second) = (packet(), packet());
        add(&mut first, b"ab", b"x", 0);
        add(&mut second, b"cd", b"y", 3);
        assert!(first.absorb(&second));
        assert_eq!(row(&first, 1), "cd<>y\n");
        assert_eq!(first.chunks(), [0, 3]);
        assert_eq!(
            first.further()[1],
            FurtherPlace {
                row: 1,
                chunk: 4,
                sub_chunk: 5
            }
        );
        assert_eq!(first.keys().collect::<Vec<_>>(), [b"ab", b"cd"]);
        for n in 0..8 {
            assert_eq!(first.absorb(&second), n < 6, "eight rows at most");
        }
    }
}
