//! Looks at containers, one at a time for each: the engine may answer the later of two looks first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{Cause, ContainerId, EngineEvent, Observed, Status};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::core::{Core, Draft};
use crate::engine::connect::{Connection, Unanswered};
use crate::engine::labels::LabelPolicy;
use crate::engine::state::{self, Hidden, Inspected};
use crate::ticks::Tick;
use crate::view::Gone;

/// After a `create`, how long to wait between looks, as a start that fails emits neither `start` nor `die`.
const AFTER_CREATE: [u64; 9] = [100, 200, 400, 800, 1_500, 3_000, 6_000, 12_000, 30_000];
/// After a hint of a network, the same.
const AFTER_HINT: [u64; 2] = [100, 500];
/// After a look that failed, the same.
const AFTER_FAILURE: [u64; 7] = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000];
/// After an event of a container that the engine does not have: a `destroy` follows, or nobody says more.
const AFTER_ABSENCE: [u64; 1] = [1_000];
/// A container that is not there is given this long for its `destroy`, which knows more, to arrive.
const DESTROY_WAIT: Duration = Duration::from_millis(300);
/// A change that is found before its event is told is given this long for the event to arrive.
const EVENT_WAIT: Duration = Duration::from_millis(300);
/// Looks asked for at once; how many are made at once is a limit.
const ASKED_MAX: usize = 64;
/// Containers followed at once.
const FOLLOWED_MAX: usize = 4_096;
/// A `die` is logged within this time, in nanoseconds, of the end that an inspect shows.
const DIE_TO_END_MAX: u64 = 2_000_000_000;

/// An event that waits for a look.
pub(crate) struct Pending {
    pub(crate) event: EngineEvent,
    /// Name and image, as the event tells them.
    pub(crate) name: String,
    pub(crate) image: String,
    /// A look follows anyway: this one is history alone.
    pub(crate) history_only: bool,
    /// Its place among the events that may wait.
    pub(crate) _place: OwnedSemaphorePermit,
}

/// A look that somebody wants.
struct Wanted {
    cause: Cause,
    always: bool,
    /// Not to be there is to be gone.
    gone: bool,
    waited: bool,
    /// What it finds may be what an event on its way will tell.
    patient: bool,
    done: Option<oneshot::Sender<Outcome>>,
}

/// What came of a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is there, or known to be gone; whether that was news.
    Seen { news: bool },
    /// It could not be looked at.
    Failed(String),
}

#[derive(Default)]
struct Todo {
    events: Vec<Pending>,
    looks: Vec<Wanted>,
}

/// Looks at containers.
pub(crate) struct Looker {
    core: Arc<Core>,
    labels: LabelPolicy,
    connection: watch::Receiver<Option<Connection>>,
    todo: Mutex<HashMap<ContainerId, Todo>>,
    looks: Semaphore,
    followed: Arc<Semaphore>,
}

impl Looker {
    pub(crate) fn new(core: Arc<Core>, labels: LabelPolicy, connection: watch::Receiver<Option<Connection>>) -> Self {
        let looks = Semaphore::new(core.limits.looks_max);
        let followed = Arc::new(Semaphore::new(FOLLOWED_MAX));
        Self { core, labels, connection, todo: Mutex::default(), looks, followed }
    }

    /// An event of a container: history, and a reason to look.
    pub(crate) fn event(self: &Arc<Self>, id: ContainerId, pending: Pending) {
        self.with(id, |todo| todo.events.push(pending));
    }

    /// Looks, and says what came of it. Published only if it is news, or `always`; if it is not there it is gone.
    pub(crate) async fn look(self: &Arc<Self>, id: ContainerId, cause: Cause, always: bool) -> Outcome {
        let (done, outcome) = oneshot::channel();
        self.want(id, Wanted { cause, always, gone: true, waited: false, patient: false, done: Some(done) });
        outcome.await.unwrap_or_else(|_| Outcome::Failed("the look was given up".to_owned()))
    }

    /// Looks at each of them.
    pub(crate) async fn look_at_all(
        self: &Arc<Self>,
        ids: Vec<ContainerId>,
        cause: Cause,
        always: bool,
    ) -> Vec<Outcome> {
        let looks = futures::stream::iter(ids).map(|id| {
            let looker = Arc::clone(self);
            async move { looker.look(id, cause, always).await }
        });
        looks.buffer_unordered(ASKED_MAX).collect().await
    }

    /// A container may change without an event.
    pub(crate) fn hint(self: &Arc<Self>, id: ContainerId) {
        self.glance(id, false, true);
        self.follow(id, &AFTER_HINT, Follow::Always);
    }

    /// A look that nobody waits for.
    fn glance(self: &Arc<Self>, id: ContainerId, gone: bool, patient: bool) {
        self.want(id, Wanted { cause: Cause::Event, always: false, gone, waited: false, patient, done: None });
    }

    fn want(self: &Arc<Self>, id: ContainerId, wanted: Wanted) {
        self.with(id, |todo| todo.looks.push(wanted));
    }

