//! A dependency file, as compilers write it, so that make runs a command again when it has to.

use std::fmt::Write;

use crate::error::{Error, Result};

/// What make would take for an assignment; it stands in a variable instead.
const EQUALS: &str = "SKYPREP_EQUALS";

/// Returns the text of a dependency file: `targets` depend on `inputs`.
///
/// # Errors
/// A name has a line break, which make can't express.
pub fn depfile(targets: &[String], inputs: &[String]) -> Result<String> {
    let mut text = String::new();
    let all = || targets.iter().chain(inputs);
    if all().any(|name| name.contains('=')) {
        let _ = writeln!(text, "{EQUALS} := =");
    }
    for (number, target) in targets.iter().enumerate() {
        text.push_str(if number > 0 { " " } else { "" });
        escape(target, Role::Target, &mut text)?;
    }
    text.push(':');
    for input in inputs {
        text.push_str(" \\\n  ");
        escape(input, Role::Input, &mut text)?;
    }
    text.push('\n');
    Ok(text)
}

/// On which side of the colon a name stands; make treats the two differently.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Target,
    Input,
}

/// Writes a name so that GNU make reads it as it is; found out by trying, for it is documented for
/// few characters only.
fn escape(name: &str, role: Role, text: &mut String) -> Result<()> {
    if name.contains(['\n', '\r']) {
        let shown = name.escape_debug();
        return Err(Error::usage(format!(
            "--depfile can't name '{shown}': it has a line break"
        )));
    }
    if name.starts_with('~') {
        text.push_str("./");
    }
    let mut backslashes = 0;
    for letter in name.chars() {
        // Backslashes count only before a character that is escaped by one.
        let before = std::iter::repeat_n('\\', backslashes);
        match letter {
            '$' => text.push_str("$$"),
            '=' => {
                let _ = write!(text, "$({EQUALS})");
            }
            // Semicolons are looked for twice, before and after variables are replaced.
            ';' => {
                text.extend(before);
                text.push_str("\\\\\\;");
            }
            '%' if role == Role::Input => text.push(letter),
            '|' if role == Role::Target => text.push(letter),
            ' ' | '\t' | '#' | ':' | '%' | '|' | '*' | '?' | '[' => {
                text.extend(before);
                text.push('\\');
                text.push(letter);
            }
            other => text.push(other),
        }
        backslashes = if letter == '\\' { backslashes + 1 } else { 0 };
    }
    // A backslash at the end would escape what follows.
    text.extend(std::iter::repeat_n('\\', backslashes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_for_make() {
        let text = depfile(&["a b".into()], &["x$y#1.csv".into(), "p=q".into()]).unwrap();
        assert_eq!(
            text,
            "SKYPREP_EQUALS := =\na\\ b: \\\n  x$$y\\#1.csv \\\n  p$(SKYPREP_EQUALS)q\n"
        );
        assert!(depfile(&["a\nb".into()], &[]).is_err());
    }
}
