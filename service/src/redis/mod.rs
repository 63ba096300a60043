//! Redis, however many servers it is: one, the master that sentinels name, or a cluster. What fails is told, and the next
//! call finds by itself who is to be asked then.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ConnectionInfo, ErrorKind, FromRedisValue, Pipeline, ProtocolVersion, PushInfo, RedisError, Value};
use tokio::sync::mpsc;

use crate::args::RedisArgs;
use crate::nats::parse_version;
use crate::{Context, Exit, Failure};

mod address;
mod cluster;
mod connection;
mod scan;
mod sentinel;
mod slots;

pub use address::Address;
pub use scan::Scan;

use address::Reach;
use cluster::Cluster;
use connection::{Held, Life, config, connect, is_stale};
use sentinel::Master;

/// How long to wait before the server is asked again.
const RETRY: Duration = Duration::from_millis(250);

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
        let Some(any) = self.address.any().cloned() else { return Ok(()) };
        connection::client(self, any).await.map(drop).map_err(|error| match (error, &self.ca) {
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

/// Why a call failed. One that was sent may have had its effect all the same.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection, and none can be made.
    #[error("cannot reach Redis at {address}: {source}")]
    Away {
        /// Where.
        address: String,
        /// Why.
        source: RedisError,
    },
    /// The call failed.
    #[error("Redis at {address}: {source}")]
    Call {
        /// Where.
        address: String,
        /// Why.
        source: RedisError,
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
                source.kind() == ErrorKind::AuthenticationFailed
                    || matches!(source.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"))
            }
            Self::File { .. } => false,
        }
    }
}

/// Redis. One call's failure is told; the next one connects anew if need be.
pub struct Store {
    settings: Settings,
    link: Link,
}

/// Connections to it.
enum Link {
    One(ConnectionInfo, Held),
    Master(Master),
    Cluster(Cluster),
}

impl Store {
    /// Not yet connected.
    pub fn new(settings: Settings) -> Self {
        let link = match &settings.address.reach {
            Reach::One(info) => Link::One(info.clone(), Held::default()),
            Reach::Sentinel(sentinels) => Link::Master(Master::new(sentinels.clone())),
            Reach::Cluster(seeds) => Link::Cluster(Cluster::new(seeds.clone())),
        };
        Self { settings, link }
    }

    /// Where it connects to, without user and password.
    pub fn address(&self) -> String {
        self.settings.address.to_string()
    }

