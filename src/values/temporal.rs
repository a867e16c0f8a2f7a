//! Dates, times of day, timestamps: from numbers and from text, by the target's type.

use arrow::datatypes::TimeUnit;

use super::calendar::{
    Instant, LONGEST_SPAN, SECONDS_PER_DAY, days_of, nearest_day, unit_digits, write_date,
    write_time, write_timestamp,
};
use super::counts::{RuleCounts, RuleName};
use super::fault::CellFault;
use super::policy::{FractionPolicy, TruncatePolicy};
use super::rule::ColumnRule;
use super::temporal_text::{DateTimeText, parse_date_time, parse_time};
use super::text_buffer::TextBuffer;
use crate::dialect::Encoder;
use crate::error::quote_value;
use crate::schema::MysqlType;

const YEARS: &str = ", expected a date of the years 0 to 9999, whose year 0 has no 29 February";
/// Seconds since 1970 that a TIMESTAMP column has.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = 1..=2_147_483_647;

const SPANS: &str = ", expected a time up to 838:59:59";

impl ColumnRule {
    /// Writes the date so many days after 1970-01-01.
    ///
    /// # Errors
    /// MariaDB does not have that year, and the policy refuses it.
    pub fn date(
        &self,
        days: i64,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if matches!(self.target(), Some(MysqlType::Timestamp(_))) {
            let at = Instant {
                seconds: days.saturating_mul(SECONDS_PER_DAY),
                nanos: 0,
            };
            return self.instant(
                at,
                0,
                &|| format!("day {days} since 1970-01-01"),
                out,
                counts,
            );
        }
        if write_date(days, out) {
            return Ok(());
        }
        let found = format!("day {days} since 1970-01-01");
        let nearest = nearest_day(days);
        let limit = |out: &mut TextBuffer| {
            write_date(nearest, out);
        };
        self.overflow(CellFault::found(found, YEARS), limit, out, counts)
    }

    /// Writes a time since 1970-01-01 in UTC; `is_zoned` says whether its type names a zone.
    ///
    /// # Errors
    /// MariaDB does not have that year, or the target not those digits, and the policy refuses it.
    pub fn timestamp(
        &self,
        ticks: i64,
        unit: TimeUnit,
        is_zoned: bool,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let keeps_zone = is_zoned && self.policy.reference_style;
        if is_zoned && !keeps_zone {
            self.count(counts, RuleName::Zone, 1);
        }
        let at = Instant::of_ticks(ticks, unit);
        let found = || format!("{ticks} in the column's unit");
        self.instant(at, unit_digits(unit), &found, out, counts)?;
        if keeps_zone {
            out.push(b'Z');
        }
        Ok(())
    }

    fn instant(
        &self,
        at: Instant,
        digits: u8,
        found: &dyn Fn() -> String,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if self.target() == Some(MysqlType::Date) {
            self.check_midnight(at, found, counts)?;
            return self.date(at.seconds.div_euclid(SECONDS_PER_DAY), out, counts);
        }
        let kept = self.kept_digits().min(digits);
        let at = self.shortened_instant(at, kept, Instant::rounded, found, counts)?;
        if !self.has_instant(at) {
            let (first, last) = (*TIMESTAMPS.start(), *TIMESTAMPS.end());
            let nearest = Instant {
                seconds: at.seconds.clamp(first, last),
                nanos: 0,
            };
            let limit = |out: &mut TextBuffer| {
                write_timestamp(nearest, kept, out);
            };
            let expected = ", expected a time from 1970 to 2038-01-19 03:14:07 (TIMESTAMP)";
            return self.overflow(CellFault::found(found(), expected), limit, out, counts);
        }
        if write_timestamp(at, kept, out) {
            return Ok(());
        }
        let day = at.seconds.div_euclid(SECONDS_PER_DAY);
        let near = nearest_day(day);
        let nearest = if near > day {
            Instant {
                seconds: near * SECONDS_PER_DAY,
                nanos: 0,
            }
        } else {
            Instant {
                seconds: (near + 1) * SECONDS_PER_DAY - 1,
                nanos: 999_999_999,
            }
        };
        let limit = |out: &mut TextBuffer| {
            write_timestamp(nearest, kept, out);
        };
        self.overflow(CellFault::found(found(), YEARS), limit, out, counts)
    }

    /// Says whether a TIMESTAMP column has that instant; all others may.
    fn has_instant(&self, at: Instant) -> bool {
        !matches!(self.target(), Some(MysqlType::Timestamp(_))) || TIMESTAMPS.contains(&at.seconds)
    }

    /// A DATE column keeps no time of day.
    fn check_midnight(
        &self,
        at: Instant,
        found: &dyn Fn() -> String,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        if at.seconds.rem_euclid(SECONDS_PER_DAY) == 0 && at.nanos == 0 {
            return Ok(());
        }
        if self.policy.truncate == TruncatePolicy::Error {
            return Err(CellFault::found(found(), ", expected midnight (DATE)")
                .with_hint("make the column a DATETIME, or say --truncate cut"));
        }
        self.count(counts, RuleName::Truncate, 1);
        Ok(())
    }

