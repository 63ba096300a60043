//! NATS and Redis for `up`: its own, or running ones that were named.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use service::redis::Store;
use service::{Failure, Health, nats, redis};

use super::Args;
use super::child::Server;
use super::ending::Ending;
use super::orphans;
use super::ports::Port;
use super::tools::{Kind, find};
use super::unwritten::Monitor;
use crate::data_dir::{DataDir, Up};

/// The usual ports.
const NATS_PORT: u16 = 4222;
const REDIS_PORT: u16 = 6379;
/// How often it is looked if a server answers by now.
const LOOK_TIME: Duration = Duration::from_millis(30);

/// Settings of nats-server.
pub(crate) const NATS_CONF: &str = include_str!("../../../deploy/nats.conf");
/// Settings of redis-server.
pub(crate) const REDIS_CONF: &str = include_str!("../../../deploy/redis.conf");

/// A server of its own, with the name or port that tells it from any other.
struct Own {
    server: Server,
    port: u16,
}

/// NATS and Redis, and what the data folder says of them.
pub(crate) struct Servers {
    /// How to reach NATS.
    pub(crate) nats: nats::Settings,
    /// How to reach Redis.
    pub(crate) redis: redis::Settings,
    own_nats: Option<Own>,
    own_redis: Option<Own>,
    /// Where its own NATS tells how it is.
    monitor: Option<Monitor>,
    /// What nats-server calls itself: another one on that port has another name.
    nats_name: String,
    data: DataDir,
    up: Mutex<Up>,
}

impl Servers {
    /// Finds programs and ports. Starts nothing yet, but ends what an earlier `up` left behind.
    pub(crate) async fn prepare(args: &Args, data: DataDir) -> Result<Self, Failure> {
        let (nats_folder, redis_folder) = (data.inside("nats")?, data.inside("redis")?);
        orphans::end(&[&nats_folder, &redis_folder]).await;
        let tools = args.tools_dir.as_deref();
        let own_nats = if args.nats.nats.is_none() { Some(find(Kind::Nats, tools).await?) } else { None };
        let own_redis = if args.redis.redis.is_none() { Some(find(Kind::Redis, tools).await?) } else { None };
        // Both are held until both are chosen, so that they differ.
        let nats_port =
            own_nats.is_some().then(|| Port::choose(args.nats_port, NATS_PORT, "--nats-port")).transpose()?;
        let redis_port =
            own_redis.is_some().then(|| Port::choose(args.redis_port, REDIS_PORT, "--redis-port")).transpose()?;
        let monitor_port = own_nats.is_some().then(|| Port::choose(Some(0), 0, "--nats-port")).transpose()?;
        let nats_name = format!("deckwatch-{:016x}", service::random());
        let number = |port: &Option<Port>, usual| port.as_ref().map_or(usual, Port::number);
        let (nats_number, redis_number) = (number(&nats_port, NATS_PORT), number(&redis_port, REDIS_PORT));
        let at = |what: &str, text: &str| Failure::failed(format!("{what} cannot be at {text}"));
        let nats_at = format!("nats://127.0.0.1:{nats_number}");
        let redis_at = format!("redis://127.0.0.1:{redis_number}");
        let nats = nats::Settings::new(&args.nats, nats_at.parse().map_err(|_| at("NATS", &nats_at))?);
        let redis = redis::Settings::new(&args.redis, redis_at.parse().map_err(|_| at("Redis", &redis_at))?);
        let monitor = monitor_port.as_ref().map(|port| Monitor { port: port.number(), folder: nats_folder.clone() });
        let own_nats = match own_nats {
            None => None,
            Some(tool) => {
                let conf = write(&data, "nats.conf", NATS_CONF)?;
                let mut arguments = nats_arguments(&conf, nats_number, &nats_folder, &nats_name);
                arguments.extend(monitor.iter().flat_map(|monitor| ["-m".into(), monitor.port.to_string().into()]));
                let log = data.path().join("nats.log");
                Some(Own { server: Server::new(tool, arguments, nats_folder, log), port: nats_number })
            }
        };
        let own_redis = match own_redis {
            None => None,
            Some(tool) => {
                let conf = write(&data, "redis.conf", REDIS_CONF)?;
                let arguments = redis_arguments(&conf, redis_number, &redis_folder);
                let log = data.path().join("redis.log");
                Some(Own { server: Server::new(tool, arguments, redis_folder, log), port: redis_number })
            }
        };
        let up = Up {
            pid: std::process::id(),
            nats: nats.servers.to_string(),
            redis: redis.address.to_string(),
            ..Up::default()
        };
        [nats_port, redis_port, monitor_port].into_iter().flatten().for_each(Port::release);
        let servers = Self { nats, redis, own_nats, own_redis, monitor, nats_name, data, up: Mutex::new(up) };
        servers.publish(|_| {});
        Ok(servers)
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &DataDir {
        &self.data
    }

    /// Changes what the data folder says.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Up)) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut up);
        up.nats_pid = self.own_nats.as_ref().and_then(|own| own.server.pid());
        up.redis_pid = self.own_redis.as_ref().and_then(|own| own.server.pid());
        if let Err(error) = self.data.write(&up) {
            tracing::warn!(%error, "cannot say in up.json where the servers are: other commands need --nats and --redis");
        }
    }

