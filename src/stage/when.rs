//! Times as users say them: how long, and until when.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::manifest::UtcTime;

/// The longest time for which files may be kept: manifests write years in four digits.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Reads a stretch of time: a whole number and s, m, h, d or w.
///
/// # Errors
/// It is none; the text says what was expected.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time; write for example 12h, 7d or 4w");
    let digits = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(wrong()),
    };
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(wrong)
}

/// Until when files are to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Until this moment.
    Until(UtcTime),
    /// For so long from when they are staged.
    For(Duration),
}

impl Retention {
    /// Returns the moment, for files that are staged now.
    pub(super) fn starting_now(self) -> UtcTime {
        match self {
            Self::Until(time) => time,
            Self::For(span) => {
                let now = SystemTime::now();
                UtcTime::of(now.checked_add(span).unwrap_or(now))
            }
        }
    }
}

impl Retention {
    /// Returns the moment, where another was written down before. Where other tables are kept for
    /// that, it is never earlier. A stretch of time counts from when that was first said: a tenth of
    /// it may pass before the moment moves.
    pub(super) fn after(self, before: Option<UtcTime>, has_others: bool) -> UtcTime {
        let new = self.starting_now();
        let Some(before) = before else { return new };
        if let Self::For(span) = self {
            let oldest = new.system_time().checked_sub(span / 10);
            let is_near = oldest.is_some_and(|oldest| before.system_time() >= oldest);
            if is_near && before <= new {
                return before;
            }
        }
        if has_others { new.max(before) } else { new }
    }
}

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse::<UtcTime>() {
            return Ok(Self::Until(time));
        }
        let span = parse_span(text).map_err(|_| {
            format!(
                "'{text}' is no moment; write for example 2027-01-31T12:00:00Z, or 30d for from now"
            )
        })?;
        match span <= LONGEST {
            true => Ok(Self::For(span)),
            false => Err(format!(
                "'{text}' is too long; a hundred years are the most"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_moments() {
        assert_eq!(parse_span("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_span("90 m"), Ok(Duration::from_secs(5400)));
        for text in ["7", "0d", "x", "-1d", "1.5h", "99999999999999999w"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        let until: Retention = "2027-01-31T12:00:00+01:00".parse().unwrap();
        assert_eq!(until.starting_now().to_string(), "2027-01-31T11:00:00Z");
        let days: Retention = "30d".parse().unwrap();
        assert!(days.starting_now().system_time() > SystemTime::now());
        let before = days.starting_now();
        assert_eq!(days.after(Some(before), false), before);
        let more: Retention = "60d".parse().unwrap();
        assert!(more.after(Some(before), true) > before);
        let less: Retention = "1h".parse().unwrap();
        assert_eq!(less.after(Some(before), true), before);
        assert!(less.after(Some(before), false) < before);
        assert!("soon".parse::<Retention>().is_err());
        assert!("36600d".parse::<Retention>().is_ok());
        assert!("99999999999d".parse::<Retention>().is_err());
    }
}
