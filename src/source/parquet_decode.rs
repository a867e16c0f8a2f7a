//! How a row group is decoded within a budget of memory: all columns side by side, or some of them
//! group by group.
//!
//! A column that is being decoded holds a page, and its dictionary if it has one: often 1 to
//! 2 MiB. Tables of this field have up to 1,300 columns. Rows are decoded window by window. Where
//! the budget does not allow all columns to be open at once, windows are long, and only some
//! columns stay open; the others are opened in groups for each window, which means that their pages
//! are unpacked once more for each.
//!
//! A window is cut into spans, the pieces that threads work on. How long spans are follows from the
//! file alone; how many of them make a window may follow from memory.

use parquet::basic::{Compression, ConvertedType, LogicalType, Type};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::ColumnDescriptor;

use super::parquet_pages::ColumnPages;

/// Bytes of a span's rows, about: what all but the oldest piece write waits in memory.
const SPAN_BYTES: u64 = 1 << 20;
/// Bytes of a span's rows where that would be few rows: each column costs some time for each span.
const MOST_SPAN_BYTES: u64 = 2 << 20;
const LEAST_ROWS: u64 = 256;
/// Rows of a span, at most.
const MOST_ROWS: u64 = 16_384;
/// Fewer rows than this are not decoded at once: each column costs some time for each window.
const LEAST_WINDOW: u64 = 512;
/// Bytes of a window, at most, where memory does not matter.
const WINDOW_BYTES: u64 = 8 << 20;
/// Windows that may be there at once: one is decoded while another is written.
const WINDOWS: u64 = 2;
/// Where columns are opened for each window, shorter ones than this are avoided by taking more
/// memory.
const SHORT_WINDOW: u64 = 8192;
/// Threads that share a part: decoding is about a third of the work, but who waits for it does nothing.
const THREADS_PER_PART: usize = 1;
const MOST_PARTS: usize = 8;
/// Bytes that parts may take for unpacking beside one another, and the share of the open columns.
const PARTS_BYTES: u64 = 8 << 20;
const PARTS_SHARE: u64 = 8;

/// What one root column takes, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ColumnCost {
    /// Memory while it is open: a page and the dictionary.
    pub(super) open: u64,
    /// Memory besides, while a page is unpacked.
    pub(super) unpacking: u64,
    /// Memory of a decoded row.
    pub(super) row: u64,
    /// Memory of a decoded row whose texts lie in the pages and dictionaries still.
    pub(super) view: u64,
    /// Text of a row, about, and at least.
    pub(super) text: u64,
}

/// What a leaf column that is open takes besides its pages: decoders and their buffers.
const OPEN_COLUMN: u64 = 8 << 10;
/// The state of an unpacker of zstd, of which each column has its own.
const ZSTD_STATE: u64 = 96 << 10;

/// A text that lies elsewhere, and whether it is NULL.
const VIEW: u64 = 17;

impl ColumnCost {
    /// Adds a leaf column to its root, which may be read as views.
    pub(super) fn add(
        &mut self,
        column: &ColumnChunkMetaData,
        pages: &ColumnPages,
        rows: u64,
        are_views: bool,
    ) {
        // The dictionary is kept as values: texts with an offset or a view each.
        let dictionary = pages
            .dictionary
            .saturating_add(pages.dictionary_values.saturating_mul(16));
        let unpacker = match column.compression() {
            Compression::ZSTD(_) => ZSTD_STATE,
            _ => 0,
        };
        self.open = self
            .open
            .saturating_add(dictionary.saturating_add(pages.largest))
            .saturating_add(OPEN_COLUMN + unpacker);
        // The page before is held until the next one is there.
        let unpacking = pages
            .largest_packed
            .saturating_add(pages.dictionary.max(pages.largest));
        self.unpacking = self.unpacking.max(unpacking);
        let rows = rows.max(1);
        let plain = u64::try_from(column.uncompressed_size()).unwrap_or(0);
        // A dictionary stores a long value once, the batch holds it in every row.
        let unencoded = column.unencoded_byte_array_data_bytes().unwrap_or(0);
        let unencoded = u64::try_from(unencoded).unwrap_or(0);
        let mean = pages.dictionary / pages.dictionary_values.max(1);
        let values = u64::try_from(column.num_values()).unwrap_or(0);
        let from_dictionary = mean.saturating_mul(values);
        let bytes = plain.max(unencoded).max(from_dictionary) / rows;
        self.text = self.text.saturating_add(bytes.max(8).saturating_add(8));
        let levels = if column.column_descr().max_rep_level() > 0 {
            8
        } else {
            1
        };
        let width = width(column.column_descr()).saturating_add(levels);
        let fixed = values.saturating_mul(width).div_ceil(rows);
        let row = match column.column_type() {
            Type::BYTE_ARRAY => fixed.saturating_add(bytes),
            _ => fixed,
        };
        self.row = self.row.saturating_add(row);
        // Views keep the pages that their texts lie in.
        let view = VIEW.saturating_add(plain / rows);
        self.view = self.view.saturating_add(if are_views { view } else { row });
    }
}

