//! Where the rows of a table go, as user and schema say it: by which columns, to which chunks.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::director_index::DirectorIndex;
use super::geometry::Chunker;
use super::joined::JoinedKeys;
use super::key_watch::KeyWatch;
use super::only_chunks::OnlyChunks;
use super::partitioning::Partitioning;
use super::router::{KeyLookup, OverlapRule, RaRule, Router, UnknownKeyRule, Way};
use super::unknown_keys::UnknownKeys;
use crate::dialect::Dialect;
use crate::error::{Error, Result};
use crate::schema::{ChunkColumns, TableKind, TableSchema};

/// Columns of a position, in degrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PositionColumns {
    /// The right ascension.
    pub ra: String,
    /// The declination.
    pub dec: String,
}

/// A column of keys, and the index that tells where these are.
#[derive(Debug, Clone, Serialize)]
pub struct KeyColumn {
    /// Name of the column.
    pub id: String,
    /// Dialect of the index, should it be text.
    index_dialect: Dialect,
    /// The index of its director.
    #[serde(skip)]
    pub index: Arc<DirectorIndex>,
    /// Places that were looked up before the pass, where memory does not hold the index.
    #[serde(skip)]
    joined: Arc<Mutex<Option<Arc<JoinedKeys>>>>,
}

impl KeyColumn {
    fn new(id: String, index: Arc<DirectorIndex>) -> Self {
        Self {
            id,
            index_dialect: index.source().dialect.clone(),
            index,
            joined: Arc::default(),
        }
    }

    /// Takes these places from now on, in place of looking keys up.
    pub fn join(&self, joined: JoinedKeys) {
        let mut known = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some(Arc::new(joined));
    }

    fn lookup(&self) -> KeyLookup {
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        KeyLookup {
            index: Arc::clone(&self.index),
            joined: joined.clone(),
        }
    }
}

/// What of a row decides where it goes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteBy {
    /// Its position.
    Position {
        /// The columns.
        position: PositionColumns,
        /// Whether neighbours get it as well.
        overlap: OverlapRule,
    },
    /// The key of its director.
    Key {
        /// The column and its index.
        key: KeyColumn,
        /// Where it goes if the key is NULL or not in the index.
        fallback: Option<PositionColumns>,
    },
    /// Its position, to a triangle of the sky's mesh.
    Triangle {
        /// The columns.
        position: PositionColumns,
        /// Level of the triangles.
        level: u32,
    },
    /// The positions of both sides of a match.
    MatchPositions([PositionColumns; 2]),
    /// The keys of both sides of a match.
    MatchKeys {
        /// The columns and their indexes.
        keys: [KeyColumn; 2],
        /// What becomes of keys that no index has, on each side.
        unknown: [UnknownKeyRule; 2],
    },
}

/// Where the rows of a partitioned output go.
#[derive(Debug, Clone, Serialize)]
pub struct Routing {
    /// The division of the sky.
    #[serde(skip)]
    pub chunker: Arc<Chunker>,
    /// What decides where a row goes.
    pub by: RouteBy,
    /// What right ascensions are taken.
    pub ra_rule: RaRule,
    /// Column of the director's own key, if an index of it is wanted.
    pub director_key: Option<String>,
    /// Columns that are filled in.
    pub columns: ChunkColumns,
    /// Watches out for keys of the director that occur twice, once it is known that some do.
    #[serde(skip)]
    pub watch: Option<Arc<KeyWatch>>,
    /// Keys of matches that no index has and that counted as NULL.
    #[serde(skip)]
    pub unknown_keys: Arc<UnknownKeys>,
    /// The chunks that are to be made, unless all are.
    #[serde(skip)]
    pub only: Option<Arc<OnlyChunks>>,
}

/// What the user and the schema say about where rows go.
#[derive(Debug)]
pub struct RoutingOptions<'a> {
    /// The division of the sky.
    pub chunker: Arc<Chunker>,
    /// What the table is to Qserv: directors have overlap and a key of their own.
    pub kind: TableKind,
    /// Columns of right ascension and declination; else the schema's. For a match the first side's.
    pub position: (Option<String>, Option<String>),
    /// Those of the second side of a match.
    pub position2: (Option<String>, Option<String>),
    /// Column of the director's key; else the schema's.
    pub id: Option<String>,
    /// Column of the second director's key, for a match; else the schema's.
    pub id2: Option<String>,
    /// Indexes that keys are looked up in: of the director; for a match, of both.
    pub indexes: Vec<Arc<DirectorIndex>>,
    /// What becomes of a match's keys that no index has, on each side.
    pub unknown: [UnknownKeyRule; 2],
    /// The target table.
    pub schema: Option<&'a TableSchema>,
    /// Whether a director gets overlap rows.
    pub overlap: OverlapRule,
    /// What right ascensions are taken.
    pub ra_rule: RaRule,
    /// Columns that are filled in.
    pub columns: ChunkColumns,
}

