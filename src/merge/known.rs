//! What the user says of the table that is merged.

use std::path::{Path, PathBuf};

use super::{KnownTable, difference, differs};
use crate::dialect::Dialect;
use crate::error::{Error, Place, Result};
use crate::publish::TableIdentity;
use crate::schema::{TableKind, check_name};
use crate::values::Charset;

impl KnownTable {
    /// Returns what files without a record are.
    pub(super) fn identity(&self, roots: &[PathBuf]) -> Result<TableIdentity> {
        let (Some(table), Some(kind)) = (&self.table, self.kind) else {
            let shown = roots.first();
            let shown = shown.map_or_else(String::new, |path| path.display().to_string());
            return Err(Error::usage("no record says what these files are")
                .at(Place::file(shown))
                .hint("say --table and --kind"));
        };
        check_name("table", table)?;
        if kind == TableKind::Regular {
            return Err(Error::usage("a regular table has no chunk files")
                .hint("cat puts its files together"));
        }
        Ok(TableIdentity {
            table: table.clone(),
            database: None,
            kind,
            partitioning: self.partitioning,
            dialect: self.dialect.clone().unwrap_or_else(Dialect::qserv),
            charset: self.charset.unwrap_or(Charset::Latin1),
        })
    }

    /// Refuses a record that says something else.
    pub(super) fn check(&self, root: &Path, identity: &TableIdentity) -> Result<()> {
        let said = TableIdentity {
            table: identity.table.clone(),
            database: identity.database.clone(),
            kind: self.kind.unwrap_or(identity.kind),
            partitioning: self.partitioning.or(identity.partitioning),
            dialect: self.dialect.as_ref().unwrap_or(&identity.dialect).clone(),
            charset: self.charset.unwrap_or(identity.charset),
        };
        match difference(identity, &said) {
            Some((what, found, expected)) => Err(differs(root, what, &found, &expected)),
            None => Ok(()),
        }
    }
}
