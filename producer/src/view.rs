//! What the producer knows of its engine's containers: for what it publishes, for the digest, and to judge ends.

mod endings;

use std::collections::{BTreeMap, VecDeque};

use domain::container::AsOf;
use domain::{Container, ContainerId, EngineEvent, NodeName, Stamp, Timestamp, fields};

use crate::engine::hidden::Hidden;
use crate::engine::state::{Inspected, since};
use crate::view::endings::Endings;
pub(crate) use crate::view::endings::Told;

/// What is known of one container.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) container: Container,
    pub(crate) auto_remove: bool,
    pub(crate) hidden: Hidden,
}

/// How a container was found to be gone.
#[derive(Clone, Debug)]
pub(crate) enum Gone {
    /// The engine said so: name and image, from its event.
    Destroyed { name: String, image: String, at: Option<Timestamp> },
    /// The engine does not have it, and said nothing.
    Missing,
}

/// When a look was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct When {
    /// The producer's clock.
    pub(crate) now: Timestamp,
    /// The engine's clock at the event that led to the look.
    pub(crate) event_at: Option<Timestamp>,
}

/// What a look made of the view.
#[derive(Clone, Debug)]
pub(crate) struct Looked {
    pub(crate) container: Container,
    /// It differs from what was published in this epoch, or was not.
    pub(crate) changed: bool,
}

/// Removed containers that are remembered, so that a late look does not tell of them again.
const REMOVED_MAX: usize = 4096;

/// All that is known.
pub(crate) struct View {
    node: NodeName,
    known: BTreeMap<ContainerId, Known>,
    /// Of the epoch before, until this one has listed everything.
    former: BTreeMap<ContainerId, Known>,
    removed: VecDeque<ContainerId>,
    endings: Endings,
    /// The last tick at which the engine was not heard, or this epoch had not begun; none when all was seen since.
    unheard: Option<u64>,
}

impl View {
    pub(crate) fn new(node: NodeName, told: BTreeMap<ContainerId, Told>) -> Self {
        Self {
            node,
            known: BTreeMap::new(),
            former: BTreeMap::new(),
            removed: VecDeque::new(),
            endings: Endings::new(told),
            unheard: Some(0),
        }
    }

    /// A new epoch: nothing is published in it yet. `tick` is the last one taken.
    pub(crate) fn begin(&mut self, tick: u64) {
        self.former.append(&mut self.known);
        self.removed.clear();
        self.unheard = Some(tick);
    }

    /// The engine is not heard: no event may ever tell what happens until it is. `tick` is the last one taken.
    pub(crate) fn unheard(&mut self, tick: u64) {
        self.unheard = Some(tick);
    }

    /// All was seen in this epoch, and since the engine is heard: a change that no event tells from here on was missed.
    pub(crate) fn is_stated(&self) -> bool {
        self.unheard.is_none()
    }

    /// The list begun at that tick was gone through: what was not found again is gone. `whole`: each of it was seen.
    pub(crate) fn listed(&mut self, ids: &[ContainerId], tick: u64, whole: bool) {
        self.former.clear();
        let known = &self.known;
        self.unheard = self.unheard.filter(|unheard| !whole || tick <= *unheard);
        self.endings.listed(|id| known.contains_key(id) || ids.binary_search(id).is_ok(), tick, whole);
    }

    /// The engine was restarted after that time of its clock; `tick` is the last one taken.
    pub(crate) fn restarted(&mut self, since: Timestamp, tick: u64) {
        self.endings.restarted(since, tick);
    }

    /// Takes in an event.
    pub(crate) fn hear(&mut self, id: ContainerId, event: &EngineEvent) {
        self.endings.hear(id, event, |id| self.known.contains_key(id));
    }

    /// Attributes of a container's events that its labels hide, where it is known.
    pub(crate) fn hidden(&self, id: &ContainerId) -> Option<Hidden> {
        self.of(id).map(|known| known.hidden)
    }

    /// What is published of a container in this epoch.
    pub(crate) fn published(&self, id: &ContainerId) -> Option<&Container> {
        self.known.get(id).map(|known| &known.container)
    }

    /// All that is published in this epoch, by id.
    pub(crate) fn containers(&self) -> impl Iterator<Item = &Container> {
        self.known.values().map(|known| &known.container)
    }

    /// A look found a container. It is published if it differs from what was, and `always`.
    pub(crate) fn found(&mut self, inspected: Inspected, as_of: AsOf, when: When, always: bool) -> Looked {
        let When { now, event_at } = when;
        let Inspected { mut container, exit_code, auto_remove, hidden } = inspected;
        let id = container.id;
        let before = self.of(&id).map(|known| &known.container);
        let same_status = before.filter(|before| before.status == container.status);
        let kept_since = same_status.and_then(|before| before.status_since);
        container.status_since = since(&container).or(kept_since).or(event_at).or(Some(now));
        container.observed_at = Some(now);
        container.as_of = as_of.tick;
        container.stamp = Stamp { epoch: as_of.epoch, seq: 0 };
        container.stop_cause = self.endings.judge(&container, exit_code, auto_remove);
        let published = self.published(&id);
        let changed = published.is_none_or(|published| !fields::differences(published, &container).is_empty());
        // What is known is what was published: its stamp and freshness are those that others see.
        if changed || always {
            self.former.remove(&id);
            self.known.insert(id, Known { container: container.clone(), auto_remove, hidden });
        }
        Looked { container, changed }
    }

