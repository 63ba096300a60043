//! One line of what `doctor` finds.

use service::Failure;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and should be looked at.
    Warning,
    /// It does not work.
    Failed,
}

impl Outcome {
    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    /// What.
    pub(super) what: String,
    /// How it ended.
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) detail: String,
    /// What to do about it; empty where all is well.
    pub(super) advice: String,
}

impl Check {
    /// As it should be.
    pub(super) fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), outcome: Outcome::Ok, detail: detail.into(), advice: String::new() }
    }

    /// It works, and should be looked at.
    pub(super) fn warning(what: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), outcome: Outcome::Warning, detail: detail.into(), advice: advice.into() }
    }

    /// It does not work.
    pub(super) fn failed(what: impl Into<String>, detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { what: what.into(), outcome: Outcome::Failed, detail: detail.into(), advice: advice.into() }
    }

    /// It does not work. A failure's line ends with what to do.
    pub(super) fn of_failure(what: impl Into<String>, failure: &Failure) -> Self {
        let line = failure.to_string();
        let (detail, advice) = line.rsplit_once("; ").unwrap_or((&line, ""));
        Self::failed(what, detail, advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failures_line_is_taken_apart() {
        let check = Check::of_failure("nats", &Failure::failed("cannot reach it: a; b; start it"));
        assert_eq!(check, Check::failed("nats", "cannot reach it: a; b", "start it"));
        assert_eq!(Check::of_failure("x", &Failure::failed("broken")), Check::failed("x", "broken", ""));
    }
}
