//! Following the record: what comes is applied at once, and each heartbeat it is looked whether all is as thought.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use domain::revision::Place;
use domain::wire::{Invalid, Wire};
use domain::{NodeName, Subject};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use service::Stop;
use service::kv::Bucket;
use service::lease::Held;

use crate::batch::{From, Known, Taken, changes};
use crate::control::Control;
use crate::fold::Change;
use crate::keys::{Applied, Standing};
use crate::rebuild::new_rebuild;
use crate::renewal::Look;
use crate::telling::tell;
use crate::worker::Worker;
use view::checkpoint::Stored;
use view::record::{Entry, Follower};
use view::trouble::Trouble;

/// How often timers are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How often signs of life are written.
const BEATS_APART: Duration = Duration::from_secs(1);
/// The partition's key lasts so many heartbeats.
const CURRENT_HEARTBEATS: u32 = 3;

/// When what was done last.
struct Timers {
    beats: Instant,
    verified: Instant,
    renewed: Instant,
    /// What was applied, and where the stream ended, when the store was last verified.
    progress: (u64, u64),
    /// How often the client had connected.
    connects: u64,
}

/// One node's part of a batch.
struct Part {
    name: NodeName,
    from: From,
    records: Vec<Taken>,
}

impl Worker<'_> {
    /// Follows the record while the lease is held, until told to stop.
    pub(crate) async fn follow(&mut self, held: &Held, stop: &Stop) -> Result<(), Trouble> {
        let mut follower = self.state.follow(self.applied).await?;
        let mut control = Control::listen(&self.shared, self.partition).await?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let now = Instant::now();
        let progress = (self.applied, self.applied);
        let mut timers = Timers { beats: now, verified: now, renewed: now, progress, connects: self.connects() };
        let heartbeat = self.shared.config.heartbeat;
        loop {
            tokio::select! {
                () = stop.stopped() => return Ok(()),
                () = held.lost() => return Ok(()),
                entry = follower.next() => self.take_batch(entry?, &mut follower).await?,
                () = self.asks.answered(heartbeat) => {}
                request = control.next() => self.rebuild_on_request(request).await?,
                _ = tick.tick() => self.tick(&mut timers).await?,
            }
            let now = Instant::now();
            self.asks.look(self.nodes, now, heartbeat);
            self.asks.ask(&self.shared.client, &self.shared.config.prefix, now, heartbeat);
        }
    }

    /// Takes what has come already, up to the bounds, and applies it.
    async fn take_batch(&mut self, first: Entry, follower: &mut Follower) -> Result<(), Trouble> {
        let limits = self.shared.config.limits.clone();
        let mut size = first.size();
        let mut entries = vec![first];
        let mut trouble = None;
        while entries.len() < limits.batch_records && size < limits.batch_bytes {
            match follower.next().now_or_never() {
                None => break,
                Some(Ok(entry)) => {
                    size += entry.size();
                    entries.push(entry);
                }
                Some(Err(error)) => {
                    trouble = Some(error);
                    break;
                }
            }
        }
        self.apply_entries(&entries).await?;
        trouble.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn apply_entries(&mut self, entries: &[Entry]) -> Result<(), Trouble> {
        let mut parts: BTreeMap<NodeName, Part> = BTreeMap::new();
        let (mut applied, mut place, mut pending) = (self.applied, self.place, 0);
        for (index, entry) in entries.iter().enumerate() {
            if entry.sequence <= applied {
                // A consumer that was made anew may begin at the very first record.
                continue;
            }
            if entry.sequence > applied + 1 {
                self.look_into_hole(applied).await?;
            }
            applied = entry.sequence;
            pending = entry.pending;
            let node = entry.node.as_ref().and_then(|name| self.nodes.get(name));
            let is_old = node.is_some_and(|known| entry.sequence <= known.applied());
            if is_old && index + 1 < entries.len() {
                continue;
            }
            match entry.record() {
                Ok(record) => {
                    let before = place;
                    place = Place { sequence: entry.sequence, writer: record.writer };
                    if !is_old {
                        let taken = Taken { sequence: entry.sequence, size: entry.size(), record };
                        self.add(&mut parts, taken, before).await?;
                    }
                }
                Err(invalid) => self.count_unreadable(entry, &invalid),
            }
        }
        self.apply_parts(parts).await?;
        (self.applied, self.place) = (applied, place);
        self.shared.tally.set(self.partition, pending);
        Ok(())
    }

    async fn add(&self, parts: &mut BTreeMap<NodeName, Part>, taken: Taken, before: Place) -> Result<(), Trouble> {
        let name = taken.record.node.clone();
        if let Some(part) = parts.get_mut(&name) {
            part.records.push(taken);
            return Ok(());
        }
        let from = match self.nodes.get(&name) {
            Some(Known::At { checkpoint }) => From::Checkpoint(checkpoint.clone()),
            // A node that is new, or heard of again: whatever the store has of it is not known to be true.
            Some(Known::Retired { .. }) | None => {
                let standings = self.shared.keys.standings(std::slice::from_ref(&name)).await?;
                let expected = standings.into_iter().next().map(|standing| standing.stored).unwrap_or_default();
                From::Anew { expected, before }
            }
        };
        parts.insert(name.clone(), Part { name, from, records: vec![taken] });
        Ok(())
    }

    async fn apply_parts(&mut self, parts: BTreeMap<NodeName, Part>) -> Result<(), Trouble> {
        let questions = self.shared.config.limits.questions;
        let this = &*self;
        let applying: Vec<_> = parts.into_values().map(|part| this.apply_part(part).boxed()).collect();
        let done: Vec<_> = stream::iter(applying).buffer_unordered(questions).try_collect().await?;
        self.nodes.extend(done);
        Ok(())
    }

    async fn apply_part(&self, part: Part) -> Result<(NodeName, Known), Trouble> {
        let Part { name, from, records } = part;
        let limits = &self.shared.config.limits;
        let (mut untold, mut last) = (0, None);
        for change in changes(self.partition, &name, from, &records, limits, new_rebuild) {
            last = change.checkpoint().cloned();
            untold = self.apply_change(&name, change).await?;
        }
        self.measure(&records, last.as_ref().is_some_and(|checkpoint| checkpoint.rebuild.is_some()));
        if untold > 0 {
            tell(&self.shared.keys, &name, limits.questions).await?;
        }
        let sequence = records.last().map_or(0, |taken| taken.sequence);
        let Some(checkpoint) = last else {
            self.shared.drifts.forget(&name);
            return Ok((name, Known::Retired { sequence }));
        };
        Ok((name, Known::At { checkpoint }))
    }

    async fn apply_change(&self, name: &NodeName, change: Change) -> Result<u64, Trouble> {
        match self.shared.keys.apply(name, &change.into_args()).await? {
            Applied::Done { untold } => Ok(untold),
            Applied::Refused => Err(Trouble::Changed("another checkpoint is stored")),
        }
    }

    fn measure(&self, records: &[Taken], rebuilding: bool) {
        // Records are counted where they are made, by the sequencer.
        let metrics = &self.shared.context.metrics;
        let now = service::clock::now();
        for Taken { record, .. } in records {
            let is_look = matches!(record.subject, Subject::Container(_)) && !record.repeated && !rebuilding;
            if let Some(observed_at) = record.observed_at.filter(|_| is_look) {
                let nanos = u64::try_from(now.0.saturating_sub(observed_at.0)).unwrap_or(0);
                metrics.event_to_store(Duration::from_nanos(nanos).as_secs_f64());
            }
        }
    }

    fn count_unreadable(&mut self, entry: &Entry, invalid: &Invalid) {
        if entry.sequence > self.counted {
            self.counted = entry.sequence;
            self.shared.context.metrics.dead_letter(invalid.as_str());
            let (sequence, partition) = (entry.sequence, self.partition.0);
            tracing::error!(partition, sequence, %invalid, "passes a record that cannot be read");
        }
    }

    /// Records are missing: trimmed under the reader, or deleted by another hand.
    async fn look_into_hole(&self, applied: u64) -> Result<(), Trouble> {
        if self.state.extent().await?.span.first > applied + 1 {
            return Err(Trouble::Changed("records were trimmed before they were read"));
        }
        tracing::warn!(partition = self.partition.0, after = applied, "records are missing from the stream");
        Ok(())
    }

    async fn tick(&mut self, timers: &mut Timers) -> Result<(), Trouble> {
        let heartbeat = self.shared.config.heartbeat;
        if self.connects() != timers.connects {
            // The server may be another one than before, or have forgotten the consumer.
            return Err(Trouble::Changed("connected to NATS again"));
        }
        if timers.beats.elapsed() >= BEATS_APART.min(heartbeat) {
            timers.beats = Instant::now();
            // That of a node whose first record is still to come is kept for it.
            let is_there = |name: &NodeName| matches!(self.nodes.get(name), Some(Known::At { .. }));
            let beats = self.shared.beats.take(is_there);
            self.shared.keys.beats(&beats).await?;
        }
        let due = self.renewal.is_due(self.shared.began.elapsed(), heartbeat);
        if due || timers.verified.elapsed() >= heartbeat {
            self.look(timers).await?;
        }
        Ok(())
    }

    /// Looks whether stream and store are still those that were verified, and renews the partition's key.
    async fn look(&mut self, timers: &mut Timers) -> Result<(), Trouble> {
        let heartbeat = self.shared.config.heartbeat;
        let extent = self.state.extent().await?;
        if extent.created != self.extent.created {
            return Err(Trouble::Changed("the stream was made anew"));
        }
        if extent.span.last < self.applied {
            return Err(Trouble::Changed("the stream was cut"));
        }
        if extent.span.holds(self.place.sequence)
            && self.state.writer_at(self.place.sequence).await? != Some(self.place.writer)
        {
            return Err(Trouble::Changed("another record stands where the last one was"));
        }
        let now = self.shared.began.elapsed();
        let look = Look { counter: self.sequencer_counter().await, end: extent.span.last, applied: self.applied };
        let is_current = self.renewal.is_current(now, heartbeat, look);
        if is_current || timers.verified.elapsed() >= heartbeat {
            self.verify_store().await?;
        }
        if timers.verified.elapsed() >= heartbeat {
            timers.verified = Instant::now();
            let (applied, end) = std::mem::replace(&mut timers.progress, (self.applied, extent.span.last));
            if self.applied == applied && applied < end {
                return Err(Trouble::Changed("nothing comes, and the record goes on"));
            }
        }
        if is_current {
            let lasts = CURRENT_HEARTBEATS * heartbeat;
            self.shared.keys.renew(self.partition, self.place, service::clock::now(), lasts).await?;
            self.renewal.renewed(now);
            timers.renewed = Instant::now();
        }
        self.tell_lag(timers, extent.span.last.saturating_sub(self.applied));
        Ok(())
    }

    /// A flush, a restore or another hand needs no reconnect: the checkpoints tell.
    async fn verify_store(&mut self) -> Result<(), Trouble> {
        let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
        let standings = self.shared.keys.standings(&names).await?;
        for (name, standing) in names.iter().zip(&standings) {
            if !stands(self.nodes.get(name), standing) {
                return Err(Trouble::Changed("the store is not what was written"));
            }
        }
        let listed = self.shared.keys.nodes().await?;
        let listed: BTreeSet<_> = listed.iter().filter(|name| self.owns(name)).collect();
        let there = self.nodes.iter().filter(|(_, known)| matches!(known, Known::At { .. })).map(|(name, _)| name);
        if listed != there.collect() {
            return Err(Trouble::Changed("the list of nodes is not what was written"));
        }
        self.shared.keys.prepare(self.shared.partitions).await?.map_err(Trouble::Failed)
    }

    fn connects(&self) -> u64 {
        self.shared.client.statistics().connects.load(Ordering::Relaxed)
    }

    async fn sequencer_counter(&self) -> Option<u64> {
        let bucket = Bucket::new(self.shared.client.clone(), self.shared.config.prefix.leases_bucket());
        let entry = bucket.get(&format!("sequencer.{}", self.partition)).await.ok()??;
        domain::node::Lease::decode(&entry.value).ok().map(|lease| lease.counter)
    }

    fn tell_lag(&self, timers: &Timers, lag: u64) {
        let health = self.shared.health(self.partition);
        if lag == 0 || timers.renewed.elapsed() < CURRENT_HEARTBEATS * self.shared.config.heartbeat {
            health.ready("lag");
        } else {
            health.unready("lag", "there are records that are not in Redis yet");
        }
    }
}

/// The node's keys are as they were written last.
pub(crate) fn stands(known: Option<&Known>, standing: &Standing) -> bool {
    match known {
        Some(Known::At { checkpoint }) => standing.is_there && standing.stored == Stored::from(checkpoint),
        Some(Known::Retired { .. }) | None => !standing.is_there,
    }
}
