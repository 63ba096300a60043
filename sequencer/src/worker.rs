//! Works on one partition: takes the lease, recovers, then reads, decides, publishes, until something breaks; then anew.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, Context as JetStream};
use async_nats::{Client, HeaderMap, Message, Subscriber};
use domain::names::Request;
use domain::node::{GapRange, Heartbeat};
use domain::rpc::{ReplayRequest, ReplayResponse, ReplayStatus, ResyncRequest};
use domain::wire::Wire;
use domain::{NodeName, Partition as Number, Subject};
use futures::{FutureExt, StreamExt};
use ordering::Answer;
use service::kv::Bucket;
use service::lease::{Lease, TICK};
use service::nats::Single;
use service::{Context, Failure};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use crate::partition::{Effect, Input, Millis, Partition, Recovered, Rules, Start};
use crate::raw::{self, Read, Unreadable};
use crate::recover::{self, Raw};
use crate::{Config, control, publish};

/// How often time is looked at.
const WAKE_TIME: Duration = Duration::from_millis(200);
/// How often the streams are looked at.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// How often observations that are in the record are removed from their stream.
const PURGE_TIME: Duration = Duration::from_secs(10);
/// How long a look at a stream may take.
const READ_TIME: Duration = Duration::from_secs(3);
/// How long a producer may take to note a request for a statement.
const STATEMENT_TIME: Duration = Duration::from_secs(5);
/// How long to wait after a writing life broke off.
const RETRY_TIME: Duration = Duration::from_millis(500);
/// Most answers and looks that wait to be taken note of.
const TOLD_MAX: usize = 1024;

/// A writing life cannot go on. The next one recovers from the record.
#[derive(Debug)]
pub(crate) struct Broken(String);

impl Broken {
    pub(crate) fn new(what: &str, error: &dyn fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }

