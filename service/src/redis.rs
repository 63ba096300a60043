//! A connection to Redis that heals by itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, FromRedisValue, IntoConnectionInfo, Pipeline, ProtocolVersion,
    PushInfo,
};
use tokio::sync::{Mutex, mpsc};

use crate::args::RedisArgs;
use crate::nats::parse_version;
use crate::{Context, Exit, Failure};

/// How long a call may take.
const CALL_TIME: Duration = Duration::from_secs(10);
/// How long one attempt to connect may take.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// How long to wait before the server is asked again.
const RETRY: Duration = Duration::from_millis(250);

/// Address of Redis.
#[derive(Clone)]
pub struct Address {
    info: ConnectionInfo,
    url: String,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hint = "use for example redis://127.0.0.1:6379";
        let url = if text.contains("://") { text.to_owned() } else { format!("redis://{text}") };
        if !["redis://", "rediss://", "unix://", "redis+unix://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(format!("not an address of Redis; {hint}"));
        }
        let info = url.as_str().into_connection_info().map_err(|error| format!("{error}; {hint}"))?;
        Ok(Self { info, url })
    }
}

impl Address {
    /// The address whole, with a user and a password that it may bear: for the settings of a program that is run, never
    /// for a log or for arguments, which all of the machine can read.
    pub fn whole(&self) -> &str {
        &self.url
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address alone: never a user or a password.
        write!(f, "redis://{}", self.info.addr())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How to reach Redis.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address.
    pub address: Address,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// File with the certificate authority.
    pub ca: Option<PathBuf>,
}

impl Settings {
    /// Settings for one address, nothing else.
    pub fn at(address: Address) -> Self {
        Self { address, password_file: None, ca: None }
    }

    /// From arguments; `fallback` where no address was given.
    pub fn new(args: &RedisArgs, fallback: Address) -> Self {
        Self {
            address: args.redis.clone().unwrap_or(fallback),
            password_file: args.redis_password_file.clone(),
            ca: args.redis_ca.clone(),
        }
    }

    /// Whether the files that are named can be used. Opens no socket.
    ///
    /// # Errors
    /// Wrong usage: names the flag and its file.
    pub async fn check(&self) -> Result<(), Failure> {
        Store::new(self.clone()).client().await.map(drop).map_err(|error| match (error, &self.ca) {
            (Error::Away { source, .. }, Some(file)) => Failure::usage(format!(
                "cannot use {} (--redis-ca) for {}: {source}; give certificates in PEM, and an address with rediss://",
                file.display(),
                self.address
            )),
            (error @ (Error::Away { .. } | Error::Call { .. }), _) => Failure::usage(format!("{error}; check --redis")),
            (error @ Error::File { .. }, _) => Failure::usage(format!("{error}; check the path and its permissions")),
        })
    }
}

/// Why a call failed. It may have had its effect all the same, unless [`Error::is_away`] says that none was sent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection, and none can be made.
    #[error("cannot reach Redis at {address}: {source}")]
    Away {
        /// Where.
        address: String,
        /// Why.
        source: redis::RedisError,
    },
    /// The call failed.
    #[error("Redis at {address}: {source}")]
    Call {
        /// Where.
        address: String,
        /// Why.
        source: redis::RedisError,
    },
    /// A file that the settings name cannot be read.
    #[error("cannot use {file} ({flag}): {source}")]
    File {
        /// Which.
        file: String,
        /// The flag that names it.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
}

impl Error {
    /// No connection could be made.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. })
    }

    /// The server's own error code (`NOSCRIPT`, `ERR`, `LOADING`…), where it answered with an error.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Call { source, .. } => source.code(),
            Self::Away { .. } | Self::File { .. } => None,
        }
    }

    /// The server refuses the password.
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Away { source, .. } | Self::Call { source, .. } => {
                source.kind() == redis::ErrorKind::AuthenticationFailed
                    || matches!(source.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
            }
            Self::File { .. } => false,
        }
    }
}

/// A connection to Redis that heals by itself. One call's failure is told; the next one connects anew if need be.
pub struct Store {
    settings: Settings,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl Store {
    /// Not yet connected.
    pub fn new(settings: Settings) -> Self {
        Self { settings, connection: Mutex::new(None) }
    }

    /// Where it connects to, without user and password.
    pub fn address(&self) -> String {
        self.settings.address.to_string()
    }

    /// One command.
    ///
    /// # Errors
    /// No connection, no answer in time, or the server's error.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let mut connection = self.connection().await?;
        let result = command.query_async(&mut connection).await;
        self.checked(result).await
    }

    /// Several commands at once.
    ///
    /// # Errors
    /// As of [`Store::query`].
    pub async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Error> {
        let mut connection = self.connection().await?;
        let result = pipeline.query_async(&mut connection).await;
        self.checked(result).await
    }