    /// A container is gone. `None` where that was said in this epoch.
    pub(crate) fn gone(
        &mut self,
        id: ContainerId,
        how: &Gone,
        as_of: AsOf,
        now: Timestamp,
        always: bool,
    ) -> Option<Container> {
        let is_told = self.removed.contains(&id);
        if is_told && !always {
            return None;
        }
        let ending = self.endings.gone(&id);
        let known = self.known.remove(&id).or_else(|| self.former.remove(&id));
        let mut container = match known {
            Some(Known { container, auto_remove, .. }) => {
                let cause = self.endings.cause_of_removal(&container, &ending, auto_remove, how);
                let mut removed = container.into_removed();
                removed.stop_cause = cause;
                // Where it was gone before an inspect could show its end, the `die` alone tells the code.
                removed.exit_code = removed.exit_code.or(ending.exit_code());
                removed
            }
            None => {
                let mut unheard = Container::unheard_of(id, self.node.clone(), as_of);
                if let Gone::Destroyed { name, image, .. } = how {
                    (unheard.name, unheard.image) = (name.clone(), image.clone());
                    unheard.bound();
                }
                unheard
            }
        };
        let at = match how {
            Gone::Destroyed { at, .. } => *at,
            Gone::Missing => None,
        };
        container.status_since = at.or(Some(now));
        container.observed_at = Some(now);
        container.as_of = as_of.tick;
        container.stamp = Stamp { epoch: as_of.epoch, seq: 0 };
        if !is_told {
            self.removed.push_back(id);
        }
        if self.removed.len() > REMOVED_MAX {
            self.removed.pop_front();
        }
        Some(container)
    }

    /// The state of that freshness was given a stamp.
    pub(crate) fn stamped(&mut self, id: &ContainerId, as_of: u64, stamp: Stamp) {
        if let Some(known) = self.known.get_mut(id)
            && known.container.as_of == as_of
        {
            known.container.stamp = stamp;
        }
    }

    /// What was said of ends, if that changed since it was last asked.
    pub(crate) fn take_told(&mut self) -> Option<BTreeMap<ContainerId, Told>> {
        self.endings.take_told()
    }

    /// What was taken could not be kept: it is to be taken again.
    pub(crate) fn untake_told(&mut self) {
        self.endings.untake_told();
    }

    fn of(&self, id: &ContainerId) -> Option<&Known> {
        self.known.get(id).or_else(|| self.former.get(id))
    }
}

#[cfg(test)]
mod tests {
    use domain::{Status, StopCause};

    use super::*;
    use crate::engine::labels::LabelPolicy;
    use crate::engine::state;

    fn view() -> View {
        View::new("n".parse().unwrap(), BTreeMap::new())
    }

    fn exited() -> Inspected {
        let inspect = serde_json::from_str(include_str!("engine/recorded/exited.json")).unwrap();
        state::read(&inspect, &"n".parse().unwrap(), &LabelPolicy::default()).unwrap()
    }

    fn running() -> Inspected {
        let mut inspected = exited();
        inspected.container.status = Status::Running;
        (inspected.container.exit_code, inspected.container.finished_at) = (None, None);
        inspected
    }

    fn event(action: &str, number: Option<u32>) -> EngineEvent {
        EngineEvent {
            action: action.into(),
            time: None,
            signal: number,
            exit_code: None,
            exec_duration_seconds: None,
            replayed: false,
        }
    }

    fn at(tick: u64) -> AsOf {
        AsOf { epoch: 1, tick }
    }

    const NOW: When = When { now: Timestamp(7), event_at: None };

    #[test]
    fn better_evidence_changes_what_was_said_of_an_end() {
        let mut view = view();
        let id = exited().container.id;
        assert_eq!(view.found(exited(), at(1), NOW, false).container.stop_cause, Some(StopCause::Crashed));
        assert!(!view.found(exited(), at(2), NOW, false).changed);
        view.hear(id, &event("stop", None));
        let looked = view.found(exited(), at(3), NOW, false);
        assert_eq!((looked.container.stop_cause, looked.changed), (Some(StopCause::Stopped), true));
        let told = view.take_told().unwrap();
        assert_eq!(told[&id].cause, StopCause::Stopped);
        assert!(view.take_told().is_none());
        let mut next_life = View::new("n".parse().unwrap(), told);
        assert_eq!(next_life.found(exited(), at(1), NOW, false).container.stop_cause, Some(StopCause::Stopped));
    }

    #[test]
    fn a_new_epoch_publishes_everything_again() {
        let mut view = view();
        view.found(exited(), at(1), NOW, false);
        view.begin(1);
        assert_eq!(view.containers().count(), 0);
        assert!(view.found(exited(), at(2), NOW, false).changed);
    }

