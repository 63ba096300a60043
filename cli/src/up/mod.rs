//! `up`: everything in one process on this host's engine, with NATS and Redis as children unless running ones are named.

mod child;
mod ending;
pub(crate) mod engine;
mod orphans;
pub(crate) mod ports;
mod roles;
mod screen;
pub(crate) mod servers;
pub(crate) mod tools;
mod unwritten;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use domain::NodeName;
use service::args::{CommonArgs, LogArgs, NatsArgs, RedisArgs, RoleArgs};
use service::redis::Store;
use service::{Context, Failure, admin};
use tokio::net::TcpListener;
use tokio::time::Instant;
use view::store::{NodeView, read_node};

use crate::data_dir::DataDir;
use crate::picture::{self, Picture};
use crate::role::{Doubting, Ordering, Partitioning, Watching};
use crate::{ask, out};
use ending::Ending;
use roles::Roles;
use screen::Screen;
use servers::Servers;

/// Port of `/readyz` where none is given.
pub(crate) const ADMIN_PORT: u16 = 9650;
/// How long it may take until all is ready; with the end of what was started it stays about ten seconds.
const READY_TIME: Duration = Duration::from_secs(9);
/// How often it is looked if all is ready.
const LOOK_TIME: Duration = Duration::from_millis(50);

const EXAMPLES: &str = "\
Examples:
  deckwatch up                                   on this host's Docker
  deckwatch up --data-dir ./data --nats-port 0   data here, NATS on any free port
  deckwatch up --nats nats://10.0.0.1:4222       with a NATS that runs already
  deckwatch up --engine tcp://10.0.0.2:2375      on another host's engine

nats-server and redis-server are found in --tools-dir, in .tools/bin of the working
directory or of a folder above this program, or in PATH. Other commands find their
addresses by themselves if they use the same --data-dir.";

/// Arguments of `up`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder with nats-server and redis-server
    #[arg(long, env = "DECKWATCH_TOOLS_DIR", value_name = "FOLDER")]
    tools_dir: Option<PathBuf>,
    /// Port of its own NATS; 0 is any [default: 4222 where free, else any]
    #[arg(long, env = "DECKWATCH_NATS_PORT", value_name = "PORT", conflicts_with = "nats")]
    nats_port: Option<u16>,
    /// Port of its own Redis; 0 is any [default: 6379 where free, else any]
    #[arg(long, env = "DECKWATCH_REDIS_PORT", value_name = "PORT", conflicts_with = "redis")]
    redis_port: Option<u16>,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    watching: Watching,
    #[command(flatten)]
    ordering: Ordering,
    #[command(flatten)]
    partitioning: Partitioning,
    #[command(flatten)]
    doubting: Doubting,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    log: LogArgs,
}

impl Args {
    /// What can be told to be wrong before any socket opens.
    async fn check(&self) -> Result<(), Failure> {
        self.watching.check()?;
        self.ordering.check(&self.role)?;
        ask::nats_settings(&self.nats, &self.common).await?;
        ask::redis_settings(&self.redis, &self.common).await?;
        Ok(())
    }
}

/// Runs everything until told to stop.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    service::logs::start(&args.log);
    args.check().await?;
    let data = DataDir::take(&args.common.data_dir())?;
    let context = Context::default();
    let grace = args.role.serve.grace;
    // When it is dropped, by a second signal or an overrun grace, its servers are killed with it.
    service::run_role(context.clone(), grace, Box::pin(everything(args, data, context))).await
}

async fn everything(args: Args, data: DataDir, context: Context) -> Result<(), Failure> {
    let seen = engine::look(args.watching.engine.as_ref()).await?;
    let node = args.watching.node.clone().or_else(|| seen.node.clone());
    let node = node.ok_or_else(|| Failure::failed("the engine has no name of its own; name its node with --node"))?;
    let (listener, admin) = bind_admin(&args).await?;
    let servers = Servers::prepare(&args, data).await?;
    servers.publish(|up| up.admin = admin.to_string());
    let up = Running { args: &args, servers: &servers, context: &context, engine: &seen.version, node, admin };
    let ending = Ending::new(args.role.serve.grace);
    let work = async {
        let worked = up.work(listener, &ending).await;
        ending.end_servers();
        worked
    };
    let (worked, ()) = tokio::join!(work, servers.keep(&ending, &context.health));
    worked
}

/// All that is known once the servers may start.
struct Running<'a> {
    args: &'a Args,
    servers: &'a Servers,
    context: &'a Context,
    engine: &'a str,
    node: NodeName,
    admin: SocketAddr,
}