impl Routing {
    /// Settles where rows go.
    ///
    /// # Errors
    /// Neither user nor schema name the columns that are needed, or more than can be used.
    pub fn resolve(mut options: RoutingOptions<'_>) -> Result<Self> {
        let schema = options.schema;
        let of_schema = |own: Option<String>, theirs: fn(&TableSchema) -> &Option<String>| {
            own.or_else(|| schema.and_then(|schema| theirs(schema).clone()))
        };
        let mut indexes = std::mem::take(&mut options.indexes).into_iter();
        let (index, index2) = (indexes.next(), indexes.next());
        // Both sides of a match may have the same director.
        let index2 = index2.map(|other| match &index {
            Some(index) if index.source().path == other.source().path => Arc::clone(index),
            _ => other,
        });
        let indexes = (index, index2);
        let id = of_schema(options.id.take(), |schema| &schema.id);
        let is_director = options.kind == TableKind::Director;
        let by = match (options.kind, indexes) {
            (TableKind::Match, indexes) => {
                let id2 = of_schema(options.id2.take(), |schema| &schema.id2);
                match_by(&mut options, (id.clone(), id2), indexes)?
            }
            (TableKind::Child, (Some(index), None)) => {
                let Some(id) = &id else {
                    return Err(
                        Error::usage("the column of the director's key is not known")
                            .hint("name it: --id"),
                    );
                };
                RouteBy::Key {
                    key: KeyColumn::new(id.clone(), index),
                    // The schema's position columns are no fall-back: nobody asked for one.
                    fallback: pair(options.position, "")?,
                }
            }
            (_, (None, None)) => {
                let ra = of_schema(options.position.0, |schema| &schema.ra);
                let dec = of_schema(options.position.1, |schema| &schema.dec);
                let Some(position) = pair((ra, dec), "")? else {
                    let error =
                        Error::usage("a partitioned table needs the columns of its positions");
                    let by_key = match options.kind {
                        TableKind::Child => ", or its director's key and index: --id and --index",
                        _ => "",
                    };
                    return Err(error.hint(format!(
                        "name right ascension and declination in degrees: --ra and --dec{by_key}"
                    )));
                };
                let overlap = match is_director {
                    true => options.overlap,
                    false => OverlapRule::Omit,
                };
                RouteBy::Position { position, overlap }
            }
            (TableKind::Child, _) => {
                return Err(Error::usage("a child has one director, and so one index"));
            }
            (kind, _) => {
                let kind = kind.name();
                return Err(
                    Error::usage(format!("a {kind} table is not routed by an index"))
                        .hint("children are, and matches"),
                );
            }
        };
        Ok(Self {
            chunker: options.chunker,
            by,
            ra_rule: options.ra_rule,
            // A child's id is its director's, which has the index.
            director_key: id.filter(|_| is_director),
            columns: options.columns,
            watch: None,
            unknown_keys: Arc::default(),
            only: None,
        })
    }

    /// Sends rows to triangles of the sky's mesh, with their keys beside them.
    ///
    /// # Errors
    /// None that can be met: the sky is divided as little as possible, for nobody asks for chunks.
    pub fn to_triangles(position: PositionColumns, key: String, level: u32) -> Result<Self> {
        let sky = Partitioning {
            stripes: 1,
            sub_stripes: 1,
            overlap: 0.0,
        };
        Ok(Self {
            chunker: sky.chunker()?,
            by: RouteBy::Triangle { position, level },
            ra_rule: RaRule::Checked,
            director_key: Some(key),
            columns: ChunkColumns::default(),
            watch: None,
            unknown_keys: Arc::default(),
            only: None,
        })
    }

    /// Says whether rows go to triangles in place of chunks.
    pub fn is_to_triangles(&self) -> bool {
        matches!(self.by, RouteBy::Triangle { .. })
    }

