//! Looking: ticks, what a look found, and the words about the node.

use std::collections::BTreeMap;

use domain::container::AsOf;
use domain::node::{Correction, DriftKind};
use domain::{Cause, Container, ContainerId, EngineEvent, Observation, Observed, Status, Timestamp, fields};

use super::{Core, Draft, State};
use crate::engine::hidden::Hidden;
use crate::engine::state::Inspected;
use crate::ticks::Tick;
use crate::view::{Gone, Told, When};

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
    /// What a snapshot finds and no event told was missed, and that is said first, where events can have told all.
    pub(crate) fn found(
        &self,
        tick: Tick,
        inspected: Inspected,
        cause: Cause,
        event: Option<EngineEvent>,
        always: bool,
    ) {
        let mut state = self.state();
        let unexplained = cause == Cause::Snapshot && event.is_none() && state.view.is_stated();
        let cause = self.cause(cause);
        let counts = tick.epoch == state.epoch && state.window.is_open();
        if !counts {
            // A look of an older epoch: what happened is history, what was seen no longer counts.
            if let Some(event) = event {
                let observed = Observed::Event(inspected.container.id);
                self.push(&mut state, Draft { cause, event: Some(event), observed }, None);
            }
            if tick.epoch == state.epoch {
                state.ticks.close(tick.number);
            }
            return;
        }
        let when = When { now: service::clock::now(), event_at: event.as_ref().and_then(|event| event.time) };
        let as_of = AsOf { epoch: tick.epoch, tick: tick.number };
        let always = always || event.is_some();
        let id = inspected.container.id;
        let before = if unexplained { state.view.published(&id).cloned() } else { None };
        let looked = state.view.found(inspected, as_of, when, always);
        if unexplained && is_told(before.as_ref(), &looked.container) {
            let fields = before.map_or_else(Vec::new, |before| fields::differences(&before, &looked.container));
            self.say_missed(&mut state, cause, id, &fields);
        }
        if looked.changed || always {
            let observed = Observed::Container(Box::new(looked.container));
            self.push(&mut state, Draft { cause, event, observed }, Some(tick.number));
        } else {
            state.ticks.close(tick.number);
        }
    }

    /// How many changes no event told, since that was last asked.
    pub(crate) fn take_missed(&self) -> u32 {
        std::mem::take(&mut self.state().missed)
    }

    /// A change was found that no event had told.
    fn say_missed(&self, state: &mut State, cause: Cause, id: ContainerId, fields: &[&str]) {
        state.missed = state.missed.saturating_add(1);
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        let correction = Correction { drift: DriftKind::MissedEvent, container_id: Some(id), fields };
        self.push(state, Draft { cause, event: None, observed: Observed::Correction(correction) }, None);
    }

    /// It differs from what was published, and an event tells of that.
    pub(crate) fn awaits_event(&self, inspected: &Inspected) -> bool {
        is_told(self.state().view.published(&inspected.container.id), &inspected.container)
    }

    /// A container is gone: queued unless that was said before, or `always`.
    pub(crate) fn gone(
        &self,
        tick: Tick,
        id: ContainerId,
        how: &Gone,
        cause: Cause,
        event: Option<EngineEvent>,
        always: bool,
    ) {
        let mut state = self.state();
        // A look that was begun in an older epoch may find the end of what this one never knew.
        let known = state.view.published(&id).is_some();
        let missed = cause == Cause::Snapshot && event.is_none() && known && state.view.is_stated();
        let cause = self.cause(cause);
        let counts = tick.epoch == state.epoch && state.window.is_open();
        let as_of = AsOf { epoch: tick.epoch, tick: tick.number };
        let removed = if counts { state.view.gone(id, how, as_of, service::clock::now(), always) } else { None };
        match (removed, event) {
            (Some(removed), event) => {
                if missed {
                    self.say_missed(&mut state, cause, id, &[]);
                }
                let observed = Observed::Removed(Box::new(removed));
                self.push(&mut state, Draft { cause, event, observed }, Some(tick.number));
                return;
            }
            (None, Some(event)) => {
                self.push(&mut state, Draft { cause, event: Some(event), observed: Observed::Event(id) }, None);
            }
            (None, None) => {}
        }
        if tick.epoch == state.epoch {
            state.ticks.close(tick.number);
        }
    }

    /// Queues what is history whatever the epoch.
    pub(crate) fn history(&self, draft: Draft) {
        let mut state = self.state();
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
        self.unheard();
        let mut state = self.state();
        state.away = Some(reason.to_owned());
        let is_new = state.blind.as_deref() != Some(reason);
        if state.window.is_open() && (is_new || asked) {
            state.blind = Some(reason.to_owned());
            let observed = Observed::Blind(reason.to_owned());
            self.push(&mut state, Draft { cause, event: None, observed }, None);
        }
    }

    /// The engine's events ended: what happens until they come again is for a statement to tell.
    pub(crate) fn unheard(&self) {
        let mut state = self.state();
        let tick = state.ticks.last();
        state.view.unheard(tick);
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

    /// A statement has ended that listed at that tick: `whole` if each container was looked at.
    pub(crate) fn listed(&self, ids: &[ContainerId], tick: Tick, whole: bool) {
        let mut state = self.state();
        state.away = None;
        state.blind = None;
        state.view.listed(ids, tick.number, whole);
    }

    /// Most ids in one `listed`.
    pub(crate) fn listed_ids_max(&self) -> usize {
        self.state().listed_ids_max
    }

    /// So many fit into a message.
    pub(crate) fn set_listed_ids_max(&self, count: usize) {
        self.state().listed_ids_max = count.max(1);
    }

    /// The engine was restarted after that time of its clock.
    pub(crate) fn restarted(&self, since: Timestamp) {
        let mut state = self.state();
        let tick = state.ticks.last();
        state.view.restarted(since, tick);
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
        if !dropped.ticks.is_empty() {
            dropped.ticks.iter().for_each(|tick| state.ticks.close(*tick));
        }
        self.work.notify_one();
        self.spooling.notify_one();
    }

    pub(super) fn observation(&self, draft: Draft) -> Observation {
        let Draft { cause, event, observed } = draft;
        Observation { observed_at: service::clock::now(), cause, event, spool_place: None, observed }
    }
}

/// Events of a container tell of that change. A start that fails has none, nor a removal before it is done; ports follow
/// the events of a network, and why it ended is judged here.
fn is_told(before: Option<&Container>, after: &Container) -> bool {
    let Some(before) = before else { return true };
    let ended = matches!(after.status, Status::Exited | Status::Restarting);
    let silent =
        matches!(after.status, Status::Removing | Status::Dead | Status::StartFailed) || ended && after.error.is_some();
    !silent && fields::differences(before, after).iter().any(|field| !matches!(*field, "ports" | "stop_cause"))
}