    #[test]
    fn all_is_stated_by_a_whole_list_since_the_engine_is_heard() {
        let mut view = view();
        let mut listed = |tick, whole, what: &str, stated| {
            match what {
                "begun" => view.begin(tick),
                "away" => view.unheard(tick),
                _ => view.listed(&[], tick, whole),
            }
            assert_eq!(view.is_stated(), stated, "{what} {tick} {whole}");
        };
        listed(0, true, "begun", false);
        listed(1, false, "listed", false);
        listed(2, true, "listed", true);
        listed(3, false, "listed", true);
        listed(4, true, "away", false);
        // Begun before it went away.
        listed(4, true, "listed", false);
        listed(5, true, "listed", true);
        listed(6, true, "begun", false);
        listed(6, true, "listed", false);
        listed(7, true, "listed", true);
    }

    #[test]
    fn a_removal_is_told_once_with_its_cause() {
        let destroyed = || Gone::Destroyed { name: "x".into(), image: "y".into(), at: Some(Timestamp(5)) };
        let id = exited().container.id;
        let removed = |heard: &[EngineEvent], inspected, how| {
            let mut view = view();
            view.found(inspected, at(1), NOW, false);
            heard.iter().for_each(|event| view.hear(id, event));
            let removed = view.gone(id, &how, at(2), NOW.now, false).unwrap();
            assert!(view.gone(id, &Gone::Missing, at(3), NOW.now, false).is_none());
            let again = view.gone(id, &Gone::Missing, at(4), NOW.now, true).unwrap();
            assert_eq!((again.status, again.as_of), (Status::Removed, 4));
            assert_eq!((removed.status, removed.as_of), (Status::Removed, 2));
            removed.stop_cause
        };
        assert_eq!(removed(&[], exited(), destroyed()), Some(StopCause::Crashed));
        assert_eq!(removed(&[], running(), destroyed()), Some(StopCause::Removed));
        assert_eq!(removed(&[], running(), Gone::Missing), Some(StopCause::Vanished));
        let forced = [event("kill", Some(9)), event("die", None)];
        assert_eq!(removed(&forced, running(), destroyed()), Some(StopCause::Removed));
        let created = || {
            let mut found = running();
            found.container.status = Status::Created;
            found
        };
        assert_eq!(removed(&[], created(), destroyed()), None, "it never ran");
        let short = [event("start", None), EngineEvent { exit_code: Some(0), ..event("die", None) }];
        assert_eq!(removed(&short, created(), destroyed()), Some(StopCause::Completed));
    }

    #[test]
    fn a_removal_of_what_was_never_seen_bears_the_events_name() {
        let how = Gone::Destroyed { name: "x".into(), image: "y".into(), at: None };
        let removed = view().gone([1; 32].into(), &how, at(2), NOW.now, false).unwrap();
        assert_eq!((removed.name.as_str(), removed.status_since), ("x", Some(NOW.now)));
    }

    #[test]
    fn an_end_during_a_restart_of_the_engine_was_seen_by_nobody() {
        let mut view = view();
        let cause = |view: &mut View, tick| view.found(exited(), at(tick), NOW, false).container.stop_cause;
        view.restarted(Timestamp(0), 1);
        assert_eq!(cause(&mut view, 2), Some(StopCause::DaemonRestart));
        view.listed(&[exited().container.id], 2, true);
        assert_eq!(cause(&mut view, 3), Some(StopCause::DaemonRestart), "what was said of it stays");
        view.hear(exited().container.id, &event("die", None));
        assert_eq!(cause(&mut view, 4), Some(StopCause::Crashed), "somebody saw it");
    }

    #[test]
    fn an_end_after_all_was_seen_again_is_no_restart_of_the_engine() {
        let ids = [exited().container.id];
        for (tick, whole, cause) in
            [(2, true, StopCause::Crashed), (2, false, StopCause::DaemonRestart), (1, true, StopCause::DaemonRestart)]
        {
            let mut view = view();
            view.restarted(Timestamp(0), 1);
            view.found(running(), at(2), NOW, false);
            view.listed(&ids, tick, whole);
            let ended = view.found(exited(), at(3), NOW, false).container;
            assert_eq!(ended.stop_cause, Some(cause), "{tick} {whole}");
        }
    }

    #[test]
    fn a_removal_by_itself_during_a_restart_of_the_engine_was_seen_by_nobody() {
        let removed = |restarted: bool, how: &Gone| {
            let mut view = view();
            let id = running().container.id;
            view.found(Inspected { auto_remove: true, ..running() }, at(1), NOW, false);
            if restarted {
                view.restarted(Timestamp(0), 1);
            }
            view.gone(id, how, at(2), NOW.now, false).unwrap().stop_cause
        };
        let destroyed = Gone::Destroyed { name: "x".into(), image: "y".into(), at: None };
        assert_eq!(removed(true, &destroyed), Some(StopCause::DaemonRestart));
        assert_eq!(removed(false, &destroyed), Some(StopCause::Removed));
        assert_eq!(removed(true, &Gone::Missing), Some(StopCause::Vanished));
    }
}
