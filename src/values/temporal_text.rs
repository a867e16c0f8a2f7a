//! Dates and times out of text, in the spellings that catalogues and MariaDB share.

use super::calendar::{Instant, days_of};

/// A date, maybe with a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateTimeText {
    /// Year, month, day; month and day may be 0 as in MariaDB.
    pub(super) date: (u16, u8, u8),
    /// Seconds since midnight, where there is a time.
    pub(super) clock: Option<i64>,
    /// Billionths of a second.
    pub(super) nanos: u32,
    /// Digits behind the point, 9 at most.
    pub(super) digits: u8,
    /// Seconds that the zone is ahead of UTC, where one is named.
    pub(super) zone: Option<i64>,
    /// Whether MariaDB reads it: it takes no packed date before a time with colons.
    pub(super) is_readable: bool,
}

/// A time of day or a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeText {
    pub(super) span: Instant,
    /// Digits behind the point, 9 at most.
    pub(super) digits: u8,
}

/// Reads `YYYY-MM-DD` (also with `/` or `.`), `YYYYMMDD` or `YYYYMMDDhhmmss`; then, behind a blank
/// or `T`, `hh:mm[:ss[.fff]]`; then maybe `Z` or a zone such as `+01:00`.
pub(super) fn parse_date_time(text: &[u8]) -> Option<DateTimeText> {
    let mut cursor = Cursor(text);
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (date, mut clock) = match digits {
        8 | 14 => {
            let date = (
                cursor.number(4, 4)? as u16,
                cursor.number(2, 2)? as u8,
                cursor.number(2, 2)? as u8,
            );
            let clock = (digits == 14).then(|| cursor.packed_clock(23));
            (
                date,
                match clock {
                    Some(clock) => Some(clock?),
                    None => None,
                },
            )
        }
        4 => {
            let year = cursor.number(4, 4)? as u16;
            let separator = cursor.take_any(b"-/.")?;
            let month = cursor.number(1, 2)? as u8;
            cursor.take(separator).then_some(())?;
            let day = cursor.number(1, 2)? as u8;
            ((year, month, day), None)
        }
        _ => return None,
    };
    if !is_date(date) {
        return None;
    }
    let mut is_readable = true;
    if clock.is_none() && cursor.take_any(b" T").is_some() {
        clock = Some(cursor.clock(23)?);
        is_readable = digits != 8;
    }
    let (nanos, digits) = match clock {
        Some(_) => cursor.fraction()?,
        None => (0, 0),
    };
    let zone = match clock {
        Some(_) => cursor.zone()?,
        None => None,
    };
    cursor.0.is_empty().then_some(DateTimeText {
        date,
        clock,
        nanos,
        digits,
        zone,
        is_readable,
    })
}

/// Reads `[-]hh:mm[:ss[.fff]]`, with up to three digits of hours, or `[-]hhmmss`.
pub(super) fn parse_time(text: &[u8]) -> Option<TimeText> {
    let mut cursor = Cursor(text);
    let is_negative = cursor.take(b'-');
    let digits = cursor
        .0
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let seconds = match digits {
        6 => cursor.packed_clock(99)?,
        _ => cursor.clock(999)?,
    };
    let (nanos, digits) = cursor.fraction()?;
    if !cursor.0.is_empty() {
        return None;
    }
    let span = match (is_negative, nanos) {
        (false, _) => Instant { seconds, nanos },
        (true, 0) => Instant {
            seconds: -seconds,
            nanos,
        },
        (true, _) => Instant {
            seconds: -seconds - 1,
            nanos: 1_000_000_000 - nanos,
        },
    };
    Some(TimeText { span, digits })
}

/// Returns a number that grows with the date and time that a text tells, zone left aside; nothing if it is
/// none.
pub(crate) fn rank_of_date_time(text: &[u8]) -> Option<i128> {
    let DateTimeText {
        date: (year, month, day),
        clock,
        nanos,
        ..
    } = parse_date_time(text)?;
    // Months and days may be zero, so they are no days of a calendar.
    let days = (i128::from(year) * 13 + i128::from(month)) * 32 + i128::from(day);
    let seconds = days * 86_400 + i128::from(clock.unwrap_or(0));
    Some(seconds * 1_000_000_000 + i128::from(nanos))
}

/// Returns a number that grows with the time or span that a text tells; nothing if it is none.
pub(crate) fn rank_of_time(text: &[u8]) -> Option<i128> {
    let Instant { seconds, nanos } = parse_time(text)?.span;
    Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
}

fn is_date((year, month, day): (u16, u8, u8)) -> bool {
    if month == 0 || day == 0 {
        return month <= 12 && day <= 31;
    }
    days_of(i32::from(year), u32::from(month), u32::from(day)).is_some()
}

/// What is left to be read.
struct Cursor<'t>(&'t [u8]);

