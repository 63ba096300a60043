//! Arguments that commands share. Every flag has an environment variable.

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use domain::Prefix;

/// How to reach NATS.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "NATS")]
pub struct NatsArgs {
    /// Address of NATS, or several separated by commas [default: an `up` with the same data folder, else nats://127.0.0.1:4222]
    #[arg(long, env = "DECKWATCH_NATS", value_name = "URL")]
    pub nats: Option<crate::nats::Servers>,
    /// File with NATS credentials (JWT and seed)
    #[arg(long, env = "DECKWATCH_NATS_CREDS", value_name = "FILE")]
    pub nats_creds: Option<PathBuf>,
    /// File with a NATS nkey seed
    #[arg(long, env = "DECKWATCH_NATS_NKEY", value_name = "FILE")]
    pub nats_nkey: Option<PathBuf>,
    /// File with the certificate authority of NATS; TLS is then required
    #[arg(long, env = "DECKWATCH_NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
}

/// How to reach Redis.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Redis")]
pub struct RedisArgs {
    /// Address of Redis; redis+sentinel://<host>,<host>/<service> asks sentinels, redis+cluster://<host>,<host> is a cluster [default: an `up` with the same data folder, else redis://127.0.0.1:6379]
    #[arg(long, env = "DECKWATCH_REDIS", value_name = "URL")]
    pub redis: Option<crate::redis::Address>,
    /// File with the password of Redis
    #[arg(long, env = "DECKWATCH_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,
    /// File with the certificate authority of Redis
    #[arg(long, env = "DECKWATCH_REDIS_CA", value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,
}

/// What commands share.
#[derive(Args, Clone, Debug)]
pub struct CommonArgs {
    /// What the names of all subjects, streams and keys begin with
    #[arg(long, env = "DECKWATCH_PREFIX", value_name = "NAME", default_value = "deckwatch")]
    pub prefix: Prefix,
    /// Folder for data [default: /var/lib/deckwatch for root, else the user's state folder]
    #[arg(long, env = "DECKWATCH_DATA_DIR", value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
}

impl CommonArgs {
    /// The folder for data: as given, else `/var/lib/deckwatch` for root, else within the user's state folder.
    pub fn data_dir(&self) -> PathBuf {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.data_dir.clone().unwrap_or_else(|| {
            if rustix::process::geteuid().is_root() {
                return PathBuf::from("/var/lib/deckwatch");
            }
            let state = var("XDG_STATE_HOME").or_else(|| Some(var("HOME")?.join(".local/state")));
            state.map_or_else(|| PathBuf::from("/var/lib/deckwatch"), |state| state.join("deckwatch"))
        })
    }
}

/// How a role is served.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Service")]
pub struct ServeArgs {
    /// Address for /livez, /readyz and /metrics: an address, a port, or both
    #[arg(long, env = "DECKWATCH_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<AdminAddress>,
    /// How long to finish what is under way when told to stop
    #[arg(long, env = "DECKWATCH_GRACE", value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub grace: Duration,
}

/// How a role is run.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Service")]
pub struct RoleArgs {
    /// How it is served.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// How often signs of life are sent and expected; at least 1s
    #[arg(long, env = "DECKWATCH_HEARTBEAT", value_name = "TIME", default_value = "5s", value_parser = heartbeat)]
    pub heartbeat: Duration,
}

/// Logs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// Form of the logs on stderr
    #[arg(long, env = "DECKWATCH_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Least level that is logged
    #[arg(long, env = "DECKWATCH_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
}

impl LogArgs {
    pub(crate) fn colour(&self) -> bool {
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }
}

/// Form of the logs.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Level of the logs.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// What an operator should look at.
    Warn,
    /// What happens once in a while.
    Info,
    /// What happens often.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// Where a program listens for `/livez`, `/readyz` and `/metrics`: `ADDRESS`, `PORT` or `ADDRESS:PORT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdminAddress {
    /// Address; 127.0.0.1 where only a port was given.
    pub ip: IpAddr,
    /// Port, where one was given. 0 is any.
    pub port: Option<u16>,
}

impl AdminAddress {
    /// The address, with `port` where none was given.
    pub fn or_port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(port))
    }
}

impl Default for AdminAddress {
    fn default() -> Self {
        Self { ip: IpAddr::from([127, 0, 0, 1]), port: None }
    }
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { ip: address.ip(), port: Some(address.port()) });
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        let port = text.strip_prefix(':').unwrap_or(text);
        let port = port.parse().map_err(|_| "use an IP address, a port, or both as in 127.0.0.1:9651".to_owned())?;
        Ok(Self { port: Some(port), ..Self::default() })
    }
}

/// A length of time, as `5s` or `1m 30s`; more than nothing.
///
/// # Errors
/// What is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; use for example 5s or 1m30s"))?;
    if time.is_zero() { Err("it must be more than nothing; use for example 5s".to_owned()) } else { Ok(time) }
}

/// Shortest time between two looks at the same thing.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A time between two looks at the same thing.
///
/// # Errors
/// What is wrong with the text.
pub fn interval(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < INTERVAL_MIN { Err("it must be at least 100ms; use for example 5s".to_owned()) } else { Ok(time) }
}

/// Shortest time between two signs of life: a pause that any loaded machine makes is none.
const HEARTBEAT_MIN: Duration = Duration::from_secs(1);

/// A time between two signs of life.
///
/// # Errors
/// What is wrong with it.
pub fn heartbeat(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time < HEARTBEAT_MIN { Err("it must be at least 1s; use for example 5s".to_owned()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_address_is_an_address_a_port_or_both() {
        let parse = |text: &str| text.parse::<AdminAddress>().map(|address| address.or_port(9651).to_string());
        assert_eq!(parse("127.0.0.2").unwrap(), "127.0.0.2:9651");
        assert_eq!(parse("127.0.0.2:1").unwrap(), "127.0.0.2:1");
        assert_eq!(parse("8080").unwrap(), "127.0.0.1:8080");
        assert_eq!(parse(":0").unwrap(), "127.0.0.1:0");
        assert_eq!(parse("[::1]:7").unwrap(), "[::1]:7");
        assert!(parse("nowhere").is_err());
    }

    #[test]
    fn nothing_is_no_length_of_time() {
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(duration("0s").is_err());
        assert!(duration("soon").is_err());
        assert_eq!(heartbeat("1s"), Ok(Duration::from_secs(1)));
        assert!(heartbeat("999ms").is_err());
    }
}
