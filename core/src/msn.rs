//! The message sequence number: a record's place in its partition.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// A record's place in its partition: starts at 0, rises by one, is never reused once durable.
///
/// Equals Kafka's offset, and so is at most `i64::MAX`.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Msn(u64);

impl Msn {
    /// The first MSN of a fresh partition.
    pub const ZERO: Self = Self(0);
    /// The largest MSN that the record batch can name.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// The MSN with this number, capped at [`Msn::MAX`].
    pub const fn new(number: u64) -> Self {
        if number > Self::MAX.0 { Self::MAX } else { Self(number) }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The MSN `count` records later, capped at [`Msn::MAX`].
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        Self::new(self.0.saturating_add(count))
    }

    /// How many MSNs lie between `earlier` and this one; 0 when `earlier` is not earlier.
    pub const fn distance_from(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Msn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for Msn {
    fn from(number: u64) -> Self {
        Self::new(number)
    }
}

impl FromStr for Msn {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number: u64 = text.parse().map_err(|cause: std::num::ParseIntError| {
            Error::new(ErrorKind::Invalid, format!("`{text}` is no MSN")).with_source(cause)
        })?;
        if number > Self::MAX.0 {
            return Err(Error::new(ErrorKind::Invalid, format!("MSN {number} is out of range")));
        }
        Ok(Self(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_the_largest_msn() {
        assert_eq!(Msn::MAX.plus(1), Msn::MAX);
        assert_eq!(Msn::new(u64::MAX), Msn::MAX);
        assert_eq!(Msn::new(3).distance_from(Msn::new(5)), 0);
        assert_eq!(Msn::new(5).distance_from(Msn::new(3)), 2);
    }

    #[test]
    fn text_that_is_no_msn_is_invalid() {
        for text in ["", "-1", "x", "9223372036854775808"] {
            assert_eq!(text.parse::<Msn>().unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
        assert_eq!("42".parse::<Msn>().unwrap(), Msn::new(42));
    }
}
