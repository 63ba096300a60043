//! One writing life: reads, hears and is told; decides; publishes.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, Context as JetStream};
use async_nats::{HeaderMap, Message, Subscriber};
use domain::node::{GapRange, Heartbeat};
use domain::wire::Wire;
use domain::{NodeName, Subject};
use futures::{FutureExt, StreamExt};
use ordering::Answer;
use service::lease::Held;
use service::nats::Single;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::{Broken, Ended, Worker};
use crate::partition::{Input, Millis, Partition, Start};
use crate::raw::{self, Read, Unreadable};
use crate::recover::Extent;
use crate::{control, publish};

/// How often time is looked at.
const WAKE_TIME: Duration = Duration::from_millis(200);
/// How often the streams are looked at.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// How often observations that are in the record are removed from their stream.
const PURGE_TIME: Duration = Duration::from_secs(10);

/// What tasks beside the loop report to it.
pub(super) enum Told {
    Answered { node: NodeName, epoch: u64, from: u64, answer: Answer },
    Noted(NodeName),
    Looked(Looked),
    Broken(Broken),
}

/// What a look at the streams found, and how far this life was when it began.
pub(super) struct Looked {
    pub(super) began: Millis,
    /// Next sequence of the stream of observations.
    pub(super) position: u64,
    pub(super) raw: Extent,
    /// Last observation of this partition.
    pub(super) end: u64,
    /// Last sequence of the stream of records that was written.
    pub(super) written: u64,
    pub(super) state: Extent,
}

/// What one writing life holds.
pub(super) struct Life {
    pub(super) single: Single,
    pub(super) jetstream: JetStream,
    pub(super) decide: Partition,
    pub(super) began: Instant,
    /// Next sequence of the stream of observations.
    pub(super) position: u64,
    pub(super) raw_created: i64,
    pub(super) state_created: i64,
    /// When RAW's end was read, and where it was: not yet reached.
    pub(super) end: Option<(Millis, u64)>,
    pub(super) read_to: Option<Millis>,
    pub(super) looking: bool,
    pub(super) looked_at: Millis,
    pub(super) woken_at: Millis,
    /// Floor that the records tell, and up to which the stream of observations was purged.
    pub(super) floor: u64,
    pub(super) purged: u64,
    pub(super) purged_at: Millis,
    pub(super) told: mpsc::Sender<Told>,
}

/// What one writing life reads and hears.
pub(super) struct Readers {
    pub(super) messages: pull::Ordered,
    pub(super) beats: Subscriber,
    pub(super) forgets: Subscriber,
    pub(super) told: mpsc::Receiver<Told>,
}

impl Life {
    /// Begins where recovery left off.
    pub(super) fn new(
        single: Single,
        jetstream: JetStream,
        decide: Partition,
        (start, state_created): (Start, i64),
        began: Instant,
        told: mpsc::Sender<Told>,
    ) -> Self {
        let mut life = Self {
            single,
            jetstream,
            decide,
            began,
            position: start.raw_next,
            raw_created: start.raw_created,
            state_created,
            end: None,
            read_to: None,
            looking: false,
            looked_at: 0,
            woken_at: 0,
            floor: 0,
            purged: 0,
            purged_at: 0,
            told,
        };
        life.woken_at = life.now();
        life
    }

    fn now(&self) -> Millis {
        Millis::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }
}

impl Worker {
    pub(super) async fn work(
        &self,
        mut life: Life,
        mut readers: Readers,
        held: &Held,
        ready_at: Instant,
    ) -> Result<(), Ended> {
        let mut wake = tokio::time::interval(WAKE_TIME);
        wake.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = |what: &'static str| move || Broken::because(what);
        // A life that comes after one that was refused at once may be, too: it is ready when it has shown otherwise.
        let mut is_ready = false;
        while !held.is_lost() && !self.context.stop.is_stopped() {
            if !is_ready && Instant::now() >= ready_at {
                is_ready = true;
                self.context.health.ready("records");
            }
            tokio::select! {
                () = self.context.stop.stopped() => {}
                () = held.lost() => {}
                message = readers.messages.next() => {
                    let message = message.ok_or_else(ended("the reader of observations ended"))?;
                    self.feed(&mut life, message).await?;
                    self.feed_ready(&mut life, &mut readers.messages).await?;
                }
                beat = readers.beats.next() => {
                    self.hear(&mut life, &beat.ok_or_else(ended("the connection ended"))?);
                }
                told = readers.told.recv() => {
                    self.note(&mut life, told.ok_or_else(ended("the looks ended"))?)?;
                }
                request = readers.forgets.next() => {
                    self.forget(&mut life, &request.ok_or_else(ended("the connection ended"))?).await?;
                }
                _ = wake.tick() => self.wake(&mut life)?,
            }
            self.act(&mut life).await?;
        }
        // What was decided while the lease was held. Another writer may have begun since: then it is refused, and is
        // decided there anew.
        self.act(&mut life).await?;
        Ok(())
    }

