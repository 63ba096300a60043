//! Connections to NATS.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, ServerAddr, ServerError};

use rand::seq::SliceRandom;

use crate::args::NatsArgs;
use crate::{Context, Failure, Permissions};

/// Oldest server whose fenced atomic batches are right (nats-server #8377).
pub const VERSION_MIN: (u64, u64, u64) = (2, 14, 4);

/// How long a server may take to let a client in: on a loaded machine a handshake that is given up is begun anew.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// The same, for a question that waits while there are other servers to ask.
const CONNECT_TIME_ASKING: Duration = Duration::from_secs(3);
/// How long to wait between attempts, at most.
const RETRY_TIME_MAX: Duration = Duration::from_secs(2);
/// How often the server is asked for a sign of life: two that are missed end the connection.
const PING_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take, unless who asks says otherwise. A server of a cluster whose leader has just gone answers
/// nothing: whoever then waits for long is late when there is a new one.
const ANSWER_TIME: Duration = Duration::from_secs(4);
/// How long a server keeps a reader's request for messages. The client has a sign of life twice in this time, and makes
/// a reader anew after twice this time without any: so long is a partition unread when the server of a cluster that had
/// its reader is gone. (async-nats `jetstream/consumer/pull.rs`: `ordered_batch_config`, `Ordered::poll_next`)
pub const READ_TIME: Duration = Duration::from_secs(3);

/// What stands before each certificate in a file.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Addresses of NATS servers, at least one.
#[derive(Clone, Debug)]
pub struct Servers(Vec<ServerAddr>);

impl FromStr for Servers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let servers = text.split(',').map(|address| {
            let hint = "use for example nats://127.0.0.1:4222";
            let address: ServerAddr = address.trim().parse().map_err(|error| format!("{error}; {hint}"))?;
            if address.host().is_empty() { Err(format!("no host; {hint}")) } else { Ok(address) }
        });
        servers.collect::<Result<_, _>>().map(Self)
    }
}

impl Servers {
    /// Each of them alone, in any order: one that is away or cut off is not always the first.
    fn shuffled(&self) -> Vec<Self> {
        let mut servers: Vec<Self> = self.0.iter().map(|server| Self(vec![server.clone()])).collect();
        servers.shuffle(&mut rand::rng());
        servers
    }

    /// The addresses whole, with a user and a password that they may bear: for the settings of a program that is run,
    /// never for a log or for arguments, which all of the machine can read.
    pub fn whole(&self) -> String {
        let urls: Vec<String> = self.0.iter().map(|server| server.clone().into_inner().to_string()).collect();
        urls.join(",")
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, server) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            // Never the user or password that an address may bear.
            write!(f, "{comma}{}://{}:{}", server.scheme(), server.host(), server.port())?;
        }
        Ok(())
    }
}

/// How to reach NATS.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Servers.
    pub servers: Servers,
    /// File with credentials.
    pub creds: Option<PathBuf>,
    /// File with an nkey seed.
    pub nkey: Option<PathBuf>,
    /// File with the certificate authority.
    pub ca: Option<PathBuf>,
}

impl Settings {
    /// Settings for one address, nothing else.
    pub fn at(servers: Servers) -> Self {
        Self { servers, creds: None, nkey: None, ca: None }
    }

    /// From arguments; `fallback` where no address was given.
    pub fn new(args: &NatsArgs, fallback: Servers) -> Self {
        Self {
            servers: args.nats.clone().unwrap_or(fallback),
            creds: args.nats_creds.clone(),
            nkey: args.nats_nkey.clone(),
            ca: args.nats_ca.clone(),
        }
    }

    /// Whether the files that are named can be used. Opens no socket.
    ///
    /// # Errors
    /// Wrong usage: names the flag and its file.
    pub async fn check(&self) -> Result<(), Failure> {
        self.options("", CONNECT_TIME).await.map(drop)
    }

    async fn options(&self, name: &str, time_max: Duration) -> Result<ConnectOptions, Failure> {
        let mut options = ConnectOptions::new()
            .name(name)
            .connection_timeout(time_max)
            .ping_interval(PING_TIME)
            .request_timeout(Some(ANSWER_TIME))
            .subscription_capacity(256 * 1024);
        if let Some(file) = &self.creds {
            options = options.credentials_file(file).await.map_err(|error| unusable("--nats-creds", file, &error))?;
        }
        if let Some(file) = &self.nkey {
            let seed = tokio::fs::read_to_string(file).await.map_err(|error| unusable("--nats-nkey", file, &error))?;
            options = options.nkey(seed.trim().to_owned());
        }
        if let Some(file) = &self.ca {
            let text = tokio::fs::read_to_string(file).await.map_err(|error| unusable("--nats-ca", file, &error))?;
            if !text.contains(CERTIFICATE) {
                return Err(unusable("--nats-ca", file, &"no certificate in PEM"));
            }
            options = options.add_root_certificates(file.clone()).require_tls(true);
        }
        Ok(options)
    }
}

