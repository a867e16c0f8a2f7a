//! Why a value can't be written, in parts for messages and lists.

/// Why a value can't be written: what was found, and what was expected or can be done.
///
/// It is kept in parts, because messages put them into one sentence and lists of rejected rows
/// into columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellFault(Box<Parts>); // boxed: results of good cells stay small

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    /// What the message begins with; without it, the message does not show the value.
    lead: Option<&'static str>,
    /// The value as it is shown: texts quoted, escaped and cut.
    value: Option<String>,
    /// What follows the value, with its comma or colon.
    rest: String,
    /// What the user can do.
    hint: Option<&'static str>,
}

impl CellFault {
    /// Makes a fault without a value to show, and without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            lead: None,
            value: None,
            rest: message.into(),
            hint: None,
        }))
    }

    /// Makes a fault of a value, shown as `value`; `rest` goes on the sentence "found `value`",
    /// with its comma or colon.
    pub fn found(value: impl Into<String>, rest: impl Into<String>) -> Self {
        Self::led("found ", value, rest)
    }

    /// Makes a fault whose message is `lead`, `value` and `rest`.
    pub fn led(lead: &'static str, value: impl Into<String>, rest: impl Into<String>) -> Self {
        let mut fault = Self::new(rest);
        fault.0.lead = Some(lead);
        fault.0.value = Some(value.into());
        fault
    }

    /// Makes a fault of a whole record, which the message does not show.
    pub fn of_record(record: String, message: String) -> Self {
        let mut fault = Self::new(message);
        fault.0.value = Some(record);
        fault
    }

    /// Adds what the user can do, where that is known.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Option<&'static str>>) -> Self {
        self.0.hint = hint.into();
        self
    }

    /// Returns what was found, and what the column expects.
    pub fn message(&self) -> String {
        match (self.0.lead, &self.0.value) {
            (Some(lead), Some(value)) => format!("{lead}{value}{}", self.0.rest),
            _ => self.0.rest.clone(),
        }
    }

    /// Returns the value as it is shown, if there is one.
    pub fn value(&self) -> Option<&str> {
        self.0.value.as_deref()
    }

    /// Returns what is wrong, without the value.
    pub fn reason(&self) -> &str {
        let reason = self.0.rest.trim_start_matches([',', ':', ' ']);
        reason.strip_prefix("but ").unwrap_or(reason)
    }

    /// Returns what the user can do, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        self.0.hint
    }
}