impl Cursor<'_> {
    fn take(&mut self, byte: u8) -> bool {
        self.take_any(&[byte]).is_some()
    }

    fn take_any(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        bytes.contains(first).then(|| {
            self.0 = rest;
            *first
        })
    }

    /// Reads a number of `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<u32> {
        let digits = self.0.iter().take(most);
        let count = digits.take_while(|byte| byte.is_ascii_digit()).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(
            digits
                .iter()
                .fold(0, |number, digit| number * 10 + u32::from(digit - b'0')),
        )
    }

    /// Reads `hh:mm[:ss]`.
    fn clock(&mut self, most_hours: u32) -> Option<i64> {
        let hours = self.number(1, 3)?;
        self.take(b':').then_some(())?;
        let minutes = self.number(1, 2)?;
        let seconds = if self.take(b':') {
            self.number(1, 2)?
        } else {
            0
        };
        seconds_of(hours, minutes, seconds, most_hours)
    }

    /// Reads `hhmmss`.
    fn packed_clock(&mut self, most_hours: u32) -> Option<i64> {
        let (hours, minutes, seconds) =
            (self.number(2, 2)?, self.number(2, 2)?, self.number(2, 2)?);
        seconds_of(hours, minutes, seconds, most_hours)
    }

    /// Reads `.fff`; returns billionths, and how many digits there are.
    fn fraction(&mut self) -> Option<(u32, u8)> {
        if !self.take(b'.') {
            return Some((0, 0));
        }
        let count = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        let nanos = (0..9).fold(0, |nanos, at| {
            nanos * 10 + digits.get(at).map_or(0, |digit| u32::from(digit - b'0'))
        });
        Some((nanos, count.min(9) as u8))
    }

    /// Reads `Z`, `+hh`, `+hhmm` or `+hh:mm`, maybe behind a blank; returns seconds ahead of UTC.
    fn zone(&mut self) -> Option<Option<i64>> {
        let is_apart = self.take(b' ');
        if self.0.is_empty() {
            return (!is_apart).then_some(None);
        }
        if self.take_any(b"Zz").is_some() {
            return Some(Some(0));
        }
        if self.0 == b"UTC" {
            self.0 = &[];
            return Some(Some(0));
        }
        let sign = if self.take_any(b"+-")? == b'-' { -1 } else { 1 };
        let hours = self.number(2, 2)?;
        self.take(b':');
        let minutes = if self.0.is_empty() {
            0
        } else {
            self.number(2, 2)?
        };
        seconds_of(hours, minutes, 0, 23).map(|seconds| Some(sign * seconds))
    }
}

fn seconds_of(hours: u32, minutes: u32, seconds: u32, most_hours: u32) -> Option<i64> {
    let is_clock = hours <= most_hours && minutes < 60 && seconds < 60;
    is_clock.then_some(i64::from(hours) * 3600 + i64::from(minutes) * 60 + i64::from(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_of_many_spellings() {
        let at = |text: &str| {
            let parsed = parse_date_time(text.as_bytes())?;
            Some((
                parsed.date,
                parsed.clock,
                parsed.nanos,
                parsed.digits,
                parsed.zone,
            ))
        };
        let date = (2026, 11, 21);
        assert_eq!(at("2026-11-21"), Some((date, None, 0, 0, None)));
        assert_eq!(at("2026/11/21"), Some((date, None, 0, 0, None)));
        assert_eq!(at("20261121"), Some((date, None, 0, 0, None)));
        assert_eq!(at("20261121235959"), Some((date, Some(86_399), 0, 0, None)));
        assert_eq!(at("2026-11-21T01:02"), Some((date, Some(3720), 0, 0, None)));
        let half = Some((date, Some(3723), 500_000_000, 1, None));
        assert_eq!(at("2026-11-21 01:02:03.5"), half);
        let zoned = |zone| Some((date, Some(3723), 0, 0, Some(zone)));
        assert_eq!(at("2026-11-21T01:02:03Z"), zoned(0));
        assert_eq!(at("2026-11-21 01:02:03 UTC"), zoned(0));
        assert_eq!(at("2026-11-21T01:02:03+01:30"), zoned(5400));
        assert_eq!(at("2026-11-21T01:02:03-0800"), zoned(-28_800));
        assert_eq!(at("0000-00-00"), Some(((0, 0, 0), None, 0, 0, None)));
        let nine = Some((date, Some(0), 123_456_789, 9, None));
        assert_eq!(at("2026-11-21 00:00:00.1234567899"), nine);
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2026-11-21 24:00:00",
            "2026-11-21 1",
            "x",
            "2026-11/21",
            "2026-11-21T",
            "2026-11-21 01:02:03 ",
            "2026-11-21Z",
            "21.11.2026",
            "2026-11-21 01:02:03+1",
            "20261121 1",
            "20261121990000",
            "20261121240000",
        ] {
            assert_eq!(parse_date_time(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn times_of_day_and_spans() {
        let span = |text: &str| parse_time(text.as_bytes()).map(|time| time.span);
        let at = |seconds, nanos| Some(Instant { seconds, nanos });
        assert_eq!(span("01:02:03"), at(3723, 0));
        assert_eq!(span("010203"), at(3723, 0));
        assert_eq!(span("-838:59:59"), at(-3_020_399, 0));
        assert_eq!(span("-00:00:00.25"), at(-1, 750_000_000));
        for text in ["", "1", "25", "01:60:00", "2026-11-21", "1:2:3:4"] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