fn unusable(flag: &str, file: &Path, error: &dyn fmt::Display) -> Failure {
    Failure::usage(format!("cannot use {} ({flag}): {error}; check the path and its permissions", file.display()))
}

/// Why there is no connection.
enum Refused {
    /// It may come later.
    Away(String),
    /// It will not.
    For(Failure),
}

/// Connects, once: for programs that ask a question.
///
/// # Errors
/// Unanswered where the server is away; failed where it is too old or refuses the credentials.
pub async fn connect(settings: &Settings, name: &str) -> Result<Client, Failure> {
    connect_noting(settings, name, Permissions::default()).await
}

/// As [`connect`]; what the server then refuses is noted.
///
/// # Errors
/// As of [`connect`].
pub async fn connect_noting(settings: &Settings, name: &str, permissions: Permissions) -> Result<Client, Failure> {
    let time_max = if settings.servers.0.len() > 1 { CONNECT_TIME_ASKING } else { CONNECT_TIME };
    let options = settings.options(name, time_max).await?.event_callback(move |event| {
        if let Event::ServerError(ServerError::Other(error)) = event {
            permissions.note(&error);
        }
        std::future::ready(())
    });
    attempt(settings, options, time_max).await.map_err(|refused| match refused {
        Refused::Away(reason) => Failure::unanswered(format!("{reason}; start NATS, or name where it is with --nats")),
        Refused::For(failure) => failure,
    })
}

/// Connects as soon as the server can be reached; the connection then heals by itself.
/// The condition `nats` tells how it is. `None` when the context was stopped first.
///
/// # Errors
/// What waiting cannot heal: a server that is too old, or refuses the credentials.
pub async fn connect_until(settings: &Settings, name: &str, context: &Context) -> Result<Option<Client>, Failure> {
    let mut wait = Duration::from_millis(100);
    context.permissions.tell(context.health.clone());
    while !context.stop.is_stopped() {
        let options = watched(settings.options(name, CONNECT_TIME).await?, context, settings.servers.to_string());
        match attempt(settings, options, CONNECT_TIME).await {
            Ok(client) => {
                context.health.ready("nats");
                return Ok(Some(client));
            }
            Err(Refused::For(failure)) => return Err(failure),
            Err(Refused::Away(reason)) => context.health.unready("nats", reason),
        }
        context.stop.sleep(wait).await;
        wait = (wait * 2).min(RETRY_TIME_MAX);
    }
    Ok(None)
}

/// Connects once, by a connection that ends for good when it is cut: nothing that was given to it is sent later.
///
/// A publish that waits through a cut could fit a stream that lost its tail and has grown again to just that sequence.
/// Of several servers any that lets it in will do.
///
/// # Errors
/// As of [`connect`].
pub async fn connect_single(settings: &Settings, name: &str, permissions: &Permissions) -> Result<Single, Failure> {
    let mut away = Vec::new();
    for servers in settings.servers.shuffled() {
        match attempt_single(settings, servers, name, permissions.clone()).await {
            Ok(single) => return Ok(single),
            Err(Refused::Away(reason)) => away.push(reason),
            Err(Refused::For(failure)) => return Err(failure),
        }
    }
    Err(Failure::unanswered(away.join("; ")))
}

async fn attempt_single(
    settings: &Settings,
    servers: Servers,
    name: &str,
    permissions: Permissions,
) -> Result<Single, Refused> {
    let alive = Arc::new(AtomicBool::new(true));
    let connecting = Arc::new(AtomicBool::new(false));
    let (ended, lost) = (Arc::clone(&alive), Arc::clone(&connecting));
    let options = settings
        .options(name, CONNECT_TIME)
        .await
        .map_err(Refused::For)?
        .max_reconnects(1)
        .event_callback(move |event| {
            match event {
                Event::Disconnected | Event::Closed => ended.store(false, Ordering::SeqCst),
                Event::ServerError(ServerError::Other(error)) => permissions.note(&error),
                Event::Connected
                | Event::LameDuckMode
                | Event::Draining
                | Event::SlowConsumer(_)
                | Event::ServerError(_)
                | Event::ClientError(_) => {}
            }
            std::future::ready(())
        })
        .reconnect_to_server_callback(move |servers, _info| {
            // The first call connects. A later one would reconnect: it is sent where nobody listens,
            // and the second attempt is then one too many, which ends the client.
            let again = lost.swap(true, Ordering::SeqCst);
            let chosen =
                servers.iter().find(|server| is_nowhere(&server.addr) == again).map(|server| server.addr.clone());
            std::future::ready(chosen.map(|addr| ReconnectToServer { addr, delay: Some(Duration::ZERO) }))
        });
    let mut with_nowhere = Settings { servers, ..settings.clone() };
    let nowhere = NOWHERE.parse().map_err(|_| Refused::For(Failure::failed("the address of nowhere is wrong")))?;
    with_nowhere.servers.0.push(nowhere);
    let client = attempt(&with_nowhere, options, CONNECT_TIME).await?;
    Ok(Single { client, alive })
}

