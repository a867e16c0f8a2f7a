//! What MariaDB takes for JSON.

/// Levels of arrays and objects that MariaDB takes.
const MOST_LEVELS: usize = 31;

/// Returns why MariaDB would not take a text as JSON, if it would not.
pub(super) fn json_fault(text: &[u8]) -> Option<String> {
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(text) {
        return Some(error.to_string());
    }
    let (mut levels, mut in_string) = (0usize, false);
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (in_string, byte) {
            (true, b'\\') => {
                if let Some(unit) = unicode_escape(rest) {
                    rest = rest.get(5..).unwrap_or_default();
                    if (0xDC00..0xE000).contains(&unit) {
                        return Some("half of a character".to_owned());
                    }
                    if (0xD800..0xDC00).contains(&unit) {
                        let second = rest.strip_prefix(b"\\").and_then(unicode_escape);
                        if !second.is_some_and(|unit| (0xDC00..0xE000).contains(&unit)) {
                            return Some("half of a character".to_owned());
                        }
                        rest = rest.get(6..).unwrap_or_default();
                    }
                } else {
                    rest = rest.get(1..).unwrap_or_default();
                }
            }
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                levels += 1;
                if levels > MOST_LEVELS {
                    return Some(format!("more than {MOST_LEVELS} levels"));
                }
            }
            (false, b']' | b'}') => levels = levels.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Reads `u` and four hexadecimal digits, as they stand behind a backslash.
fn unicode_escape(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mariadb_takes_for_json() {
        for good in [
            "1",
            r#"{"a": [1, "]]]]\"", null]}"#,
            r#""\ud834\udd1e""#,
            r#""\\ud800""#,
            &format!("{}{}", "[".repeat(31), "]".repeat(31)),
            &format!("[{}1]", "[1],".repeat(100)),
        ] {
            assert_eq!(json_fault(good.as_bytes()), None, "{good}");
        }
        for bad in [
            "",
            "{a}",
            "[1,]",
            r#""\ud800""#,
            r#""\udd1e""#,
            r#""\ud834\u0041""#,
            &format!("{}{}", "[".repeat(32), "]".repeat(32)),
        ] {
            assert!(json_fault(bad.as_bytes()).is_some(), "{bad}");
        }
    }
}
