//! The work on one partition: verify all checkpoints, then follow the record, until something is not as thought.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, jetstream};
use domain::revision::Place;
use domain::{NodeName, Partition, Partitions};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use service::kv::Bucket;
use service::lease::{Lease, keep};
use service::{Context, Failure, Health, Stop};
use tokio::sync::watch;

use crate::Config;
use crate::ask::Asks;
use crate::batch::Known;
use crate::beats::Beats;
use crate::cursor::{Verdict, judge};
use crate::keys::{Keys, Standing};
use crate::renewal::Renewal;
use crate::tally::Tally;
use crate::telling::tell;
use crate::trouble::Trouble;
use view::record::{Extent, State};

/// How long to wait before the work is begun anew, at first; then twice as long each time, up to the second one.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long what is under way at a stop may take.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// What all partitions share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) context: Context,
    pub(crate) client: Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) keys: Keys,
    pub(crate) partitions: Partitions,
    pub(crate) beats: Arc<Beats>,
    pub(crate) tally: Tally,
    /// Begin of the monotonic time that decisions are made of.
    pub(crate) began: Instant,
}

impl Shared {
    /// Conditions of one partition's work.
    pub(crate) fn health(&self, partition: Partition) -> Health {
        self.context.health.of(&format!("partition {partition}"))
    }
}

/// The work on one partition.
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partition: Partition,
    pub(crate) state: State,
    pub(crate) nodes: BTreeMap<NodeName, Known>,
    /// The stream as it was when all checkpoints were verified.
    pub(crate) extent: Extent,
    /// Up to this sequence all records are applied.
    pub(crate) applied: u64,
    /// The last record at or below it that could be read.
    pub(crate) place: Place,
    pub(crate) renewal: Renewal,
    pub(crate) asks: Asks,
    /// Records up to this sequence that could not be read are counted.
    pub(crate) counted: u64,
}

/// Works on a partition whenever this instance holds its lease, until told to stop.
pub(crate) async fn run(shared: Arc<Shared>, partition: Partition) -> Result<(), Failure> {
    let stop = shared.context.stop.clone();
    let (held, holding) = watch::channel(false);
    let bucket = Bucket::new(shared.client.clone(), shared.config.prefix.leases_bucket());
    let lease = Lease::new(bucket, format!("projector.{partition}"), shared.config.instance);
    let done = Stop::new();
    let healthy = AtomicBool::new(true);
    let working = async {
        let result = work(shared, partition, holding, &healthy, &stop).await;
        // Given back last: who takes it then finds nothing under way.
        done.trigger();
        result
    };
    let (result, ()) = futures::join!(working, keep(lease, held, &healthy, &done));
    result
}

async fn work(
    shared: Arc<Shared>,
    partition: Partition,
    mut holding: watch::Receiver<bool>,
    healthy: &AtomicBool,
    stop: &Stop,
) -> Result<(), Failure> {
    let health = shared.health(partition);
    let mut again = AGAIN_AFTER.0;
    loop {
        while !stop.is_stopped() && !healthy.load(Ordering::SeqCst) {
            match reach(&shared, partition).await {
                Ok(()) => {
                    ["redis", "streams"].into_iter().for_each(|condition| health.ready(condition));
                    healthy.store(true, Ordering::SeqCst);
                }
                Err(trouble) => {
                    trouble.tell(&health)?;
                    stop.sleep(AGAIN_AFTER.1).await;
                }
            }
        }
        // Another instance works on it meanwhile: this one is ready to.
        tokio::select! {
            () = stop.stopped() => return Ok(()),
            held = holding.wait_for(|held| *held) => if held.is_err() { return Ok(()) },
        }
        let began = Instant::now();
        // A server that stands still must not hold up the end: what is cut short is done again.
        let drained = async {
            stop.stopped().await;
            tokio::time::sleep(DRAIN_TIME).await;
        };
        tokio::select! {
            result = once(Arc::clone(&shared), partition, &mut holding, stop) => match result {
                Ok(()) => {}
                Err(trouble) => {
                    healthy.store(false, Ordering::SeqCst);
                    trouble.tell(&health)?;
                }
            },
            () = drained => return Ok(()),
        }
        again = if began.elapsed() > AGAIN_AFTER.1 { AGAIN_AFTER.0 } else { (2 * again).min(AGAIN_AFTER.1) };
        stop.sleep(again).await;
    }
}

/// Both servers answer.
async fn reach(shared: &Shared, partition: Partition) -> Result<(), Trouble> {
    shared.keys.prepare(shared.partitions).await?.map_err(Trouble::Failed)?;
    State::open(&shared.jetstream, &shared.config.prefix, partition).await?.extent().await?;
    Ok(())
}

