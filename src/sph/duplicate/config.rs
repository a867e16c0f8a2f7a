//! What the tools of duplication are told, beyond what sph-partition is.

use crate::error::{Error, Result};
use crate::sph::tree::SphTree;

/// All that was said; what was not is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SphCopies {
    /// `htm.level`: how often triangles are cut.
    pub level: Option<i64>,
    /// `id`: column of the rows' own key.
    pub id: Option<String>,
    /// `pos`: further pairs of columns that are moved as the position is.
    pub positions: Vec<String>,
    /// `index`: the HTM index of the table that is copied.
    pub index: Option<String>,
    /// `part.index`: the HTM index of the table that decides which triangles stand in for others.
    pub part_index: Option<String>,
    /// `lon-min`, `lon-max`, `lat-min`, `lat-max`: the region, in degrees.
    pub region: [Option<f64>; 4],
    /// `chunk-id`: the chunks, in place of a region.
    pub chunks: Option<Vec<i32>>,
    /// `out.node`: only chunks of this node.
    pub node: Option<i64>,
    /// `sample.fraction`: the share of rows that is copied.
    pub fraction: Option<f64>,
    /// `sample.seed`
    pub seed: Option<u64>,
}

impl SphCopies {
    /// Takes what the tools know out of a tree.
    ///
    /// # Errors
    /// A value has another type than its parameter.
    pub fn new(tree: &SphTree) -> Result<Self> {
        let chunks = tree.wholes("chunk-id")?;
        let number = |number: &i64| {
            i32::try_from(*number)
                .map_err(|_| Error::usage(format!("chunk-id is {number}, which no chunk is")))
        };
        Ok(Self {
            level: tree.whole("htm.level")?,
            id: tree.text("id")?,
            positions: tree.texts("pos")?.unwrap_or_default(),
            index: tree.text("index")?,
            part_index: tree.text("part.index")?,
            region: [
                tree.real("lon-min")?,
                tree.real("lon-max")?,
                tree.real("lat-min")?,
                tree.real("lat-max")?,
            ],
            chunks: match chunks {
                Some(chunks) => Some(chunks.iter().map(number).collect::<Result<_>>()?),
                None => None,
            },
            node: tree.whole("out.node")?,
            fraction: tree.real("sample.fraction")?,
            seed: tree.natural("sample.seed")?,
        })
    }
}
