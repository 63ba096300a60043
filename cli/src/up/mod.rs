//! `up`: everything in one process on this host's engine, with NATS and Redis as children unless running ones are named.

mod child;
mod engine;
mod orphans;
mod ports;
mod roles;
mod screen;
mod servers;
mod tools;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use domain::NodeName;
use service::args::{CommonArgs, LogArgs, NatsArgs, RedisArgs, RoleArgs};
use service::redis::Store;
use service::{Context, Failure, Stop, admin};
use tokio::net::TcpListener;

use crate::data_dir::DataDir;
use crate::role::{Ordering, Partitioning, Watching};
use crate::{out, picture};
use roles::Roles;
use screen::Screen;
use servers::Servers;

/// Port of `/readyz` where none is given.
const ADMIN_PORT: u16 = 9650;
/// How long it may take until all is ready; with the end of what was started it stays about ten seconds.
const READY_TIME: Duration = Duration::from_secs(9);
/// How often it is looked if all is ready.
const LOOK_TIME: Duration = Duration::from_millis(50);
/// What is left of the grace for the servers, after the roles.
const SERVERS_GRACE: Duration = Duration::from_secs(4);

const EXAMPLES: &str = "\
Examples:
  deckwatch up                                   on this host's Docker, with NATS and Redis of its own
  deckwatch up --data-dir ./data --nats-port 0   data here, NATS on any free port
  deckwatch up --nats nats://10.0.0.1:4222       with a NATS that runs already
  deckwatch up --engine tcp://10.0.0.2:2375      on another host's engine

The servers are found in --tools-dir, in .tools/bin of the working directory or of a folder above this program, or in
PATH. Other commands find their addresses by themselves if they use the same --data-dir.";

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
    watching: Watching,
    #[command(flatten)]
    ordering: Ordering,
    #[command(flatten)]
    partitioning: Partitioning,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    log: LogArgs,
    #[command(flatten)]
    common: CommonArgs,
}

/// Runs everything until told to stop.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    service::logs::start(&args.log);
    let data = DataDir::take(&args.common.data_dir())?;
    let context = Context::default();
    let grace = args.role.grace + SERVERS_GRACE;
    // When it is dropped, by a second signal or an overrun grace, its servers are killed with it.
    service::run_role(context.clone(), grace, Box::pin(everything(args, data, context))).await
}

async fn everything(args: Args, data: DataDir, context: Context) -> Result<(), Failure> {
    let seen = engine::look(args.watching.engine.as_ref()).await?;
    let servers = Servers::prepare(&args, data).await?;
    let stop_servers = Stop::new();
    let work = async {
        let worked = work(&args, &servers, &seen, &context).await;
        stop_servers.trigger();
        worked
    };
    let (worked, ()) = tokio::join!(work, servers.keep(&stop_servers));
    worked
}

async fn work(args: &Args, servers: &Servers, seen: &engine::Seen, context: &Context) -> Result<(), Failure> {
    let deadline = tokio::time::Instant::now() + READY_TIME;
    let late = |why: String| {
        let seconds = READY_TIME.as_secs();
        Failure::unanswered(format!(
            "not ready within {seconds} s: {why}; see the logs above, or with --log-level debug"
        ))
    };
    tokio::select! {
        answered = tokio::time::timeout_at(deadline, servers.answer()) => {
            answered.unwrap_or_else(|_| Err(late("NATS or Redis does not answer".to_owned())))?;
        }
        () = context.stop.stopped() => return Ok(()),
    }
    let (listener, admin) = bind_admin(args).await?;
    servers.publish(|up| up.admin = admin.to_string());
    let served = tokio::spawn(admin::serve(listener, context.clone()));
    let mut roles = Roles::start(args, servers, context)?;
    let ended = tokio::select! {
        ended = roles.ended() => Some(ended),
        started = tokio::time::timeout_at(deadline, show_when_ready(args, servers, seen, context, admin)) => {
            match started {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure),
                Err(_) => Some(late(why_not_ready(args, servers, context).await)),
            }
        }
        () = context.stop.stopped() => None,
    };
    let ended = match ended {
        Some(failure) => Some(failure),
        None => tokio::select! {
            ended = roles.ended() => Some(ended),
            () = context.stop.stopped() => None,
        },
    };
    context.stop.trigger();
    let drained = roles.drain(args.role.grace.saturating_sub(SERVERS_GRACE).max(Duration::from_secs(1))).await;
    served.abort();
    ended.map_or(drained, Err)
}

