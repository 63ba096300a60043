//! The wall clock. No decision reads it: it is written into records for people.

use domain::Timestamp;

/// Now.
pub fn now() -> Timestamp {
    let nanos = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    Timestamp(i64::try_from(nanos).unwrap_or(i64::MAX))
}
