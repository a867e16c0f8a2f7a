//! Dates and times as MariaDB writes and reads them: `YYYY-MM-DD`, `hh:mm:ss.ffffff`, both with a
//! blank between; zoned times in UTC without a suffix.

use arrow::datatypes::TimeUnit;
use chrono::{DateTime, Datelike, NaiveDate, Timelike};

use super::text_buffer::TextBuffer;

/// Days from 0001-01-01 to 1970-01-01 in the calendar of `chrono::NaiveDate`.
const EPOCH_DAYS: i32 = 719_163;
pub(super) const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// First and last day that MariaDB has, in days since 1970-01-01.
const FIRST_DAY: i64 = -719_528;
const LAST_DAY: i64 = 2_932_896;
/// 0000-02-29, which it does not have: its year 0 is no leap year.
const NO_DAY: i64 = -719_469;

/// MariaDB's longest TIME, 838:59:59, in seconds.
pub(super) const LONGEST_SPAN: i64 = 838 * 3600 + 59 * 60 + 59;

/// Seconds and billionths of a second since some zero; the latter never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Instant {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

impl Instant {
    /// Makes an instant from a number of units.
    pub(super) fn of_ticks(ticks: i64, unit: TimeUnit) -> Self {
        let per_second = 10i64.pow(u32::from(unit_digits(unit)));
        let nanos = ticks.rem_euclid(per_second) * (NANOS_PER_SECOND / per_second);
        Self {
            seconds: ticks.div_euclid(per_second),
            nanos: nanos as u32, // less than a billion
        }
    }

    /// Says whether it has digits beyond the first `kept` behind the point.
    pub(super) fn has_more_than(self, kept: u8) -> bool {
        !self.nanos.is_multiple_of(unit_of(kept))
    }

    /// Returns the instant nearest to it that has `kept` digits behind the point, halves up.
    pub(super) fn rounded(self, kept: u8) -> Self {
        self.rounded_by(kept, unit_of(kept) / 2)
    }

    /// Returns the span nearest to it that has `kept` digits behind the point, halves away from
    /// zero as MariaDB does.
    pub(super) fn rounded_span(self, kept: u8) -> Self {
        let half = unit_of(kept) / 2;
        self.rounded_by(
            kept,
            if self.seconds < 0 {
                half.saturating_sub(1)
            } else {
                half
            },
        )
    }

    fn rounded_by(self, kept: u8, half: u32) -> Self {
        let unit = unit_of(kept);
        let nanos = (self.nanos + half) / unit * unit;
        Self {
            seconds: self.seconds + i64::from(nanos) / NANOS_PER_SECOND,
            nanos: nanos % NANOS_PER_SECOND as u32,
        }
    }
}

/// Returns the billionths of a second in the last of `digits` places.
fn unit_of(digits: u8) -> u32 {
    10u32.pow(u32::from(9 - digits.min(9)))
}

/// Returns the number of sub-second digits of a unit.
pub(super) fn unit_digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// Returns the days from 1970-01-01 to a date, if MariaDB has such a date.
pub(super) fn days_of(year: i32, month: u32, day: u32) -> Option<i64> {
    let date = NaiveDate::from_ymd_opt(year, month, day)?;
    let days = i64::from(date.num_days_from_ce()) - i64::from(EPOCH_DAYS);
    (days != NO_DAY).then_some(days)
}

/// Returns the day that MariaDB has and that is nearest to this one, or comes before it.
pub(super) fn nearest_day(days: i64) -> i64 {
    match days.clamp(FIRST_DAY, LAST_DAY) {
        NO_DAY => NO_DAY - 1,
        days => days,
    }
}

/// Writes the day so many days after 1970-01-01; says whether MariaDB has it.
pub(super) fn write_date(days: i64, out: &mut TextBuffer) -> bool {
    let date = i32::try_from(days)
        .ok()
        .and_then(|days| days.checked_add(EPOCH_DAYS))
        .and_then(NaiveDate::from_num_days_from_ce_opt);
    date.is_some_and(|date| write_calendar_date(date.year(), date.month(), date.day(), out))
}

/// Writes an instant since 1970-01-01 with `digits` sub-second digits; says whether MariaDB has
/// that day.
pub(super) fn write_timestamp(at: Instant, digits: u8, out: &mut TextBuffer) -> bool {
    let Some(time) = DateTime::from_timestamp(at.seconds, 0) else {
        return false;
    };
    if !write_calendar_date(time.year(), time.month(), time.day(), out) {
        return false;
    }
    out.push(b' ');
    write_clock(i64::from(time.num_seconds_from_midnight()), out);
    write_fraction(at.nanos, digits, out);
    true
}