async fn once(
    shared: Arc<Shared>,
    partition: Partition,
    holding: &mut watch::Receiver<bool>,
    stop: &Stop,
) -> Result<(), Trouble> {
    let mut worker = Worker::verified(shared, partition).await?;
    let result = worker.follow(holding, stop).await;
    worker.shared.tally.set(partition, 0);
    result
}

impl Worker {
    /// Reads all checkpoints, and sees to it that each is a place of the record.
    async fn verified(shared: Arc<Shared>, partition: Partition) -> Result<Self, Trouble> {
        let health = shared.health(partition);
        shared.keys.prepare(shared.partitions).await?.map_err(Trouble::Failed)?;
        let state = State::open(&shared.jetstream, &shared.config.prefix, partition).await?;
        let extent = state.extent().await?;
        refuse_partitions(&extent, shared.partitions).map_err(Trouble::Failed)?;
        let last = extent.span.last;
        let writer = if extent.span.holds(last) { state.writer_at(last).await? } else { None };
        let end = writer.map_or(Place::EMPTY, |writer| Place { sequence: last, writer });
        health.ready("streams");
        let mut worker = Self {
            partition,
            state,
            nodes: BTreeMap::new(),
            extent,
            applied: 0,
            place: end,
            renewal: Renewal::default(),
            asks: Asks::default(),
            counted: 0,
            shared: Arc::clone(&shared),
        };
        worker.verify_nodes(end).await?;
        health.ready("redis");
        let lowest = worker.nodes.values().filter_map(|known| match known {
            Known::At { checkpoint } => Some(checkpoint.place),
            Known::Retired { .. } => None,
        });
        let lowest = lowest.min_by_key(|place| place.sequence);
        worker.place = lowest.unwrap_or(end);
        worker.applied = lowest.map_or(last, |place| place.sequence);
        Ok(worker)
    }

    async fn verify_nodes(&mut self, end: Place) -> Result<(), Trouble> {
        let shared = Arc::clone(&self.shared);
        let listed = shared.keys.nodes().await?;
        let mut names = self.state.nodes().await?;
        names.extend(listed.iter().filter(|name| self.owns(name)).cloned());
        let names: Vec<NodeName> = names.into_iter().collect();
        let standings = shared.keys.standings(&names).await?;
        let questions = shared.config.limits.questions;
        let judged = names.into_iter().zip(standings).map(|(name, standing)| {
            let this = &*self;
            async move { this.judged(&standing).await.map(|verdict| (name, standing, verdict)) }.boxed()
        });
        let judged: Vec<_> = judged.collect();
        let judged: Vec<_> = stream::iter(judged).buffered(questions).try_collect().await?;
        if judged.iter().any(|(_, _, verdict)| matches!(verdict, Verdict::Rebuild(_))) {
            // A node may be about to stand before the partition's place: who lists now must not resume there.
            shared.keys.not_current(self.partition).await?;
        }
        for (name, standing, verdict) in judged {
            let known = match (verdict, standing.stored.parse()) {
                (Verdict::Follow, Some(checkpoint)) => Some(Known::At { checkpoint }),
                (Verdict::Follow, None) => None,
                (Verdict::Rebuild(why), _) => self.begin_rebuild(&name, &standing, end, why).await?,
            };
            tell(&shared.keys, &name, questions).await?;
            let is_there = matches!(known, Some(Known::At { .. }));
            if is_there != listed.contains(&name) {
                shared.keys.member(&shared.config.prefix.nodes_key(), name.as_str(), is_there).await?;
            }
            self.nodes.extend(known.map(|known| (name, known)));
        }
        Ok(())
    }

    async fn judged(&self, standing: &Standing) -> Result<Verdict, Trouble> {
        let checkpoint = standing.stored.parse();
        if checkpoint.is_some() && !standing.is_there {
            return Ok(Verdict::Rebuild("the node's own key is gone"));
        }
        let sequence = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.place.sequence);
        let span = self.extent.span;
        let writer = if span.holds(sequence) { self.state.writer_at(sequence).await? } else { None };
        Ok(judge(checkpoint.as_ref(), self.partition, span, writer))
    }

    /// The node is of this partition.
    pub(crate) fn owns(&self, name: &NodeName) -> bool {
        self.shared.partitions.of(name) == self.partition
    }
}

/// The streams decide how many partitions there are.
pub(crate) fn refuse_partitions(extent: &Extent, wanted: Partitions) -> Result<(), Failure> {
    match extent.partitions {
        Some(made) if made != wanted => Err(Failure::failed(format!(
            "the streams were made with {made} partitions, and {wanted} are wanted; use --partitions {made}"
        ))),
        Some(_) | None => Ok(()),
    }
}
