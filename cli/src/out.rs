//! Standard output and standard error: data goes to the one, a line about what went wrong to the other.

use std::io::{self, Write};

use service::Failure;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It failed.
    Failed(Failure),
    /// Nobody reads its output any more: that is the reader's right, and no failure.
    Closed,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::Closed
        } else {
            Self::Failed(Failure::failed(format!("writing to standard output: {error}; make room or redirect it")))
        }
    }
}

/// Writes text to standard output, at once.
pub(crate) fn data(text: &str) -> Result<(), Ended> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes one line to standard output, at once.
pub(crate) fn line(text: &str) -> Result<(), Ended> {
    data(&format!("{text}\n"))
}

/// Writes a JSON value to standard output, indented.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Ended> {
    line(&format!("{value:#}"))
}

/// Says one line on standard error. Where that is closed there is nobody to tell.
pub(crate) fn complain(text: &str) {
    drop(writeln!(io::stderr().lock(), "deckwatch: {}", one_line(text)));
}

/// Text on one line, without control characters, whatever an engine or a user put into it.
pub(crate) fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    plain.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Nobody reads standard output any more: it is a pipe or socket whose other end is closed.
pub(crate) fn is_closed() -> bool {
    let stdout = io::stdout();
    let mut polled = [rustix::event::PollFd::new(&stdout, rustix::event::PollFlags::empty())];
    let no_wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&no_wait)).is_ok_and(|ready| ready > 0)
        && polled[0].revents().intersects(rustix::event::PollFlags::ERR | rustix::event::PollFlags::HUP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_text_stays_on_its_line() {
        assert_eq!(one_line("exec: \"foo\":\n\tnot found\x1b[31m"), "exec: \"foo\": not found [31m");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        assert!(matches!(Ended::from(io::Error::from(io::ErrorKind::BrokenPipe)), Ended::Closed));
        assert!(matches!(Ended::from(io::Error::from(io::ErrorKind::StorageFull)), Ended::Failed(_)));
    }
}
