//! Looks at containers, one at a time for each: the engine may answer the later of two looks first.

mod wanted;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{Cause, ContainerId, EngineEvent, Observed, Status};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::core::{Core, Draft};
use crate::engine::connect::{Connection, Unanswered};
use crate::engine::hidden::Hidden;
use crate::engine::labels::LabelPolicy;
use crate::engine::state::{self, Inspected};
pub(crate) use crate::look::wanted::Outcome;
use crate::look::wanted::{EVENT_WAIT, Wanted};
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
/// Looks asked for at once; how many are made at once is a limit.
const ASKED_MAX: usize = 64;
/// Containers followed at once.
const FOLLOWED_MAX: usize = 4_096;

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
        self.want(id, Wanted { done: Some(done), always, ..Wanted::new(cause) });
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
        self.glance(id, false);
        self.follow(id, &AFTER_HINT, Follow::Always);
    }

    /// A look that nobody waits for.
    fn glance(self: &Arc<Self>, id: ContainerId, gone: bool) {
        self.want(id, Wanted { gone, patient: true, ..Wanted::new(Cause::Event) });
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
                let again = self.look_once(id, todo).await;
                drop(permit);
                if let Some(again) = again {
                    let looker = Arc::clone(&self);
                    tokio::spawn(async move { looker.look_again(id, again).await });
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
            self.core.gone(tick, id, &how, Cause::Event, Some(event), false);
        }
        todo.looks.into_iter().for_each(|wanted| wanted.answer(Outcome::Seen));
    }

    /// Returns the looks to be tried again: an event on its way may know more.
    async fn look_once(self: &Arc<Self>, id: ContainerId, todo: Todo) -> Option<Vec<Wanted>> {
        let Todo { events, looks } = todo;
        let tick = self.core.tick();
        match self.inspect(&id).await {
            Ok(inspected) => self.found(id, tick, inspected, events, looks),
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
        mut looks: Vec<Wanted>,
    ) -> Option<Vec<Wanted>> {
        let waits = looks.iter().all(|wanted| wanted.patient)
            && looks.iter().any(|wanted| wanted.waits_for_event(&inspected.container));
        if events.is_empty() && waits && self.core.awaits_event(&inspected) {
            self.core.close(tick);
            looks.iter_mut().for_each(|wanted| wanted.wait(Some(&inspected.container)));
            return Some(looks);
        }
        let last = events.pop();
        for pending in &events {
            self.history(id, pending, Some(inspected.hidden), Some(&inspected));
        }
        let created = last.iter().chain(&events).any(|pending| pending.event.action == "create");
        let event = last.map(|pending| {
            let event = inspected.hidden.uncover(pending.event, Some(&inspected));
            self.core.hear(id, &event);
            event
        });
        let of_snapshot = || looks.iter().find(|wanted| wanted.cause == Cause::Snapshot);
        let asked = looks.iter().find(|wanted| wanted.always).or_else(of_snapshot).or(looks.first());
        let asked = asked.map(|wanted| wanted.cause);
        let cause = if event.is_some() { Cause::Event } else { asked.unwrap_or(Cause::Event) };
        let always = looks.iter().any(|wanted| wanted.always);
        let status = inspected.container.status;
        self.core.found(tick, inspected, cause, event, always);
        looks.into_iter().for_each(|wanted| wanted.answer(Outcome::Seen));
        if created && status == Status::Created {
            self.follow(id, &AFTER_CREATE, Follow::WhileCreated);
        }
        None
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
            looks.into_iter().for_each(|wanted| wanted.answer(Outcome::Seen));
            if !events.is_empty() {
                self.follow(id, &AFTER_ABSENCE, Follow::Always);
            }
            return None;
        }
        if looks.iter().any(|wanted| wanted.gone && wanted.waits == 0) {
            self.core.close(tick);
            looks.iter_mut().for_each(|wanted| wanted.wait(None));
            return Some(looks);
        }
        let cause = looks.iter().find(|wanted| wanted.gone).map_or(Cause::Event, |wanted| wanted.cause);
        let always = looks.iter().any(|wanted| wanted.always);
        self.core.gone(tick, id, &Gone::Missing, cause, None, always);
        looks.into_iter().for_each(|wanted| wanted.answer(Outcome::Seen));
        None
    }

    fn all_history(&self, id: ContainerId, events: &[Pending]) {
        let hidden = self.core.hidden(&id);
        events.iter().for_each(|pending| self.history(id, pending, hidden, None));
    }

    fn history(&self, id: ContainerId, pending: &Pending, hidden: Option<Hidden>, shown: Option<&Inspected>) {
        let event = hidden.unwrap_or_default().uncover(pending.event.clone(), shown);
        self.core.hear(id, &event);
        self.core.history(Draft { cause: Cause::Event, event: Some(event), observed: Observed::Event(id) });
    }

    /// Looks once more, after an event on its way has had its time: for all of them at once, or when an event is there.
    async fn look_again(self: Arc<Self>, id: ContainerId, looks: Vec<Wanted>) {
        if !self.has_events(&id) {
            tokio::time::sleep(EVENT_WAIT).await;
        }
        self.with(id, |todo| todo.looks.extend(looks));
    }

    fn has_events(&self, id: &ContainerId) -> bool {
        self.todo().get(id).is_some_and(|todo| !todo.events.is_empty())
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
                    looker.glance(id, true);
                } else if let Outcome::Seen = looker.look(id, Cause::Event, false).await {
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
