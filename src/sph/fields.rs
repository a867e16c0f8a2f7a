//! Names of fields, and pairs of them in one option.

use crate::error::{Error, Result};

/// The columns of right ascension and declination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPair {
    /// Column of the right ascension.
    pub ra: String,
    /// Column of the declination.
    pub dec: String,
}

impl FieldPair {
    /// Splits the value of `option` at its comma.
    ///
    /// # Errors
    /// There is not exactly one comma, or a name is empty.
    ///
    /// # Examples
    /// ```
    /// use skyprep::sph::FieldPair;
    ///
    /// let pair = FieldPair::parse("part.pos", "ra, decl")?;
    /// assert_eq!((pair.ra.as_str(), pair.dec.as_str()), ("ra", "decl"));
    /// # Ok::<(), skyprep::error::Error>(())
    /// ```
    pub fn parse(option: &str, value: &str) -> Result<Self> {
        let trimmed = |name: &str| name.trim_matches([' ', '\t', '\r', '\n']).to_owned();
        let pair = value.split_once(',').filter(|(_, dec)| !dec.contains(','));
        let pair = pair.map(|(ra, dec)| Self {
            ra: trimmed(ra),
            dec: trimmed(dec),
        });
        pair.filter(|pair| !pair.ra.is_empty() && !pair.dec.is_empty())
            .ok_or_else(|| {
                Error::usage(format!(
                    "{option} is {value:?}, expected two field names with a comma between them"
                ))
            })
    }
}

/// The fields of the input, and those that have a part of their own.
pub(super) struct Fields<'a> {
    input: &'a [String],
    /// Names that are taken, and by which option.
    special: Vec<(String, &'static str)>,
}

impl<'a> Fields<'a> {
    /// Takes the names of an input's fields.
    ///
    /// # Errors
    /// A name occurs twice.
    pub(super) fn new(input: &'a [String]) -> Result<Self> {
        for (at, name) in input.iter().enumerate() {
            if input.iter().take(at).any(|other| other == name) {
                return Err(Error::usage(format!("in.csv.field names {name} twice")));
            }
        }
        Ok(Self {
            input,
            special: Vec::new(),
        })
    }

    /// Gives a field its part, as `option` says.
    ///
    /// # Errors
    /// The field has another part.
    pub(super) fn claim(&mut self, option: &'static str, name: &str) -> Result<()> {
        if let Some((_, other)) = self.special.iter().find(|(taken, _)| taken == name) {
            return Err(Error::usage(match *other == option {
                true => format!("{option} names the field {name} twice"),
                false => format!("{option} is the field {name}, which {other} names already"),
            }));
        }
        self.special.push((name.to_owned(), option));
        Ok(())
    }

    /// Gives a field of the input its part.
    ///
    /// # Errors
    /// The field has another part, or the input has no such field.
    pub(super) fn claim_input(&mut self, option: &'static str, name: &str) -> Result<()> {
        if !self.input.iter().any(|field| field == name) {
            let known = self.input.join(", ");
            return Err(Error::usage(format!(
                "{option} is the field {name}, which the input lacks"
            ))
            .hint(format!("in.csv.field names {known}")));
        }
        self.claim(option, name)
    }

    /// Gives both fields of a pair their part.
    ///
    /// # Errors
    /// See [`claim_input`](Self::claim_input).
    pub(super) fn claim_pair(&mut self, option: &'static str, value: &str) -> Result<FieldPair> {
        let pair = FieldPair::parse(option, value)?;
        self.claim_input(option, &pair.ra)?;
        self.claim_input(option, &pair.dec)?;
        Ok(pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_have_one_comma() {
        for value in ["ra", "ra,dec,x", "ra, ", ",dec", ""] {
            let error = FieldPair::parse("part.pos", value).unwrap_err().to_string();
            assert!(error.contains("part.pos is"), "{error}");
        }
    }

    #[test]
    fn fields_have_one_part() {
        let names = ["id", "ra", "dec"].map(str::to_owned);
        let mut fields = Fields::new(&names).unwrap();
        fields.claim_pair("part.pos", "ra,dec").unwrap();
        fields.claim("part.chunk", "chunkId").unwrap();
        for (error, expected) in [
            (
                fields.claim_input("part.id", "dec"),
                "part.id is the field dec, which part.pos names already",
            ),
            (
                fields.claim_input("part.id", "key"),
                "part.id is the field key, which the input lacks",
            ),
            (
                fields.claim_pair("part.pos1", "id,id").map(|_| ()),
                "part.pos1 names the field id twice",
            ),
            (
                fields.claim("part.sub-chunk", "chunkId"),
                "part.sub-chunk is the field chunkId, which part.chunk names already",
            ),
            (
                Fields::new(&["a", "b", "a"].map(str::to_owned)).map(|_| ()),
                "in.csv.field names a twice",
            ),
        ] {
            assert_eq!(error.unwrap_err().to_string(), expected);
        }
    }
}
