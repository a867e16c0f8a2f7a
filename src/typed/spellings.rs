//! Other spellings of values that MariaDB takes and Arrow does not know.

use arrow::datatypes::DataType;

/// Most digits that a whole number is written out with.
const MOST_DIGITS: usize = 40;

/// Returns the spelling that Arrow reads as the same value; nothing if there is none.
pub(super) fn usual(text: &str, data_type: &DataType) -> Option<String> {
    if data_type.is_integer() {
        return whole_number(text);
    }
    match data_type {
        DataType::Date32 => date(&groups(text)),
        DataType::Timestamp(..) => date_and_time(&groups(text)),
        _ => None,
    }
}

/// A whole number with a point or a power of ten.
fn whole_number(text: &str) -> Option<String> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, power) = match text.split_once(['e', 'E']) {
        Some((mantissa, power)) => (mantissa, power.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let point = i32::try_from(whole.len()).ok()?.checked_add(power)?;
    let point = usize::try_from(point)
        .ok()
        .filter(|it| *it <= MOST_DIGITS)?;
    let (before, behind) = digits.split_at(point.min(digits.len()));
    if behind.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let zeros = "0".repeat(point.saturating_sub(digits.len()));
    Some(format!("{sign}{before}{zeros}"))
}

/// Returns the groups of digits of a text.
fn groups(text: &str) -> Vec<&str> {
    let groups = text.split(|c: char| !c.is_ascii_digit());
    groups.filter(|group| !group.is_empty()).collect()
}

fn date(groups: &[&str]) -> Option<String> {
    match groups {
        [year, month, day] if year.len() == 4 => Some(format!("{year}-{month:0>2}-{day:0>2}")),
        [all] if all.len() == 8 => date(&[all.get(..4)?, all.get(4..6)?, all.get(6..)?]),
        _ => None,
    }
}

fn date_and_time(groups: &[&str]) -> Option<String> {
    match groups {
        [all, fraction @ ..] if all.len() == 14 => {
            let at = |from: usize| all.get(from..from + 2);
            let whole = [all.get(..4)?, at(4)?, at(6)?, at(8)?, at(10)?, at(12)?];
            date_and_time(&[&whole[..], fraction].concat())
        }
        [_] => Some(format!("{} 00:00:00", date(groups)?)),
        [year, month, day, time @ ..] if time.len() <= 4 => {
            let date = date(&[year, month, day])?;
            let part = |at: usize| time.get(at).copied().unwrap_or("00");
            let fraction = time.get(3).map_or(String::new(), |it| format!(".{it}"));
            let (hour, minute, second) = (part(0), part(1), part(2));
            Some(format!(
                "{date} {hour:0>2}:{minute:0>2}:{second:0>2}{fraction}"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn spellings_of_the_same_value_become_one() {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        for (kind, text, expected) in [
            (&DataType::Int64, "1e3", Some("1000")),
            (&DataType::Int64, "-5.", Some("-5")),
            (&DataType::UInt8, "10e-1", Some("1")),
            (&DataType::Int32, "+1.50E+2", Some("150")),
            (&DataType::Int32, "0.5", None),
            (&DataType::Int32, "1e99999999999", None),
            (&DataType::Int32, ".", None),
            (&DataType::Date32, "2020/1/2", Some("2020-01-02")),
            (&DataType::Date32, "20200102", Some("2020-01-02")),
            (&DataType::Date32, "20-1-2", None),
            (&time, "20200102030405.25", Some("2020-01-02 03:04:05.25")),
            (&time, "2020-1-2 3:4:5", Some("2020-01-02 03:04:05")),
            (&time, "2020/01/02 03:04", Some("2020-01-02 03:04:00")),
            (&time, "20200102", Some("2020-01-02 00:00:00")),
            (&time, "2020-01-02 03:04:05.", Some("2020-01-02 03:04:05")),
            (&DataType::Float64, "x", None),
        ] {
            assert_eq!(usual(text, kind).as_deref(), expected, "{text}");
        }
    }
}
