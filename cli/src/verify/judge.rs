//! What differs, decided purely: from one look at a node, and from two.

use std::collections::{BTreeMap, BTreeSet};

use domain::node::NodeStatus;
use domain::{Container, ContainerId, Stamp, Status, fields};
use view::keys::NodeKeys;
use view::store::NodeView;

/// What a member of a set is called where a set has it.
const MEMBER: &str = "member";

/// One look at a node: what its producer answered, and then what Redis held.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// What the producer answered.
    pub(super) answer: Answer,
    /// The node's keys, all of one moment.
    pub(super) keys: NodeKeys,
    /// The set of nodes has it.
    pub(super) listed: bool,
}

/// What a producer answered.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// All states, which what Redis held covers.
    Covered {
        /// The engine's identity.
        engine_id: String,
        /// Its containers.
        containers: Vec<Container>,
    },
    /// All states at a stamp, and the node's key in Redis has none.
    NoStamp(Stamp),
    /// Nothing that can be compared; why.
    Nothing(String),
}

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Whose it is; `None` where it is the node's own.
    pub(super) container: Option<ContainerId>,
    /// The container's name, where it has one.
    pub(super) name: String,
    /// The field, or the end of an index's key.
    pub(super) field: String,
    /// What Redis has.
    pub(super) redis: Option<String>,
    /// What the engine has.
    pub(super) engine: Option<String>,
}

/// How the node is, as Redis has it.
pub(super) fn status(view: &NodeView) -> Option<NodeStatus> {
    view.node.get("status")?.parse().ok()
}

/// The stamp up to which Redis has the node.
pub(super) fn stamp(view: &NodeView) -> Option<Stamp> {
    let number = |field: &str| view.node.get(field)?.parse().ok();
    Some(Stamp { epoch: number("epoch")?, seq: number("seq")? })
}

/// What differs in both of two looks, the second of which was begun after the first, while Redis' side of it stood still.
/// So a change that is under way is none: what was read later has it, or Redis has moved.
pub(super) fn confirmed(first: &Look, second: &Look) -> Vec<Difference> {
    let before = differences(first);
    let stored =
        |look: &Look, id: ContainerId| look.keys.view.containers.iter().find(|container| container.id == id).cloned();
    let stands = |difference: &Difference| {
        let still = difference.container.is_none_or(|id| stored(first, id) == stored(second, id));
        let found = |other: &Difference| {
            (other.container, &other.field, &other.redis)
                == (difference.container, &difference.field, &difference.redis)
        };
        still && before.iter().any(found)
    };
    differences(second).into_iter().filter(stands).collect()
}

/// What differs in one look, by container.
pub(super) fn differences(look: &Look) -> Vec<Difference> {
    let mut found = Vec::new();
    match &look.answer {
        Answer::Covered { engine_id, containers } => {
            let stored_id = look.keys.view.node.get("engine_id");
            if stored_id != Some(engine_id) {
                found.push(of_node("engine_id", stored_id.cloned(), Some(engine_id.clone())));
            }
            compare(&look.keys.view, containers, &mut found);
        }
        Answer::NoStamp(stamp) => {
            found.push(of_node("seq", look.keys.view.node.get("seq").cloned(), Some(stamp.seq.to_string())));
        }
        Answer::Nothing(_) => {}
    }
    unreadable(&look.keys.view, &mut found);
    of_a_node_that_is_away(&look.keys.view, &mut found);
    counts(&look.keys.view, &mut found);
    indexes(look, &mut found);
    if !look.listed {
        found.push(of_node("nodes", None, Some(MEMBER.to_owned())));
    }
    found
}

fn of_node(field: &str, redis: Option<String>, engine: Option<String>) -> Difference {
    Difference { container: None, name: String::new(), field: field.to_owned(), redis, engine }
}

fn of_container(container: &Container, field: &str, redis: Option<String>, engine: Option<String>) -> Difference {
    let Container { id, name, .. } = container;
    Difference { container: Some(*id), name: name.clone(), field: field.to_owned(), redis, engine }
}

