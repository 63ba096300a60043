//! How far a server's clock is from this machine's.

use std::time::Duration;

use domain::Timestamp;

use super::check::Check;

/// From here on times in the record mislead.
const SKEW_WARNING: Duration = Duration::from_secs(1);
/// From here on what is judged by time, certificates and credentials, may fail.
const SKEW_FAILED: Duration = Duration::from_secs(30);

/// A server's clock as it was read, between two looks at this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// This machine's clock before the question.
    pub(super) before: Timestamp,
    /// The server's clock.
    pub(super) theirs: Timestamp,
    /// This machine's clock after the answer.
    pub(super) after: Timestamp,
}

impl Reading {
    /// How far the server's clock is ahead, at least, in nanoseconds; less than 0 where it is behind.
    fn ahead(self) -> i64 {
        let Self { before, theirs, after } = self;
        theirs.0.saturating_sub(theirs.0.clamp(before.0.min(after.0), after.0.max(before.0)))
    }

    /// What to say of it.
    pub(super) fn check(self, whose: &str) -> Check {
        let what = format!("clock of {whose}");
        let ahead = self.ahead();
        let skew = Duration::from_nanos(ahead.unsigned_abs());
        let side = if ahead < 0 { "behind" } else { "ahead of" };
        let detail = format!("{:.1} s {side} this machine's", skew.as_secs_f64());
        let advice = "keep the clocks of all machines in step, for example with chrony";
        if skew >= SKEW_FAILED {
            Check::failed(what, detail, advice)
        } else if skew >= SKEW_WARNING {
            Check::warning(what, detail, advice)
        } else {
            Check::ok(what, "in step with this machine's")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Outcome;
    use super::*;

    #[test]
    fn the_time_that_an_answer_takes_is_no_skew() {
        let second = 1_000_000_000;
        let read = |theirs| Reading {
            before: Timestamp(10 * second),
            theirs: Timestamp(theirs),
            after: Timestamp(15 * second),
        };
        assert_eq!(read(12 * second).ahead(), 0);
        assert_eq!(read(17 * second).ahead(), 2 * second);
        assert_eq!(read(9 * second).ahead(), -second);
        assert_eq!(read(12 * second).check("x").outcome, Outcome::Ok);
        let late = read(17 * second).check("x");
        assert_eq!((late.outcome, late.detail.as_str()), (Outcome::Warning, "2.0 s ahead of this machine's"));
        assert_eq!(read(-40 * second).check("x").outcome, Outcome::Failed);
    }
}
