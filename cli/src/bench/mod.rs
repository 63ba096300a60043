//! `bench`: measures this installation.

mod programs;
mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::bench::{Config, Step};
use domain::Prefix;
use service::args::{CommonArgs, LogArgs, NatsArgs, RedisArgs, heartbeat, interval};
use service::{Context, Failure};
use tokio::sync::watch;

use crate::ask::Plain;
use crate::data_dir;
use crate::out::{self, Ended};
use programs::Programs;

/// How long it may take to end when told to.
const GRACE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  deckwatch bench                                    with servers of its own
  deckwatch bench --nodes 1000 --containers 50       a larger fleet
  deckwatch bench --rate 500                         latency at 500 events a second
  deckwatch bench --nats nats://h --redis redis://h  with servers that run already
  deckwatch bench -o json | jq .load                 for scripts

The producers are real ones, all in this process; only their engines are simulated. The
roles are processes of their own. Its data is in a folder of its own below --data-dir,
since the disk is measured too; in servers that run already its names have a prefix of
their own, and are removed in the end. Publishing and writing the same bytes without
deckwatch is measured in the same run.";

/// Arguments of `bench`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Nodes to simulate
    #[arg(long, env = "DECKWATCH_NODES", value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    nodes: u32,
    /// Containers of each node
    #[arg(long, env = "DECKWATCH_CONTAINERS", value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    containers: u32,
    /// How long each part of the measurement takes, in seconds
    #[arg(long, env = "DECKWATCH_SECONDS", value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Events a second while latency is measured [default: half of what passes]
    #[arg(long, env = "DECKWATCH_RATE", value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How often producers send signs of life; at least 1s
    #[arg(long, env = "DECKWATCH_HEARTBEAT", value_name = "TIME", default_value = "5s", value_parser = heartbeat)]
    heartbeat: Duration,
    /// How often the reconciler compares each node with its engine
    #[arg(long, env = "DECKWATCH_INTERVAL", value_name = "TIME", default_value = "5s", value_parser = interval)]
    interval: Duration,
    /// Form of the output
    #[arg(short, long, env = "DECKWATCH_OUTPUT", value_name = "FORM", default_value = "table")]
    output: Plain,
    /// Folder with nats-server and redis-server
    #[arg(long, env = "DECKWATCH_TOOLS_DIR", value_name = "FOLDER")]
    tools_dir: Option<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Measures, and prints what was measured.
pub(crate) async fn run(args: Args) -> Result<(), Ended> {
    service::logs::start(&args.log);
    let context = Context::default();
    let mut report = None;
    let measuring = async {
        report = Some(measure(&args, &context).await?);
        Ok(())
    };
    service::run_role(context.clone(), GRACE, Box::pin(measuring)).await?;
    let Some(report) = report else { return Ok(()) };
    match args.output {
        Plain::Table => out::data(&show::report(&report)),
        Plain::Json => {
            let report = serde_json::to_value(&report);
            out::json(&report.map_err(|error| Failure::failed(format!("cannot print the report: {error}")))?)
        }
    }
}

async fn measure(args: &Args, context: &Context) -> Result<::bench::report::Report, Failure> {
    let data_dir = args.common.data_dir();
    let run = format!("{:08x}", service::random() >> 32);
    let prefix = prefix(&args.common.prefix, &run)?;
    let programs = Programs::check(args).await?;
    data_dir::check(&data_dir)?;
    let folder = Folder::make(&data_dir.join(format!("bench-{run}")))?;
    let (nats, redis, servers) = programs.servers(&folder.0)?;
    let roles = programs.roles(&prefix, &nats, &redis);
    let (progress, steps) = watch::channel(Step { what: "", part: 0.0 });
    let config = Config {
        nats,
        redis,
        prefix,
        servers,
        roles,
        folder: folder.0.clone(),
        nodes: number(args.nodes),
        containers: number(args.containers),
        time: Duration::from_secs(args.seconds),
        rate: args.rate.map(f64::from),
        heartbeat: args.heartbeat,
        interval: args.interval,
        batch_records: sequencer::Limits::default().batch_records_max,
        progress,
    };
    let drawing = tokio::spawn(show::progress(steps));
    let measured = ::bench::run(&config, &context.stop).await;
    // Nobody tells any more how far it is: it stops to draw.
    drop(config);
    drop(drawing.await);
    measured
}

/// A prefix that nobody else has.
fn prefix(given: &Prefix, run: &str) -> Result<Prefix, Failure> {
    let prefix = format!("{given}-bench-{run}");
    prefix.parse().map_err(|error| Failure::usage(format!("{error}; use a shorter --prefix")))
}

fn number(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A folder that is gone when this is.
struct Folder(PathBuf);

impl Folder {
    fn make(path: &Path) -> Result<Self, Failure> {
        let unable = |error| Failure::failed(format!("cannot make the folder {}: {error}", path.display()));
        fs::create_dir_all(path).map_err(unable)?;
        // The servers run elsewhere: what they are told must not depend on where this program was started.
        path.canonicalize().map(Self).map_err(unable)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "cannot remove what was measured with");
        }
    }
}
