//! The programs that are measured: servers of its own unless running ones are named, and this program's own roles.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::bench::{NATS, Program, REDIS};
use domain::Prefix;
use service::{Failure, nats, redis};

use super::Args;
use crate::ask;
use crate::up::ports::Port;
use crate::up::servers::{NATS_CONF, REDIS_CONF, nats_arguments, redis_arguments};
use crate::up::tools::{Kind, Tool, find};

/// Log level of the roles: what they say at it is in the error, should one end by itself.
const ROLES_LOG_LEVEL: &str = "warn";

/// Signs of life that a node misses until it is lost.
const LOST_AFTER_BEATS: u32 = 3;

/// What is there to be run.
pub(super) struct Programs<'a> {
    args: &'a Args,
    own_nats: Option<Tool>,
    own_redis: Option<Tool>,
    this: PathBuf,
}

impl<'a> Programs<'a> {
    /// Looks what there is. Opens no socket.
    pub(super) async fn check(args: &'a Args) -> Result<Self, Failure> {
        ask::nats_settings(&args.nats, &args.common).await?;
        if ask::redis_settings(&args.redis, &args.common).await?.address.is_cluster() {
            return Err(Failure::usage("bench measures one Redis, not a cluster; give another --redis, or none"));
        }
        let tools = args.tools_dir.as_deref();
        let own_nats = if args.nats.nats.is_none() { Some(find(Kind::Nats, tools).await?) } else { None };
        let own_redis = if args.redis.redis.is_none() { Some(find(Kind::Redis, tools).await?) } else { None };
        let this = std::env::current_exe()
            .map_err(|error| Failure::failed(format!("cannot find this program to run its roles: {error}")))?;
        Ok(Self { args, own_nats, own_redis, this })
    }

    /// Where the servers are, and those to be run in the folder.
    pub(super) fn servers(&self, folder: &Path) -> Result<(nats::Settings, redis::Settings, Vec<Program>), Failure> {
        // Both are held until both are chosen, so that they differ.
        let (nats_port, redis_port) = (Port::choose(Some(0), 0, "--nats")?, Port::choose(Some(0), 0, "--redis")?);
        let (nats_number, redis_number) = (nats_port.number(), redis_port.number());
        let at = |what: &str| Failure::failed(format!("{what} has no address"));
        let nats_at = format!("nats://127.0.0.1:{nats_number}").parse().map_err(|_| at("NATS"))?;
        let redis_at = format!("redis://127.0.0.1:{redis_number}").parse().map_err(|_| at("Redis"))?;
        let mut servers = Vec::new();
        if let Some(tool) = &self.own_nats {
            let (conf, data) = (write(folder, "nats.conf", NATS_CONF)?, inside(folder, "nats")?);
            let args = nats_arguments(&conf, nats_number, &data, "deckwatch-bench");
            servers.push(Program { name: NATS, path: absolute(&tool.path).into(), args, settings: Vec::new() });
        }
        if let Some(tool) = &self.own_redis {
            let (conf, data) = (write(folder, "redis.conf", REDIS_CONF)?, inside(folder, "redis")?);
            servers.push(Program {
                name: REDIS,
                path: absolute(&tool.path).into(),
                args: redis_arguments(&conf, redis_number, &data),
                settings: Vec::new(),
            });
        }
        [nats_port, redis_port].into_iter().for_each(Port::release);
        let nats = nats::Settings::new(&self.args.nats, nats_at);
        Ok((nats, redis::Settings::new(&self.args.redis, redis_at), servers))
    }

    /// The roles, which are this program's own.
    pub(super) fn roles(&self, prefix: &Prefix, nats: &nats::Settings, redis: &redis::Settings) -> Vec<Program> {
        let role = |name: &'static str, more: &[&[OsString]]| {
            let mut args: Vec<OsString> = vec![name.into(), "--prefix".into(), prefix.to_string().into()];
            // Several may run at once: any port.
            args.extend(["--admin", "127.0.0.1:0", "--log-level", ROLES_LOG_LEVEL].map(OsString::from));
            args.extend(more.iter().copied().flatten().cloned());
            let settings =
                vec![("DECKWATCH_NATS", nats.servers.whole()), ("DECKWATCH_REDIS", redis.address.whole().to_owned())];
            Program { name, path: self.this.clone(), args, settings }
        };
        let (nats_files, redis_files) = (nats_files(nats), redis_files(redis));
        let time = |flag: &str, time| [flag.into(), shown(time)];
        let beats = time("--heartbeat", self.args.heartbeat);
        let lost = time("--lost-after", self.args.heartbeat.saturating_mul(LOST_AFTER_BEATS));
        vec![
            role("sequencer", &[&nats_files, &beats, &lost]),
            role("projector", &[&nats_files, &redis_files, &beats]),
            role("reconciler", &[&nats_files, &redis_files, &time("--interval", self.args.interval)]),
        ]
    }
}

fn nats_files(settings: &nats::Settings) -> Vec<OsString> {
    let nats::Settings { servers: _, creds, nkey, ca } = settings;
    [("--nats-creds", creds), ("--nats-nkey", nkey), ("--nats-ca", ca)].into_iter().flat_map(file).collect()
}

fn redis_files(settings: &redis::Settings) -> Vec<OsString> {
    let redis::Settings { address: _, password_file, ca } = settings;
    [("--redis-password-file", password_file), ("--redis-ca", ca)].into_iter().flat_map(file).collect()
}

fn shown(time: Duration) -> OsString {
    format!("{}ms", time.as_millis()).into()
}

fn file((flag, file): (&str, &Option<PathBuf>)) -> Vec<OsString> {
    file.iter().flat_map(|file| [OsString::from(flag), absolute(file)]).collect()
}

/// What is run is run in a folder of its own.
fn absolute(file: &Path) -> OsString {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).into()
}

fn inside(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    fs::create_dir(&path).map_err(|error| unable(&path, &error))?;
    Ok(path)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    fs::write(&path, text).map_err(|error| unable(&path, &error))?;
    Ok(path)
}

fn unable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("cannot write {}: {error}; make room, or check its permissions", path.display()))
}