    /// Takes what is there already, so that many observations share one batch of records.
    async fn feed_ready(&self, life: &mut Life, messages: &mut pull::Ordered) -> Result<(), Broken> {
        while life.decide.waiting() < self.config.limits.batch_records_max {
            let Some(message) = messages.next().now_or_never() else { return Ok(()) };
            let message = message.ok_or_else(|| Broken::because("the reader of observations ended"))?;
            self.feed(life, message).await?;
        }
        Ok(())
    }

    async fn feed(
        &self,
        life: &mut Life,
        message: Result<jetstream::Message, pull::OrderedError>,
    ) -> Result<(), Broken> {
        let message = message.map_err(|error| Broken::new("cannot read the observations", &error))?;
        let Read { raw_sequence, says } = raw::parse(&self.config.prefix, self.number, &message)?;
        if raw_sequence < life.position {
            // A reader that was made anew before its first message begins at the stream's first (async-nats 0.51).
            return Ok(());
        }
        let input = match says {
            Ok(batch) => Input::Message { raw_sequence, batch },
            Err(unreadable) => {
                self.bury(&unreadable, &message).await;
                Input::Unreadable { raw_sequence }
            }
        };
        life.decide.step(life.now(), service::clock::now(), input);
        life.position = raw_sequence + 1;
        self.reach_end(life);
        Ok(())
    }

    /// What cannot be read is kept for people, with the reason.
    async fn bury(&self, unreadable: &Unreadable, message: &jetstream::Message) {
        let Unreadable { node, reason, detail } = unreadable;
        self.context.metrics.dead_letter(reason);
        tracing::warn!(
            node = node.as_ref().map(tracing::field::display),
            reason,
            detail,
            "an observation cannot be read"
        );
        let Some(node) = node else { return };
        let mut headers = HeaderMap::new();
        headers.insert("Deckwatch-Reason", *reason);
        headers.insert("Deckwatch-Detail", detail.split_whitespace().collect::<Vec<_>>().join(" ").as_str());
        let sent =
            self.client.publish_with_headers(self.config.prefix.dead(node), headers, message.payload.clone()).await;
        if let Err(error) = sent {
            tracing::warn!(%error, "it could not be kept");
        }
    }

    fn hear(&self, life: &mut Life, message: &Message) {
        if message.payload.is_empty() {
            // Somebody tries whether it may be sent.
            return;
        }
        match Heartbeat::decode(&message.payload) {
            Ok(beat) if message.subject.as_str() == self.config.prefix.beat(&beat.node) => {
                if self.config.partitions.of(&beat.node) == self.number {
                    life.decide.step(life.now(), service::clock::now(), Input::Beat(beat));
                }
            }
            Ok(_) => self.context.metrics.dead_letter("other_node"),
            Err(_) => self.context.metrics.dead_letter("invalid"),
        }
    }

    fn note(&self, life: &mut Life, told: Told) -> Result<(), Broken> {
        let input = match told {
            Told::Answered { node, epoch, from, answer } => Input::Answered { node, epoch, from, answer },
            Told::Noted(node) => Input::Noted(node),
            Told::Broken(broken) => return Err(broken),
            Told::Looked(Looked { began, position, raw, end, written, state }) => {
                life.looking = false;
                if raw.created != life.raw_created || raw.last + 1 < position {
                    return Err(Broken::because("the stream of observations was made anew, or lost its end"));
                }
                // A quiet partition writes nothing that would be refused.
                if state.created != life.state_created || state.last < written {
                    return Err(Broken::because("the stream of records was made anew, or lost its end"));
                }
                life.end = Some((began, end));
                self.reach_end(life);
                return Ok(());
            }
        };
        life.decide.step(life.now(), service::clock::now(), input);
        Ok(())
    }

