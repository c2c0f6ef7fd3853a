//! How far a clock on a wall is ahead of UTC.

use std::fmt;
use std::str::FromStr;

use crate::{Error, ErrorKind, Result};

/// The largest offset, either way, in minutes: as far as RFC 3339 can write it.
const MINUTES_MAX: i16 = 23 * 60 + 59;

/// An offset from UTC in minutes, east is positive; its text is that of RFC 3339: `+02:00`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UtcOffset {
    minutes: i16,
}

impl UtcOffset {
    /// UTC itself.
    pub const UTC: Self = Self { minutes: 0 };

    /// An offset of so many minutes east of UTC.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a day or more.
    pub fn from_minutes(minutes: i16) -> Result<Self> {
        if !(-MINUTES_MAX..=MINUTES_MAX).contains(&minutes) {
            let why = format!("a UTC offset of {minutes} minutes is a day or more");
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        Ok(Self { minutes })
    }

    /// Minutes east of UTC.
    pub const fn as_minutes(self) -> i16 {
        self.minutes
    }
}

impl fmt::Display for UtcOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minutes < 0 { '-' } else { '+' };
        let minutes = self.minutes.unsigned_abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl FromStr for UtcOffset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, format!("`{text}` is no UTC offset like +02:00"))
        })
    }
}

fn parse(text: &str) -> Option<UtcOffset> {
    if text.eq_ignore_ascii_case("z") {
        return Some(UtcOffset::UTC);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two_digits = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if digits { part.parse::<i16>().ok() } else { None }
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(UtcOffset { minutes: sign * (hours * 60 + minutes) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_comes_back_from_its_text() {
        for minutes in -MINUTES_MAX..=MINUTES_MAX {
            let offset = UtcOffset::from_minutes(minutes).unwrap();
            assert_eq!(offset.to_string().parse::<UtcOffset>().unwrap(), offset);
        }
        assert_eq!(UtcOffset::from_minutes(-210).unwrap().to_string(), "-03:30");
    }

    #[test]
    fn what_is_no_offset_is_invalid() {
        for text in ["", "2", "02:00", "+2:00", "+24:00", "+02:60", "+0200", "+-1:00", "é2:00"] {
            assert_eq!(text.parse::<UtcOffset>().unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
        assert!(UtcOffset::from_minutes(24 * 60).is_err());
        assert!(UtcOffset::from_minutes(i16::MIN).is_err());
    }
}
