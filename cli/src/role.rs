//! `producer`, `sequencer`, `projector` and `reconciler`: one role in this process.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use domain::{Instance, NodeName, Partitions};
use producer::engine::labels::LabelPolicy;
use service::args::{CommonArgs, LogArgs, NatsArgs, RedisArgs, RoleArgs, ServeArgs, duration, interval};
use service::{Context, Failure, admin, nats, redis};

use crate::address::{self, EngineAddress, NodeEngine};
use crate::{ask, data_dir};

/// Ports of `/readyz` where none is given.
pub(crate) const PRODUCER_PORT: u16 = 9651;
pub(crate) const SEQUENCER_PORT: u16 = 9652;
pub(crate) const PROJECTOR_PORT: u16 = 9653;
pub(crate) const RECONCILER_PORT: u16 = 9654;

/// What a producer is told beyond what all roles are.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Producer")]
pub(crate) struct Watching {
    /// Address of the engine [default: $DOCKER_HOST with its TLS variables, else unix:///var/run/docker.sock]
    #[arg(long, env = "DECKWATCH_ENGINE", value_name = "URL")]
    pub(crate) engine: Option<EngineAddress>,
    /// Name of the node [default: the engine's own]
    #[arg(long, env = "DECKWATCH_NODE", value_name = "NAME")]
    pub(crate) node: Option<NodeName>,
    /// How often all containers are stated anew
    #[arg(long, env = "DECKWATCH_RESTATE", value_name = "TIME", default_value = "24h", value_parser = duration)]
    restate: Duration,
    /// Most bytes of what waits on the disk, under --data-dir, while NATS does not take it; the oldest history goes first
    #[arg(long, env = "DECKWATCH_SPOOL_MAX_BYTES", value_name = "BYTES", default_value_t = producer::Limits::default().spool_bytes_max, value_parser = clap::value_parser!(u64).range(64 << 10..))]
    spool_max_bytes: u64,
    #[command(flatten)]
    labels: Labels,
}

/// Which labels are told.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Labels {
    /// Only labels whose key fits leave the host; `*` stands for any text; may be repeated [default: all]
    #[arg(long, env = "DECKWATCH_LABEL_ALLOW", value_name = "PATTERN", value_delimiter = ',')]
    label_allow: Vec<String>,
    /// Labels whose key fits never leave the host; may be repeated
    #[arg(long, env = "DECKWATCH_LABEL_DENY", value_name = "PATTERN", value_delimiter = ',')]
    label_deny: Vec<String>,
}

impl Labels {
    fn policy(&self) -> LabelPolicy {
        LabelPolicy { allow: self.label_allow.clone(), deny: self.label_deny.clone() }
    }
}

impl Watching {
    /// The engine's address is one.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        address::engine(self.engine.as_ref()).map(drop)
    }

    /// The producer's configuration.
    pub(crate) fn config(
        &self,
        nats: nats::Settings,
        common: &CommonArgs,
        role: &RoleArgs,
        data_dir: PathBuf,
    ) -> producer::Config {
        producer::Config {
            node: self.node.clone(),
            engine: self.engine.as_ref().map(ToString::to_string),
            nats,
            prefix: common.prefix.clone(),
            heartbeat: role.heartbeat,
            restate: self.restate,
            data_dir,
            stand_in: false,
            labels: self.labels.policy(),
            limits: producer::Limits { spool_bytes_max: self.spool_max_bytes, ..producer::Limits::default() },
        }
    }
}

/// How many partitions there are: what the streams are made with, or must have.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(crate) struct Partitioning {
    /// Number of partitions: fixed when the streams are made
    #[arg(long, env = "DECKWATCH_PARTITIONS", value_name = "NUMBER", default_value = "1")]
    partitions: Partitions,
}