    /// The server is new enough: Redis 7.0 or Valkey 8.
    ///
    /// # Errors
    /// Unanswered where it is away; failed where it is too old, or refuses the password.
    pub async fn check(&self) -> Result<(), Failure> {
        let info: String = self.query(redis::cmd("INFO").arg("server")).await.map_err(|error| {
            if error.is_refused() {
                Failure::failed(format!("{error}; give the right password with --redis-password-file"))
            } else {
                Failure::unanswered(format!("{error}; start Redis, or name where it is with --redis"))
            }
        })?;
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let (product, version, min) = match field("valkey_version") {
            Some(version) => ("Valkey", version, (8, 0, 0)),
            None => ("Redis", field("redis_version").unwrap_or_default(), (7, 0, 0)),
        };
        if parse_version(&version).is_none_or(|version| version < min) {
            return Err(Failure::failed(format!(
                "{product} at {} is version {version}: too old; use Redis 7.0, Valkey 8 or newer",
                self.address()
            )));
        }
        Ok(())
    }

    /// Waits until the server answers and is new enough. Says whether that came before the stop.
    ///
    /// # Errors
    /// What waiting cannot heal: too old, or the password refused.
    pub async fn wait(&self, context: &Context) -> Result<bool, Failure> {
        while !context.stop.is_stopped() {
            match self.check().await {
                Ok(()) => {
                    context.health.ready("redis");
                    return Ok(true);
                }
                Err(failure) if failure.exit == Exit::Unanswered => context.health.unready("redis", failure.message),
                Err(failure) => return Err(failure),
            }
            context.stop.sleep(RETRY).await;
        }
        Ok(false)
    }

    async fn connection(&self) -> Result<MultiplexedConnection, Error> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = held.as_ref() {
            return Ok(connection.clone());
        }
        let client = self.client().await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIME))
            .set_response_timeout(Some(CALL_TIME));
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|source| Error::Away { address: self.address(), source })?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    async fn client(&self) -> Result<Client, Error> {
        let mut info = self.settings.address.info.clone();
        info = info.set_tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true));
        if let Some(file) = &self.settings.password_file {
            let password = read("--redis-password-file", file).await?;
            let redis = info.redis_settings().clone().set_password(String::from_utf8_lossy(&password).trim());
            info = info.set_redis_settings(redis);
        }
        let away = |source| Error::Away { address: self.address(), source };
        match &self.settings.ca {
            None => Client::open(info).map_err(away),
            Some(file) => {
                let root_cert = Some(read("--redis-ca", file).await?);
                Client::build_with_tls(info, redis::TlsCertificates { client_tls: None, root_cert }).map_err(away)
            }
        }
    }

    async fn checked<T>(&self, result: Result<T, redis::RedisError>) -> Result<T, Error> {
        match result {
            Ok(value) => Ok(value),
            Err(source) => {
                // A server that was demoted answers READONLY for ever on this connection.
                let stale = source.is_io_error()
                    || source.is_timeout()
                    || source.is_connection_dropped()
                    || source.is_unrecoverable_error()
                    || source.code() == Some("READONLY");
                if stale {
                    *self.connection.lock().await = None;
                }
                Err(Error::Call { address: self.address(), source })
            }
        }
    }
}

/// Connects, once, by the protocol in which the server may speak unasked: that goes to `pushes`.
///
/// # Errors
/// No connection, or a file that cannot be read.
pub async fn connect_pushed(
    settings: &Settings,
    pushes: mpsc::UnboundedSender<PushInfo>,
) -> Result<MultiplexedConnection, Error> {
    let Address { info, url } = settings.address.clone();
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let address = Address { info: info.set_redis_settings(redis), url };
    let store = Store::new(Settings { address, ..settings.clone() });
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIME))
        .set_response_timeout(Some(CALL_TIME))
        .set_push_sender(pushes);
    let connected = store.client().await?.get_multiplexed_async_connection_with_config(&config).await;
    connected.map_err(|source| Error::Away { address: store.address(), source })
}

async fn read(flag: &'static str, file: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(file).await.map_err(|source| Error::File { file: file.display().to_string(), flag, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let address: Address = "redis://me:secret@10.0.0.1:7000".parse().unwrap();
        assert_eq!(address.to_string(), "redis://10.0.0.1:7000");
        assert_eq!(address.whole(), "redis://me:secret@10.0.0.1:7000");
        assert_eq!("h:1".parse::<Address>().unwrap().to_string(), "redis://h:1");
        assert!("http://x".parse::<Address>().is_err());
        assert!("redis://h:port".parse::<Address>().is_err());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_used_is_wrong_usage() {
        let settings = Settings::at("rediss://127.0.0.1:1".parse().unwrap());
        assert_eq!(settings.check().await, Ok(()));
        let missing = || Some(PathBuf::from("/nowhere/file"));
        let no_password = Settings { password_file: missing(), ..settings.clone() };
        for (settings, says) in [
            (no_password, "cannot use /nowhere/file (--redis-password-file)"),
            (Settings { ca: missing(), ..settings.clone() }, "cannot use /nowhere/file (--redis-ca)"),
        ] {
            let failure = settings.check().await.unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.starts_with(says), "{failure}");
        }
    }
}
