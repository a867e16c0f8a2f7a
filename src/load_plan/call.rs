//! One call of a plan.

use serde::Serialize;
use serde_json::Value;

/// A line of the plan.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    /// What it is for.
    pub(super) step: &'static str,
    pub(super) method: &'static str,
    pub(super) url: String,
    /// How to log in, if the keys are not in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) login: Option<&'static str>,
    /// The JSON body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) body: Option<Value>,
    /// The parts of a multipart body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parts: Option<Vec<Value>>,
    /// Where the rows of a JSON body come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rows_from: Option<Value>,
    /// Templates that the answer gives a value, and where in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sets: Option<Value>,
    /// The call is made again until the answer is this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Value>,
    /// What the answer must be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expect: Option<Value>,
    /// Whether a refusal is no reason to stop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) may_fail: bool,
}

impl Call {
    /// Makes a call without anything in it.
    pub(super) fn new(step: &'static str, method: &'static str, url: String) -> Self {
        Self {
            step,
            method,
            url,
            login: None,
            body: None,
            parts: None,
            rows_from: None,
            sets: None,
            until: None,
            expect: None,
            may_fail: false,
        }
    }

    /// Adds a JSON body.
    pub(super) fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Adds the version of the interface to the query, which is where the service likes it best.
    pub(super) fn asking_for(mut self, version: Option<u32>) -> Self {
        if let Some(version) = version {
            let separator = if self.url.contains('?') { '&' } else { '?' };
            self.url.push_str(&format!("{separator}version={version}"));
        }
        self
    }
}