    fn reach_end(&self, life: &mut Life) {
        if let Some((began, end)) = life.end
            && life.position > end
        {
            life.end = None;
            life.read_to = Some(began);
        }
    }

    async fn forget(&self, life: &mut Life, message: &Message) -> Result<(), Broken> {
        let request = match control::parse(message) {
            Ok(request) => request,
            Err(reason) => {
                control::refuse(&self.client, message, 400, &reason).await;
                return Ok(());
            }
        };
        let node = &request.node;
        match life.decide.forget(life.now(), &request, service::clock::now()) {
            Ok(sequence) => {
                self.write(life).await?;
                match control::free_name(&self.client, &self.config.prefix, node).await {
                    Ok(()) => control::done(&self.client, message, sequence).await,
                    Err(error) => {
                        let reason =
                            format!("node {node} is retired, but its name is not yet free: {error}; forget it again");
                        control::refuse(&self.client, message, 503, &reason).await;
                    }
                }
            }
            Err(why) => {
                let (code, reason) = control::reason(node, why);
                control::refuse(&self.client, message, code, &reason).await;
            }
        }
        Ok(())
    }

    fn wake(&self, life: &mut Life) -> Result<(), Broken> {
        if !life.single.is_alive() {
            return Err(Broken::because("the connection to NATS was cut"));
        }
        let now = life.now();
        let pause = self.config.heartbeat.max(WAKE_TIME * 5);
        if u128::from(now.saturating_sub(life.woken_at)) > pause.as_millis() {
            life.decide.step(now, service::clock::now(), Input::Paused);
        }
        life.woken_at = now;
        life.decide.step(now, service::clock::now(), Input::Wake { read_to: life.read_to });
        let wanted =
            life.decide.wants_read_to(now).is_some_and(|moment| life.read_to.is_none_or(|read| read <= moment));
        let since = u128::from(now.saturating_sub(life.looked_at));
        if !life.looking && life.end.is_none() && (since >= LOOK_TIME.as_millis() || wanted) {
            life.looking = true;
            life.looked_at = now;
            self.look(life, now);
        }
        Ok(())
    }

    /// Publishes what was decided, and asks what is to be asked.
    async fn act(&self, life: &mut Life) -> Result<(), Broken> {
        self.write(life).await?;
        for effect in life.decide.take_effects() {
            self.ask(life, effect);
        }
        let now = life.now();
        if life.floor > life.purged && u128::from(now.saturating_sub(life.purged_at)) >= PURGE_TIME.as_millis() {
            life.purged_at = now;
            life.purged = life.floor;
            self.purge(life);
        }
        Ok(())
    }

    async fn write(&self, life: &mut Life) -> Result<(), Broken> {
        if life.decide.waiting() == 0 {
            return Ok(());
        }
        let (expected, records) = life.decide.take_records();
        let (prefix, batch_max) = (&self.config.prefix, self.config.limits.batch_records_max);
        publish::publish(&life.single.client, prefix, self.number, expected, &records, batch_max)
            .await
            .map_err(|unsure| Broken::new("cannot publish records", &unsure))?;
        for record in &records {
            self.count(record);
            life.floor = record.recovery.raw_sequence;
        }
        self.tally.set(&self.context.metrics, self.number, Some(life.decide.count_nodes()));
        Ok(())
    }

    fn count(&self, record: &domain::Record) {
        let metrics = &self.context.metrics;
        match &record.subject {
            Subject::Container(_) => metrics.record("container"),
            Subject::Event(_) => metrics.record("event"),
            Subject::Node(_) => metrics.record("node_change"),
            Subject::Correction(_) => metrics.record("correction"),
            Subject::Gap(gap) => {
                metrics.record("gap");
                let stamps = match gap.range {
                    GapRange::Stamps { from, to: Some(to), .. } => to.saturating_sub(from) + 1,
                    GapRange::Stamps { to: None, .. } | GapRange::Engine { .. } => 0,
                };
                metrics.gap(gap.reason.as_str(), stamps);
            }
        }
    }
}
