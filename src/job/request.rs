//! A request for a job as a queue or a workflow engine sends it: a table and its files.

use serde::Deserialize;

use super::name::JobId;
use crate::error::{Error, Result};
use crate::pipeline::PipelineFile;

/// `{"id", "table", "files": [...]}`: files and folders of one table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// The name of the job.
    pub id: Option<JobId>,
    /// The table that the files feed; tables of the same product are made with it.
    pub table: String,
    /// Files and folders; paths are relative to the pipeline file.
    pub files: Vec<String>,
}

impl JobRequest {
    /// Reads a request.
    ///
    /// # Errors
    /// It is no such JSON, or names no file.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let request: Self = serde_json::from_slice(bytes).map_err(|error| {
            Error::usage(format!("not a request for a job: {error}"))
                .hint(r#"expected {"id": "...", "table": "...", "files": ["...", ...]}"#)
        })?;
        match request.files.is_empty() {
            true => Err(Error::usage("the request names no files")),
            false => Ok(request),
        }
    }

    /// Returns the product of the pipeline that the files take the place of.
    ///
    /// # Errors
    /// There is no such table, or it has several products.
    pub(super) fn product(&self, file: &PipelineFile) -> Result<String> {
        let Some(table) = file.table.get(&self.table) else {
            let known: Vec<&str> = file.table.keys().map(String::as_str).collect();
            return Err(Error::usage(format!("there is no table {}", self.table))
                .hint(format!("the pipeline has {}", known.join(", "))));
        };
        match table.products.as_slice() {
            [only] => Ok(only.clone()),
            products => Err(Error::usage(format!(
                "table {} has {} products, so it is not clear which of them these files are",
                self.table,
                products.len()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_strictly() {
        let good = JobRequest::read(br#"{"id": "a1", "table": "T", "files": ["x/"]}"#).unwrap();
        assert_eq!(good.table, "T");
        for bad in [
            r#"{"table": "T", "files": []}"#,
            r#"{"id": "a/b", "table": "T", "files": ["x"]}"#,
            r#"{"table": "T", "files": ["x"], "more": 1}"#,
            "[]",
        ] {
            assert!(JobRequest::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