    /// Writes a time of day or a span.
    ///
    /// # Errors
    /// It is longer than MariaDB's TIME, or the target does not have its digits, and the policy
    /// refuses it.
    pub fn time(
        &self,
        ticks: i64,
        unit: TimeUnit,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let span = Instant::of_ticks(ticks, unit);
        let found = || format!("{ticks} in the column's unit");
        self.span(span, unit_digits(unit), &found, out, counts)
    }

    fn span(
        &self,
        span: Instant,
        digits: u8,
        found: &dyn Fn() -> String,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let kept = self.kept_digits().min(digits);
        let span = self.shortened_instant(span, kept, Instant::rounded_span, found, counts)?;
        if write_time(span, kept, out) {
            return Ok(());
        }
        let seconds = if span.seconds < 0 {
            -LONGEST_SPAN
        } else {
            LONGEST_SPAN
        };
        let nearest = Instant { seconds, nanos: 0 };
        let limit = |out: &mut TextBuffer| {
            write_time(nearest, kept, out);
        };
        self.overflow(CellFault::found(found(), SPANS), limit, out, counts)
    }

    /// Returns the sub-second digits that the target keeps; MariaDB knows microseconds at best.
    fn kept_digits(&self) -> u8 {
        match self.target() {
            Some(
                MysqlType::DateTime(digits)
                | MysqlType::Timestamp(digits)
                | MysqlType::Time(digits),
            ) => digits.min(6),
            _ if self.policy.reference_style => 9,
            _ => 6,
        }
    }

    /// Deals with digits that the target does not keep; what writes the instant cuts them off.
    fn shortened_instant(
        &self,
        at: Instant,
        kept: u8,
        round: fn(Instant, u8) -> Instant,
        found: &dyn Fn() -> String,
        counts: &mut RuleCounts,
    ) -> Result<Instant, CellFault> {
        if !at.has_more_than(kept) {
            return Ok(at);
        }
        match self.policy.fraction {
            Some(FractionPolicy::Error) => {
                let expected = format!(", expected {kept} digits of a second at most");
                Err(CellFault::found(found(), expected)
                    .with_hint("give the column more digits, or choose another --fraction"))
            }
            Some(FractionPolicy::Round) => {
                self.count(counts, RuleName::Fraction, 1);
                Ok(round(at, kept))
            }
            Some(FractionPolicy::Cut) | None => {
                self.count(counts, RuleName::Fraction, 1);
                Ok(at)
            }
        }
    }

    /// Writes text that spells a date or time; copies it where MariaDB takes it as it is.
    ///
    /// # Errors
    /// It spells none, or one that the target does not hold and the policy refuses.
    pub(super) fn temporal_text(
        &self,
        value: &[u8],
        encoder: &Encoder,
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let found = || quote_value(value);
        let text = value.trim_ascii();
        if let Some(MysqlType::Time(_)) = self.target() {
            let Some(time) = parse_time(text) else {
                return Err(self.unfit(value, "a time such as 23:59:59.5"));
            };
            if time.digits <= self.kept_digits() && time.span.seconds.abs() <= LONGEST_SPAN {
                return self.encode(text, encoder, out);
            }
            return self.span(time.span, time.digits, &found, out, counts);
        }
        let Some(parsed) = parse_date_time(text) else {
            return Err(self.unfit(value, "a date or time such as 2026-11-21 23:59:59.5"));
        };
        if parsed.zone.is_some() {
            self.count(counts, RuleName::Zone, 1);
        }
        let is_date = self.target() == Some(MysqlType::Date);
        let is_kept = parsed.digits <= self.kept_digits() && !(is_date && parsed.clock.is_some());
        // The only date of a TIMESTAMP that is none: it stands for no time at all.
        let is_zero = parsed.date == (0, 0, 0);
        let is_checked = matches!(self.target(), Some(MysqlType::Timestamp(_))) && !is_zero;
        if is_kept && parsed.zone.is_none() && parsed.is_readable && !is_checked {
            return self.encode(text, encoder, out);
        }
        self.parsed_date_time(&parsed, value, out, counts)
    }

    fn parsed_date_time(
        &self,
        parsed: &DateTimeText,
        value: &[u8],
        out: &mut TextBuffer,
        counts: &mut RuleCounts,
    ) -> Result<(), CellFault> {
        let (year, month, day) = parsed.date;
        let Some(days) = days_of(i32::from(year), u32::from(month), u32::from(day)) else {
            // MariaDB's dates without a month or a day: there is nothing to reckon with.
            return Err(self.unfit(value, "a whole date where it has to be written anew"));
        };
        let clock = parsed.clock.unwrap_or_default();
        let at = Instant {
            seconds: days * SECONDS_PER_DAY + clock - parsed.zone.unwrap_or(0),
            nanos: parsed.nanos,
        };
        let found = || quote_value(value);
        self.instant(at, parsed.digits, &found, out, counts)
    }

    /// Makes the fault of a text that is not what the column expects.
    pub(super) fn unfit(&self, value: &[u8], expected: &str) -> CellFault {
        let hint = "if an empty field means NULL, say so with --null-text ''";
        CellFault::found(quote_value(value), format!(", expected {expected}"))
            .with_hint(value.is_empty().then_some(hint))
    }
}
