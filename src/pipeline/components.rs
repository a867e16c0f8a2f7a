//! Which tables share a pass: those that share products, each product read once.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};

/// Tables that are made in one pass, and the products that feed them, in reading order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) tables: Vec<String>,
    pub(super) products: Vec<String>,
}

/// Groups tables (name to products in order) into passes, in order of table names.
///
/// # Errors
/// Two tables want the same products in opposite orders, so that no single reading serves both.
pub(super) fn components(tables: &BTreeMap<String, Vec<String>>) -> Result<Vec<Component>> {
    let mut left: BTreeSet<&String> = tables.keys().collect();
    let mut all = Vec::new();
    while let Some(first) = left.pop_first() {
        let mut members = vec![first];
        let mut products: BTreeSet<&String> = tables[first].iter().collect();
        // Whoever shares a product joins and brings its other products.
        while let Some(next) = left
            .iter()
            .copied()
            .find(|name| tables[*name].iter().any(|p| products.contains(p)))
        {
            left.remove(next);
            members.push(next);
            products.extend(&tables[next]);
        }
        let wishes: Vec<&[String]> = members
            .iter()
            .map(|name| tables[*name].as_slice())
            .collect();
        let products = reading_order(products, &wishes).ok_or_else(|| {
            let names: Vec<&str> = members.iter().map(|name| name.as_str()).collect();
            Error::usage(format!(
                "tables {} list the same products in different orders",
                names.join(", ")
            ))
            .hint("list them in the same order, so that each is read once")
        })?;
        let mut members: Vec<String> = members.into_iter().cloned().collect();
        members.sort();
        all.push(Component {
            tables: members,
            products,
        });
    }
    Ok(all)
}

/// Finds an order of `products` that agrees with every wish; of several the first by name.
fn reading_order(mut products: BTreeSet<&String>, wishes: &[&[String]]) -> Option<Vec<String>> {
    let mut order: Vec<String> = Vec::with_capacity(products.len());
    while !products.is_empty() {
        let next = *products.iter().find(|candidate| {
            wishes.iter().all(|wish| {
                let before = wish.iter().take_while(|product| product != *candidate);
                !wish.contains(candidate) || before.into_iter().all(|p| order.contains(p))
            })
        })?;
        products.remove(next);
        order.push(next.clone());
    }
    Some(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouped(tables: &[(&str, &[&str])]) -> Result<Vec<(String, String)>> {
        let tables = tables
            .iter()
            .map(|(name, products)| {
                (
                    (*name).to_owned(),
                    products.iter().map(|p| (*p).to_owned()).collect(),
                )
            })
            .collect();
        let found = components(&tables)?;
        Ok(found
            .into_iter()
            .map(|c| (c.tables.join(","), c.products.join(",")))
            .collect())
    }

    #[test]
    fn tables_that_share_products_share_a_pass() {
        let found = grouped(&[
            ("A", &["x", "b"]),
            ("B", &["y"]),
            ("C", &["b", "c"]),
            ("D", &["z", "a"]),
        ]);
        let expected = [("A,C", "x,b,c"), ("B", "y"), ("D", "z,a")];
        let expected: Vec<_> = expected
            .iter()
            .map(|(t, p)| ((*t).to_owned(), (*p).to_owned()))
            .collect();
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn opposite_orders_are_refused() {
        let error = grouped(&[("A", &["x", "y"]), ("B", &["y", "x"])]).unwrap_err();
        assert!(error.to_string().contains("A, B"), "{error}");
    }
}