    fn with(self: &Arc<Self>, id: ContainerId, add: impl FnOnce(&mut Todo)) {
        let mut todo = self.todo();
        let is_new = !todo.contains_key(&id);
        add(todo.entry(id).or_default());
        if is_new {
            // One worker for each container that has something to do.
            tokio::spawn(Arc::clone(self).work(id));
        }
    }

    fn todo(&self) -> MutexGuard<'_, HashMap<ContainerId, Todo>> {
        self.todo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what there is to do for a container; `None`, and its worker ends, if there is nothing.
    fn take(&self, id: &ContainerId) -> Option<Todo> {
        let mut all = self.todo();
        let todo = std::mem::take(all.get_mut(id)?);
        if todo.events.is_empty() && todo.looks.is_empty() {
            all.remove(id);
            return None;
        }
        Some(todo)
    }

    async fn work(self: Arc<Self>, id: ContainerId) {
        loop {
            let permit = self.looks.acquire().await;
            let Some(mut todo) = self.take(&id) else { return };
            todo.events.retain(|pending| {
                let keep = !pending.history_only || pending.event.action == "destroy";
                if !keep {
                    self.history(id, pending, self.core.hidden(&id), None);
                }
                keep
            });
            if let Some(last) = todo.events.iter().rposition(|pending| pending.event.action == "destroy") {
                self.destroyed(id, todo, last);
            } else if !todo.events.is_empty() || !todo.looks.is_empty() {
                let absent = self.look_once(id, todo).await;
                drop(permit);
                if let Some(absent) = absent {
                    tokio::time::sleep(DESTROY_WAIT).await;
                    self.todo().entry(id).or_default().looks.extend(absent);
                }
            }
        }
    }

    fn destroyed(self: &Arc<Self>, id: ContainerId, todo: Todo, last: usize) {
        for (index, pending) in todo.events.into_iter().enumerate() {
            if index != last {
                self.history(id, &pending, self.core.hidden(&id), None);
                continue;
            }
            let tick = self.core.tick();
            let Pending { event, name, image, .. } = pending;
            let how = Gone::Destroyed { name, image, at: event.time };
            self.core.gone(tick, id, &how, Cause::Event, Some(event));
        }
        todo.looks.into_iter().for_each(|wanted| wanted.answer(Outcome::Seen { news: false }));
    }