    /// Keeps its own servers running, and NATS writing, until told to stop; then ends them.
    pub(crate) async fn keep(&self, ending: &Ending, health: &Health) {
        let keep = async |own: &Option<Own>| {
            if let Some(own) = own {
                own.server.keep(ending, || self.publish(|_| {})).await;
            }
        };
        let kept = async { tokio::join!(keep(&self.own_nats), keep(&self.own_redis)) };
        tokio::select! {
            ((), ()) = kept => {}
            () = self.keep_writing(health) => {}
        }
    }

    async fn keep_writing(&self, health: &Health) {
        match (&self.monitor, &self.own_nats) {
            (Some(monitor), Some(own)) => monitor.look_after(&own.server, health).await,
            _ => std::future::pending().await,
        }
    }

    /// Waits until both answer, and are what they should be.
    pub(crate) async fn answer(&self) -> Result<(), Failure> {
        for own in [&self.own_nats, &self.own_redis].into_iter().flatten() {
            own.listens().await?;
        }
        let client = nats::connect(&self.nats, "deckwatch up").await?;
        if let Some(own) = &self.own_nats
            && client.server_info().server_name != self.nats_name
        {
            return Err(own.not_ours());
        }
        let store = Store::new(self.redis.clone());
        loop {
            match store.check().await {
                Ok(()) => break,
                // It reads its data before it answers.
                Err(failure) if failure.message.contains("LOADING") => tokio::time::sleep(LOOK_TIME).await,
                Err(failure) => return Err(failure),
            }
        }
        let Some(own) = &self.own_redis else { return Ok(()) };
        let info: String = store
            .query(::redis::cmd("INFO").arg("server"))
            .await
            .map_err(|error| Failure::unanswered(error.to_string()))?;
        let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse().ok());
        if pid.is_some() && pid == own.server.pid() { Ok(()) } else { Err(own.not_ours()) }
    }

    /// Where NATS is and what it is.
    pub(crate) fn describe_nats(&self) -> (String, String) {
        (self.nats.servers.to_string(), describe(self.own_nats.as_ref()))
    }

    /// Where Redis is and what it is.
    pub(crate) fn describe_redis(&self) -> (String, String) {
        (self.redis.address.to_string(), describe(self.own_redis.as_ref()))
    }

    /// The redis-cli beside its own redis-server, else whatever is in `PATH`.
    pub(crate) fn redis_cli(&self) -> String {
        let beside = self.own_redis.as_ref().map(|own| own.server.tool().path.with_file_name("redis-cli"));
        beside.filter(|path| path.is_file()).map_or_else(|| "redis-cli".to_owned(), |path| shown(&path))
    }
}

/// A path as one would type it here.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let below = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    below.unwrap_or(path).display().to_string()
}

fn describe(own: Option<&Own>) -> String {
    own.map_or_else(
        || "was running".to_owned(),
        |own| format!("{} {}, started here", own.server.tool().program, own.server.tool().version),
    )
}

impl Own {
    /// Waits until it takes connections; fails as soon as it has ended instead.
    async fn listens(&self) -> Result<(), Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if let Some(trouble) = self.server.trouble() {
                return Err(Failure::failed(format!("{trouble}; see there what to do")));
            }
            tokio::time::sleep(LOOK_TIME).await;
        }
        Ok(())
    }

    fn not_ours(&self) -> Failure {
        let program = self.server.tool().program;
        Failure::failed(format!("another server than this {program} answers on port {}; start `up` again", self.port))
    }
}

fn write(data: &DataDir, name: &str, text: &str) -> Result<std::path::PathBuf, Failure> {
    let path = data.path().join(name);
    std::fs::write(&path, text).map_err(|error| {
        Failure::failed(format!("cannot write {}: {error}; make room, or check its permissions", path.display()))
    })?;
    Ok(path)
}

/// How nats-server is run: its settings, port, folder and name.
pub(crate) fn nats_arguments(conf: &Path, port: u16, folder: &Path, name: &str) -> Vec<OsString> {
    let port = port.to_string();
    let flags: [&str; 6] = ["-a", "127.0.0.1", "-p", &port, "-n", name];
    let mut arguments: Vec<OsString> = vec!["-c".into(), conf.into(), "-sd".into(), folder.into()];
    arguments.extend(flags.into_iter().map(OsString::from));
    arguments
}

/// How redis-server is run: its settings, port and folder.
pub(crate) fn redis_arguments(conf: &Path, port: u16, folder: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![conf.into(), "--dir".into(), folder.into()];
    arguments.extend(["--port", &port.to_string(), "--bind", "127.0.0.1"].into_iter().map(OsString::from));
    arguments
}