/// Writes a time of day, or a span up to MariaDB's 838 hours; says whether it lies within.
pub(super) fn write_time(span: Instant, digits: u8, out: &mut TextBuffer) -> bool {
    let (is_negative, size) = if span.seconds < 0 {
        let total =
            -(i128::from(span.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(span.nanos));
        let nanos_per_second = i128::from(NANOS_PER_SECOND);
        let size = Instant {
            seconds: i64::try_from(total / nanos_per_second).unwrap_or(i64::MAX),
            nanos: (total % nanos_per_second) as u32, // less than a billion
        };
        (true, size)
    } else {
        (false, span)
    };
    if size.seconds > LONGEST_SPAN {
        return false;
    }
    if is_negative {
        out.push(b'-');
    }
    write_clock(size.seconds, out);
    write_fraction(size.nanos, digits, out);
    true
}

fn write_calendar_date(year: i32, month: u32, day: u32, out: &mut TextBuffer) -> bool {
    let Ok(year) = u32::try_from(year) else {
        return false;
    };
    if year > 9999 || (year, month, day) == (0, 2, 29) {
        return false;
    }
    write_two(year / 100, out);
    write_two(year % 100, out);
    out.push(b'-');
    write_two(month, out);
    out.push(b'-');
    write_two(day, out);
    true
}

fn write_clock(seconds: i64, out: &mut TextBuffer) {
    let seconds = seconds.unsigned_abs();
    let hours = seconds / 3600;
    if hours > 99 {
        out.push(b'0' + (hours / 100 % 10) as u8);
    }
    write_two((hours % 100) as u32, out);
    out.push(b':');
    write_two((seconds / 60 % 60) as u32, out);
    out.push(b':');
    write_two((seconds % 60) as u32, out);
}

/// Writes the first `kept` digits behind the point.
fn write_fraction(nanos: u32, kept: u8, out: &mut TextBuffer) {
    let kept = kept.min(9);
    if kept == 0 {
        return;
    }
    out.push(b'.');
    let mut unit = 100_000_000;
    for _ in 0..kept {
        out.push(b'0' + (nanos / unit % 10) as u8);
        unit /= 10;
    }
}

fn write_two(number: u32, out: &mut TextBuffer) {
    *out.window::<2>() = [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    out.advance(2);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut TextBuffer) -> bool) -> Option<String> {
        let mut out = TextBuffer::default();
        write(&mut out).then(|| String::from_utf8(out.as_slice().to_vec()).unwrap())
    }

    #[test]
    fn dates() {
        let date = |days| written(|out| write_date(days, out));
        assert_eq!(date(0).unwrap(), "1970-01-01");
        assert_eq!(date(-719_528).unwrap(), "0000-01-01");
        assert_eq!(date(-719_529), None);
        assert_eq!(date(2_932_896).unwrap(), "9999-12-31");
        assert_eq!(date(2_932_897), None);
        assert_eq!(date(i64::MIN), None);
        assert_eq!(days_of(2000, 2, 29), Some(11_016));
        assert_eq!(days_of(2001, 2, 29), None);
        assert_eq!(
            (days_of(0, 2, 29), days_of(4, 2, 29)),
            (None, Some(-718_008))
        );
        assert_eq!(date(NO_DAY), None);
        assert_eq!(date(nearest_day(NO_DAY)).unwrap(), "0000-02-28");
        assert_eq!(date(nearest_day(NO_DAY + 1)).unwrap(), "0000-03-01");
        assert_eq!(date(nearest_day(i64::MIN)).unwrap(), "0000-01-01");
    }

    #[test]
    fn timestamps_of_every_unit() {
        let time = |ticks, unit, digits| {
            written(|out| write_timestamp(Instant::of_ticks(ticks, unit), digits, out))
        };
        assert_eq!(
            time(-1, TimeUnit::Second, 0).unwrap(),
            "1969-12-31 23:59:59"
        );
        assert_eq!(
            time(-1, TimeUnit::Millisecond, 3).unwrap(),
            "1969-12-31 23:59:59.999"
        );
        let ns = 1_700_000_000_123_456_789;
        for (digits, expected) in [
            (9, "2023-11-14 22:13:20.123456789"),
            (6, "2023-11-14 22:13:20.123456"),
            (0, "2023-11-14 22:13:20"),
        ] {
            assert_eq!(time(ns, TimeUnit::Nanosecond, digits).unwrap(), expected);
        }
        assert_eq!(time(i64::MAX, TimeUnit::Second, 0), None);
    }

    #[test]
    fn times_and_spans() {
        let time = |ticks, unit| {
            let digits = unit_digits(unit);
            written(|out| write_time(Instant::of_ticks(ticks, unit), digits, out))
        };
        assert_eq!(
            time(86_399_000_001, TimeUnit::Microsecond).unwrap(),
            "23:59:59.000001"
        );
        assert_eq!(time(-3_600, TimeUnit::Second).unwrap(), "-01:00:00");
        assert_eq!(time(-1, TimeUnit::Millisecond).unwrap(), "-00:00:00.001");
        assert_eq!(time(LONGEST_SPAN, TimeUnit::Second).unwrap(), "838:59:59");
        assert_eq!(time(1 << 40, TimeUnit::Second), None);
    }

    #[test]
    fn rounding_goes_up_at_halves() {
        let at = |nanos| Instant { seconds: 7, nanos };
        assert_eq!(at(123_456_500).rounded(6), at(123_457_000));
        assert_eq!(at(123_456_499).rounded(6), at(123_456_000));
        assert_eq!(at(999_999_999).rounded(6).seconds, 8);
        assert!(at(1).has_more_than(6) && !at(1).has_more_than(9));
        for (millis, rounded) in [(-500, -1), (-499, 0), (-501, -1), (500, 1), (-1500, -2)] {
            let span = Instant::of_ticks(millis, TimeUnit::Millisecond).rounded_span(0);
            assert_eq!((span.seconds, span.nanos), (rounded, 0), "{millis}");
        }
    }
}