/// Field by field.
fn compare(view: &NodeView, engine: &[Container], found: &mut Vec<Difference>) {
    let stored: BTreeMap<ContainerId, &Container> = view.containers.iter().map(|c| (c.id, c)).collect();
    let answered: BTreeMap<ContainerId, &Container> = engine.iter().map(|c| (c.id, c)).collect();
    let unreadable: BTreeSet<&str> = view.unreadable.iter().map(|(id, _)| id.as_str()).collect();
    for (id, container) in &stored {
        let Some(answered) = answered.get(id) else {
            found.push(of_container(container, "id", Some(id.to_string()), None));
            continue;
        };
        let (have, want) = (texts(container), texts(answered));
        for field in fields::differences(container, answered) {
            found.push(of_container(answered, field, have.get(field).cloned(), want.get(field).cloned()));
        }
    }
    for (id, container) in answered {
        if !stored.contains_key(&id) && !unreadable.contains(id.to_string().as_str()) {
            found.push(of_container(container, "id", None, Some(id.to_string())));
        }
    }
}

fn texts(container: &Container) -> BTreeMap<&'static str, String> {
    fields::container(container).into_iter().collect()
}

/// Hashes that no projector wrote.
fn unreadable(view: &NodeView, found: &mut Vec<Difference>) {
    for (id, invalid) in &view.unreadable {
        let (field, redis) = match invalid {
            fields::InvalidField::Missing(field) => (*field, None),
            fields::InvalidField::Value { field, text } => (*field, Some(text.clone())),
        };
        let difference = of_node(field, redis, None);
        found.push(Difference { container: id.parse().ok(), ..difference });
    }
}

/// What nobody can ask reads `unknown`.
fn of_a_node_that_is_away(view: &NodeView, found: &mut Vec<Difference>) {
    if !matches!(status(view), Some(NodeStatus::Lost | NodeStatus::Blind)) {
        return;
    }
    let unknown = Status::Unknown.to_string();
    let told = view.containers.iter().filter(|container| container.status != Status::Unknown);
    found.extend(told.map(|c| of_container(c, "status", Some(c.status.to_string()), Some(unknown.clone()))));
}

/// What the node counts of itself.
fn counts(view: &NodeView, found: &mut Vec<Difference>) {
    if view.node.is_empty() {
        return;
    }
    let all = view.containers.len() + view.unreadable.len();
    let running = view.containers.iter().filter(|container| container.status == Status::Running).count();
    for (field, count) in [("containers", all), ("running", running)] {
        let stored = view.node.get(field);
        if view.unreadable.is_empty() && stored != Some(&count.to_string()) {
            found.push(of_node(field, stored.cloned(), Some(count.to_string())));
        }
    }
}

/// The node's sets, as its containers would have them.
fn indexes(look: &Look, found: &mut Vec<Difference>) {
    let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut names: BTreeMap<String, &Container> = BTreeMap::new();
    for container in &look.keys.view.containers {
        for set in sets_of(container) {
            wanted.entry(set).or_default().insert(container.id.to_string());
        }
        names.insert(container.id.to_string(), container);
    }
    // Where they belong nobody can tell.
    let unreadable: BTreeSet<&String> = look.keys.view.unreadable.iter().map(|(id, _)| id).collect();
    let none = BTreeSet::new();
    for (set, has) in &look.keys.members {
        let wants = wanted.get(set).unwrap_or(&none);
        for id in has.symmetric_difference(wants).filter(|id| !unreadable.contains(id)) {
            let member = |of: &BTreeSet<String>| of.contains(id).then(|| MEMBER.to_owned());
            found.push(Difference {
                container: id.parse().ok(),
                name: names.get(id).map(|container| container.name.clone()).unwrap_or_default(),
                field: set.clone(),
                redis: member(has),
                engine: member(wants),
            });
        }
    }
}

