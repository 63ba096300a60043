//! `logs`: the last lines of one container's output.

use std::collections::VecDeque;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptions;
use bytes::Bytes;
use domain::rpc::{LOG_LINES_MAX, LogLine, LogStream, LogsRequest, LogsResponse};
use futures::StreamExt;

use super::{Desk, Refusal};

/// Lines in a reply unless told otherwise.
const LINES: u32 = 100;
/// Most bytes of lines in a reply.
const LINES_BYTES_MAX: usize = 256 << 10;
/// What a line takes on the wire besides its text.
const LINE_OVERHEAD: usize = 12;
/// Longest wait for the engine.
const LOGS_MAX: Duration = Duration::from_secs(5);

impl Desk {
    pub(super) async fn logs(&self, request: &LogsRequest) -> Result<LogsResponse, Refusal> {
        let connection = self.connection.borrow().clone();
        let connection = connection.ok_or_else(|| Refusal::not_ready("the engine is not connected"))?;
        let docker = connection.docker().ok_or_else(|| Refusal::not_ready("the engine is simulated"))?;
        let wanted = if request.lines == 0 { LINES } else { request.lines.min(LOG_LINES_MAX) };
        let options = LogsOptions { stdout: true, stderr: true, tail: wanted.to_string(), ..LogsOptions::default() };
        let id = request.container_id.to_string();
        let mut stream = Box::pin(docker.logs(&id, Some(options)));
        let mut tail = Tail::new(LINES_BYTES_MAX.min(self.bytes_max), usize::try_from(wanted).unwrap_or(usize::MAX));
        let read = async {
            while let Some(output) = stream.next().await {
                tail.push(output?);
            }
            Ok(())
        };
        match tokio::time::timeout(LOGS_MAX, read).await {
            Ok(Ok(())) => {}
            Ok(Err(Error::DockerResponseServerError { status_code: 404, .. })) => {
                return Err(Refusal::not_found("the engine has no such container"));
            }
            Ok(Err(error)) => return Err(Refusal::not_ready(error.to_string())),
            Err(_) => return Err(Refusal::not_ready("the engine does not answer in time")),
        }
        let (lines, truncated) = tail.end();
        Ok(LogsResponse { responder: self.core.responder(), lines, truncated })
    }
}

/// The last lines of what is pushed.
struct Tail {
    lines: VecDeque<LogLine>,
    bytes: usize,
    bytes_max: usize,
    lines_max: usize,
    truncated: bool,
    /// Begun and not ended, for standard output, standard error and a terminal.
    open: [Vec<u8>; 3],
}

impl Tail {
    fn new(bytes_max: usize, lines_max: usize) -> Self {
        let open = Default::default();
        Self { lines: VecDeque::new(), bytes: 0, bytes_max, lines_max, truncated: false, open }
    }

    fn push(&mut self, output: LogOutput) {
        let (stream, message): (_, Bytes) = match output {
            LogOutput::StdOut { message } => (LogStream::Stdout, message),
            LogOutput::StdErr { message } => (LogStream::Stderr, message),
            LogOutput::StdIn { message } | LogOutput::Console { message } => (LogStream::Terminal, message),
        };
        for part in message.split_inclusive(|byte| *byte == b'\n') {
            let open = &mut self.open[slot(stream)];
            open.extend_from_slice(part);
            if open.ends_with(b"\n") || open.len() > self.bytes_max {
                let text = std::mem::take(open);
                self.line(stream, text);
            }
        }
    }

    fn line(&mut self, stream: LogStream, mut text: Vec<u8>) {
        while text.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            text.pop();
        }
        let room = self.bytes_max.saturating_sub(LINE_OVERHEAD);
        if text.len() > room {
            text.truncate(room);
            self.truncated = true;
        }
        self.bytes += text.len() + LINE_OVERHEAD;
        self.lines.push_back(LogLine { stream, text });
        while self.bytes > self.bytes_max || self.lines.len() > self.lines_max {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.truncated |= self.bytes > self.bytes_max;
            self.bytes -= oldest.text.len() + LINE_OVERHEAD;
        }
    }

    fn end(mut self) -> (Vec<LogLine>, bool) {
        for stream in [LogStream::Stdout, LogStream::Stderr, LogStream::Terminal] {
            let text = std::mem::take(&mut self.open[slot(stream)]);
            if !text.is_empty() {
                self.line(stream, text);
            }
        }
        (self.lines.into(), self.truncated)
    }
}

fn slot(stream: LogStream) -> usize {
    match stream {
        LogStream::Stdout => 0,
        LogStream::Stderr => 1,
        LogStream::Terminal => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &'static str) -> LogOutput {
        LogOutput::StdOut { message: Bytes::from_static(text.as_bytes()) }
    }

    fn texts(tail: Tail) -> (Vec<String>, bool) {
        let (lines, truncated) = tail.end();
        (lines.into_iter().map(|line| String::from_utf8(line.text).unwrap()).collect(), truncated)
    }

    #[test]
    fn the_last_lines_are_kept_whole() {
        let mut tail = Tail::new(1000, 3);
        for text in ["a\nb", "c\r\n", "d\n\n", "e"] {
            tail.push(out(text));
        }
        tail.push(LogOutput::StdErr { message: Bytes::from_static(b"x\n") });
        assert_eq!(texts(tail), (vec!["".into(), "x".into(), "e".into()], false));
    }

    #[test]
    fn a_bound_that_was_hit_is_said() {
        let mut tail = Tail::new(40, 100);
        for _ in 0..10 {
            tail.push(out("0123456789\n"));
        }
        assert_eq!(texts(tail), (vec!["0123456789".into()], true));
        let mut tail = Tail::new(20, 100);
        tail.push(out("0123456789abcdef\n"));
        assert_eq!(texts(tail), (vec!["01234567".into()], true));
    }
}
