//! Why containers ended: what events tell of it, what was said of it before, and restarts of the engine.

use std::collections::{BTreeMap, HashMap};

use domain::ending::{Ending, Shown};
use domain::{Container, ContainerId, EngineEvent, Status, StopCause, Timestamp};

use super::Gone;

/// Containers whose events are remembered without the container being known.
const HEARD_MAX: usize = 16_384;

/// What was said of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) finished_at: Timestamp,
    pub(crate) cause: StopCause,
}

/// A restart of the engine: ends since then were seen by nobody, unless an event told.
#[derive(Clone, Copy, Debug)]
struct Restarted {
    /// The engine's clock when it was last heard before.
    since: Timestamp,
    /// The last tick before it was known.
    tick: u64,
}

/// All that is known of ends.
pub(super) struct Endings {
    heard: HashMap<ContainerId, Ending>,
    told: BTreeMap<ContainerId, Told>,
    told_changed: bool,
    /// The engine was restarted, and not every container was looked at since.
    restarted: Option<Restarted>,
}

impl Endings {
    pub(super) fn new(told: BTreeMap<ContainerId, Told>) -> Self {
        Self { heard: HashMap::new(), told, told_changed: false, restarted: None }
    }

    /// The list begun at that tick was gone through; `whole`: each of it was seen.
    pub(super) fn listed(&mut self, is_there: impl Fn(&ContainerId) -> bool, tick: u64, whole: bool) {
        // From here on an end that no event tells is one whose event was lost.
        self.restarted = self.restarted.filter(|restarted| !whole || tick <= restarted.tick);
        self.told.retain(|id, _| is_there(id));
        self.heard.retain(|id, _| is_there(id));
    }

    /// The engine was restarted after that time of its clock; `tick` is the last one taken.
    pub(super) fn restarted(&mut self, since: Timestamp, tick: u64) {
        self.restarted = Some(Restarted { since, tick });
    }

    /// Takes in an event.
    pub(super) fn hear(&mut self, id: ContainerId, event: &EngineEvent, is_known: impl Fn(&ContainerId) -> bool) {
        if self.heard.len() >= HEARD_MAX && !self.heard.contains_key(&id) {
            self.heard.retain(|id, _| is_known(id));
        }
        self.heard.entry(id).or_default().hear(event);
    }

    /// Why a container ended that was found like this, if it ended; what is said of it is remembered.
    pub(super) fn judge(
        &mut self,
        container: &Container,
        exit_code: Option<i32>,
        auto_remove: bool,
    ) -> Option<StopCause> {
        let cause = self.cause(container, exit_code, auto_remove);
        if let (Some(cause), Some(finished_at)) = (cause, container.finished_at) {
            let told = Told { finished_at, cause };
            // A start that failed is no end, and shows by itself.
            if cause != StopCause::StartFailed {
                self.told_changed |= self.told.insert(container.id, told) != Some(told);
            }
        }
        cause
    }

    /// A container is gone: what events told of it, which is forgotten.
    pub(super) fn gone(&mut self, id: &ContainerId) -> Ending {
        self.told_changed |= self.told.remove(id).is_some();
        self.heard.remove(id).unwrap_or_default()
    }

    /// Why a container was removed that was last known like this.
    pub(super) fn cause_of_removal(
        &self,
        was: &Container,
        ending: &Ending,
        auto_remove: bool,
        how: &Gone,
    ) -> Option<StopCause> {
        let ended_unseen = was.status.is_alive() || was.status == Status::Removing && was.finished_at.is_none();
        // So short a life that no look saw it: its events did.
        let lived_unseen = was.status == Status::Created && ending.has_died();
        match how {
            Gone::Missing if was.status.is_alive() && !ending.has_died() => Some(StopCause::Vanished),
            Gone::Destroyed { .. } | Gone::Missing if was.status.is_alive() || lived_unseen => {
                Some(ending.cause_of_removal(auto_remove, self.restarted.is_some()))
            }
            // Made, never started, and removed.
            Gone::Destroyed { .. } | Gone::Missing if ended_unseen => None,
            Gone::Destroyed { .. } | Gone::Missing => was.stop_cause,
        }
    }

    /// What was said of ends, if that changed since it was last asked.
    pub(super) fn take_told(&mut self) -> Option<BTreeMap<ContainerId, Told>> {
        std::mem::take(&mut self.told_changed).then(|| self.told.clone())
    }

    /// What was taken could not be kept: it is to be taken again.
    pub(super) fn untake_told(&mut self) {
        self.told_changed = true;
    }

    fn cause(&self, container: &Container, exit_code: Option<i32>, auto_remove: bool) -> Option<StopCause> {
        let silent = Ending::default();
        let ending = self.heard.get(&container.id).unwrap_or(&silent);
        let finished_at = container.finished_at;
        let told = self.told.get(&container.id).filter(|told| Some(told.finished_at) == finished_at);
        let unseen = match (self.restarted, finished_at) {
            (Some(restarted), Some(finished)) => finished > restarted.since,
            (None, _) | (_, None) => false,
        };
        ending.cause(&Shown {
            status: container.status,
            exit_code,
            error: container.error.is_some(),
            oom_killed: container.oom_killed,
            finished_at,
            unseen,
            auto_remove,
            told: told.map(|told| told.cause),
        })
    }
}