/// What a sequencer is told beyond what all roles are.
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Sequencer")]
pub(crate) struct Ordering {
    /// How many servers hold each stream: 1 or 3
    #[arg(long, env = "DECKWATCH_REPLICAS", value_name = "NUMBER", default_value = "1", value_parser = replicas)]
    replicas: usize,
    /// How long a producer may be silent before its node is lost; at least twice --heartbeat
    #[arg(long, env = "DECKWATCH_LOST_AFTER", value_name = "TIME", default_value = "15s", value_parser = duration)]
    lost_after: Duration,
    /// Most bytes of observations that wait to be put in order
    #[arg(long, env = "DECKWATCH_RAW_MAX_BYTES", value_name = "BYTES", default_value_t = sequencer::Limits::default().raw_bytes_max, value_parser = clap::value_parser!(i64).range(1 << 20..))]
    raw_max_bytes: i64,
    /// Most bytes of each partition's ordered record; the oldest goes first
    #[arg(long, env = "DECKWATCH_STATE_MAX_BYTES", value_name = "BYTES", default_value_t = sequencer::Limits::default().state_bytes_max, value_parser = clap::value_parser!(i64).range(1 << 20..))]
    state_max_bytes: i64,
    /// How long what is missing is waited for
    #[arg(long, env = "DECKWATCH_GAP_WAIT", value_name = "TIME", default_value = "2s", value_parser = duration)]
    gap_wait: Duration,
}

fn replicas(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("use 1 or 3".to_owned()),
    }
}

impl Ordering {
    /// A node is not lost because of one sign of life that came late.
    pub(crate) fn check(&self, role: &RoleArgs) -> Result<(), Failure> {
        let (lost_after, heartbeat) = (self.lost_after, role.heartbeat);
        if lost_after >= heartbeat.saturating_mul(2) {
            return Ok(());
        }
        Err(Failure::usage(format!(
            "--lost-after {lost_after:?} is less than twice --heartbeat {heartbeat:?}: one late sign of life would make \
             a node lost; raise --lost-after or lower --heartbeat"
        )))
    }

    /// The sequencer's configuration.
    pub(crate) fn config(
        &self,
        nats: nats::Settings,
        common: &CommonArgs,
        role: &RoleArgs,
        partitioning: Partitioning,
    ) -> sequencer::Config {
        sequencer::Config {
            nats,
            prefix: common.prefix.clone(),
            partitions: partitioning.partitions,
            replicas: self.replicas,
            heartbeat: role.heartbeat,
            lost_after: self.lost_after,
            gap_wait: self.gap_wait,
            instance: Instance(service::random()),
            limits: sequencer::Limits {
                raw_bytes_max: self.raw_max_bytes,
                state_bytes_max: self.state_max_bytes,
                ..sequencer::Limits::default()
            },
        }
    }
}

/// The projector's configuration.
pub(crate) fn projecting(
    nats: nats::Settings,
    redis: redis::Settings,
    common: &CommonArgs,
    role: &RoleArgs,
    partitioning: Partitioning,
) -> projector::Config {
    projector::Config {
        nats,
        redis,
        prefix: common.prefix.clone(),
        partitions: partitioning.partitions,
        heartbeat: role.heartbeat,
        instance: Instance(service::random()),
        limits: projector::Limits::default(),
    }
}

/// What a reconciler is told beyond what all roles are.
#[derive(clap::Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Reconciler")]
pub(crate) struct Doubting {
    /// How often each node is compared with its engine; at least 100ms
    #[arg(long, env = "DECKWATCH_INTERVAL", value_name = "TIME", default_value = "5s", value_parser = interval)]
    interval: Duration,
}

impl Doubting {
    /// The reconciler's configuration.
    pub(crate) fn config(
        &self,
        nats: nats::Settings,
        redis: redis::Settings,
        common: &CommonArgs,
        stand_ins: BTreeMap<NodeName, producer::Config>,
    ) -> reconciler::Config {
        reconciler::Config {
            nats,
            redis,
            prefix: common.prefix.clone(),
            interval: self.interval,
            instance: Instance(service::random()),
            stand_ins,
            limits: reconciler::Limits::default(),
        }
    }
}

/// What it takes to stand in for producers that are gone.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Stand-in")]
pub(crate) struct StandingIn {
    /// Address of a node's engine, as n1=tcp://10.0.0.1:2375: watched from here while the node's producer is gone; may be repeated
    #[arg(long, env = "DECKWATCH_ENGINE", value_name = "NODE=URL", value_delimiter = ',')]
    engine: Vec<NodeEngine>,
    /// How often all containers are stated anew
    #[arg(long, env = "DECKWATCH_RESTATE", value_name = "TIME", default_value = "24h", value_parser = duration)]
    restate: Duration,
    #[command(flatten)]
    labels: Labels,
}

