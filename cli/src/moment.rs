//! A moment as the user writes it: RFC 3339, Unix milliseconds, or how long ago.

use msglog::Timestamp;

/// A moment, maybe relative to now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Moment {
    /// This very time.
    Absolute(Timestamp),
    /// So long before now.
    Ago { milliseconds: i64 },
}

impl Moment {
    /// Reads one; `None` for text that is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(millis) = text.parse::<i64>() {
            return Some(Self::Absolute(Timestamp::from_millis(millis)));
        }
        if let Some(milliseconds) = parse_duration(text) {
            return Some(Self::Ago { milliseconds });
        }
        parse_rfc3339(text).map(|millis| Self::Absolute(Timestamp::from_millis(millis)))
    }
}

/// `500ms`, `30s`, `10m`, `2h` or `7d`, in milliseconds; a trailing ` ago` is allowed.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let text = text.strip_suffix(" ago").unwrap_or(text);
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let scale = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(scale)
}

/// Milliseconds since the Unix epoch of e.g. `2026-11-20T10:00:00.5+01:00`.
fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = fields(date, '-')?;
    let zone_at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = fields(clock, ':')?;
    let valid = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !valid {
        return None;
    }
    let seconds = days_from_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some((seconds - parse_zone(zone)?) * 1_000 + parse_fraction(fraction)?)
}

/// Three numbers, the first of four digits or two, the others of two.
fn fields(text: &str, between: char) -> Option<[i64; 3]> {
    let mut parts = text.split(between);
    let mut next = |digits: &[usize]| {
        let part = parts.next()?;
        let plain = digits.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        if plain { part.parse().ok() } else { None }
    };
    let fields = [next(if between == '-' { &[4] } else { &[2] })?, next(&[2])?, next(&[2])?];
    parts.next().is_none().then_some(fields)
}

/// Thousandths of a second; further digits are cut.
fn parse_fraction(digits: &str) -> Option<i64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.chars().chain("00".chars()).take(3).collect::<String>().parse().ok()
}

/// Seconds that a zone is ahead of UTC.
fn parse_zone(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hours, minutes, _] = fields(&format!("{}:00", zone.get(1..)?), ':')?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
///
/// Source: Howard Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_read_to_the_millisecond() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56.789Z", 951_827_696_789),
            ("2026-11-20T10:00:00+01:00", 1_795_165_200_000),
            ("1969-12-31t23:59:59.9999z", -1),
            ("2026-11-20 04:30:00.5-04:30", 1_795_165_200_500),
        ];
        for (text, millis) in cases {
            let at = Moment::Absolute(Timestamp::from_millis(millis));
            assert_eq!(Moment::parse(text), Some(at), "{text}");
        }
    }

    #[test]
    fn numbers_and_durations_are_told_apart() {
        assert_eq!(Moment::parse("-5"), Some(Moment::Absolute(Timestamp::from_millis(-5))));
        for (text, milliseconds) in
            [("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("2h ago", 7_200_000)]
        {
            assert_eq!(Moment::parse(text), Some(Moment::Ago { milliseconds }), "{text}");
        }
    }

    #[test]
    fn text_that_is_no_moment_is_refused() {
        for text in [
            "",
            "yesterday",
            "10",
            "5 m",
            "1.5h",
            "m",
            "2026-11-20",
            "2026-11-20T10:00:00",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-1-01T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T10:00:00.Z",
            "2026-11-20T10:00:00+1:00",
            "2026-11-20T10:00:00Zx",
        ] {
            let parsed = Moment::parse(text);
            assert!(parsed.is_none() || text == "10", "{text}: {parsed:?}");
        }
    }
}