/// A connection that ends for good when it is cut.
pub struct Single {
    /// The connection.
    pub client: Client,
    alive: Arc<AtomicBool>,
}

impl Single {
    /// It was not cut, as far as is known.
    pub fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }
}

/// The discard port of loopback: a connection is refused there at once.
const NOWHERE: &str = "nats://127.0.0.1:9";

fn is_nowhere(address: &ServerAddr) -> bool {
    address.host() == "127.0.0.1" && address.port() == 9
}

fn watched(options: ConnectOptions, context: &Context, servers: String) -> ConnectOptions {
    let (health, permissions) = (context.health.clone(), context.permissions.clone());
    options.event_callback(move |event| {
        match event {
            Event::Connected => {
                permissions.forget();
                health.ready("nats");
            }
            Event::Disconnected => health.unready("nats", format!("the connection to {servers} is cut")),
            Event::SlowConsumer(subscription) => tracing::warn!(subscription, "messages were dropped: too slow"),
            Event::ServerError(ServerError::Other(error)) => permissions.note(&error),
            Event::LameDuckMode | Event::Draining | Event::Closed | Event::ServerError(_) | Event::ClientError(_) => {}
        }
        std::future::ready(())
    })
}

/// Tries the servers one after another, each for `time_max` at most.
async fn attempt(settings: &Settings, options: ConnectOptions, time_max: Duration) -> Result<Client, Refused> {
    let servers = &settings.servers;
    let shown = Servers(servers.0.iter().filter(|server| !is_nowhere(server)).cloned().collect());
    let time_max = time_max * u32::try_from(shown.0.len()).unwrap_or(u32::MAX);
    let connecting = tokio::time::timeout(time_max, options.connect(servers.0.as_slice()));
    let client = match connecting.await {
        Err(_) => {
            return Err(Refused::Away(format!(
                "cannot reach NATS at {shown}: no answer within {} s",
                time_max.as_secs()
            )));
        }
        Ok(Err(error)) if refuses(&error) => {
            return Err(Refused::For(Failure::failed(format!(
                "NATS at {shown} refuses these credentials: {error}; check --nats-creds or --nats-nkey"
            ))));
        }
        Ok(Err(error)) => return Err(Refused::Away(format!("cannot reach NATS at {shown}: {error}"))),
        Ok(Ok(client)) => client,
    };
    let version = client.server_info().version;
    if parse_version(&version).is_none_or(|version| version < VERSION_MIN) {
        let (major, minor, patch) = VERSION_MIN;
        return Err(Refused::For(Failure::failed(format!(
            "NATS at {shown} is version {version}: too old; use {major}.{minor}.{patch} or newer"
        ))));
    }
    Ok(client)
}

fn refuses(error: &async_nats::ConnectError) -> bool {
    matches!(error.kind(), ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication)
}

/// The three numbers that a version begins with.
pub fn parse_version(text: &str) -> Option<(u64, u64, u64)> {
    let numbers = text.trim_start_matches('v').split(['-', '+', ' ']).next()?;
    let mut numbers = numbers.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next().unwrap_or(Ok(0)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let servers: Servers = "nats://me:secret@10.0.0.1:4333, other".parse().unwrap();
        assert_eq!(servers.to_string(), "nats://10.0.0.1:4333,nats://other:4222");
        assert!("nats://".parse::<Servers>().is_err());
        assert!("http://x".parse::<Servers>().is_err());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_wrong_usage() {
        let settings = Settings::at("127.0.0.1:1".parse().unwrap());
        assert_eq!(settings.check().await, Ok(()));
        let missing = || Some(PathBuf::from("/nowhere/file"));
        let no_certificate = Some(PathBuf::from("/dev/null"));
        for (settings, says) in [
            (Settings { creds: missing(), ..settings.clone() }, "cannot use /nowhere/file (--nats-creds)"),
            (Settings { nkey: missing(), ..settings.clone() }, "cannot use /nowhere/file (--nats-nkey)"),
            (Settings { ca: missing(), ..settings.clone() }, "cannot use /nowhere/file (--nats-ca)"),
            (Settings { ca: no_certificate, ..settings }, "cannot use /dev/null (--nats-ca): no certificate"),
        ] {
            let failure = settings.check().await.unwrap_err();
            assert_eq!(failure.exit, crate::Exit::Usage);
            assert!(failure.message.starts_with(says), "{failure}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("2.14.4"), Some((2, 14, 4)));
        assert_eq!(parse_version("v2.15.1-RC.1"), Some((2, 15, 1)));
        assert_eq!(parse_version("new"), None);
        assert!(parse_version("2.9.10").unwrap() < VERSION_MIN);
    }
}
