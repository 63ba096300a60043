//! `healthcheck`: asks a role if it is ready. For containers, whose engine wants a command and its exit code.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use service::Failure;
use service::args::AdminAddress;

use crate::http::{self, Answer, Unanswered};
use crate::out::{self, Ended};
use crate::{role, up};

/// How long the answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(5);

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
    judge(http::get(address, "/readyz").await)
}

fn judge(answered: Result<Answer, Unanswered>) -> Result<(), String> {
    match answered {
        Ok(Answer { code: 200, .. }) => Ok(()),
        Ok(Answer { code: 503, body }) => Err(body.trim().replace('\n', "; ")),
        Ok(Answer { code, .. }) => Err(format!("/readyz answers {code}; name a role's address with --admin")),
        Err(why @ Unanswered::Nobody(_)) => Err(format!("{why}; start the role, or name its address with --admin")),
        Err(why @ Unanswered::BrokenOff(_)) => Err(why.to_string()),
        Err(why @ Unanswered::NotHttp) => Err(format!("{why}; name a role's address with --admin")),
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
        let judged = |code, body: &str| judge(Ok(Answer { code, body: body.to_owned() }));
        assert_eq!(judged(200, "ok\n"), Ok(()));
        assert_eq!(judged(503, "nats: away\nredis: away\n"), Err("nats: away; redis: away".to_owned()));
        assert!(judged(404, "").unwrap_err().contains("404"));
        assert!(judge(Err(Unanswered::NotHttp)).unwrap_err().contains("HTTP"));
    }
}