/// The sets of its node that a container is in.
fn sets_of(container: &Container) -> Vec<String> {
    let mut sets = vec!["containers".to_owned(), format!("status:{}", container.status)];
    sets.extend(container.compose_service().map(|service| format!("service:{service}")));
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// A right look at a node with one container.
    fn right() -> Look {
        let web = sample::container(0xab, "web");
        let members = sets_of(&web).into_iter().map(|set| (set, [web.id.to_string()].into())).collect();
        let node = [
            ("status", "alive"),
            ("engine_id", "E"),
            ("epoch", "1"),
            ("seq", "9"),
            ("containers", "1"),
            ("running", "1"),
        ];
        let node = node.iter().map(|(field, text)| ((*field).to_owned(), (*text).to_owned())).collect();
        Look {
            answer: Answer::Covered { engine_id: "E".to_owned(), containers: vec![web.clone()] },
            keys: NodeKeys {
                view: NodeView { checkpoint: None, node, containers: vec![web], unreadable: Vec::new() },
                members,
                untold: BTreeSet::new(),
            },
            listed: true,
        }
    }

    fn wrong(change: impl FnOnce(&mut Look)) -> Look {
        let mut look = right();
        change(&mut look);
        look
    }

    fn said(found: &[Difference]) -> Vec<String> {
        let text =
            |value: &Option<String>| value.as_deref().map_or("-".to_owned(), |text| text.chars().take(12).collect());
        found.iter().map(|d| format!("{} {} {}", d.field, text(&d.redis), text(&d.engine))).collect()
    }

    fn found(change: impl FnOnce(&mut Look)) -> Vec<String> {
        said(&differences(&wrong(change)))
    }

    #[test]
    fn what_is_right_has_no_difference() {
        assert_eq!(found(|_| {}), [""; 0]);
    }

    #[test]
    fn fields_ghosts_and_absent_ones_are_named() {
        assert_eq!(found(|look| look.keys.view.containers[0].pid = None), ["pid - 42"]);
        let ghost = found(|look| look.answer = Answer::Covered { engine_id: "F".to_owned(), containers: Vec::new() });
        assert_eq!(ghost, ["engine_id E F", "id abababababab -"]);
        let absent = found(|look| {
            look.keys.view.containers.clear();
            look.keys.view.node.insert("containers".to_owned(), "0".to_owned());
            look.keys.view.node.insert("running".to_owned(), "0".to_owned());
            look.keys.members.values_mut().for_each(BTreeSet::clear);
        });
        assert_eq!(absent, ["id - abababababab"]);
    }

    #[test]
    fn indexes_and_counts_are_compared_with_the_containers() {
        let lacks = found(|look| look.keys.members.get_mut("status:running").unwrap().clear());
        assert_eq!(lacks, ["status:running - member"]);
        let more = found(|look| drop(look.keys.members.insert("status:exited".to_owned(), ["x".to_owned()].into())));
        assert_eq!(more, ["status:exited member -"]);
        assert_eq!(
            found(|look| drop(look.keys.view.node.insert("running".to_owned(), "7".to_owned()))),
            ["running 7 1"]
        );
        assert_eq!(found(|look| look.listed = false), ["nodes - member"]);
    }

    #[test]
    fn a_hash_of_another_hand_is_told_once() {
        let broken = found(|look| {
            let web = look.keys.view.containers.remove(0);
            let invalid = fields::InvalidField::Value { field: "status", text: "asleep".to_owned() };
            look.keys.view.unreadable.push((web.id.to_string(), invalid));
        });
        assert_eq!(broken, ["status asleep -"]);
    }

    #[test]
    fn where_nobody_can_be_asked_all_reads_unknown() {
        let away = |look: &mut Look| {
            look.answer = Answer::Nothing("nobody answers".to_owned());
            look.keys.view.node.insert("status".to_owned(), "lost".to_owned());
        };
        assert_eq!(found(away), ["status running unknown"]);
        assert_eq!(found(|look| look.answer = Answer::Nothing("late".to_owned())), [""; 0]);
        let stamp = Stamp { epoch: 1, seq: 9 };
        assert_eq!(found(|look| look.answer = Answer::NoStamp(stamp)), ["seq 9 9"]);
    }

    #[test]
    fn what_is_under_way_is_no_difference() {
        let edited = || wrong(|look| look.keys.view.containers[0].pid = Some(7));
        assert_eq!(said(&confirmed(&edited(), &edited())), ["pid 7 42"]);
        assert_eq!(confirmed(&right(), &edited()), [], "new: it takes another look");
        assert_eq!(confirmed(&edited(), &right()), [], "put right meanwhile");
        let moved = wrong(|look| {
            look.keys.view.containers[0].pid = Some(7);
            look.keys.view.containers[0].stamp.seq += 1;
        });
        assert_eq!(confirmed(&edited(), &moved), [], "Redis has moved");
    }
}
