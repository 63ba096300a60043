use std::collections::BTreeMap;

use domain::node::NodeStatus;
use domain::{Container, ContainerId, Status, fields};

/// One container that store and engine tell differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The store has it, the engine has not.
    Ghost(ContainerId),
    /// The engine has it, the store has not.
    Absent(ContainerId),
    /// Both have it, and these fields differ.
    Fields(ContainerId, Vec<&'static str>),
}

/// Compares a node's containers field by field, sorted by id. Stamps and times of observation do not count.
///
/// A node that is lost or blind reads `unknown` in the store: there, what was last known is compared.
pub fn compare(node: NodeStatus, store: &[Container], engine: &[Container]) -> Vec<Difference> {
    let stored: BTreeMap<ContainerId, &Container> = store.iter().map(|container| (container.id, container)).collect();
    let answered: BTreeMap<ContainerId, &Container> =
        engine.iter().map(|container| (container.id, container)).collect();
    let mut ids: Vec<ContainerId> = stored.keys().chain(answered.keys()).copied().collect();
    ids.sort();
    ids.dedup();
    let differs = |id| match (stored.get(&id), answered.get(&id)) {
        (Some(stored), Some(answered)) => {
            let fields = fields::differences(&as_last_known(node, stored), answered);
            (!fields.is_empty()).then_some(Difference::Fields(id, fields))
        }
        (Some(_), None) => Some(Difference::Ghost(id)),
        (None, Some(_)) => Some(Difference::Absent(id)),
        (None, None) => None,
    };
    ids.into_iter().filter_map(differs).collect()
}

/// The state that the store shows, or last showed before nobody could look at the node.
pub(crate) fn as_last_known(node: NodeStatus, stored: &Container) -> Container {
    let mut known = stored.clone();
    match (node, stored.status, stored.last_status) {
        (NodeStatus::Lost | NodeStatus::Blind, Status::Unknown, Some(last)) => {
            known.status = last;
            known.last_status = None;
        }
        // On a node that is alive an `unknown` is a difference.
        (NodeStatus::Alive | NodeStatus::Lost | NodeStatus::Blind, _, _) => {}
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::container::AsOf;

    fn container(digit: char, status: Status) -> Container {
        let id = digit.to_string().repeat(64).parse().expect("an id");
        let node = "n1".parse().expect("a name");
        Container { status, ..Container::unheard_of(id, node, AsOf::default()) }
    }

    #[test]
    fn stamps_do_not_count() {
        let stored = container('a', Status::Running);
        let answered = Container { as_of: 9, ..stored.clone() };
        assert_eq!(compare(NodeStatus::Alive, &[stored], &[answered]), []);
    }

    #[test]
    fn ghosts_absent_ones_and_fields_are_named() {
        let (ghost, absent) = (container('a', Status::Running), container('b', Status::Running));
        let (before, after) = (container('c', Status::Running), container('c', Status::Exited));
        let found = compare(NodeStatus::Alive, &[ghost.clone(), before], &[absent.clone(), after.clone()]);
        let fields = Difference::Fields(after.id, vec!["status"]);
        assert_eq!(found, [Difference::Ghost(ghost.id), Difference::Absent(absent.id), fields]);
    }

    #[test]
    fn an_unknown_counts_as_last_known_only_while_nobody_can_ask() {
        let stored = Container { last_status: Some(Status::Running), ..container('a', Status::Unknown) };
        let answered = container('a', Status::Running);
        let (stored, answered) = ([stored], [answered]);
        assert_eq!(compare(NodeStatus::Lost, &stored, &answered), []);
        assert_eq!(compare(NodeStatus::Alive, &stored, &answered).len(), 1);
    }
}
