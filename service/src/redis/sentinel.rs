//! Which server the sentinels call the master.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionInfo, ErrorKind, RedisConnectionInfo, RedisError, Value};

use super::address::{Endpoint, Sentinels};
use super::connection::{Held, Life, client, config, connect};
use super::{Error, Settings};

/// How long a sentinel has to answer.
const ASK_TIME: Duration = Duration::from_secs(1);

/// How often sentinels are asked if the master is still the one that is spoken to: one that lost its office while it was
/// cut off from them would else be believed for as long as it answers.
const LOOK_APART: Duration = Duration::from_secs(5);

/// A connection to whichever server the sentinels call the master.
pub(super) struct Master {
    sentinels: Sentinels,
    held: Held,
    current: Mutex<Option<Current>>,
}

/// The server that is spoken to.
struct Current {
    master: Endpoint,
    /// When the sentinels last named it.
    looked: Instant,
}

impl Master {
    pub(super) fn new(sentinels: Sentinels) -> Self {
        Self { sentinels, held: Held::default(), current: Mutex::default() }
    }

    /// The connection, made anew if there is none, or another server is the master now.
    pub(super) async fn get(&self, settings: &Settings) -> Result<(Life, MultiplexedConnection), Error> {
        if let Some(spoken_to) = self.due()
            && let Ok((master, _)) = master(settings, &self.sentinels).await
            && master != spoken_to
        {
            tracing::info!(%master, "the sentinels name another master");
            self.held.let_go_of_any().await;
        }
        let connecting = async {
            let (master, connection) = connect_master(settings, &self.sentinels, &config()).await?;
            let current = Current { master, looked: Instant::now() };
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current);
            Ok(connection)
        };
        self.held.get(connecting).await
    }

    /// That connection is of no use any more.
    pub(super) async fn let_go(&self, life: Life) {
        self.held.let_go(life).await;
    }

    /// The server that is spoken to, if it is time to ask whether it is to be. One caller asks for all.
    fn due(&self) -> Option<Endpoint> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = current.as_mut().filter(|current| current.looked.elapsed() >= LOOK_APART)?;
        current.looked = Instant::now();
        Some(current.master.clone())
    }
}

/// What a sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    /// Which failover made it the master: of two answers the one with the higher number is the newer one.
    config_epoch: u64,
    master: Endpoint,
}

/// Connects to the master. A server that is no master is refused: it may be one that was, and does not know better yet.
pub(super) async fn connect_master(
    settings: &Settings,
    sentinels: &Sentinels,
    config: &AsyncConnectionConfig,
) -> Result<(Endpoint, MultiplexedConnection), Error> {
    let (master, info) = master(settings, sentinels).await?;
    let mut connection = connect(settings, info, config).await?;
    let away = |source| Error::Away { address: settings.address.to_string(), source };
    let role: Value = redis::cmd("ROLE").query_async(&mut connection).await.map_err(away)?;
    if is_master(&role) {
        return Ok((master, connection));
    }
    let why = format!("{master}, which the sentinels name, is a replica");
    Err(away((ErrorKind::Client, "no master", why).into()))
}

fn is_master(role: &Value) -> bool {
    let Value::Array(parts) = role else { return false };
    parts.first().and_then(|role| redis::from_redis_value_ref::<String>(role).ok()).is_some_and(|role| role == "master")
}

/// Asks all sentinels anew, as one alone may be cut off and believe what was true long ago.
pub(super) async fn master(
    settings: &Settings,
    Sentinels { hosts, service }: &Sentinels,
) -> Result<(Endpoint, ConnectionInfo), Error> {
    let answers = join_all(hosts.iter().map(|host| ask(settings, host, service))).await;
    let (said, mut failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    let newest = newest(said.into_iter().flatten().collect());
    if let (Some(master), Some(like)) = (&newest, hosts.first()) {
        return Ok((master.clone(), master.reached_like(like)));
    }
    let nobody = || {
        let source = RedisError::from((ErrorKind::Client, "no sentinel knows the service", service.clone()));
        Error::Away { address: settings.address.to_string(), source }
    };
    Err(failed.pop().and_then(Result::err).unwrap_or_else(nobody))
}

fn newest(answers: Vec<Answer>) -> Option<Endpoint> {
    answers.into_iter().max_by_key(|answer| answer.config_epoch).map(|answer| answer.master)
}

async fn ask(settings: &Settings, host: &ConnectionInfo, service: &str) -> Result<Answer, Error> {
    let nameless = host.clone().set_redis_settings(RedisConnectionInfo::default());
    // Most sentinels let everybody ask; others have the password of their servers.
    match ask_as(&Settings { password_file: None, ..settings.clone() }, nameless, service).await {
        Err(error) if error.is_refused() => {
            let redis = host.redis_settings().clone().set_db(0);
            ask_as(settings, host.clone().set_redis_settings(redis), service).await
        }
        answer => answer,
    }
}

async fn ask_as(settings: &Settings, info: ConnectionInfo, service: &str) -> Result<Answer, Error> {
    let away = |source| Error::Away { address: settings.address.to_string(), source };
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(ASK_TIME)).set_response_timeout(Some(ASK_TIME));
    let client = client(settings, info).await?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(away)?;
    let mut questions = redis::pipe();
    questions.cmd("SENTINEL").arg("MASTER").arg(service);
    questions.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    let answers = questions.ignore_errors().query_async(&mut connection).await;
    let (master, address): (Value, Value) = answers.map_err(away)?;
    if let Value::ServerError(error) = &master
        && error.code() != "ERR"
    {
        return Err(away(error.clone().into()));
    }
    parse(&master, &address)
        .ok_or_else(|| away((ErrorKind::Client, "a sentinel does not know the service", service.to_owned()).into()))
}

fn parse(master: &Value, address: &Value) -> Option<Answer> {
    let fields: std::collections::BTreeMap<String, String> = redis::from_redis_value_ref(master).ok()?;
    let (host, port): (String, u16) = redis::from_redis_value_ref(address).ok()?;
    let config_epoch = fields.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    Some(Answer { config_epoch, master: Endpoint { host, port } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::BulkString(text.as_bytes().to_vec())).collect())
    }

    #[test]
    fn a_sentinel_that_was_cut_off_is_not_believed() {
        let answer = |epoch: &str, host: &str| {
            parse(&texts(&["name", "main", "config-epoch", epoch]), &texts(&[host, "6379"])).unwrap()
        };
        let answers = vec![answer("3", "old"), answer("10", "new"), answer("9", "older")];
        assert_eq!(newest(answers), Some(Endpoint { host: "new".to_owned(), port: 6379 }));
        assert_eq!(newest(Vec::new()), None);
    }

    #[test]
    fn what_is_no_answer_names_no_master() {
        assert_eq!(parse(&Value::Nil, &Value::Nil), None);
        assert_eq!(parse(&texts(&["name", "main"]), &texts(&["h", "port"])), None);
        assert!(is_master(&texts(&["master", "0"])));
        assert!(!is_master(&texts(&["slave", "h", "1", "connected"])) && !is_master(&Value::Nil));
    }
}
