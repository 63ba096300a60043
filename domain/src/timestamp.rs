//! Wall-clock times, as engines and people write them.

use std::fmt;
use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A time that is not RFC 3339, or not within 1677 to 2262.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time between 1677 and 2262: `{0}`")]
pub struct InvalidTimestamp(String);

/// A wall-clock time: nanoseconds since 1970 in UTC. Written as RFC 3339 with nine decimals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let invalid = || InvalidTimestamp(text.chars().take(80).collect());
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| invalid())?;
        i64::try_from(time.unix_timestamp_nanos()).map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z");
        // Every i64 of nanoseconds lies within the years that `time` can write.
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0)).map_err(|_| fmt::Error)?;
        f.write_str(&time.format(&format).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_decimals_in_utc() {
        let time: Timestamp = "2026-01-02T03:04:05.6+02:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-01-02T01:04:05.600000000Z");
    }

    #[test]
    fn the_engines_year_one_is_no_time() {
        assert!("0001-01-01T00:00:00Z".parse::<Timestamp>().is_err());
    }
}
