//! How the files of chunks are called.

use std::sync::Arc;

/// Names of chunk files: `<folder>[node_<number>/]<prefix>_<chunk>[_overlap].txt`.
#[derive(Debug, Clone)]
pub struct ChunkNames {
    folder: String,
    /// All of the path before the chunk's number and the `_` before that, for each node.
    stems: Vec<Arc<str>>,
}

impl ChunkNames {
    /// The prefix that Qserv expects.
    pub const PREFIX: &str = "chunk";

    /// Names files in `folder`, relative to the output folder, which is empty or ends with `/`. With
    /// more than one node, each chunk lies in the folder of the node that its number leads to.
    pub fn new(folder: &str, prefix: &str, nodes: u32) -> Self {
        let stem = |node: u32| match nodes {
            0 | 1 => format!("{folder}{prefix}"),
            _ => format!("{folder}node_{node:05}/{prefix}"),
        };
        Self {
            folder: folder.to_owned(),
            stems: (0..nodes.max(1))
                .map(|node| Arc::from(stem(node)))
                .collect(),
        }
    }

    /// Returns the folder: empty or ended by `/`.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Returns all of the path of a chunk's files that comes before `_` and the chunk's number.
    pub fn stem(&self, chunk: i32) -> &Arc<str> {
        let nodes = self.stems.len() as u32;
        &self.stems[(chunk.unsigned_abs() % nodes) as usize]
    }

    /// Returns the path of a chunk's file relative to the folder.
    pub fn file(&self, chunk: i32, is_overlap: bool) -> String {
        let path = chunk_path(self.stem(chunk), chunk, is_overlap);
        path.get(self.folder.len()..).unwrap_or_default().to_owned()
    }

    /// Returns the folders of nodes, relative to the folder and ended by `/`; none for one node.
    pub fn node_folders(&self) -> impl Iterator<Item = &str> {
        self.stems.iter().filter_map(|stem| {
            let relative = stem.get(self.folder.len()..)?;
            relative.get(..=relative.find('/')?)
        })
    }
}

/// Returns the path of a chunk's file, given what comes before the number.
pub(super) fn chunk_path(stem: &str, chunk: i32, is_overlap: bool) -> String {
    let end = if is_overlap { "_overlap" } else { "" };
    format!("{stem}_{chunk}{end}.txt")
}

/// Reads chunk and kind out of a file name `<prefix>_<number>[_overlap].txt`; nothing if it is another.
pub fn chunk_of_name(prefix: &str, name: &str) -> Option<(i32, bool)> {
    let middle = name.strip_prefix(prefix)?.strip_prefix('_')?;
    let middle = middle.strip_suffix(".txt")?;
    let (number, is_overlap) = match middle.strip_suffix("_overlap") {
        Some(number) => (number, true),
        None => (middle, false),
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, is_overlap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_have_folders() {
        let one = ChunkNames::new("db/T/", "chunk", 1);
        assert_eq!(one.file(7, true), "chunk_7_overlap.txt");
        assert_eq!(&**one.stem(7), "db/T/chunk");
        assert_eq!(one.node_folders().count(), 0);
        let three = ChunkNames::new("", "part", 3);
        assert_eq!(three.file(7, false), "node_00001/part_7.txt");
        let folders: Vec<&str> = three.node_folders().collect();
        assert_eq!(folders, ["node_00000/", "node_00001/", "node_00002/"]);
    }

    #[test]
    fn names_tell_of_chunks() {
        let chunk = |name| chunk_of_name("chunk", name);
        assert_eq!(chunk("chunk_12.txt"), Some((12, false)));
        assert_eq!(chunk("chunk_12_overlap.txt"), Some((12, true)));
        for name in [
            "chunk_.txt",
            "chunk_-1.txt",
            "chunk_1.csv",
            "chunk_object_index.txt",
            "part_1.txt",
        ] {
            assert_eq!(chunk(name), None, "{name}");
        }
    }
}
