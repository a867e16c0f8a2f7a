//! Dates and times as MariaDB reads them: `YYYY-MM-DD`, `hh:mm:ss.ffffff`, both with a blank
//! between; zoned times in UTC without a suffix.

use arrow::datatypes::TimeUnit;
use chrono::{DateTime, Datelike, NaiveDate, Timelike};

use crate::values::TextBuffer;

/// Days from 0001-01-01 to 1970-01-01 in the calendar of `chrono::NaiveDate`.
const EPOCH_DAYS: i32 = 719_163;

/// Returns the number of sub-second digits of a unit.
pub(super) fn unit_digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

fn ticks_per_second(unit: TimeUnit) -> i64 {
    10i64.pow(u32::from(unit_digits(unit)))
}

/// Writes the day so many days after 1970-01-01; says whether MariaDB has that year.
pub(super) fn write_date(days: i32, out: &mut TextBuffer) -> bool {
    let date = days
        .checked_add(EPOCH_DAYS)
        .and_then(NaiveDate::from_num_days_from_ce_opt);
    date.is_some_and(|date| write_calendar_date(date.year(), date.month(), date.day(), out))
}

/// Writes a timestamp with at most `digits` sub-second digits; says whether MariaDB has that year.
pub(super) fn write_timestamp(
    ticks: i64,
    unit: TimeUnit,
    digits: u8,
    out: &mut TextBuffer,
) -> bool {
    let per_second = ticks_per_second(unit);
    let (seconds, fraction) = (ticks.div_euclid(per_second), ticks.rem_euclid(per_second));
    let Some(time) = DateTime::from_timestamp(seconds, 0) else {
        return false;
    };
    if !write_calendar_date(time.year(), time.month(), time.day(), out) {
        return false;
    }
    out.push(b' ');
    write_clock(i64::from(time.num_seconds_from_midnight()), out);
    write_fraction(fraction, unit_digits(unit), digits, out);
    true
}

/// Writes a time of day, or a span up to MariaDB's 838 hours; says whether it lies within.
pub(super) fn write_time(ticks: i64, unit: TimeUnit, digits: u8, out: &mut TextBuffer) -> bool {
    let per_second = ticks_per_second(unit);
    let size = ticks.unsigned_abs();
    let seconds = (size / per_second.unsigned_abs()) as i64;
    if seconds > 838 * 3600 + 59 * 60 + 59 {
        return false;
    }
    if ticks < 0 {
        out.push(b'-');
    }
    write_clock(seconds, out);
    let fraction = (size % per_second.unsigned_abs()) as i64;
    write_fraction(fraction, unit_digits(unit), digits, out);
    true
}

fn write_calendar_date(year: i32, month: u32, day: u32, out: &mut TextBuffer) -> bool {
    let Ok(year) = u32::try_from(year) else {
        return false;
    };
    if year > 9999 {
        return false;
    }
    write_padded(u64::from(year), 4, out);
    out.push(b'-');
    write_padded(u64::from(month), 2, out);
    out.push(b'-');
    write_padded(u64::from(day), 2, out);
    true
}

fn write_clock(seconds: i64, out: &mut TextBuffer) {
    let seconds = seconds.unsigned_abs();
    write_padded(seconds / 3600, 2, out);
    out.push(b':');
    write_padded(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_padded(seconds % 60, 2, out);
}

/// Writes the first `kept` of a unit's `digits`, cutting off the rest.
fn write_fraction(fraction: i64, digits: u8, kept: u8, out: &mut TextBuffer) {
    let kept = kept.min(digits);
    if kept == 0 {
        return;
    }
    let cut = fraction.unsigned_abs() / 10u64.pow(u32::from(digits - kept));
    out.push(b'.');
    write_padded(cut, kept, out);
}

fn write_padded(number: u64, width: u8, out: &mut TextBuffer) {
    let mut digits = itoa::Buffer::new();
    let text = digits.format(number).as_bytes();
    for _ in text.len()..usize::from(width) {
        out.push(b'0');
    }
    out.push_short(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut TextBuffer) -> bool) -> Option<String> {
        let mut out = TextBuffer::default();
        write(&mut out).then(|| String::from_utf8(out.as_slice().to_vec()).unwrap())
    }

    #[test]
    fn dates_of_the_whole_calendar() {
        let date = |days| written(|out| write_date(days, out));
        assert_eq!(date(0).unwrap(), "1970-01-01");
        assert_eq!(date(-1).unwrap(), "1969-12-31");
        assert_eq!(date(11_016).unwrap(), "2000-02-29");
        assert_eq!(date(2_932_896).unwrap(), "9999-12-31");
        assert_eq!(date(2_932_897), None);
        assert_eq!(date(i32::MIN), None);
    }

    #[test]
    fn timestamps_of_every_unit() {
        let time = |ticks, unit, digits| written(|out| write_timestamp(ticks, unit, digits, out));
        assert_eq!(
            time(-1, TimeUnit::Second, 6).unwrap(),
            "1969-12-31 23:59:59"
        );
        assert_eq!(
            time(-1, TimeUnit::Millisecond, 6).unwrap(),
            "1969-12-31 23:59:59.999"
        );
        let ns = 1_700_000_000_123_456_789;
        assert_eq!(
            time(ns, TimeUnit::Nanosecond, 9).unwrap(),
            "2023-11-14 22:13:20.123456789"
        );
        assert_eq!(
            time(ns, TimeUnit::Nanosecond, 6).unwrap(),
            "2023-11-14 22:13:20.123456"
        );
        assert_eq!(
            time(ns, TimeUnit::Nanosecond, 0).unwrap(),
            "2023-11-14 22:13:20"
        );
        assert_eq!(time(i64::MAX, TimeUnit::Second, 0), None);
    }

    #[test]
    fn times_and_spans() {
        let time = |ticks, unit| written(|out| write_time(ticks, unit, 6, out));
        assert_eq!(
            time(86_399_000_001, TimeUnit::Microsecond).unwrap(),
            "23:59:59.000001"
        );
        assert_eq!(time(-3_600, TimeUnit::Second).unwrap(), "-01:00:00");
        assert_eq!(time(1 << 40, TimeUnit::Second), None);
    }
}
