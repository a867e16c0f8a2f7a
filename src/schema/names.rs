//! Names of databases and tables: they become folders and MySQL identifiers.

use crate::error::{Error, Result};

/// Checks the name of a `what`, a database or a table.
///
/// # Errors
/// It has other characters than letters, digits and `_`, or begins as Qserv's own names do.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let is_plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_plain || name.is_empty() {
        return Err(
            Error::usage(format!("'{}' is not a {what} name", name.escape_debug()))
                .hint("use letters, digits and _"),
        );
    }
    check_reserved(what, name)
}

/// Checks that the name of a `what` is not one of Qserv's own.
///
/// # Errors
/// It begins as these do.
pub(super) fn check_reserved(what: &str, name: &str) -> Result<()> {
    if name.to_ascii_lowercase().starts_with("qserv") {
        return Err(Error::usage(format!(
            "{what} name {name}: Qserv reserves names with qserv"
        )));
    }
    Ok(())
}

/// The most characters that the names of a database and a table may have together.
const MOST_TOGETHER: usize = 56;

/// Checks that the names of a table and its database are not too long for Qserv.
///
/// # Errors
/// Together they have more than 56 characters.
pub fn check_together(database: Option<&str>, table: &str) -> Result<()> {
    let length = database.map_or(0, str::len) + table.len();
    if length <= MOST_TOGETHER {
        return Ok(());
    }
    Err(Error::usage(format!(
        "database and table name together have more than {MOST_TOGETHER} characters: {table}"
    )))
}

/// The most characters of a name in MariaDB.
const MOST_CHARACTERS: usize = 64;

/// Checks the name of a column.
///
/// # Errors
/// MariaDB would not take it, or it begins as Qserv's own names do.
pub(super) fn check_column_name(name: &str) -> Result<()> {
    let shown = name.escape_debug();
    let is_plain = name.chars().all(|c| c != '\0' && u32::from(c) <= 0xFFFF)
        && !name.ends_with(' ')
        && !name.is_empty();
    if !is_plain {
        return Err(Error::usage(format!("'{shown}' is not a column name"))
            .hint("use letters, digits and _"));
    }
    if name.chars().count() > MOST_CHARACTERS {
        return Err(Error::usage(format!(
            "column name {shown} has more than {MOST_CHARACTERS} characters"
        )));
    }
    check_reserved("column", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_lead_elsewhere() {
        assert!(check_name("table", "Star_2").is_ok());
        for name in [
            "", "..", "../x", "a/b", "/x", "my stars", "qserv_x", "QservX", "é",
        ] {
            assert!(check_name("table", name).is_err(), "{name}");
        }
    }
}