/// Returns the bytes of memory that a decoded value of a column takes, texts without their bytes.
fn width(column: &ColumnDescriptor) -> u64 {
    let is_decimal = column.converted_type() == ConvertedType::DECIMAL
        || matches!(column.logical_type_ref(), Some(LogicalType::Decimal { .. }));
    let width = match column.physical_type() {
        Type::BOOLEAN => 1,
        Type::INT32 | Type::FLOAT => 4,
        Type::INT64 | Type::DOUBLE | Type::BYTE_ARRAY => 8,
        // As it lies in the file, and what becomes of it.
        Type::INT96 => 20,
        Type::FIXED_LEN_BYTE_ARRAY => 2 * u64::try_from(column.type_length()).unwrap_or(16),
    };
    if is_decimal { width + 32 } else { width }
}

/// What decoding a row group may take.
#[derive(Debug, Clone, Copy)]
pub struct DecodeBudget {
    /// Bytes of memory.
    pub usual: u64,
    /// Bytes where less would mean to unpack pages very often.
    pub most: u64,
    /// Threads that want rows.
    pub threads: usize,
}

impl DecodeBudget {
    /// As little as possible.
    pub const LEAST: Self = Self {
        usual: 0,
        most: 0,
        threads: 1,
    };
}

/// Which columns are open when, and how many rows are decoded at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DecodePlan {
    /// Columns (places in the list of wanted ones) that stay open, in parts that different threads
    /// may decode at the same time. Where there are groups there is one part, maybe an empty one.
    pub(super) parts: Vec<Vec<usize>>,
    /// Columns that are opened group by group for each window.
    pub(super) groups: Vec<Vec<usize>>,
    /// Rows of a span.
    pub(super) span: u64,
    /// Rows of a window: some spans.
    pub(super) window: u64,
    /// Bytes of memory that the open columns take.
    pub(super) open_bytes: u64,
    /// Bytes of memory that a row of a window takes.
    pub(super) row_bytes: u64,
}

impl DecodePlan {
    /// Plans for the wanted columns of a row group of `rows` rows, within `budget` if that is
    /// possible, else with as little as possible.
    pub(super) fn new(costs: &[ColumnCost], rows: u64, budget: DecodeBudget) -> Self {
        let plan = Self::within(costs, rows, budget.usual, budget.threads);
        if plan.groups.is_empty() || plan.window >= SHORT_WINDOW.min(rows) {
            return plan;
        }
        Self::within(costs, rows, budget.most, budget.threads)
    }

    fn within(costs: &[ColumnCost], rows: u64, budget: u64, threads: usize) -> Self {
        let text = total(costs, |cost| cost.text).max(1);
        let span = (SPAN_BYTES / text).max(LEAST_ROWS.min(MOST_SPAN_BYTES / text));
        let span = span.clamp(1, MOST_ROWS);
        let row = total(costs, |cost| cost.view).max(1);
        let least = LEAST_WINDOW.min(WINDOW_BYTES / row).min(rows);
        let window = least.div_ceil(span).max(1) * span;
        let unpacking = costs.iter().map(|cost| cost.unpacking).max().unwrap_or(0);
        let open = total(costs, |cost| cost.open);
        let rows_bytes = window.saturating_mul(row).saturating_mul(WINDOWS);
        let whole = open.saturating_add(unpacking);
        if whole.saturating_add(rows_bytes) > budget && costs.len() > 1 {
            return Self::windowed(costs, rows, span, budget);
        }
        let beside = (open / PARTS_SHARE)
            .saturating_add(PARTS_BYTES)
            .min(budget.saturating_sub(whole.saturating_add(rows_bytes)));
        let affordable = beside / unpacking.max(1);
        let parts = threads
            .div_ceil(THREADS_PER_PART)
            .min(MOST_PARTS)
            .min(usize::try_from(affordable).map_or(MOST_PARTS, |more| more.saturating_add(1)));
        let parts = parts_of(costs, parts);
        Self {
            open_bytes: whole.saturating_add((parts.len() as u64).saturating_sub(1) * unpacking),
            parts,
            groups: Vec::new(),
            span,
            window,
            row_bytes: row,
        }
    }