impl StandingIn {
    /// Each node is named once, and what a stand-in writes down has a folder.
    fn check(&self, data_dir: &Path) -> Result<(), Failure> {
        let mut nodes: Vec<_> = self.engine.iter().map(|engine| &engine.node).collect();
        nodes.sort();
        if let Some([node, _]) = nodes.array_windows().find(|[node, next]| node == next) {
            return Err(Failure::usage(format!("node {node} has more than one --engine; name one address for it")));
        }
        if self.engine.is_empty() { Ok(()) } else { data_dir::check(data_dir) }
    }

    /// How each engine is watched.
    fn configs(
        &self,
        nats: &nats::Settings,
        common: &CommonArgs,
        role: &RoleArgs,
        data_dir: &Path,
    ) -> BTreeMap<NodeName, producer::Config> {
        let config = |NodeEngine { node, address }: &NodeEngine| producer::Config {
            node: Some(node.clone()),
            engine: Some(address.to_string()),
            nats: nats.clone(),
            prefix: common.prefix.clone(),
            heartbeat: role.heartbeat,
            restate: self.restate,
            // Not the folder of a producer on this host, whose notes are its own.
            data_dir: data_dir.join("stand-in"),
            stand_in: true,
            labels: self.labels.policy(),
            limits: producer::Limits::default(),
        };
        self.engine.iter().map(|engine| (engine.node.clone(), config(engine))).collect()
    }
}

/// Arguments of `producer`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ProducerArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    watching: Watching,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Arguments of `sequencer`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SequencerArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    ordering: Ordering,
    #[command(flatten)]
    partitioning: Partitioning,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Arguments of `projector`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ProjectorArgs {
    #[command(flatten)]
    common: CommonArgs,
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
}

/// Arguments of `reconciler`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ReconcilerArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    doubting: Doubting,
    #[command(flatten)]
    standing_in: StandingIn,
    #[command(flatten)]
    nats: NatsArgs,
    #[command(flatten)]
    redis: RedisArgs,
    #[command(flatten)]
    role: RoleArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// Runs a producer.
pub(crate) async fn producer(args: ProducerArgs) -> Result<(), Failure> {
    let data_dir = args.common.data_dir();
    args.watching.check()?;
    data_dir::check(&data_dir)?;
    let nats = ask::nats_settings(&args.nats, &args.common).await?;
    let config = args.watching.config(nats, &args.common, &args.role, data_dir);
    run(&args.role.serve, &args.log, PRODUCER_PORT, |context| producer::run(config, context)).await
}

/// Runs a sequencer.
pub(crate) async fn sequencer(args: SequencerArgs) -> Result<(), Failure> {
    args.ordering.check(&args.role)?;
    let nats = ask::nats_settings(&args.nats, &args.common).await?;
    let config = args.ordering.config(nats, &args.common, &args.role, args.partitioning);
    run(&args.role.serve, &args.log, SEQUENCER_PORT, |context| sequencer::run(config, context)).await
}

/// Runs a projector.
pub(crate) async fn projector(args: ProjectorArgs) -> Result<(), Failure> {
    let nats = ask::nats_settings(&args.nats, &args.common).await?;
    let redis = ask::redis_settings(&args.redis, &args.common).await?;
    let config = projecting(nats, redis, &args.common, &args.role, args.partitioning);
    run(&args.role.serve, &args.log, PROJECTOR_PORT, |context| projector::run(config, context)).await
}

/// Runs a reconciler.
pub(crate) async fn reconciler(args: ReconcilerArgs) -> Result<(), Failure> {
    let data_dir = args.common.data_dir();
    args.standing_in.check(&data_dir)?;
    let nats = ask::nats_settings(&args.nats, &args.common).await?;
    let redis = ask::redis_settings(&args.redis, &args.common).await?;
    let stand_ins = args.standing_in.configs(&nats, &args.common, &args.role, &data_dir);
    let config = args.doubting.config(nats, redis, &args.common, stand_ins);
    run(&args.role.serve, &args.log, RECONCILER_PORT, |context| reconciler::run(config, context)).await
}

/// Runs a role whose configuration was checked: here the first socket opens.
async fn run<F>(serve: &ServeArgs, log: &LogArgs, port: u16, start: impl FnOnce(Context) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    service::logs::start(log);
    let context = Context::default();
    let listener = admin::bind(serve.admin.unwrap_or_default().or_port(port)).await?;
    let served = tokio::spawn(admin::serve(listener, context.clone()));
    let ended = service::run_role(context.clone(), serve.grace, Box::pin(start(context))).await;
    served.abort();
    ended
}
