//! One request to what serves HTTP on this host.

use std::fmt;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Most bytes of an answer that are read.
const ANSWER_MAX: u64 = 64 * 1024;

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status: 200 where all is well.
    pub(crate) code: u16,
    pub(crate) body: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Nobody listens there.
    Nobody(std::io::Error),
    /// The connection ended before the answer did.
    BrokenOff(std::io::Error),
    /// What listens there speaks something else.
    NotHttp,
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(error) => write!(f, "{error}"),
            Self::BrokenOff(error) => write!(f, "the answer broke off: {error}"),
            Self::NotHttp => f.write_str("it does not speak HTTP"),
        }
    }
}

/// Asks once. Whoever asks bounds the time.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<Answer, Unanswered> {
    let mut connection = TcpStream::connect(address).await.map_err(Unanswered::Nobody)?;
    let mut answer = Vec::new();
    let asked = async {
        connection.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        connection.take(ANSWER_MAX).read_to_end(&mut answer).await
    };
    asked.await.map_err(Unanswered::BrokenOff)?;
    parse(&String::from_utf8_lossy(&answer)).ok_or(Unanswered::NotHttp)
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut words = head.split_ascii_whitespace();
    words.next().filter(|word| word.starts_with("HTTP/1."))?;
    Some(Answer { code: words.next()?.parse().ok()?, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_http_has_a_status_and_a_body() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\nx: y\r\n\r\nnats: away\n");
        assert_eq!(answer, Some(Answer { code: 503, body: "nats: away\n".to_owned() }));
        assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\n").map(|answer| answer.code), Some(200));
        assert_eq!(parse("-ERR 200"), None);
        assert_eq!(parse(""), None);
    }
}