    pub(crate) fn because(why: &str) -> Self {
        Self(why.to_owned())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Works on one partition until the context is stopped.
///
/// # Errors
/// What waiting cannot heal.
pub(crate) async fn run(number: Number, client: Client, config: Config, context: Context) -> Result<(), Failure> {
    let healthy = Arc::new(AtomicBool::new(true));
    let (held_tx, mut held) = watch::channel(false);
    let leases = Bucket::new(client.clone(), config.prefix.leases_bucket());
    let lease = Lease::new(leases, format!("sequencer.{number}"), config.instance);
    let stop_lease = service::Stop::new();
    let leasing = tokio::spawn(hold(lease, held_tx, Arc::clone(&healthy), stop_lease.clone()));
    let worker = Worker { number, client, config, context, healthy };
    while !worker.context.stop.is_stopped() {
        let lived = if !worker.healthy.load(Ordering::SeqCst) {
            // The lease is raised again only when recovery is seen to succeed.
            worker.open().await.map(drop)
        } else if *held.borrow_and_update() {
            worker.live(&mut held).await
        } else {
            tokio::select! {
                () = worker.context.stop.stopped() => {}
                changed = held.changed() => if changed.is_err() { break },
            }
            continue;
        };
        match lived {
            Ok(()) => {
                worker.healthy.store(true, Ordering::SeqCst);
                worker.context.health.ready("records");
            }
            Err(Ended::Failed(failure)) => return Err(failure),
            Err(Ended::Broken(broken)) => {
                worker.healthy.store(false, Ordering::SeqCst);
                worker.context.health.unready("records", format!("partition {number}: {broken}"));
                worker.context.stop.sleep(RETRY_TIME).await;
            }
        }
    }
    stop_lease.trigger();
    drop(leasing.await);
    Ok(())
}

/// Raises the lease's counter while the work goes on.
async fn hold(mut lease: Lease, held: watch::Sender<bool>, healthy: Arc<AtomicBool>, stop: service::Stop) {
    while !stop.is_stopped() {
        if healthy.load(Ordering::SeqCst) {
            lease.tick().await;
        }
        let is_held = lease.is_held();
        held.send_if_modified(|held| std::mem::replace(held, is_held) != is_held);
        stop.sleep(TICK).await;
    }
    lease.release().await;
}

enum Ended {
    Broken(Broken),
    Failed(Failure),
}

impl From<Broken> for Ended {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

struct Worker {
    number: Number,
    client: Client,
    config: Config,
    context: Context,
    healthy: Arc<AtomicBool>,
}

/// What tasks beside the loop report to it.
enum Told {
    Answered { node: NodeName, epoch: u64, from: u64, answer: Answer },
    Noted(NodeName),
    Looked { began: Millis, position: u64, raw: Raw, end: u64 },
    Broken(Broken),
}

/// What a writing life begins with.
struct Opened {
    single: Single,
    jetstream: JetStream,
    start: Start,
    recovered: BTreeMap<NodeName, Recovered>,
}

/// What one writing life holds.
struct Life {
    single: Single,
    jetstream: JetStream,
    decide: Partition,
    began: Instant,
    /// Next sequence of the stream of observations.
    position: u64,
    raw_created: i64,
    /// When RAW's end was read, and where it was: not yet reached.
    end: Option<(Millis, u64)>,
    read_to: Option<Millis>,
    looking: bool,
    looked_at: Millis,
    woken_at: Millis,
    /// Floor that the records tell, and up to which the stream of observations was purged.
    floor: u64,
    purged: u64,
    purged_at: Millis,
    told: mpsc::Sender<Told>,
}

impl Life {
    fn now(&self) -> Millis {
        Millis::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }
}

impl Worker {
    /// A connection of its own, the streams as they must be, and what the record tells.
    async fn open(&self) -> Result<Opened, Ended> {
        let single = service::nats::connect_single(&self.config.nats, "deckwatch sequencer writer").await;
        let single = single.map_err(|failure| match failure.exit {
            service::Exit::Unanswered => Ended::Broken(Broken::because(&failure.message)),
            service::Exit::Failed | service::Exit::Usage => Ended::Failed(failure),
        })?;
        let jetstream = jetstream::new(single.client.clone());
        // After NATS lost its data the streams are made anew.
        self.make_streams(&jetstream).await?;
        let (start, recovered) = recover::recover(&jetstream, &self.config, self.number, 0).await?;
        Ok(Opened { single, jetstream, start, recovered })
    }

    /// One writing life: from recovery until the lease is lost, something breaks or the context is stopped.
    async fn live(&self, held: &mut watch::Receiver<bool>) -> Result<(), Ended> {
        let began = Instant::now();
        let Opened { single, jetstream, start, recovered } = self.open().await?;
        let messages = raw::read_from(&jetstream, &self.config, self.number, start.raw_next).await?;
        let subscribe = |subject: String| single.client.subscribe(subject);
        let failed = |error: async_nats::SubscribeError| Broken::new("cannot subscribe", &error);
        let beats = subscribe(self.config.prefix.beat_all()).await.map_err(failed)?;
        let forgets = subscribe(self.config.prefix.control_forget(self.number)).await.map_err(failed)?;
        let (told, tellings) = mpsc::channel(TOLD_MAX);
        let life = Life {
            single,
            jetstream,
            decide: Partition::new(self.rules(), start, recovered),
            began,
            position: start.raw_next,
            raw_created: start.raw_created,
            end: None,
            read_to: None,
            looking: false,
            looked_at: 0,
            woken_at: Millis::try_from(began.elapsed().as_millis()).unwrap_or(Millis::MAX),
            floor: 0,
            purged: 0,
            purged_at: 0,
            told,
        };
        self.context.health.ready("records");
        self.work(life, messages, beats, forgets, tellings, held).await
    }

    async fn make_streams(&self, jetstream: &JetStream) -> Result<(), Ended> {
        crate::streams::make(jetstream, &self.config).await.map_err(|unmade| match unmade {
            crate::streams::Unmade::Later(reason) => Ended::Broken(Broken::because(&reason)),
            crate::streams::Unmade::Never(failure) => Ended::Failed(failure),
        })
    }

    fn rules(&self) -> Rules {
        let millis = |time: Duration| Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX / 4);
        Rules {
            order: ordering::Limits {
                held_max: self.config.limits.held_max,
                gap_wait: millis(self.config.gap_wait),
                coming_max: self.config.limits.coming_max,
            },
            lost_after: millis(self.config.lost_after),
            ask_every: millis(self.config.heartbeat),
            cursor_every: millis(self.config.limits.cursor_every),
        }
    }

    async fn work(
        &self,
        mut life: Life,
        mut messages: pull::Ordered,
        mut beats: Subscriber,
        mut forgets: Subscriber,
        mut tellings: mpsc::Receiver<Told>,
        held: &mut watch::Receiver<bool>,
    ) -> Result<(), Ended> {
        let mut wake = tokio::time::interval(WAKE_TIME);
        wake.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = |what: &'static str| move || Broken::because(what);
        while *held.borrow() && !self.context.stop.is_stopped() {
            tokio::select! {
                () = self.context.stop.stopped() => {}
                changed = held.changed() => changed.map_err(|error| Broken::new("the lease is not kept", &error))?,
                message = messages.next() => {
                    let message = message.ok_or_else(ended("the reader of observations ended"))?;
                    self.feed(&mut life, message).await?;
                    self.feed_ready(&mut life, &mut messages).await?;
                }
                beat = beats.next() => {
                    self.hear(&mut life, &beat.ok_or_else(ended("the connection ended"))?);
                }
                told = tellings.recv() => {
                    self.note(&mut life, told.ok_or_else(ended("the looks ended"))?)?;
                }
                request = forgets.next() => {
                    self.forget(&mut life, &request.ok_or_else(ended("the connection ended"))?).await?;
                }
                _ = wake.tick() => self.wake(&mut life)?,
            }
            self.act(&mut life).await?;
        }
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
            Told::Looked { began, position, raw, end } => {
                life.looking = false;
                if raw.created != life.raw_created || raw.last + 1 < position {
                    return Err(Broken::because("the stream of observations was made anew, or lost its end"));
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
        let node = match control::parse(message) {
            Ok(node) => node,
            Err(reason) => {
                control::refuse(&self.client, message, 400, &reason).await;
                return Ok(());
            }
        };
        match life.decide.forget(&node, service::clock::now()) {
            Ok(sequence) => {
                self.write(life).await?;
                control::free_name(&self.client, &self.config.prefix, &node).await;
                control::done(&self.client, message, sequence).await;
            }
            Err(why) => {
                let (code, reason) = control::reason(&node, why);
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
        if u128::from(now.saturating_sub(life.woken_at)) > self.config.heartbeat.as_millis() {
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

    /// Looks where the stream of observations ends, beside the loop.
    fn look(&self, life: &Life, began: Millis) {
        let (jetstream, told, config) = (life.jetstream.clone(), life.told.clone(), self.config.clone());
        let (number, position) = (self.number, life.position);
        tokio::spawn(async move {
            let read = async {
                let raw = recover::look_at_raw(&jetstream, &config).await?;
                let end = recover::raw_end(&jetstream, &config, number).await?;
                Ok(Told::Looked { began, position, raw, end })
            };
            let looked = match tokio::time::timeout(READ_TIME, read).await {
                Ok(Ok(looked)) => looked,
                Ok(Err(broken)) => Told::Broken(broken),
                Err(_) => Told::Broken(Broken::because("NATS does not answer")),
            };
            // The life may be over: nobody is left to be told.
            drop(told.send(looked).await);
        });
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
        let (alive, blind, lost) = life.decide.count_nodes();
        self.context.metrics.nodes("alive", alive);
        self.context.metrics.nodes("blind", blind);
        self.context.metrics.nodes("lost", lost);
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

    fn ask(&self, life: &Life, effect: Effect) {
        let (client, prefix, told) = (self.client.clone(), self.config.prefix.clone(), life.told.clone());
        let gap_wait = self.config.gap_wait;
        tokio::spawn(async move {
            let telling = match effect {
                Effect::Replay { node, epoch, from, to } => {
                    let request = ReplayRequest { epoch, from_seq: from, to_seq: to }.encode();
                    let request = client.request(prefix.rpc(&node, Request::Replay), request.into());
                    let reply = tokio::time::timeout(gap_wait, request).await.ok().and_then(Result::ok);
                    reply.and_then(|reply| ReplayResponse::decode(&reply.payload).ok()).map(|reply| {
                        let answer = match reply.status {
                            ReplayStatus::Coming => Answer::Coming,
                            ReplayStatus::NotKept | ReplayStatus::Unknown => Answer::NotKept,
                        };
                        Told::Answered { node, epoch, from, answer }
                    })
                }
                Effect::Statement { node, passed_epoch } => {
                    let request = ResyncRequest { passed_epoch, ..ResyncRequest::default() }.encode();
                    let request = client.request(prefix.rpc(&node, Request::Resync), request.into());
                    let reply = tokio::time::timeout(STATEMENT_TIME, request).await.ok().and_then(Result::ok);
                    let noted = reply.filter(|reply| {
                        reply.headers.as_ref().is_none_or(|headers| headers.get("Nats-Service-Error").is_none())
                    });
                    noted.map(|_| Told::Noted(node))
                }
            };
            if let Some(telling) = telling {
                // The life may be over: nobody is left to be told.
                drop(told.send(telling).await);
            }
        });
    }

    /// Observations below the floor stand in the record.
    fn purge(&self, life: &Life) {
        let (jetstream, stream, floor) = (life.jetstream.clone(), self.config.prefix.raw_stream(), life.floor);
        let filter = self.config.prefix.raw_stored(self.number);
        tokio::spawn(async move {
            let purged = async {
                let stream = jetstream.get_stream_no_info(stream).await.map_err(|error| error.to_string())?;
                stream.purge().filter(filter).sequence(floor).await.map_err(|error| error.to_string())
            };
            if let Err(error) = purged.await {
                tracing::debug!(error, "observations that are in the record could not be removed");
            }
        });
    }
}
