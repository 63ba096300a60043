//! The state that the producer's tasks share. Every method is short, synchronous and does no I/O.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use domain::container::AsOf;
use domain::digest::{self, Digest};
use domain::node::{Engine, GapReason, Heartbeat, Hello, PreviousLife};
use domain::rpc::{ReplayStatus, Responder};
use domain::wire::Wire;
use domain::{
    Batch, Cause, Container, ContainerId, EngineEvent, Instance, NodeName, Observation, Observed, Stamp, Status,
    Timestamp,
};
use tokio::sync::{Notify, watch};

use crate::config::Limits;
use crate::engine::state::{Hidden, Inspected};
use crate::kept::Kept;
use crate::queue::Queue;
use crate::ticks::{Tick, Ticks};
use crate::view::{Gone, Told, View, When};
use crate::window::Window;

/// Who this producer is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) node: NodeName,
    pub(crate) instance: Instance,
    pub(crate) stand_in: bool,
}

/// What the producer's tasks share.
pub(crate) struct Core {
    pub(crate) identity: Identity,
    pub(crate) limits: Limits,
    metrics: service::Metrics,
    state: Mutex<State>,
    /// Something waits to be sent.
    pub(crate) work: Notify,
    /// The epoch whose `hello` is stored; 0 while there is none.
    open: watch::Sender<u64>,
    /// Raised whenever something was sent.
    sent: watch::Sender<u64>,
}

struct State {
    epoch: u64,
    engine: Engine,
    ticks: Ticks,
    queue: Queue,
    window: Window,
    kept: Kept,
    view: View,
    /// Why the engine cannot be asked.
    away: Option<String>,
    /// The reason that was published for it in this epoch.
    blind: Option<String>,
    /// The engine's clock at the last event that is stored.
    event_stored: Option<i64>,
}

/// An observation to be queued.
pub(crate) struct Draft {
    pub(crate) cause: Cause,
    pub(crate) event: Option<EngineEvent>,
    pub(crate) observed: Observed,
}

/// All states at one moment.
pub(crate) struct Picture {
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    pub(crate) digest: Digest,
    pub(crate) containers: Vec<Container>,
}