    /// Plans long windows, for each one unpacks pages again.
    fn windowed(costs: &[ColumnCost], rows: u64, span: u64, budget: u64) -> Self {
        let row = total(costs, |cost| cost.row).max(1);
        let mut by_cost: Vec<usize> = (0..costs.len()).collect();
        by_cost.sort_by_key(|at| (costs[*at].open, *at));
        let unpacking = costs.iter().map(|cost| cost.unpacking).max().unwrap_or(0);
        let dearest = costs.iter().map(|cost| cost.open).max().unwrap_or(0);
        // A quarter for groups, at least the dearest column; a quarter for columns that stay open;
        // the rest for rows.
        let group_budget = dearest.max(budget / 4);
        let mut left = (budget / 4).saturating_sub(unpacking);
        let mut kept = Vec::new();
        let mut groups: Vec<(Vec<usize>, u64)> = Vec::new();
        for at in by_cost {
            let open = costs[at].open;
            if open <= left && groups.is_empty() {
                left -= open;
                kept.push(at);
                continue;
            }
            match groups
                .last_mut()
                .filter(|(_, sum)| sum.saturating_add(open) <= group_budget)
            {
                Some((group, sum)) => {
                    group.push(at);
                    *sum += open;
                }
                None => groups.push((vec![at], open)),
            }
        }
        let most_group = groups.iter().map(|(_, sum)| *sum).max().unwrap_or(0);
        let kept_open: u64 = kept.iter().map(|at| costs[*at].open).sum();
        let fixed = kept_open
            .saturating_add(most_group)
            .saturating_add(unpacking);
        let fitting = budget.saturating_sub(fixed) / row;
        let fitting = match fitting / WINDOWS {
            each if each >= SHORT_WINDOW => each,
            _ => fitting,
        };
        let spans = (fitting.min(rows) / span).max(1);
        kept.sort_unstable();
        let groups = groups.into_iter().map(|(mut group, _)| {
            group.sort_unstable();
            group
        });
        Self {
            parts: vec![kept],
            groups: groups.collect(),
            span,
            window: spans * span,
            open_bytes: fixed,
            row_bytes: row,
        }
    }
}

/// Cuts the columns into at most `count` parts that take about the same time.
fn parts_of(costs: &[ColumnCost], count: usize) -> Vec<Vec<usize>> {
    let all = total(costs, |cost| cost.row).max(1);
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let (mut before, mut last) = (0u64, None);
    for (at, cost) in costs.iter().enumerate() {
        let number = u128::from(before) * count.max(1) as u128 / u128::from(all);
        match parts.last_mut().filter(|_| last == Some(number)) {
            Some(part) => part.push(at),
            None => parts.push(vec![at]),
        }
        last = Some(number);
        before = before.saturating_add(cost.row);
    }
    parts
}

fn total(costs: &[ColumnCost], of: impl Fn(&ColumnCost) -> u64) -> u64 {
    costs.iter().map(of).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBLE: ColumnCost = ColumnCost {
        open: 2 << 20,
        unpacking: 1 << 20,
        row: 9,
        view: 9,
        text: 16,
    };

    fn columns(plan: &DecodePlan) -> Vec<usize> {
        let mut all: Vec<usize> = plan.groups.concat();
        all.extend(plan.parts.concat());
        all.sort_unstable();
        all
    }

    #[test]
    fn ample_memory_keeps_all_columns_open() {
        for (threads, parts) in [(1, 1), (2, 2), (3, 3), (8, 8), (64, 8)] {
            let plan = DecodePlan::within(&[DOUBLE; 62], 131_072, 1 << 30, threads);
            assert_eq!((plan.parts.len(), plan.groups.len()), (parts, 0));
            assert_eq!(columns(&plan), (0..62).collect::<Vec<_>>());
            assert_eq!(plan.parts.concat(), columns(&plan), "parts keep the order");
            let shortest = plan.parts.iter().map(Vec::len).min().unwrap();
            assert!(shortest >= 62 / parts, "{plan:?}");
        }
    }

    #[test]
    fn every_column_is_read_once_whatever_the_budget() {
        for budget in [0, 1 << 20, 5 << 20, 12 << 20, 40 << 20, 120 << 20] {
            let mut costs = [DOUBLE; 62];
            costs[3].open = 100;
            costs[50].open = 9 << 20;
            let plan = DecodePlan::within(&costs, 131_072, budget, 2);
            assert_eq!(columns(&plan), (0..62).collect::<Vec<_>>());
            let memory = plan.open_bytes + plan.window * plan.row_bytes;
            assert!(memory <= budget.max(12 << 20), "{plan:?}");
        }
    }

    #[test]
    fn spans_follow_from_the_file_alone() {
        for (count, rows) in [(1, 100), (3, 1 << 20), (62, 131_072), (1300, 4096)] {
            let costs = vec![DOUBLE; count];
            let first = DecodePlan::within(&costs, rows, u64::MAX, 1);
            for budget in [0, 20 << 20, 200 << 20] {
                let plan = DecodePlan::within(&costs, rows, budget, 7);
                assert_eq!(plan.span, first.span);
                assert_eq!(plan.window % plan.span, 0, "{plan:?}");
                assert!(plan.span * plan.row_bytes <= MOST_SPAN_BYTES);
            }
        }
    }

    #[test]
    fn large_pages_are_not_unpacked_side_by_side() {
        let column = ColumnCost {
            open: 100 << 20,
            unpacking: 90 << 20,
            row: 1000,
            view: 17,
            text: 1000,
        };
        let plan = DecodePlan::within(&[column; 4], 100_000, u64::MAX, 8);
        assert_eq!(plan.parts.len(), 1);
    }
}
