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