impl Core {
    pub(crate) fn new(
        identity: Identity,
        engine: Engine,
        limits: Limits,
        metrics: service::Metrics,
        told: BTreeMap<ContainerId, Told>,
    ) -> Self {
        let state = State {
            epoch: 0,
            engine,
            ticks: Ticks::default(),
            queue: Queue::new(service::random(), limits.queue_max, limits.queue_bytes_max),
            window: Window::new(limits.window_max, limits.span_max),
            kept: Kept::new(limits.kept_max, limits.kept_bytes_max),
            view: View::new(identity.node.clone(), told),
            away: None,
            blind: None,
            event_stored: None,
        };
        Self {
            identity,
            limits,
            metrics,
            state: Mutex::new(state),
            work: Notify::new(),
            open: watch::Sender::new(0),
            sent: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Epochs.
impl Core {
    /// A new epoch begins: its `hello` goes first, then what is left of the older one as history.
    pub(crate) fn begin(&self, epoch: u64, previous: Option<PreviousLife>) {
        let mut state = self.state();
        let unacknowledged = state.window.end();
        let hello = Hello { engine: state.engine.clone(), previous, stand_in: self.identity.stand_in };
        state.epoch = epoch;
        state.window = Window::new(self.limits.window_max, self.limits.span_max);
        state.kept = Kept::new(self.limits.kept_max, self.limits.kept_bytes_max);
        state.ticks.close_all();
        state.view.begin();
        state.blind = None;
        let hello =
            self.observation(Draft { cause: self.cause(Cause::List), event: None, observed: Observed::Hello(hello) });
        state.queue.begin(hello, unacknowledged);
        drop(state);
        self.open.send_replace(0);
        self.work.notify_one();
    }

    /// Nothing is claimed any more.
    pub(crate) fn end(&self) {
        self.open.send_replace(0);
    }

    /// The epoch; 0 before the first.
    pub(crate) fn epoch(&self) -> u64 {
        self.state().epoch
    }

    /// The epoch, if its `hello` is stored: looks may begin.
    pub(crate) fn open_epoch(&self) -> Option<u64> {
        Some(*self.open.borrow()).filter(|epoch| *epoch != 0)
    }

    /// Tells when that changes.
    pub(crate) fn watch_open(&self) -> watch::Receiver<u64> {
        self.open.subscribe()
    }

    /// The engine names itself anew.
    pub(crate) fn set_engine(&self, engine: Engine) {
        self.state().engine = engine;
    }

    /// The cause of what a stand-in finds is that it stands in.
    pub(crate) fn cause(&self, cause: Cause) -> Cause {
        if self.identity.stand_in && cause != Cause::Event { Cause::StandIn } else { cause }
    }

    /// Who answers.
    pub(crate) fn responder(&self) -> Responder {
        let state = self.state();
        Responder {
            node: self.identity.node.clone(),
            epoch: state.epoch,
            instance: self.identity.instance,
            engine_id: state.engine.id.clone(),
            stand_in: self.identity.stand_in,
        }
    }
}

/// Looking.
impl Core {
    /// A tick, before the engine is asked.
    pub(crate) fn tick(&self) -> Tick {
        let mut state = self.state();
        Tick { epoch: state.epoch, number: state.ticks.open() }
    }

    /// The look at that tick has no outcome that would be published.
    pub(crate) fn close(&self, tick: Tick) {
        let mut state = self.state();
        if tick.epoch == state.epoch {
            state.ticks.close(tick.number);
        }
    }

    /// Takes in an event, for judging the end that it may belong to.
    pub(crate) fn hear(&self, id: ContainerId, event: &EngineEvent) {
        self.state().view.hear(id, event);
    }

    /// Attributes of a container's events that its labels hide, where it is known.
    pub(crate) fn hidden(&self, id: &ContainerId) -> Option<Hidden> {
        self.state().view.hidden(id)
    }

    /// The status that was published last in this epoch.
    pub(crate) fn status(&self, id: &ContainerId) -> Option<Status> {
        self.state().view.published(id).map(|container| container.status)
    }

    /// The state that was published last in this epoch.
    pub(crate) fn published(&self, id: &ContainerId) -> Option<Container> {
        self.state().view.published(id).cloned()
    }

    /// Ids of what is published in this epoch.
    pub(crate) fn ids(&self, keep: impl Fn(&Container) -> bool) -> Vec<ContainerId> {
        self.state().view.containers().filter(|container| keep(container)).map(|container| container.id).collect()
    }

    /// A look found a container: queued if it differs from what was published, if an event led to it, or `always`.
    /// Says whether it is news that no event told.
    pub(crate) fn found(
        &self,
        tick: Tick,
        inspected: Inspected,
        cause: Cause,
        event: Option<EngineEvent>,
        always: bool,
    ) -> bool {
        let mut state = self.state();
        let counts = tick.epoch == state.epoch && state.window.is_open();
        if !counts {
            // A look of an older epoch: what happened is history, what was seen no longer counts.
            if let Some(event) = event {
                let observed = Observed::Event(inspected.container.id);
                self.push(&mut state, Draft { cause, event: Some(event), observed }, None);
            }
            return false;
        }
        let when = When { now: service::clock::now(), event_at: event.as_ref().and_then(|event| event.time) };
        let as_of = AsOf { epoch: tick.epoch, tick: tick.number };
        let always = always || event.is_some();
        let looked = state.view.found(inspected, as_of, when, always);
        let news = looked.changed && event.is_none();
        if looked.changed || always {
            let observed = Observed::Container(Box::new(looked.container));
            self.push(&mut state, Draft { cause, event, observed }, Some(tick.number));
        } else {
            state.ticks.close(tick.number);
        }
        news
    }

    /// A container is gone.
    pub(crate) fn gone(
        &self,
        tick: Tick,
        id: ContainerId,
        how: &Gone,
        cause: Cause,
        event: Option<EngineEvent>,
    ) -> bool {
        let mut state = self.state();
        let counts = tick.epoch == state.epoch && state.window.is_open();
        let as_of = AsOf { epoch: tick.epoch, tick: tick.number };
        let removed = if counts { state.view.gone(id, how, as_of, service::clock::now()) } else { None };
        match (removed, event) {
            (Some(removed), event) => {
                let observed = Observed::Removed(Box::new(removed));
                self.push(&mut state, Draft { cause, event, observed }, Some(tick.number));
                return true;
            }
            (None, Some(event)) => {
                self.push(&mut state, Draft { cause, event: Some(event), observed: Observed::Event(id) }, None);
            }
            (None, None) => {}
        }
        if tick.epoch == state.epoch {
            state.ticks.close(tick.number);
        }
        false
    }

    /// Queues what is history whatever the epoch.
    pub(crate) fn history(&self, draft: Draft) {
        let mut state = self.state();
        if let Observed::Gap(gap) = &draft.observed {
            self.metrics.gap(gap.reason.as_str(), 0);
        }
        self.push(&mut state, draft, None);
    }

    /// Queues a word about the node, unless it belongs to an older epoch than the current one.
    pub(crate) fn word(&self, epoch: u64, cause: Cause, observed: Observed, tick: Option<Tick>) {
        let mut state = self.state();
        if epoch == state.epoch && state.window.is_open() {
            self.push(&mut state, Draft { cause, event: None, observed }, tick.map(|tick| tick.number));
        }
    }

    /// The engine cannot be asked. Said once for each reason in an epoch, and whenever `asked`.
    pub(crate) fn blind(&self, reason: &str, cause: Cause, asked: bool) {
        let mut state = self.state();
        state.away = Some(reason.to_owned());
        let is_new = state.blind.as_deref() != Some(reason);
        if state.window.is_open() && (is_new || asked) {
            state.blind = Some(reason.to_owned());
            let observed = Observed::Blind(reason.to_owned());
            self.push(&mut state, Draft { cause, event: None, observed }, None);
        }
    }

    /// The engine answers again.
    pub(crate) fn answers(&self) {
        self.state().away = None;
    }

    /// Why the engine cannot be asked, if so.
    pub(crate) fn away(&self) -> Option<String> {
        self.state().away.clone()
    }

    /// It was published in this epoch that the engine cannot be asked, and no statement since.
    pub(crate) fn is_blind(&self) -> bool {
        self.state().blind.is_some()
    }

    /// A statement has ended: every container was listed.
    pub(crate) fn listed(&self, ids: &[ContainerId]) {
        let mut state = self.state();
        state.away = None;
        state.blind = None;
        state.view.listed(ids);
    }

    /// The engine was restarted after that time of its clock.
    pub(crate) fn restarted(&self, since: Timestamp) {
        self.state().view.restarted(since);
    }

    /// Causes of ends to be remembered, if they changed.
    pub(crate) fn take_told(&self) -> Option<BTreeMap<ContainerId, Told>> {
        self.state().view.take_told()
    }

    /// They could not be written.
    pub(crate) fn untake_told(&self) {
        self.state().view.untake_told();
    }

    fn push(&self, state: &mut State, draft: Draft, tick: Option<u64>) {
        self.metrics.observation(draft.cause.as_str());
        let dropped = state.queue.push(self.observation(draft), tick);
        if dropped.count > 0 {
            self.metrics.gap(GapReason::QueueFull.as_str(), dropped.count);
            dropped.ticks.iter().for_each(|tick| state.ticks.close(*tick));
        }
        self.metrics.spool_bytes(i64::try_from(state.queue.bytes()).unwrap_or(i64::MAX));
        self.work.notify_one();
    }

    fn observation(&self, draft: Draft) -> Observation {
        let Draft { cause, event, observed } = draft;
        Observation { observed_at: service::clock::now(), cause, event, spool_place: None, observed }
    }
}

/// Sending.
impl Core {
    /// The next message, stamped, if there is something to send and the window has room.
    pub(crate) fn next_message(&self, bytes_max: usize) -> Option<(u64, Bytes)> {
        let mut guard = self.state();
        let state = &mut *guard;
        let room = state.window.room().min(self.limits.batch_max);
        if room == 0 {
            return None;
        }
        let mut items = state.queue.pop(room, bytes_max.min(self.limits.batch_bytes_max));
        if items.is_empty() {
            return None;
        }
        let first_seq = state.window.next_seq();
        // Before the ticks of this message are closed: its own states must not lie below it.
        let as_of_floor = state.ticks.floor();
        for (item, seq) in items.iter_mut().zip(first_seq..) {
            if let Some(tick) = item.tick.take() {
                state.ticks.close(tick);
            }
            let stamp = Stamp { epoch: state.epoch, seq };
            if let Observed::Container(container) | Observed::Removed(container) = &mut item.observation.observed {
                container.stamp = stamp;
                state.view.stamped(&container.id, container.as_of, stamp);
            }
        }
        let last_seq = first_seq + u64::try_from(items.len()).unwrap_or(1) - 1;
        let batch = Batch {
            node: self.identity.node.clone(),
            epoch: state.epoch,
            instance: self.identity.instance,
            first_seq,
            as_of_floor,
            observations: items.iter().map(|item| item.observation.clone()).collect(),
        };
        let bytes = Bytes::from(batch.encode());
        state.kept.keep(first_seq, last_seq, bytes.clone());
        state.window.send(items, bytes.clone(), Instant::now());
        self.metrics.spool_bytes(i64::try_from(state.queue.bytes()).unwrap_or(i64::MAX));
        drop(guard);
        self.sent.send_modify(|sent| *sent += 1);
        Some((first_seq, bytes))
    }

    /// A message is stored.
    pub(crate) fn acknowledged(&self, epoch: u64, first_seq: u64) {
        let mut state = self.state();
        if epoch != state.epoch {
            return;
        }
        let Some(items) = state.window.acknowledge(first_seq) else { return };
        let events = items.iter().filter_map(|item| item.observation.event.as_ref()?.time);
        state.event_stored = events.map(|time| time.0).max().max(state.event_stored);
        drop(state);
        if first_seq == 1 {
            self.open.send_replace(epoch);
        }
        self.sent.send_modify(|sent| *sent += 1);
    }

    /// A message was refused.
    pub(crate) fn refused(&self, epoch: u64, first_seq: u64) {
        let mut state = self.state();
        if epoch == state.epoch {
            state.window.refuse(first_seq, Instant::now());
        }
    }

    /// The connection is new: all that is under way is due again.
    pub(crate) fn reconnected(&self) {
        self.state().window.reconnect(Instant::now());
    }

    /// What is due to be sent again.
    pub(crate) fn take_due(&self) -> Vec<(u64, Bytes)> {
        self.state().window.take_due(Instant::now())
    }

    /// When something is due next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.state().window.deadline()
    }

    /// Everything that was queued has a stamp.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.state().queue.len() == 0
    }

    /// Everything was sent and is stored.
    fn is_drained(&self) -> bool {
        let state = self.state();
        state.queue.len() == 0 && state.window.is_empty()
    }

    /// Waits until nothing waits for its stamp, and takes the picture then.
    pub(crate) async fn picture_when_sent(&self) -> Option<Picture> {
        let mut sent = self.sent.subscribe();
        loop {
            if let Some(picture) = self.picture() {
                return Some(picture);
            }
            // The sender lives as long as this core.
            sent.changed().await.ok()?;
        }
    }

    /// Waits until everything was sent and is stored.
    pub(crate) async fn drained(&self) {
        let mut sent = self.sent.subscribe();
        while !self.is_drained() {
            if sent.changed().await.is_err() {
                return;
            }
        }
    }

    /// What becomes of a request to publish stamps again, with the messages to publish.
    pub(crate) fn replay(&self, epoch: u64, from: u64, to: u64) -> (ReplayStatus, Vec<Bytes>) {
        let state = self.state();
        if epoch != state.epoch {
            return (ReplayStatus::Unknown, Vec::new());
        }
        if state.window.holds(from, to) {
            return (ReplayStatus::Coming, Vec::new());
        }
        let messages = state.kept.covering(from, to);
        let status = if messages.is_empty() { ReplayStatus::NotKept } else { ReplayStatus::Coming };
        (status, messages)
    }

    /// A sign of life.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        let state = self.state();
        Heartbeat {
            node: self.identity.node.clone(),
            epoch: state.epoch,
            instance: self.identity.instance,
            last_seq: state.window.last_seq(),
            acknowledged_seq: state.window.acknowledged_seq(),
            digest: digest::of(state.view.containers()),
            queued: u64::try_from(state.queue.len()).unwrap_or(u64::MAX),
            spool_bytes: u64::try_from(state.queue.bytes()).unwrap_or(u64::MAX),
            stand_in: self.identity.stand_in,
            engine_id: state.engine.id.clone(),
        }
    }

    /// All states, and the stamp at which they are true; `None` while something waits for its stamp.
    fn picture(&self) -> Option<Picture> {
        let state = self.state();
        if state.queue.len() > 0 {
            return None;
        }
        let containers: Vec<Container> = state.view.containers().cloned().collect();
        let digest = digest::of(&containers);
        Some(Picture { epoch: state.epoch, seq: state.window.last_seq(), digest, containers })
    }

    /// The last sequence number given in this epoch.
    pub(crate) fn last_seq(&self) -> u64 {
        self.state().window.last_seq()
    }

    /// The engine's clock at the last event that is stored.
    pub(crate) fn event_stored(&self) -> Option<i64> {
        self.state().event_stored
    }
}
