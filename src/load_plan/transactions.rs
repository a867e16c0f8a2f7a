//! Divides the files among transactions.
//!
//! One bad file costs its whole transaction, so several are better than one; each adds a partition
//! to the tables in MySQL, which allows 8,192.

use std::ops::Range;
use std::str::FromStr;

use super::listed::ListedFiles;
use super::registration::Registration;
use crate::error::{Error, Result};

/// Partitions of a table in MySQL.
const MOST: usize = 8192;
/// Qserv's documentation discourages more for a database.
const USUAL: usize = 100;

/// How files are divided among transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Division {
    /// One for each table.
    #[default]
    ByTable,
    /// At most so many, of about as many bytes each.
    Into(usize),
}

impl FromStr for Division {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "table" {
            return Ok(Self::ByTable);
        }
        match text.parse() {
            Ok(number) if (1..=MOST).contains(&number) => Ok(Self::Into(number)),
            _ => Err(Error::usage(format!(
                "--transactions {text}: expected table, or a number from 1 to {MOST}"
            ))),
        }
    }
}

/// Files that are loaded together.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Their places in the manifest.
    pub(super) files: Vec<usize>,
    /// Their chunks, each once, ascending.
    pub(super) chunks: Vec<i32>,
    /// Whether some are of tables without chunks.
    pub(super) has_regular: bool,
}

/// Divides the files, in the order of tables and of the manifest.
///
/// # Errors
/// There would be more transactions than MySQL can have.
pub(super) fn divide(
    listing: &ListedFiles,
    tables: &[Registration],
    division: Division,
    warnings: &mut Vec<String>,
) -> Result<Vec<Transaction>> {
    let rank: Vec<Option<usize>> = listing
        .tables
        .iter()
        .map(|table| tables.iter().position(|known| known.name == table.name))
        .collect();
    let mut order: Vec<usize> = (0..listing.files.len()).collect();
    order.sort_by_key(|at| rank[listing.files[*at].table]);
    let parts = match division {
        Division::ByTable => by_table(listing, &order),
        Division::Into(number) => by_bytes(listing, &order, number),
    };
    if parts.len() > MOST {
        let message = format!("{} transactions, and MySQL allows {MOST}", parts.len());
        return Err(Error::usage(message).hint("say --transactions with a smaller number"));
    }
    if parts.len() > USUAL {
        warnings.push(format!(
            "{} transactions: Qserv discourages more than {USUAL} for a database",
            parts.len()
        ));
    }
    let transaction = |part: Range<usize>| {
        let files = order[part].to_vec();
        let mut chunks: Vec<i32> = files
            .iter()
            .filter_map(|at| listing.files[*at].chunk)
            .collect();
        chunks.sort_unstable();
        chunks.dedup();
        Transaction {
            has_regular: files.iter().any(|at| listing.files[*at].chunk.is_none()),
            files,
            chunks,
        }
    };
    Ok(parts.into_iter().map(transaction).collect())
}

fn by_table(listing: &ListedFiles, order: &[usize]) -> Vec<Range<usize>> {
    let table = |at: usize| listing.files[order[at]].table;
    cut(order.len(), |at| table(at) != table(at - 1))
}

fn by_bytes(listing: &ListedFiles, order: &[usize], number: usize) -> Vec<Range<usize>> {
    // Empty files count too, so that they are divided as well.
    let weight = |at: &usize| u128::from(listing.files[*at].bytes) + 1;
    let total: u128 = order.iter().map(weight).sum();
    let mut before = 0;
    let part_of: Vec<u128> = order
        .iter()
        .map(|at| {
            let part = before * number as u128 / total.max(1);
            before += weight(at);
            part
        })
        .collect();
    cut(order.len(), |at| part_of[at] != part_of[at - 1])
}

/// Cuts `0..length` before each place that begins a part.
fn cut(length: usize, begins: impl Fn(usize) -> bool) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for at in 1..=length {
        if at == length || begins(at) {
            parts.push(start..at);
            start = at;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisions_as_users_write_them() {
        assert_eq!("table".parse::<Division>().unwrap(), Division::ByTable);
        assert_eq!("3".parse::<Division>().unwrap(), Division::Into(3));
        for wrong in ["", "0", "8193", "tables", "-1"] {
            assert!(wrong.parse::<Division>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_place_is_in_one_part() {
        assert!(cut(0, |_| true).is_empty());
        assert!(cut(3, |_| false).iter().eq(std::iter::once(&(0..3))));
        assert_eq!(cut(3, |at| at == 2), [0..2, 2..3]);
    }
}
