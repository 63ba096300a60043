//! A node's own fields against the records that they were written by: fields and checkpoint change in one call, so any
//! misfit is a drift.

use std::collections::BTreeMap;

use domain::node::{Engine, NodeStatus};
use domain::{NodeName, NodeState, Partition, Record};

/// What each record gives. Of counts the indexes tell, of signs of life nobody.
const OF_ANY: [&str; 5] = ["name", "partition", "epoch", "seq", "status"];
/// What only records of the node itself give.
const OF_ENGINE: [&str; 4] = ["engine_id", "engine_version", "os", "arch"];

/// Fields that each record gives, as the store has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing([Option<String>; 5]);

/// Fields that tell of the engine, as the store has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfEngine([Option<String>; 4]);

impl Standing {
    pub(crate) fn of(node: &BTreeMap<String, String>) -> Self {
        Self(OF_ANY.map(|field| node.get(field).cloned()))
    }

    /// What does not fit the record at the checkpoint.
    pub(crate) fn misfits(&self, name: &NodeName, partition: Partition, record: &Record) -> Vec<&'static str> {
        let state = &record.node_state;
        // A closed epoch has no next number: what was covered last stays.
        let stamp = |number: u64| (!state.closed).then(|| number.to_string());
        let expected = [
            Some(name.to_string()),
            Some(partition.to_string()),
            stamp(state.epoch),
            stamp(state.next_seq.saturating_sub(1)),
            Some(status_of(state).to_string()),
        ];
        differing(OF_ANY, &self.0, &expected)
    }
}

impl OfEngine {
    pub(crate) fn of(node: &BTreeMap<String, String>) -> Self {
        Self(OF_ENGINE.map(|field| node.get(field).cloned()))
    }

    /// What does not fit the last record of the node itself.
    pub(crate) fn misfits(&self, record: &Record) -> Vec<&'static str> {
        let told = record.node_state.engine.clone().map(|Engine { id, version, os, arch }| [id, version, os, arch]);
        told.map_or_else(Vec::new, |told| differing(OF_ENGINE, &self.0, &told.map(Some)))
    }
}

/// How a node is, by its record.
pub(crate) fn status_of(state: &NodeState) -> NodeStatus {
    match (state.lost, state.blind) {
        (true, _) => NodeStatus::Lost,
        (false, true) => NodeStatus::Blind,
        (false, false) => NodeStatus::Alive,
    }
}

/// Its containers may be unknown: nobody can look at it, or it is back and has not yet said all that it has.
pub(crate) fn may_be_unknown(state: &NodeState) -> bool {
    status_of(state) != NodeStatus::Alive || state.needs_statement
}

/// The fields that differ, of those that are expected to be anything.
fn differing<const N: usize>(
    fields: [&'static str; N],
    told: &[Option<String>; N],
    expected: &[Option<String>; N],
) -> Vec<&'static str> {
    let all = fields.into_iter().zip(told.iter().zip(expected));
    all.filter(|(_, (told, expected))| expected.is_some() && told != expected).map(|(field, _)| field).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::node::NodeChange;
    use domain::record::Recovery;
    use domain::{Subject, Timestamp, Writer};

    fn record(node_state: NodeState) -> Record {
        Record {
            node: "n1".parse().expect("a name"),
            stamp: None,
            writer: Writer(1),
            recorded_at: Timestamp(0),
            observed_at: None,
            cause: None,
            event: None,
            subject: Subject::Node(NodeChange::Cursor),
            repeated: false,
            removed: false,
            node_state,
            recovery: Recovery::default(),
        }
    }

    fn state() -> NodeState {
        let [id, version, os, arch] = ["E", "28", "linux", "amd64"].map(str::to_owned);
        NodeState { epoch: 3, next_seq: 10, engine: Some(Engine { id, version, os, arch }), ..NodeState::default() }
    }

    fn wrong(changes: &[(&str, &str)], state: NodeState) -> Vec<&'static str> {
        let values = ["n1", "0", "3", "9", "alive", "E", "28", "linux", "amd64"];
        let mut node: BTreeMap<String, String> =
            OF_ANY.iter().chain(&OF_ENGINE).zip(values).map(|(f, v)| ((*f).to_owned(), v.to_owned())).collect();
        node.extend(changes.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())));
        let record = record(state);
        let mut fields = Standing::of(&node).misfits(&"n1".parse().expect("a name"), Partition(0), &record);
        fields.extend(OfEngine::of(&node).misfits(&record));
        fields
    }

    #[test]
    fn every_field_of_a_record_counts() {
        assert_eq!(wrong(&[("last_beat_at", "any"), ("containers", "9")], state()), [""; 0]);
        for field in OF_ANY.iter().chain(&OF_ENGINE) {
            assert_eq!(wrong(&[(field, "other")], state()), [*field]);
        }
    }

    #[test]
    fn how_the_node_is() {
        assert_eq!(wrong(&[("status", "lost")], NodeState { lost: true, blind: true, ..state() }), [""; 0]);
        assert_eq!(wrong(&[("status", "blind")], NodeState { blind: true, ..state() }), [""; 0]);
        assert_eq!(wrong(&[], NodeState { lost: true, ..state() }), ["status"]);
    }

    #[test]
    fn containers_are_known_once_an_alive_node_has_said_all() {
        assert!(!may_be_unknown(&state()));
        for silent in [NodeState { lost: true, ..state() }, NodeState { blind: true, ..state() }] {
            assert!(may_be_unknown(&silent));
        }
        assert!(may_be_unknown(&NodeState { needs_statement: true, ..state() }), "it is back");
    }

    #[test]
    fn what_a_record_does_not_say_stays() {
        let silent = NodeState { closed: true, engine: None, ..state() };
        assert_eq!(wrong(&[("seq", "4"), ("epoch", "2"), ("os", "any")], silent), [""; 0]);
    }
}
