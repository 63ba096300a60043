//! The work on one partition: verify all checkpoints, then follow the record, until something is not as thought.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, jetstream};
use domain::revision::Place;
use domain::{NodeName, Partition, Partitions};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use service::lease::{Held, Lease};
use service::{Context, Failure, Health, Stop};

use crate::Config;
use crate::ask::Asks;
use crate::batch::Known;
use crate::beats::Beats;
use crate::cursor::{Verdict, judge};
use crate::drift::{Found, changed};
use crate::keys::{Keys, Standing};
use crate::naming::Drifts;
use crate::renewal::Renewal;
use crate::tally::Tally;
use crate::telling::tell;
use view::checkpoint::{Checkpoint, Stored};
use view::record::{Extent, State};
use view::trouble::Trouble;

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
    pub(crate) drifts: Drifts,
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
pub(crate) struct Worker<'a> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partition: Partition,
    pub(crate) state: State,
    /// Of a work before this one until all checkpoints are verified: what was written then.
    pub(crate) nodes: &'a mut BTreeMap<NodeName, Known>,
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
pub(crate) async fn run(shared: Arc<Shared>, lease: Lease) -> Result<(), Failure> {
    let (stop, partition) = (shared.context.stop.clone(), lease.partition());
    let health = shared.health(partition);
    let mut again = AGAIN_AFTER.0;
    let mut nodes = BTreeMap::new();
    loop {
        while !stop.is_stopped() && !lease.is_healthy() {
            match reach(&shared, partition).await {
                Ok(()) => {
                    ["redis", "streams"].into_iter().for_each(|condition| health.ready(condition));
                    lease.set_healthy(true);
                }
                Err(trouble) => {
                    trouble.tell(&health)?;
                    stop.sleep(AGAIN_AFTER.1).await;
                }
            }
        }
        let held = tokio::select! {
            () = stop.stopped() => return Ok(()),
            held = lease.held() => held,
        };
        let began = Instant::now();
        // A server that stands still must not hold up the end: what is cut short is done again.
        let drained = async {
            tokio::select! {
                () = stop.stopped() => {}
                () = held.lost() => {}
            }
            tokio::time::sleep(DRAIN_TIME).await;
        };
        let result = tokio::select! {
            result = once(Arc::clone(&shared), partition, &mut nodes, &held, &stop) => result,
            () = drained => Ok(()),
        };
        // How far another instance is, it says itself: this one is ready to take over.
        health.ready("lag");
        shared.tally.set(partition, 0);
        drop(held);
        if let Err(trouble) = result {
            lease.set_healthy(false);
            trouble.tell(&health)?;
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
    nodes: &mut BTreeMap<NodeName, Known>,
    held: &Held,
    stop: &Stop,
) -> Result<(), Trouble> {
    Worker::verified(shared, partition, nodes).await?.follow(held, stop).await
}

impl<'a> Worker<'a> {
    /// Reads all checkpoints, and sees to it that each is a place of the record.
    async fn verified(
        shared: Arc<Shared>,
        partition: Partition,
        nodes: &'a mut BTreeMap<NodeName, Known>,
    ) -> Result<Self, Trouble> {
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
            nodes,
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
        self.nodes.retain(|name, _| names.contains(name));
        let names: Vec<NodeName> = names.into_iter().collect();
        let standings = shared.keys.standings(&names).await?;
        let questions = shared.config.limits.questions;
        let judged = names.into_iter().zip(standings).map(|(name, standing)| {
            let this = &*self;
            async move { this.judged(&name, &standing).await.map(|verdict| (name, standing, verdict)) }.boxed()
        });
        let judged: Vec<_> = judged.collect();
        let judged: Vec<_> = stream::iter(judged).buffered(questions).try_collect().await?;
        if judged.iter().any(|(_, _, verdict)| matches!(verdict, Verdict::Rebuild(_))) {
            // A node may be about to stand before the partition's place: who lists now must not resume there.
            shared.keys.not_current(self.partition).await?;
        }
        let mut strays = Vec::new();
        for (name, standing, verdict) in judged {
            let changed = self.verify_node(&name, &standing, verdict, end, listed.contains(&name)).await?;
            let is_there = matches!(self.nodes.get(&name), Some(Known::At { .. }));
            match (changed.as_slice(), is_there) {
                ([], _) => {}
                (keys, true) => shared.drifts.name(&name, keys.iter().map(ToString::to_string).collect()),
                (keys, false) => strays.extend(keys.iter().map(|key| format!("{key}:{name}"))),
            }
        }
        self.name_strays(strays);
        Ok(())
    }

    /// Sees to it that the keys of one node can be followed. Answers which of them another hand had changed.
    async fn verify_node(
        &mut self,
        name: &NodeName,
        standing: &Standing,
        verdict: Verdict,
        end: Place,
        listed: bool,
    ) -> Result<Vec<&'static str>, Trouble> {
        let shared = Arc::clone(&self.shared);
        let written = self.written(name, standing).await?;
        let is_untold = listed != standing.is_there && shared.keys.is_untold(name).await?;
        let known = match (verdict, standing.stored.parse()) {
            (Verdict::Follow, Some(checkpoint)) => Some(Known::At { checkpoint }),
            (Verdict::Follow, None) => None,
            (Verdict::Rebuild(why), _) => self.begin_rebuild(name, standing, end, why).await?,
        };
        tell(&shared.keys, name, shared.config.limits.questions).await?;
        let lives = matches!(known, Some(Known::At { .. }));
        if lives != listed {
            shared.keys.member(&shared.config.prefix.nodes_key(), name.as_str(), lives).await?;
        }
        match known {
            Some(known) => self.nodes.insert(name.clone(), known),
            None => self.nodes.remove(name),
        };
        let listed = (!is_untold).then_some(listed);
        Ok(changed(&Found { standing, verdict, written: written.as_ref(), listed, lives }))
    }

    /// The checkpoint that was written last, if another one is stored and the record still has its place.
    async fn written(&self, name: &NodeName, standing: &Standing) -> Result<Option<Checkpoint>, Trouble> {
        match self.nodes.get(name) {
            Some(Known::At { checkpoint }) if standing.stored != Stored::from(checkpoint) => {
                let verdict = self.judged_checkpoint(name, Some(checkpoint)).await?;
                Ok((verdict == Verdict::Follow).then(|| checkpoint.clone()))
            }
            Some(Known::At { .. } | Known::Retired { .. }) | None => Ok(None),
        }
    }

    /// Drifts of what is no node, or none any more, and so has no producer: any other says them.
    fn name_strays(&self, strays: Vec<String>) {
        let mut nodes = self.nodes.iter();
        if let Some((node, _)) = nodes.find(|(_, known)| matches!(known, Known::At { .. }))
            && !strays.is_empty()
        {
            self.shared.drifts.name(node, strays);
        }
    }

    async fn judged(&self, name: &NodeName, standing: &Standing) -> Result<Verdict, Trouble> {
        let checkpoint = standing.stored.parse();
        if checkpoint.is_some() && !standing.is_there {
            return Ok(Verdict::Rebuild("the node's own key is gone"));
        }
        self.judged_checkpoint(name, checkpoint.as_ref()).await
    }

    async fn judged_checkpoint(&self, name: &NodeName, checkpoint: Option<&Checkpoint>) -> Result<Verdict, Trouble> {
        let sequence = checkpoint.map_or(0, |checkpoint| checkpoint.place.sequence);
        let span = self.extent.span;
        let record = if span.holds(sequence) { self.state.record_at(sequence).await? } else { None };
        // A rebuild may begin at a record of another node.
        let is_rebuilt = checkpoint.is_some_and(|checkpoint| checkpoint.rebuild.is_some());
        let writer = record.filter(|record| is_rebuilt || record.node == *name).map(|record| record.writer);
        Ok(judge(checkpoint, self.partition, span, writer))
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