    /// Returns the columns of positions, as they are numbered in a row's address.
    pub fn positions(&self) -> Vec<&PositionColumns> {
        match &self.by {
            RouteBy::Position { position, .. } | RouteBy::Triangle { position, .. } => {
                vec![position]
            }
            RouteBy::Key { fallback, .. } => fallback.iter().collect(),
            RouteBy::MatchPositions(positions) => positions.iter().collect(),
            RouteBy::MatchKeys { .. } => Vec::new(),
        }
    }

    /// Returns the columns of keys that are looked up, as they are numbered in a row's address.
    pub fn keys(&self) -> Vec<&KeyColumn> {
        match &self.by {
            RouteBy::Position { .. } | RouteBy::Triangle { .. } | RouteBy::MatchPositions(_) => {
                Vec::new()
            }
            RouteBy::Key { key, .. } => vec![key],
            RouteBy::MatchKeys { keys, .. } => keys.iter().collect(),
        }
    }

    /// Says whether rows are matches, which may be written twice.
    pub fn is_match(&self) -> bool {
        matches!(
            self.by,
            RouteBy::MatchPositions(_) | RouteBy::MatchKeys { .. }
        )
    }

    /// Returns the router of the rows.
    pub fn router(&self) -> Router {
        let way = match &self.by {
            RouteBy::Position { overlap, .. } => Way::Position(*overlap),
            RouteBy::Key { key, fallback } => Way::Key {
                lookup: key.lookup(),
                has_fallback: fallback.is_some(),
            },
            RouteBy::Triangle { level, .. } => Way::Triangle(*level),
            RouteBy::MatchPositions(_) => Way::MatchPositions,
            RouteBy::MatchKeys { keys, unknown } => Way::MatchKeys {
                lookups: keys.each_ref().map(KeyColumn::lookup),
                unknown: *unknown,
                seen: Arc::clone(&self.unknown_keys),
            },
        };
        let chunker = Arc::clone(&self.chunker);
        Router::new(chunker, self.ra_rule, way, self.only.clone())
    }

    /// Returns the chunk number of each dense index.
    pub fn chunk_numbers(&self) -> Vec<i32> {
        self.chunker.chunks().map(|chunk| chunk.0).collect()
    }
}

/// Settles how matches are routed: by positions or by keys.
fn match_by(
    options: &mut RoutingOptions<'_>,
    ids: (Option<String>, Option<String>),
    indexes: (Option<Arc<DirectorIndex>>, Option<Arc<DirectorIndex>>),
) -> Result<RouteBy> {
    let first = pair(std::mem::take(&mut options.position), "1")?;
    let second = pair(std::mem::take(&mut options.position2), "2")?;
    match ((first, second), ids, indexes) {
        ((Some(first), Some(second)), _, (None, None)) => {
            Ok(RouteBy::MatchPositions([first, second]))
        }
        ((None, None), (Some(id), Some(id2)), (Some(index), Some(index2))) => {
            Ok(RouteBy::MatchKeys {
                keys: [KeyColumn::new(id, index), KeyColumn::new(id2, index2)],
                unknown: options.unknown,
            })
        }
        ((None | Some(_), None) | (None, Some(_)), _, (None, None)) => Err(Error::usage(
            "a match table needs the positions of both sides, or their keys and indexes",
        )
        .hint("name --ra1, --dec1, --ra2 and --dec2, or --id1, --index1, --id2 and --index2")),
        ((None, None), ..) => Err(Error::usage(
            "keys are looked up on both sides of a match, or on none",
        )
        .hint("name --id1, --index1, --id2 and --index2")),
        _ => Err(
            Error::usage("a match table is routed by positions or by keys, not by both")
                .hint("leave out the positions or the indexes"),
        ),
    }
}

/// Returns the columns of a position, if it is named whole.
fn pair(
    (ra, dec): (Option<String>, Option<String>),
    side: &str,
) -> Result<Option<PositionColumns>> {
    match (ra, dec) {
        (Some(ra), Some(dec)) => Ok(Some(PositionColumns { ra, dec })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half(side, "declination", "--dec")),
        (None, Some(_)) => Err(half(side, "right ascension", "--ra")),
    }
}

fn half(side: &str, what: &str, option: &str) -> Error {
    Error::usage(format!("the column of the {what} is not known"))
        .hint(format!("name it: {option}{side}"))
}
