use std::fmt;
use std::process::ExitCode;

/// How a program ends when it does not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ran and the answer is no, or it failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// A question that could not be answered.
    Unanswered = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Failed => Self::from(1),
            Exit::Usage => Self::from(2),
            Exit::Unanswered => Self::from(3),
        }
    }
}

/// Why a program ends, in one line: what failed, why, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How it ends.
    pub exit: Exit,
    /// The line.
    pub message: String,
}

impl Failure {
    /// It ran and failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failed, message: message.into() }
    }

    /// Wrong usage or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }

    /// A question that could not be answered.
    pub fn unanswered(message: impl Into<String>) -> Self {
        Self { exit: Exit::Unanswered, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever an underlying error printed, one line stays one line.
        let mut words = self.message.split_whitespace();
        if let Some(first) = words.next() {
            f.write_str(first)?;
        }
        words.try_for_each(|word| write!(f, " {word}"))
    }
}

impl std::error::Error for Failure {}

/// The error with all its causes, in one line: a library's own text often hides what happened.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot\n\x1bask")]
    struct Hiding(#[source] std::io::Error);

    #[test]
    fn what_an_error_hides_is_told_once_and_in_one_line() {
        let hiding = Hiding(std::io::Error::other("no such file"));
        assert_eq!(causes(&hiding), "cannot ask: no such file");
        assert_eq!(causes(&std::io::Error::other("no such file")), "no such file");
    }
}
