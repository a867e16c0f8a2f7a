//! How a row group is decoded within a budget of memory: all columns side by side, or in windows
//! of rows by groups of columns.
//!
//! A column that is being decoded holds a page, and its dictionary if it has one: often 1 to
//! 2 MiB. Tables of this field have up to 1,300 columns. Where the budget does not allow all to be
//! open at once, rows come in windows: some columns stay open, the others are opened in groups for
//! each window, which means that their pages are unpacked once more for each.

use parquet::file::metadata::ColumnChunkMetaData;

use super::parquet_pages::ColumnPages;

/// Bytes of a batch, about, where memory does not matter: it stays in the cache.
const BATCH_BYTES: u64 = 4 << 20;
const MOST_ROWS: u64 = 8192;
/// Windows are never shorter than this.
const LEAST_WINDOW: u64 = 64;
/// Shorter windows than this are avoided by letting fewer threads work.
const SHORT_WINDOW: usize = 8192;

/// Memory of one root column, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ColumnCost {
    /// While it is open: a page and the dictionary.
    pub(super) open: u64,
    /// Besides, while a page is unpacked.
    pub(super) unpacking: u64,
    /// A row of it in a batch.
    pub(super) row: u64,
}

impl ColumnCost {
    /// Adds a leaf column to its root.
    pub(super) fn add(&mut self, column: &ColumnChunkMetaData, pages: &ColumnPages, rows: u64) {
        // The dictionary is kept as values: texts with an offset each.
        let dictionary = pages
            .dictionary
            .saturating_add(pages.dictionary_values.saturating_mul(8));
        self.open = self
            .open
            .saturating_add(dictionary.saturating_add(pages.largest));
        let unpacking = pages.largest_packed.saturating_add(pages.dictionary);
        self.unpacking = self.unpacking.max(unpacking);
        let plain = u64::try_from(column.uncompressed_size()).unwrap_or(0);
        // A dictionary stores a long value once, the batch holds it in every row.
        let unencoded = column.unencoded_byte_array_data_bytes().unwrap_or(0);
        let unencoded = u64::try_from(unencoded).unwrap_or(0);
        let mean = pages.dictionary / pages.dictionary_values.max(1);
        let from_dictionary = mean.saturating_mul(rows);
        let bytes = plain.max(unencoded).max(from_dictionary);
        let row = (bytes / rows.max(1)).max(8).saturating_add(8);
        self.row = self.row.saturating_add(row);
    }
}

/// Memory for decoding one row group, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct DecodeBudget {
    /// What each thread may take, so that all can work.
    pub share: u64,
    /// What one row group may take if its share would make it unpack pages very often.
    pub most: u64,
}

/// Which columns are open when, and how many rows a batch has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DecodePlan {
    /// Columns (places in the list of wanted ones) that stay open.
    pub(super) kept: Vec<usize>,
    /// Columns that are opened group by group for each window.
    pub(super) groups: Vec<Vec<usize>>,
    /// Rows of a batch.
    pub(super) rows: usize,
    /// Bytes of memory that all this takes.
    pub(super) memory: u64,
}

impl DecodePlan {
    /// Plans for the wanted columns of a row group of `rows` rows, within `budget` if that is
    /// possible, else with as little as possible.
    pub(super) fn new(costs: &[ColumnCost], rows: u64, budget: DecodeBudget) -> Self {
        let plan = Self::within(costs, rows, budget.share);
        if plan.groups.is_empty() || plan.rows >= SHORT_WINDOW.min(rows as usize) {
            return plan;
        }
        Self::within(costs, rows, budget.most)
    }

    fn within(costs: &[ColumnCost], rows: u64, budget: u64) -> Self {
        let row = total(costs, |cost| cost.row).max(1);
        let by_columns = (BATCH_BYTES / (16 * costs.len().max(1) as u64)).clamp(256, MOST_ROWS);
        let usual = by_columns.min(BATCH_BYTES / row).clamp(1, rows.max(1));
        let unpacking = costs.iter().map(|cost| cost.unpacking).max().unwrap_or(0);
        let open = total(costs, |cost| cost.open);
        let whole = open
            .saturating_add(unpacking)
            .saturating_add(usual.saturating_mul(row));
        if whole <= budget || costs.len() < 2 {
            return Self {
                kept: (0..costs.len()).collect(),
                groups: Vec::new(),
                rows: usual as usize,
                memory: whole,
            };
        }
        Self::windowed(costs, rows, row, budget)
    }

    /// Plans windows: as long as possible, for each one unpacks pages again.
    fn windowed(costs: &[ColumnCost], rows: u64, row: u64, budget: u64) -> Self {
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
        let window =
            (budget.saturating_sub(fixed) / row).clamp(LEAST_WINDOW, rows.max(LEAST_WINDOW));
        kept.sort_unstable();
        let groups = groups.into_iter().map(|(mut group, _)| {
            group.sort_unstable();
            group
        });
        Self {
            kept,
            groups: groups.collect(),
            rows: window as usize,
            memory: fixed.saturating_add(window.saturating_mul(row)),
        }
    }
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
        row: 16,
    };

    #[test]
    fn ample_memory_keeps_all_columns_open() {
        let plan = DecodePlan::within(&[DOUBLE; 62], 131_072, 1 << 30);
        assert_eq!((plan.kept.len(), plan.groups.len()), (62, 0));
        assert!(plan.rows >= 256);
    }

    #[test]
    fn every_column_is_read_once_whatever_the_budget() {
        for budget in [0, 1 << 20, 5 << 20, 11 << 20, 40 << 20, 120 << 20] {
            let mut costs = [DOUBLE; 62];
            costs[3].open = 100;
            costs[50].open = 9 << 20;
            let plan = DecodePlan::within(&costs, 131_072, budget);
            let mut all: Vec<usize> = plan.groups.concat();
            all.extend(&plan.kept);
            all.sort_unstable();
            assert_eq!(all, (0..62).collect::<Vec<_>>());
            assert!(plan.memory <= budget.max(12 << 20), "{plan:?}");
        }
    }
}
