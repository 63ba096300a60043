//! The work on one partition: each interval, every node once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, jetstream};
use domain::node::DriftKind;
use domain::{NodeName, Partition, Partitions, Prefix};
use futures::{StreamExt, stream};
use service::lease::Lease;
use service::redis::Store;
use service::{Context, Failure, Metrics};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use view::record::State;

use crate::look::{Memory, Share};
use crate::stand_in::StandIns;
use crate::sweep::Sweep;
use crate::{Config, Limits};
use view::trouble::Trouble;

/// How long to wait after a trouble, and before the servers are asked again if they answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What must hold for the work to go on.
const CONDITIONS: [&str; 3] = ["redis", "streams", "nats"];
/// Least records that a look may read, however many nodes there are.
const RECORDS_MIN: usize = 2;
/// Least members of indexes in other slots that a look compares.
const MEMBERS_MIN: usize = 10;
/// Most missed changes that a producer is believed in one answer.
const MISSED_MAX: u32 = 100_000;

/// What all looks at nodes of one partition share.
pub(crate) struct Desk {
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) store: Arc<Store>,
    pub(crate) prefix: Prefix,
    pub(crate) partition: Partition,
    pub(crate) partitions: Partitions,
    pub(crate) state: State,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
}

/// Works on a partition whenever this instance holds its lease, until told to stop.
pub(crate) async fn run(config: Arc<Config>, lease: Lease, desk: Desk, context: Context) -> Result<(), Failure> {
    let mut stand_ins = StandIns::new(&config, &desk, &context);
    let result = tokio::select! {
        result = work(config.interval, &desk, &lease, &context) => result,
        () = stand_ins.run(&lease) => Ok(()),
        () = context.stop.stopped() => Ok(()),
    };
    // Before the lease is given back: who takes it then finds that nobody answers for their nodes.
    stand_ins.end().await;
    result
}

async fn work(every: Duration, desk: &Desk, lease: &Lease, context: &Context) -> Result<(), Failure> {
    let health = context.health.of(&format!("partition {}", desk.partition));
    let mut worker = Worker { desk, interval: every, memories: HashMap::new(), sweep: Sweep::default() };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Another instance takes the lease meanwhile, if it reaches what this one does not.
        while !lease.is_healthy() {
            context.stop.sleep(AGAIN_AFTER).await;
            match worker.reach().await {
                Ok(()) => {
                    CONDITIONS.into_iter().for_each(|condition| health.ready(condition));
                    lease.set_healthy(true);
                }
                Err(trouble) => trouble.tell(&health)?,
            }
        }
        let held = lease.held().await;
        let result = loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = held.lost() => break Ok(()),
            }
            // A round that is cut short is another's to do.
            let round = tokio::select! {
                round = worker.round() => round,
                () = held.lost() => break Ok(()),
            };
            if round.is_err() {
                break round;
            }
            CONDITIONS.into_iter().for_each(|condition| health.ready(condition));
        };
        drop(held);
        if let Err(trouble) = result {
            lease.set_healthy(false);
            trouble.tell(&health)?;
        }
    }
}

struct Worker<'a> {
    desk: &'a Desk,
    interval: Duration,
    memories: HashMap<NodeName, Memory>,
    sweep: Sweep,
}

impl Worker<'_> {
    /// Both servers answer what every look asks.
    async fn reach(&self) -> Result<(), Trouble> {
        let nodes = self.nodes().await?;
        if let Some(any) = nodes.first() {
            self.desk.examine(any).await?;
        }
        Ok(())
    }

    /// Looks at every node once, spread over the interval.
    async fn round(&mut self) -> Result<(), Trouble> {
        let desk = self.desk;
        // While nothing is current, what is under way explains everything.
        if view::store::partition(&desk.store, &desk.prefix, desk.partition).await?.is_none() {
            return Ok(());
        }
        let nodes = self.nodes().await?;
        self.memories.retain(|node, _| nodes.contains(node));
        let count = nodes.len().max(1);
        let share = Share {
            records: (desk.limits.records / count).max(RECORDS_MIN),
            members: (desk.limits.members / count).max(MEMBERS_MIN),
        };
        let began = Instant::now();
        let apart = self.interval.div_f64(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        let looks: Vec<_> = nodes
            .into_iter()
            .zip(0_u32..)
            .map(|(node, place)| {
                let memory = self.memories.remove(&node).unwrap_or_default();
                look_and_repair(desk, node, memory, share, began + apart * place)
            })
            .collect();
        let mut looks = stream::iter(looks).buffer_unordered(desk.limits.nodes);
        let mut result = Ok(());
        while let Some((node, memory, outcome)) = looks.next().await {
            self.memories.insert(node, memory);
            result = result.and(outcome);
        }
        result?;
        // The keys of all partitions, by one of their holders.
        if desk.partition == Partition(0) { self.sweep.go_on(desk).await } else { Ok(()) }
    }

    /// Nodes that the record or the store knows.
    async fn nodes(&self) -> Result<BTreeSet<NodeName>, Trouble> {
        let mut nodes = self.desk.state.nodes().await?;
        let stored = view::store::nodes(&self.desk.store, &self.desk.prefix).await?;
        nodes.extend(stored.into_iter().filter(|node| self.desk.partitions.of(node) == self.desk.partition));
        Ok(nodes)
    }
}

async fn look_and_repair(
    desk: &Desk,
    node: NodeName,
    mut memory: Memory,
    share: Share,
    at: Instant,
) -> (NodeName, Memory, Result<(), Trouble>) {
    sleep_until(at).await;
    let outcome = match desk.look(&node, &mut memory, share).await {
        Ok(mut look) => {
            desk.metrics.drifts(DriftKind::MissedEvent.as_str(), u64::from(look.missed.min(MISSED_MAX)));
            if let Some(findings) = look.findings.take() {
                let verdict = memory.ledger.enter(findings);
                desk.repair(&node, &look, verdict, &mut memory).await;
            }
            Ok(())
        }
        Err(trouble) => Err(trouble),
    };
    (node, memory, outcome)
}
