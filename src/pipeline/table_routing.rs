//! Where the rows of a pipeline's table go: by position, or by what its directors' indexes say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::file::PipelineFile;
use super::plan::{PlannedTable, Sky};
use crate::error::{Error, Result};
use crate::partition::key_index::{DuplicateRule, IndexSource};
use crate::partition::{DirectorIndex, OverlapRule, RaRule, Routing, RoutingOptions};
use crate::schema::{ChunkColumns, FLAGS_COLUMN, TableKind};

/// Where the indexes of directors of the same pipeline lie, if not beside their tables.
#[derive(Debug, Clone, Default)]
pub(super) struct IndexPlaces(pub(super) BTreeMap<String, PathBuf>);

/// Settles where the rows of `table` go.
///
/// # Errors
/// Columns are not named, or a director has no index.
pub(super) fn routing_of(
    file: &PipelineFile,
    tables: &[PlannedTable<'_>],
    table: &PlannedTable<'_>,
    sky: &Sky,
    indexes: &IndexPlaces,
) -> Result<Routing> {
    let section = table.section;
    let schema = table.schema.as_ref();
    let directors = Directors {
        file,
        tables,
        table,
        places: indexes,
    };
    let (position, id, indexes) = match table.kind {
        TableKind::Match => {
            let position = (section.ra1.clone(), section.dec1.clone());
            let is_by_position = position.0.is_some() || position.1.is_some();
            let indexes = match is_by_position {
                true => Vec::new(),
                false => directors.both()?,
            };
            (position, section.id1.clone(), indexes)
        }
        TableKind::Child => {
            let position = (section.ra.clone(), section.dec.clone());
            let has_position = (position.0.is_some() && position.1.is_some())
                || schema.is_some_and(|schema| schema.ra.is_some() && schema.dec.is_some());
            // Who names the key means it, and then positions are the fall-back.
            let index = match (&section.id, has_position) {
                (Some(_), _) | (None, false) => directors.only()?,
                (None, true) => None,
            };
            let id = section.id.clone();
            (position, id, index.into_iter().collect())
        }
        TableKind::Director | TableKind::Regular => {
            let position = (section.ra.clone(), section.dec.clone());
            (position, section.id.clone(), Vec::new())
        }
    };
    let flags = schema.and_then(|schema| schema.flag.clone());
    let flags = section.flags_column.clone().or(flags);
    Routing::resolve(RoutingOptions {
        chunker: Arc::clone(&sky.chunker),
        kind: table.kind,
        position,
        position2: (section.ra2.clone(), section.dec2.clone()),
        id,
        id2: section.id2.clone(),
        indexes,
        unknown: [section.unknown_keys.unwrap_or_default(); 2],
        schema,
        overlap: OverlapRule::Write,
        ra_rule: match section.wrap_ra {
            true => RaRule::Wrapped,
            false => RaRule::Checked,
        },
        columns: ChunkColumns {
            flags: (table.kind == TableKind::Match)
                .then(|| flags.unwrap_or_else(|| FLAGS_COLUMN.to_owned())),
            ..ChunkColumns::default()
        },
    })
}

/// The directors of a table, and where their indexes are.
struct Directors<'a> {
    file: &'a PipelineFile,
    tables: &'a [PlannedTable<'a>],
    table: &'a PlannedTable<'a>,
    places: &'a IndexPlaces,
}

impl Directors<'_> {
    /// Returns the index of a child's director; nothing if it has none in this pipeline.
    fn only(&self) -> Result<Option<Arc<DirectorIndex>>> {
        let section = self.table.section;
        if let Some(path) = &section.index {
            return self.foreign(path).map(Some);
        }
        let of_schema = self.table.schema.as_ref();
        let of_schema = of_schema.and_then(|schema| schema.director_table.as_ref());
        match (&section.director, of_schema) {
            (Some(director), _) => self.sibling(director).map(Some),
            (None, Some(director)) if self.file.table.contains_key(director) => {
                self.sibling(director).map(Some)
            }
            (None, _) if section.id.is_some() => Err(Error::usage(
                "a child with an id needs to know where its director's keys are",
            )
            .hint("name the director, or the index of one made elsewhere: index = PATH")),
            (None, _) => Ok(None),
        }
    }

    /// Returns the indexes of both directors of a match.
    fn both(&self) -> Result<Vec<Arc<DirectorIndex>>> {
        let section = self.table.section;
        let schema = self.table.schema.as_ref();
        let of_schema = [
            schema.and_then(|schema| schema.director_table.as_ref()),
            schema.and_then(|schema| schema.director_table2.as_ref()),
        ];
        let of_section = [
            (&section.director1, &section.index1, 1),
            (&section.director2, &section.index2, 2),
        ];
        let sides = of_section.into_iter().zip(of_schema);
        sides
            .map(|((director, index, side), of_schema)| {
                match (index, director.as_ref().or(of_schema)) {
                    (Some(path), _) => self.foreign(path),
                    (None, Some(director)) => self.sibling(director),
                    (None, None) => Err(Error::usage(
                        "a match table needs the positions of both sides, or their directors",
                    )
                    .hint(format!(
                        "name ra1, dec1, ra2 and dec2, or director{side} or index{side}"
                    ))),
                }
            })
            .collect()
    }

    /// Returns the index of a director that this pipeline makes.
    fn sibling(&self, name: &str) -> Result<Arc<DirectorIndex>> {
        let director = self.tables.iter().find(|table| table.name == name);
        let Some(director) = director.filter(|table| table.kind == TableKind::Director) else {
            return Err(
                Error::usage(format!("{name} is no director of this pipeline"))
                    .hint("name a table of kind director, or the index of one made elsewhere"),
            );
        };
        let of_schema = director.schema.as_ref();
        let of_schema = of_schema.and_then(|schema| schema.id.as_ref());
        if director.section.id.as_ref().or(of_schema).is_none() {
            return Err(Error::usage(format!(
                "the rows are to be found by the key of {name}, which has none"
            ))
            .hint(format!("give [table.{name}] an id, the column of its key")));
        }
        let format = director.section.index_format.unwrap_or_default();
        let folder = self.file.root()?.join(&self.file.database.name);
        let path = folder.join(name).join(format.file_name());
        let source = IndexSource {
            path: self.places.0.get(name).unwrap_or(&path).clone(),
            dialect: director.section.output_dialect()?,
        };
        let index = DirectorIndex::of_sibling(name, source).called(path);
        Ok(Arc::new(index))
    }

    /// Returns an index that was made elsewhere; as text it is in the table's own dialect.
    fn foreign(&self, path: &std::path::Path) -> Result<Arc<DirectorIndex>> {
        let own = self.file.root()?.join(&self.file.database.name);
        let absolute = |path: &std::path::Path| std::path::absolute(path).unwrap_or_default();
        if absolute(&self.file.base().join(path)).starts_with(absolute(&own)) {
            return Err(Error::usage(format!(
                "the index {} is made by this pipeline itself",
                path.display()
            ))
            .hint("name the table instead: director, or director1 and director2"));
        }
        let source = IndexSource {
            path: self.file.base().join(path),
            dialect: self.table.section.output_dialect()?,
        };
        Ok(Arc::new(DirectorIndex::new(source, DuplicateRule::Refuse)))
    }
}
