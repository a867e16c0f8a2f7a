//! Rows that lie in triangles: their keys, whole numbers of 64 bits, and what their files are called.

/// Returns the path of a triangle's file, relative to the folder of all: in the folder of the node that its
/// number leads to, if there are several.
pub fn triangle_file(triangle: u32, nodes: u32, ending: &str) -> String {
    let name = format!("htm_{triangle:x}.{ending}");
    match nodes {
        0 | 1 => name,
        _ => format!("node_{:05}/{name}", triangle % nodes),
    }
}

/// Reads a key out of its text; blanks around it are left out, as the C++ tools do.
///
/// # Examples
/// ```
/// use skyprep::partition::htm::row_id;
///
/// assert_eq!(row_id(b" -5 "), Some(-5));
/// assert_eq!(row_id(b"5.0"), None);
/// ```
pub fn row_id(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}
