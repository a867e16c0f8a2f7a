//! Moments as the manifest writes them: UTC, to the second.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::Error;

/// A moment, to the second: written in RFC 3339 with `Z`, read with any zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime(DateTime<Utc>);

impl UtcTime {
    /// Returns the moment as the system counts.
    pub fn system_time(self) -> SystemTime {
        SystemTime::from(self.0)
    }

    /// Returns the moment, cut to its second: signed URLs end no later than they say.
    pub fn of(time: SystemTime) -> Self {
        let seconds = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            Err(before) => {
                let before = before.duration();
                let whole = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                -whole - i64::from(before.subsec_nanos() > 0)
            }
        };
        Self::of_seconds(seconds)
    }

    fn of_seconds(seconds: i64) -> Self {
        let limit = match seconds < 0 {
            true => DateTime::<Utc>::MIN_UTC,
            false => DateTime::<Utc>::MAX_UTC,
        };
        Self(DateTime::from_timestamp(seconds, 0).unwrap_or(limit))
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format("%Y-%m-%dT%H:%M:%SZ").fmt(f)
    }
}

impl FromStr for UtcTime {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |_| {
            Error::usage(format!("'{}' is not a time", text.escape_debug()))
                .hint("expected RFC 3339, such as 2027-01-31T12:00:00Z")
        };
        let time = DateTime::parse_from_rfc3339(text).map_err(wrong)?;
        Ok(Self::of_seconds(time.timestamp()))
    }
}

impl Serialize for UtcTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn zones_become_utc_and_parts_of_seconds_go() {
        for (text, written) in [
            ("2027-01-31T12:00:00Z", "2027-01-31T12:00:00Z"),
            ("2027-01-31T12:00:00.9+02:00", "2027-01-31T10:00:00Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"),
        ] {
            let time: UtcTime = text.parse().unwrap();
            assert_eq!(time.to_string(), written);
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<UtcTime>(&json).unwrap(), time);
        }
        assert!("2027-01-31".parse::<UtcTime>().is_err());
        let before = UtcTime::of(UNIX_EPOCH - Duration::from_millis(1));
        assert_eq!(before.to_string(), "1969-12-31T23:59:59Z");
        let time = UtcTime::of(UNIX_EPOCH + Duration::from_millis(1999));
        assert_eq!(time.to_string(), "1970-01-01T00:00:01Z");
        assert_eq!(time.system_time(), UNIX_EPOCH + Duration::from_secs(1));
    }
}
