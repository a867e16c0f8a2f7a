//! Keys of rows that lie in triangles: whole numbers of 64 bits.

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