    /// Returns the looks to be tried again, where the container is not there.
    async fn look_once(self: &Arc<Self>, id: ContainerId, todo: Todo) -> Option<Vec<Wanted>> {
        let Todo { events, looks } = todo;
        let tick = self.core.tick();
        match self.inspect(&id).await {
            Ok(inspected) => {
                self.found(id, tick, inspected, events, looks);
                None
            }
            Err(Unanswered::Gone) => self.absent(id, tick, &events, looks),
            Err(Unanswered::Away(reason)) => {
                self.core.close(tick);
                self.all_history(id, &events);
                if !events.is_empty() {
                    self.follow(id, &AFTER_FAILURE, Follow::UntilSeen);
                }
                looks.into_iter().for_each(|wanted| wanted.answer(Outcome::Failed(reason.clone())));
                None
            }
        }
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Inspected, Unanswered> {
        let connection = self.connection.borrow().clone();
        let connection = connection.ok_or_else(|| Unanswered::Away("the engine is not connected".to_owned()))?;
        let inspect = connection.inspect(id, self.core.limits.inspect_max).await?;
        let read = state::read(&inspect, &self.core.identity.node, &self.labels);
        read.map_err(|error| Unanswered::Away(format!("the engine's answer cannot be understood: {error}")))
    }

    fn found(
        self: &Arc<Self>,
        id: ContainerId,
        tick: Tick,
        inspected: Inspected,
        mut events: Vec<Pending>,
        looks: Vec<Wanted>,
    ) {
        let patient = events.is_empty() && looks.iter().all(|wanted| wanted.patient);
        if patient && inspected.container.status != Status::StartFailed && self.core.is_news(&inspected) {
            // The engine changes first and tells then: its event knows more, so it is given the time to come.
            self.core.close(tick);
            self.later(id);
            return;
        }
        let last = events.pop();
        for pending in &events {
            self.history(id, pending, Some(inspected.hidden), Some(&inspected));
        }
        let created = last.iter().chain(&events).any(|pending| pending.event.action == "create");
        let event = last.map(|pending| {
            let event = uncover(pending.event, inspected.hidden, Some(&inspected));
            self.core.hear(id, &event);
            event
        });
        let asked = looks.iter().find(|wanted| wanted.always).or(looks.first()).map(|wanted| wanted.cause);
        let cause = if event.is_some() { Cause::Event } else { asked.unwrap_or(Cause::Event) };
        let always = looks.iter().any(|wanted| wanted.always);
        let status = inspected.container.status;
        let news = self.core.found(tick, inspected, self.core.cause(cause), event, always);
        looks.into_iter().for_each(|wanted| wanted.answer(Outcome::Seen { news }));
        if created && status == Status::Created {
            self.follow(id, &AFTER_CREATE, Follow::WhileCreated);
        }
    }

    fn absent(
        self: &Arc<Self>,
        id: ContainerId,
        tick: Tick,
        events: &[Pending],
        mut looks: Vec<Wanted>,
    ) -> Option<Vec<Wanted>> {
        self.all_history(id, events);
        if !looks.iter().any(|wanted| wanted.gone) {
            self.core.close(tick);
            looks.into_iter().for_each(|wanted| wanted.answer(Outcome::Seen { news: false }));
            if !events.is_empty() {
                self.follow(id, &AFTER_ABSENCE, Follow::Always);
            }
            return None;
        }
        if looks.iter().any(|wanted| wanted.gone && !wanted.waited) {
            self.core.close(tick);
            looks.iter_mut().for_each(|wanted| wanted.waited = true);
            return Some(looks);
        }
        let cause = looks.iter().find(|wanted| wanted.gone).map_or(Cause::Event, |wanted| wanted.cause);
        let news = self.core.gone(tick, id, &Gone::Missing, self.core.cause(cause), None);
        looks.into_iter().for_each(|wanted| wanted.answer(Outcome::Seen { news }));
        None
    }

    fn all_history(&self, id: ContainerId, events: &[Pending]) {
        let hidden = self.core.hidden(&id);
        events.iter().for_each(|pending| self.history(id, pending, hidden, None));
    }

    fn history(&self, id: ContainerId, pending: &Pending, hidden: Option<Hidden>, shown: Option<&Inspected>) {
        let event = uncover(pending.event.clone(), hidden.unwrap_or_default(), shown);
        self.core.hear(id, &event);
        self.core.history(Draft { cause: Cause::Event, event: Some(event), observed: Observed::Event(id) });
    }

    /// Looks once more, after an event on its way has had its time.
    fn later(self: &Arc<Self>, id: ContainerId) {
        let Ok(permit) = Arc::clone(&self.followed).try_acquire_owned() else { return self.glance(id, true, false) };
        let looker = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(EVENT_WAIT).await;
            looker.glance(id, true, false);
            drop(permit);
        });
    }

    /// Looks again after each of the waits, in milliseconds.
    fn follow(self: &Arc<Self>, id: ContainerId, waits: &'static [u64], follow: Follow) {
        let Ok(permit) = Arc::clone(&self.followed).try_acquire_owned() else { return };
        let looker = Arc::clone(self);
        tokio::spawn(async move {
            for wait in waits {
                tokio::time::sleep(Duration::from_millis(*wait)).await;
                if follow == Follow::WhileCreated && looker.core.status(&id) != Some(Status::Created) {
                    break;
                }
                if follow != Follow::UntilSeen {
                    looker.glance(id, true, true);
                } else if let Outcome::Seen { .. } = looker.look(id, Cause::Event, false).await {
                    break;
                }
            }
            drop(permit);
        });
    }
}

/// How long a container is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    Always,
    WhileCreated,
    UntilSeen,
}

impl Wanted {
    fn answer(self, outcome: Outcome) {
        if let Some(done) = self.done {
            // Who asked may have gone.
            drop(done.send(outcome));
        }
    }
}

/// The event without what a label of the same name hides; its exit code then from an inspect that still shows that end.
fn uncover(mut event: EngineEvent, hidden: Hidden, shown: Option<&Inspected>) -> EngineEvent {
    if hidden.signal {
        event.signal = None;
    }
    if hidden.exec_duration {
        event.exec_duration_seconds = None;
    }
    if hidden.exit_code && event.action == "die" {
        event.exit_code = shown.and_then(|shown| {
            let (finished, died) = (shown.container.finished_at?, event.time?);
            let ended = !shown.container.status.is_alive();
            shown.exit_code.filter(|_| ended && finished.0.abs_diff(died.0) <= DIE_TO_END_MAX)
        });
    }
    event
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::*;

    #[test]
    fn a_label_that_hides_the_exit_code_does_not_spoof_it() {
        let inspect = serde_json::from_str(include_str!("engine/recorded/exited.json")).unwrap();
        let shown = state::read(&inspect, &"n".parse().unwrap(), &LabelPolicy::default()).unwrap();
        let end = shown.container.finished_at.unwrap();
        let die = |after: i64| EngineEvent {
            action: "die".into(),
            time: Some(Timestamp(end.0 + after)),
            signal: None,
            exit_code: Some(77),
            exec_duration_seconds: Some(1),
            replayed: false,
        };
        let hidden = Hidden { exit_code: true, ..Hidden::default() };
        assert_eq!(uncover(die(5), Hidden::default(), Some(&shown)).exit_code, Some(77));
        assert_eq!(uncover(die(5), hidden, Some(&shown)).exit_code, Some(3));
        assert_eq!(uncover(die(60_000_000_000), hidden, Some(&shown)).exit_code, None);
        assert_eq!(uncover(die(5), hidden, None).exit_code, None);
    }
}