    /// One command about one key, which is its first argument, or about several that share a slot.
    ///
    /// # Errors
    /// No connection, no answer in time, or the server's error.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let settings = &self.settings;
        let connected = match &self.link {
            Link::Cluster(cluster) => return parsed(settings, cluster.query(settings, command).await?),
            Link::One(info, held) => held.get(connect(settings, info.clone(), &config())).await,
            Link::Master(master) => master.get(settings).await,
        };
        let (life, mut connection) = connected?;
        let result = command.query_async(&mut connection).await;
        self.checked(life, result).await
    }

    /// Several commands at once, whose keys share a slot.
    ///
    /// # Errors
    /// As of [`Store::query`].
    pub async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Error> {
        let settings = &self.settings;
        let connected = match &self.link {
            Link::Cluster(cluster) => return parsed(settings, cluster.pipeline(settings, pipeline).await?),
            Link::One(info, held) => held.get(connect(settings, info.clone(), &config())).await,
            Link::Master(master) => master.get(settings).await,
        };
        let (life, mut connection) = connected?;
        let result = pipeline.query_async(&mut connection).await;
        self.checked(life, result).await
    }

    /// Commands about any keys, each of which is answered for itself. One about a key of another type answers with that
    /// error; any other error is one of the whole, so that what was not answered is never taken for what is not there.
    ///
    /// # Errors
    /// As of [`Store::query`].
    pub async fn batch(&self, commands: &[Cmd]) -> Result<Vec<Value>, Error> {
        let values = match &self.link {
            Link::Cluster(cluster) => cluster.batch(&self.settings, commands).await?,
            Link::One(..) | Link::Master(_) => {
                let mut pipeline = redis::pipe();
                pipeline.ignore_errors();
                commands.iter().for_each(|command| {
                    pipeline.add_command(command.clone());
                });
                if commands.is_empty() { Vec::new() } else { self.pipeline(&pipeline).await? }
            }
        };
        let refused = values.iter().find_map(|value| {
            let Value::ServerError(error) = value else { return None };
            (error.code() != "WRONGTYPE").then(|| RedisError::from(error.clone()))
        });
        match refused {
            None => Ok(values),
            Some(source) => Err(Error::Call { address: self.address(), source }),
        }
    }

    /// A command about no key, answered by each server that has keys of its own.
    ///
    /// # Errors
    /// As of [`Store::query`]; also where one of them does not answer.
    pub async fn each<T: FromRedisValue>(&self, command: &Cmd) -> Result<Vec<T>, Error> {
        match &self.link {
            Link::Cluster(cluster) => {
                let values = cluster.each(&self.settings, command).await?;
                values.into_iter().map(|value| parsed(&self.settings, value)).collect()
            }
            Link::One(..) | Link::Master(_) => Ok(vec![self.query(command).await?]),
        }
    }

    /// The next keys that fit the pattern, about `count` of them.
    ///
    /// # Errors
    /// As of [`Store::query`].
    pub async fn scan(&self, scan: &mut Scan, pattern: &str, count: usize) -> Result<Vec<Vec<u8>>, Error> {
        let command = |cursor: u64| {
            let mut command = redis::cmd("SCAN");
            command.arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count);
            command
        };
        if let Link::Cluster(cluster) = &self.link {
            return cluster.scan(&self.settings, scan, command).await;
        }
        let (cursor, keys) = self.query(&command(scan.cursor)).await?;
        scan.told(cursor, &[]);
        Ok(keys)
    }

    /// Every server is new enough: Redis 7.0 or Valkey 8.
    ///
    /// # Errors
    /// Unanswered where it is away; failed where it is too old, or refuses the password.
    pub async fn check(&self) -> Result<(), Failure> {
        let infos: Vec<String> = self.each(redis::cmd("INFO").arg("server")).await.map_err(|error| {
            if error.is_refused() {
                Failure::failed(format!("{error}; give the right password with --redis-password-file"))
            } else {
                Failure::unanswered(format!("{error}; start Redis, or name where it is with --redis"))
            }
        })?;
        infos.iter().try_for_each(|info| self.check_version(info))
    }

    fn check_version(&self, info: &str) -> Result<(), Failure> {
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

    async fn checked<T>(&self, life: Life, result: Result<T, RedisError>) -> Result<T, Error> {
        match result {
            Ok(value) => Ok(value),
            Err(source) => {
                match &self.link {
                    Link::One(_, held) if is_stale(&source) => held.let_go(life).await,
                    Link::Master(master) if is_stale(&source) => master.let_go(life).await,
                    Link::One(..) | Link::Master(_) | Link::Cluster(_) => {}
                }
                Err(Error::Call { address: self.address(), source })
            }
        }
    }
}

fn parsed<T: FromRedisValue>(settings: &Settings, value: Value) -> Result<T, Error> {
    let call = |source| Error::Call { address: settings.address.to_string(), source };
    redis::from_redis_value(value).map_err(|error| call(error.into()))
}

/// Connects, once, by the protocol in which the server may speak unasked: that goes to `pushes`.
///
/// # Errors
/// No connection, or a file that cannot be read; to a cluster there is none that tells of all keys.
pub async fn connect_pushed(
    settings: &Settings,
    pushes: mpsc::UnboundedSender<PushInfo>,
) -> Result<MultiplexedConnection, Error> {
    let address = settings.address.clone().with(|redis| redis.set_protocol(ProtocolVersion::RESP3));
    let settings = Settings { address, ..settings.clone() };
    let config = config().set_push_sender(pushes);
    match &settings.address.reach {
        Reach::One(info) => connect(&settings, info.clone(), &config).await,
        Reach::Sentinel(sentinels) => sentinel::connect_master(&settings, sentinels, &config).await.map(|(_, it)| it),
        Reach::Cluster(_) => {
            let source = (ErrorKind::InvalidClientConfig, "a cluster has no one connection").into();
            Err(Error::Away { address: settings.address.to_string(), source })
        }
    }
}

async fn read(flag: &'static str, file: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(file).await.map_err(|source| Error::File { file: file.display().to_string(), flag, source })
}

#[cfg(test)]
mod tests {
    use super::*;

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
