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
    if name.to_ascii_lowercase().starts_with("qserv") {
        return Err(Error::usage(format!(
            "{what} name {name}: Qserv reserves names with qserv"
        )));
    }
    Ok(())
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
