//! The nodes: real producers, each beside a simulated engine and with a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::{Cause, ContainerId, NodeName};
use service::{Context, Failure, Metrics, Stop};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Config;
use crate::engine::Engine;

/// Producers that begin at once: a fleet does not start in one moment either.
const STARTS_MAX: usize = 64;
/// Nodes of one compose project: their services are summed up together.
const PROJECT_NODES: usize = 10;
/// How often it is looked whether one has begun.
const LOOK_TIME: Duration = Duration::from_millis(20);
/// Between two statements of everything: not within a measurement.
const RESTATE: Duration = Duration::from_secs(24 * 3600);
/// Causes of observations that are no events of an engine.
const OTHER_CAUSES: [Cause; 5] = [Cause::List, Cause::Resync, Cause::Snapshot, Cause::Restate, Cause::StandIn];

/// A node.
pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) engine: Arc<Engine>,
}

/// All nodes.
pub(crate) struct Fleet {
    pub(crate) nodes: Vec<Node>,
    /// Containers of each node.
    containers: usize,
    emitted: AtomicU64,
    metrics: Metrics,
}

/// Their producers.
pub(crate) struct Producers {
    stop: Stop,
    tasks: JoinSet<Result<(), Failure>>,
}

impl Fleet {
    /// Starts them.
    pub(crate) fn start(config: &Config) -> Result<(Self, Producers), Failure> {
        let (metrics, stop) = (Metrics::default(), Stop::new());
        let starts = Arc::new(Semaphore::new(STARTS_MAX));
        let mut tasks = JoinSet::new();
        let mut nodes = Vec::with_capacity(config.nodes);
        for number in 0..config.nodes {
            let name = format!("node-{number:05}");
            let name: NodeName = name.parse().map_err(|error| Failure::failed(format!("{error}")))?;
            let project = format!("shop-{}", number / PROJECT_NODES);
            let engine = Arc::new(Engine::new(&name, project, config.containers));
            let context = Context { stop: stop.clone(), metrics: metrics.clone(), ..Context::default() };
            let settings = producer::Config {
                node: Some(name.clone()),
                engine: None,
                nats: config.nats.clone(),
                prefix: config.prefix.clone(),
                heartbeat: config.heartbeat,
                restate: RESTATE,
                data_dir: config.folder.clone(),
                stand_in: false,
                labels: producer::engine::labels::LabelPolicy::default(),
                limits: producer::Limits::default(),
            };
            tasks.spawn(begin(settings, Arc::clone(&engine), context, Arc::clone(&starts)));
            nodes.push(Node { name, engine });
        }
        let fleet = Self { nodes, containers: config.containers, emitted: AtomicU64::new(0), metrics };
        Ok((fleet, Producers { stop, tasks }))
    }

    /// So many containers turn, one after the other over all nodes.
    pub(crate) fn turn(&self, count: u64) {
        for _ in 0..count {
            if let Some((node, container)) = self.place(self.emitted.fetch_add(1, Ordering::Relaxed)) {
                node.engine.turn(container);
            }
        }
    }

    /// All containers there are.
    pub(crate) fn containers(&self) -> usize {
        self.nodes.len() * self.containers
    }

    /// Events of the engines so far.
    pub(crate) fn emitted(&self) -> u64 {
        self.emitted.load(Ordering::Relaxed)
    }

    /// Stamps that were given for anything but an event: statements, and the `hello` of each node.
    pub(crate) fn other_stamps(&self) -> u64 {
        let others = OTHER_CAUSES.iter().map(|cause| self.metrics.observations(cause.as_str())).sum::<u64>();
        others + u64::try_from(self.nodes.len()).unwrap_or_default()
    }

    /// How many containers run.
    pub(crate) fn running(&self) -> usize {
        self.nodes.iter().map(|node| node.engine.running()).sum()
    }

    /// The containers that turn next, so many at most.
    pub(crate) fn next(&self, count: usize) -> impl Iterator<Item = (&NodeName, ContainerId)> {
        let first = self.emitted();
        let turns = (first..).take(count.min(self.containers()));
        turns.filter_map(|turn| {
            let (node, container) = self.place(turn)?;
            Some((&node.name, node.engine.id(container)?))
        })
    }

    /// Whose turn it is: one node after the other.
    fn place(&self, turn: u64) -> Option<(&Node, usize)> {
        let turn = usize::try_from(turn).ok()?;
        let node = self.nodes.get(turn.checked_rem(self.nodes.len())?)?;
        Some((node, turn.checked_div(self.nodes.len())?.checked_rem(self.containers)?))
    }
}

impl Producers {
    /// Waits until one ends by itself, which none should.
    pub(crate) async fn failed(&mut self) -> Failure {
        match self.tasks.join_next().await {
            Some(Ok(Err(failure))) => failure,
            Some(Ok(Ok(()))) | None => Failure::failed("a simulated producer ended by itself"),
            Some(Err(error)) => Failure::failed(format!("a simulated producer broke: {error}; please report it")),
        }
    }

    /// Ends them.
    pub(crate) async fn end(mut self) {
        self.stop.trigger();
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn begin(
    settings: producer::Config,
    engine: Arc<Engine>,
    context: Context,
    starts: Arc<Semaphore>,
) -> Result<(), Failure> {
    let place = tokio::select! {
        () = context.stop.stopped() => return Ok(()),
        place = starts.acquire_owned() => place,
    };
    let health = context.health.clone();
    let begun = async {
        while !health.is_ready() {
            tokio::time::sleep(LOOK_TIME).await;
        }
        // The next one may begin.
        drop(place);
    };
    let (ended, ()) = tokio::join!(producer::run_simulated(settings, engine, context), begun);
    ended
}