/// The address asked for must be free; the usual one need not.
async fn bind_admin(args: &Args) -> Result<(TcpListener, SocketAddr), Failure> {
    let asked = args.role.admin.unwrap_or_default();
    let listener = match admin::bind(asked.or_port(ADMIN_PORT)).await {
        Err(_) if asked.port.is_none() => admin::bind(asked.or_port(0)).await?,
        bound => bound?,
    };
    let address =
        listener.local_addr().map_err(|error| Failure::failed(format!("cannot listen for /readyz: {error}")))?;
    Ok((listener, address))
}

/// Waits until Redis shows this host's engine as it is now, and says so.
async fn show_when_ready(
    args: &Args,
    servers: &Servers,
    seen: &engine::Seen,
    context: &Context,
    admin: SocketAddr,
) -> Result<(), Failure> {
    let store = Store::new(servers.redis.clone());
    let node = args.watching.node.clone().or_else(|| seen.node.clone());
    let node = node.ok_or_else(|| Failure::failed("the engine has no name of its own; name its node with --node"))?;
    loop {
        let picture = picture::read(&store, &args.common.prefix).await;
        if let Ok(picture) = picture
            && let Some((containers, running)) = current(&picture, &node)
            && context.health.reasons().is_empty()
        {
            let text = screen(args, servers, seen, admin, node, containers, running).text();
            // Who closed standard output does not want to see it.
            drop(out::data(&text));
            return Ok(());
        }
        tokio::time::sleep(LOOK_TIME).await;
    }
}

/// How many containers the node has and how many run, once the picture is current and the node is alive in it.
fn current(picture: &picture::Picture, node: &NodeName) -> Option<(usize, usize)> {
    if picture.stale().is_some() {
        return None;
    }
    let (_, view) = picture.listing().nodes.iter().find(|(name, _)| name == node)?;
    let whole = view.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.rebuild.is_none());
    let alive = view.node.get("status").is_some_and(|status| status == "alive");
    let running = view.containers.iter().filter(|container| container.status.is_alive()).count();
    (whole && alive).then_some((view.containers.len(), running))
}

async fn why_not_ready(args: &Args, servers: &Servers, context: &Context) -> String {
    let reasons = context.health.reasons();
    if !reasons.is_empty() {
        return reasons
            .iter()
            .map(|(condition, reason)| format!("{condition}: {reason}"))
            .collect::<Vec<_>>()
            .join("; ");
    }
    match picture::read(&Store::new(servers.redis.clone()), &args.common.prefix).await {
        Ok(picture) => picture.stale().unwrap_or_else(|| "the node is not shown as alive yet".to_owned()),
        Err(failure) => failure.to_string(),
    }
}

fn screen(
    args: &Args,
    servers: &Servers,
    seen: &engine::Seen,
    admin: SocketAddr,
    node: NodeName,
    containers: usize,
    running: usize,
) -> Screen {
    let called = std::env::args().next().unwrap_or_default();
    Screen {
        program: if called.is_empty() { "deckwatch".to_owned() } else { called },
        node,
        engine: seen.version.clone(),
        containers,
        running,
        nats: servers.describe_nats(),
        redis: servers.describe_redis(),
        admin: admin.to_string(),
        data_dir: servers.data().path().display().to_string(),
        names_data_dir: args.common.data_dir.is_some(),
        prefix: args.common.prefix.clone(),
        redis_cli: servers.redis_cli(),
    }
}
