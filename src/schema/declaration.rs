//! What stands behind the type in a column's declaration: NOT NULL, UNSIGNED, GENERATED.

/// Returns the words of a declaration in upper case, without what stands in quotes or parentheses:
/// a comment or an expression may hold any word.
pub(super) fn outline(declaration: &str) -> Vec<String> {
    let mut kept = String::with_capacity(declaration.len());
    let mut depth = 0usize;
    let mut rest = declaration.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' | '"' | '`' => {
                skip_quoted(c, &mut rest);
                kept.push(' ');
            }
            '(' => {
                depth += 1;
                kept.push(' ');
            }
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(c.to_ascii_uppercase()),
            _ => {}
        }
    }
    kept.split_whitespace().map(str::to_owned).collect()
}

/// Goes behind the quote that ends a text; a doubled quote begins another one, which does no harm.
fn skip_quoted(quote: char, rest: &mut std::str::Chars<'_>) {
    while let Some(c) = rest.next() {
        match c {
            '\\' if quote != '`' => {
                rest.next();
            }
            _ if c == quote => return,
            _ => {}
        }
    }
}

/// Says whether numbers below zero are forbidden.
pub(super) fn is_unsigned(declaration: &str) -> bool {
    outline(declaration)
        .iter()
        .any(|word| word == "UNSIGNED" || word == "ZEROFILL")
}

/// Says whether the type has two sizes, as `FLOAT(7,4)`.
pub(super) fn has_two_sizes(declaration: &str) -> bool {
    let name_end = declaration.find(|c: char| !c.is_ascii_alphanumeric() && c != ' ');
    let sizes = name_end.and_then(|end| declaration.get(end..)?.strip_prefix('('));
    sizes.is_some_and(|sizes| sizes.split(')').next().is_some_and(|s| s.contains(',')))
}

/// Says whether NULL is forbidden.
pub(super) fn is_not_null(declaration: &str) -> bool {
    let words = outline(declaration);
    let has = |pair: [&str; 2]| words.windows(2).any(|two| *two == pair);
    has(["NOT", "NULL"])
        || has(["PRIMARY", "KEY"])
        || words.first().is_some_and(|word| word == "SERIAL")
}

/// Says whether the server computes the column.
pub(super) fn is_generated(declaration: &str) -> bool {
    outline(declaration).iter().skip(1).any(|word| word == "AS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_quotes_and_expressions_do_not_count() {
        for (declaration, not_null, generated) in [
            ("INT NOT  NULL", true, false),
            ("INT NULL", false, false),
            ("DOUBLE COMMENT 'NOT NULL AS it seems'", false, false),
            ("CHAR(3) COMMENT 'it''s NOT NULL' NOT NULL", true, false),
            ("CHAR(3) DEFAULT 'a\\' NOT NULL'", false, false),
            (
                "FLOAT GENERATED ALWAYS AS (IF(`AS` IS NOT NULL, 1, 0)) VIRTUAL",
                false,
                true,
            ),
            ("FLOAT AS(a+b) PERSISTENT", false, true),
            ("ENUM('x AS y')", false, false),
            ("BIGINT PRIMARY KEY", true, false),
            ("SERIAL", true, false),
        ] {
            assert_eq!(is_not_null(declaration), not_null, "{declaration}");
            assert_eq!(is_generated(declaration), generated, "{declaration}");
        }
    }
}
