//! One connection that is made anew when it is found to be of no use.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, RedisError};
use tokio::sync::Mutex;

use super::{Error, Settings, read};

/// How long a call may take.
const CALL_TIME: Duration = Duration::from_secs(10);
/// How long one attempt to connect may take.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// How a connection is made.
pub(super) fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_TIME)).set_response_timeout(Some(CALL_TIME))
}

/// Connects to one server.
pub(super) async fn connect(
    settings: &Settings,
    info: ConnectionInfo,
    config: &AsyncConnectionConfig,
) -> Result<MultiplexedConnection, Error> {
    let away = |source| Error::Away { address: settings.address.to_string(), source };
    let client = client(settings, info).await?;
    client.get_multiplexed_async_connection_with_config(config).await.map_err(away)
}

/// What is needed to connect to one server. Opens no socket.
pub(super) async fn client(settings: &Settings, info: ConnectionInfo) -> Result<Client, Error> {
    let mut info = info.set_tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true));
    if let Some(file) = &settings.password_file {
        let password = read("--redis-password-file", file).await?;
        let redis = info.redis_settings().clone().set_password(String::from_utf8_lossy(&password).trim());
        info = info.set_redis_settings(redis);
    }
    let away = |source| Error::Away { address: settings.address.to_string(), source };
    match &settings.ca {
        None => Client::open(info).map_err(away),
        Some(file) => {
            let root_cert = Some(read("--redis-ca", file).await?);
            Client::build_with_tls(info, redis::TlsCertificates { client_tls: None, root_cert }).map_err(away)
        }
    }
}

/// The server cannot be spoken to on this connection any more, or is not the one to be spoken to.
pub(super) fn is_stale(source: &RedisError) -> bool {
    source.is_io_error()
        || source.is_timeout()
        || source.is_connection_dropped()
        || source.is_unrecoverable_error()
        // A server that was demoted answers so for ever.
        || source.code() == Some("READONLY")
}

/// A connection that is held as long as it is of use. Who asks while one is being made waits for that one.
#[derive(Default)]
pub(super) struct Held(Mutex<State>);

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Which connection it is.
    life: Life,
    /// The last attempt to make one, if it failed.
    failed: Option<Failed>,
}

/// An attempt that failed, for all who waited for it.
pub(super) struct Failed {
    at: Instant,
    address: String,
    source: RedisError,
}

impl Failed {
    /// It failed just now; `None` where it did for a reason that is worth another attempt at once.
    pub(super) fn now(error: &Error) -> Option<Self> {
        match error {
            Error::Away { address, source } | Error::Call { address, source } => {
                Some(Self { at: Instant::now(), address: address.clone(), source: source.clone() })
            }
            Error::File { .. } => None,
        }
    }

    /// Why, if it failed after that.
    pub(super) fn since(&self, asked: Instant) -> Option<Error> {
        let Self { at, address, source } = self;
        (*at >= asked).then(|| Error::Away { address: address.clone(), source: source.clone() })
    }
}

/// One of the connections that were held, one after another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life(u64);

impl Held {
    /// The connection, made now if there is none.
    pub(super) async fn get(
        &self,
        connect: impl Future<Output = Result<MultiplexedConnection, Error>>,
    ) -> Result<(Life, MultiplexedConnection), Error> {
        let asked = Instant::now();
        let mut state = self.0.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((state.life, connection.clone()));
        }
        if let Some(error) = state.failed.as_ref().and_then(|failed| failed.since(asked)) {
            return Err(error);
        }
        match connect.await {
            Ok(connection) => {
                state.life.0 += 1;
                state.failed = None;
                state.connection = Some(connection.clone());
                Ok((state.life, connection))
            }
            Err(error) => {
                state.failed = Failed::now(&error);
                Err(error)
            }
        }
    }

    /// That connection is of no use any more.
    pub(super) async fn let_go(&self, life: Life) {
        let mut state = self.0.lock().await;
        if state.life == life {
            state.connection = None;
        }
    }

    /// Whichever it is, it is of no use any more.
    pub(super) async fn let_go_of_any(&self) {
        self.0.lock().await.connection = None;
    }
}
