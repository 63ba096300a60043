//! `healthcheck`: asks a role if it is ready. For containers, whose engine wants a command and its exit code.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use service::Failure;
use service::args::AdminAddress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::out::{self, Ended};
use crate::{role, up};

/// How long the answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Most bytes of an answer that are read.
const ANSWER_MAX: u64 = 64 * 1024;

const EXAMPLES: &str = "\
Examples:
  deckwatch healthcheck                            `up`, at its usual port of this host
  deckwatch healthcheck projector                  a projector, at its usual port
  deckwatch healthcheck --admin 127.0.0.1:9700     whoever serves /readyz there
  HEALTHCHECK CMD [\"deckwatch\", \"healthcheck\", \"projector\"]

Exit code 0: ready. 1: not ready, or nobody is there; stderr says why.";

/// Who is asked.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Everything in one process.
    Up,
    /// The agent beside an engine.
    Producer,
    /// What puts observations in order.
    Sequencer,
    /// What keeps Redis true.
    Projector,
    /// What doubts everything.
    Reconciler,
}

/// Arguments of `healthcheck`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Who is asked: it decides on the port where --admin names none
    #[arg(value_enum, default_value = "up")]
    role: Role,
    /// The role's --admin: an address, a port, or both
    #[arg(long, env = "DECKWATCH_ADMIN", value_name = "ADDRESS")]
    admin: Option<AdminAddress>,
}

/// Asks once.
pub(crate) async fn run(args: &Args) -> Result<(), Ended> {
    let address = address(args);
    let asked = tokio::time::timeout(ANSWER_TIME, ask(address)).await;
    let seconds = ANSWER_TIME.as_secs();
    let answered = asked.unwrap_or_else(|_| Err(format!("no answer within {seconds} s; see if it is overloaded")));
    answered.map_err(|why| Failure::failed(format!("{address} is not ready: {why}")))?;
    out::line("ready")
}

/// Where to ask. A role that listens on every address listens on this host's own.
fn address(args: &Args) -> SocketAddr {
    let port = match args.role {
        Role::Up => up::ADMIN_PORT,
        Role::Producer => role::PRODUCER_PORT,
        Role::Sequencer => role::SEQUENCER_PORT,
        Role::Projector => role::PROJECTOR_PORT,
        Role::Reconciler => role::RECONCILER_PORT,
    };
    let mut address = args.admin.unwrap_or_default().or_port(port);
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(std::net::Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(std::net::Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// Reads `/readyz`; the reason where it is not 200.
async fn ask(address: SocketAddr) -> Result<(), String> {
    let start = "start the role, or name its address with --admin";
    let mut connection = TcpStream::connect(address).await.map_err(|error| format!("{error}; {start}"))?;
    let mut answer = Vec::new();
    let asked = async {
        connection.write_all(format!("GET /readyz HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
        connection.take(ANSWER_MAX).read_to_end(&mut answer).await
    };
    asked.await.map_err(|error| format!("the answer broke off: {error}"))?;
    judge(&String::from_utf8_lossy(&answer))
}

fn judge(answer: &str) -> Result<(), String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut words = head.split_ascii_whitespace();
    let speaks_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    match words.next().filter(|_| speaks_http) {
        Some("200") => Ok(()),
        Some("503") => Err(body.trim().replace('\n', "; ")),
        Some(code) => Err(format!("/readyz answers {code}; name a role's address with --admin")),
        None => Err("it does not speak HTTP; name a role's address with --admin".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_at(role: Role, admin: Option<&str>) -> String {
        address(&Args { role, admin: admin.map(|text| text.parse().unwrap()) }).to_string()
    }

    #[test]
    fn a_role_has_its_usual_port_and_listens_here() {
        assert_eq!(asked_at(Role::Up, None), "127.0.0.1:9650");
        assert_eq!(asked_at(Role::Projector, None), "127.0.0.1:9653");
        assert_eq!(asked_at(Role::Projector, Some("0.0.0.0")), "127.0.0.1:9653");
        assert_eq!(asked_at(Role::Reconciler, Some("[::]:7")), "[::1]:7");
        assert_eq!(asked_at(Role::Reconciler, Some("10.0.0.1")), "10.0.0.1:9654");
    }

    #[test]
    fn only_200_is_ready_and_a_reason_is_passed_on() {
        assert_eq!(judge("HTTP/1.0 200 OK\r\n\r\nok\n"), Ok(()));
        let away = judge("HTTP/1.0 503 Service Unavailable\r\nx: y\r\n\r\nnats: away\nredis: away\n");
        assert_eq!(away, Err("nats: away; redis: away".to_owned()));
        assert!(judge("HTTP/1.0 404 Not Found\r\n\r\n").unwrap_err().contains("404"));
        assert!(judge("-ERR 200").unwrap_err().contains("HTTP"));
        assert!(judge("").is_err());
    }
}