impl Running<'_> {
    /// From the start of the servers to the end of the last role.
    async fn work(&self, listener: TcpListener, ending: &Ending) -> Result<(), Failure> {
        let deadline = Instant::now() + READY_TIME;
        tokio::select! {
            answered = tokio::time::timeout_at(deadline, self.servers.answer()) => {
                answered.unwrap_or_else(|_| Err(late("NATS or Redis does not answer")))?;
            }
            () = self.context.stop.stopped() => return Ok(()),
        }
        let served = tokio::spawn(admin::serve(listener, self.context.clone()));
        let store = Store::new(self.servers.redis.clone());
        // What an earlier `up` left in Redis is not yet what there is.
        let before = self.epoch(&store).await;
        let mut roles = Roles::start(self.args, self.servers, self.context)?;
        let ended = tokio::select! {
            failure = roles.ended() => Err(failure),
            shown = self.show(&store, before.as_deref(), deadline) => shown,
            () = self.context.stop.stopped() => Ok(()),
        };
        let ended = match ended {
            Ok(()) => tokio::select! {
                failure = roles.ended() => Err(failure),
                () = self.context.stop.stopped() => Ok(()),
            },
            failed => failed,
        };
        self.context.stop.trigger();
        let drained = roles.drain(ending.of_roles()).await;
        served.abort();
        ended.and(drained)
    }

    /// Shows the screen as soon as Redis shows this host's engine as it is now.
    async fn show(&self, store: &Store, before: Option<&str>, deadline: Instant) -> Result<(), Failure> {
        let Ok(node) = tokio::time::timeout_at(deadline, self.ready(store, before)).await else {
            return Err(late(&self.why_not_ready(store).await));
        };
        // Who closed standard output does not want to see it.
        drop(out::data(&self.screen(&node).text()));
        Ok(())
    }

    async fn ready(&self, store: &Store, before: Option<&str>) -> NodeView {
        loop {
            if self.context.health.is_ready()
                && let Ok(picture) = picture::read(store, &self.args.common.prefix).await
                && let Some(view) = current(&picture, &self.node, before)
            {
                return view.clone();
            }
            tokio::time::sleep(LOOK_TIME).await;
        }
    }

    /// The life of the node's producer that Redis knows of.
    async fn epoch(&self, store: &Store) -> Option<String> {
        read_node(store, &self.args.common.prefix, &self.node).await.ok()?.node.remove("epoch")
    }

    async fn why_not_ready(&self, store: &Store) -> String {
        let reasons = self.context.health.reasons();
        if !reasons.is_empty() {
            let reasons = reasons.iter().map(|(condition, reason)| format!("{condition}: {reason}"));
            return reasons.collect::<Vec<_>>().join("; ");
        }
        match picture::read(store, &self.args.common.prefix).await {
            Ok(picture) => picture.stale().unwrap_or_else(|| format!("node {} is not shown as alive yet", self.node)),
            Err(failure) => failure.to_string(),
        }
    }

    fn screen(&self, node: &NodeView) -> Screen {
        let called = std::env::args_os().next().map(|program| program.to_string_lossy().into_owned());
        Screen {
            program: called.filter(|called| !called.is_empty()).unwrap_or_else(|| "deckwatch".to_owned()),
            node: self.node.clone(),
            engine: self.engine.to_owned(),
            containers: node.containers.len(),
            running: node.containers.iter().filter(|container| container.status.is_alive()).count(),
            nats: self.servers.describe_nats(),
            redis: self.servers.describe_redis(),
            admin: self.admin.to_string(),
            data_dir: self.servers.data().path().display().to_string(),
            names_data_dir: self.args.common.data_dir.is_some(),
            prefix: self.args.common.prefix.clone(),
            redis_cli: self.servers.redis_cli(),
        }
    }
}

/// The node, once the picture is current and shows it alive in a new life of its producer.
fn current<'a>(picture: &'a Picture, node: &NodeName, before: Option<&str>) -> Option<&'a NodeView> {
    if picture.stale().is_some() {
        return None;
    }
    let (_, view) = picture.listing().nodes.iter().find(|(name, _)| name == node)?;
    let whole = view.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.rebuild.is_none());
    let alive = view.node.get("status").is_some_and(|status| status == "alive");
    let anew = view.node.get("epoch").map(String::as_str) != before;
    (whole && alive && anew).then_some(view)
}

fn late(why: &str) -> Failure {
    let seconds = READY_TIME.as_secs();
    Failure::unanswered(format!("not ready within {seconds} s: {why}; see the logs above, or with --log-level debug"))
}

/// The address asked for must be free; the usual one need not.
async fn bind_admin(args: &Args) -> Result<(TcpListener, SocketAddr), Failure> {
    let asked = args.role.serve.admin.unwrap_or_default();
    let listener = match admin::bind(asked.or_port(ADMIN_PORT)).await {
        Err(_) if asked.port.is_none() => admin::bind(asked.or_port(0)).await?,
        bound => bound?,
    };
    let address =
        listener.local_addr().map_err(|error| Failure::failed(format!("cannot listen for /readyz: {error}")))?;
    Ok((listener, address))
}
