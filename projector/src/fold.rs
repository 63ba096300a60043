//! From records to operations: pure, one node at a time, in order.

use std::collections::BTreeMap;

use domain::node::{Listed, NodeChange, NodeStatus};
use domain::revision::Place;
use domain::{Container, NodeName, NodeState, Partition, Record, Status, Subject, Timestamp};

use crate::ops::{Mode, Op, Shown};
use view::checkpoint::{Checkpoint, Rebuild, Stored};

/// What one call to the function library will change: operations, and the checkpoint before and after them.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    partition: Partition,
    name: NodeName,
    expected: Stored,
    checkpoint: Option<Checkpoint>,
    ops: Vec<Op>,
    fields: BTreeMap<&'static str, String>,
    status: Option<NodeStatus>,
}

impl Change {
    /// Nothing yet, on a node that stands at that checkpoint.
    pub(crate) fn after(name: NodeName, checkpoint: Checkpoint) -> Self {
        let expected = Stored::from(&checkpoint);
        Self::new(checkpoint.partition, name, expected, Some(checkpoint))
    }

    /// The beginning of a rebuild at `place`, whatever is stored.
    pub(crate) fn rebuild(
        partition: Partition,
        name: NodeName,
        expected: Stored,
        place: Place,
        rebuild: Rebuild,
    ) -> Self {
        let since = rebuild.since;
        let checkpoint = Checkpoint { partition, place, rebuild: Some(rebuild) };
        let mut change = Self::new(partition, name, expected, Some(checkpoint));
        change.ops.push(Op::Begin { since });
        change
    }

    /// Nobody tells of the node any more: lost, until it speaks again.
    pub(crate) fn untold(mut self, since: Timestamp) -> Self {
        let reason = Some("NATS lost its record, and its producer has said nothing since".to_owned());
        self.ops.push(Op::Status { status: NodeStatus::Lost, since, reason, said: true });
        self
    }

    /// The end of a node, whatever is stored.
    pub(crate) fn forget(partition: Partition, name: NodeName, expected: Stored) -> Self {
        let mut change = Self::new(partition, name, expected, None);
        change.ops.push(Op::Forget);
        change
    }

    fn new(partition: Partition, name: NodeName, expected: Stored, checkpoint: Option<Checkpoint>) -> Self {
        let (ops, fields) = (Vec::new(), BTreeMap::new());
        Self { partition, name, expected, checkpoint, ops, fields, status: None }
    }

    /// The node.
    pub(crate) fn name(&self) -> &NodeName {
        &self.name
    }

    /// The checkpoint after it; `None` once the node is retired: then no further record may be taken in.
    pub(crate) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// Takes in the node's next record.
    pub(crate) fn take(&mut self, sequence: u64, record: &Record) {
        let Some(checkpoint) = &mut self.checkpoint else {
            return;
        };
        checkpoint.place = Place { sequence, writer: record.writer };
        if let Subject::Node(NodeChange::Forgotten) = &record.subject {
            self.checkpoint = None;
            self.ops = vec![Op::Forget];
            self.fields.clear();
            return;
        }
        self.tell_node(record);
        match &record.subject {
            Subject::Container(container) => self.take_container(record, container),
            Subject::Node(change) => self.take_word(change),
            Subject::Event(_) | Subject::Gap(_) | Subject::Correction(_) => {}
        }
    }

    fn tell_node(&mut self, record: &Record) {
        let state = &record.node_state;
        if !state.closed {
            // A closed epoch has no next number: what was covered last stays.
            self.fields.insert("epoch", state.epoch.to_string());
            self.fields.insert("seq", state.next_seq.saturating_sub(1).to_string());
        }
        if let Some(engine) = &state.engine {
            self.fields.insert("engine_id", engine.id.clone());
            self.fields.insert("engine_version", engine.version.clone());
            self.fields.insert("os", engine.os.clone());
            self.fields.insert("arch", engine.arch.clone());
        }
        let (status, reason) = status_after(record);
        if self.status != Some(status) || reason.is_some() {
            self.status = Some(status);
            let said = reason.is_some();
            self.ops.push(Op::Status { status, since: time_of(record), reason, said });
        }
    }

    fn take_container(&mut self, record: &Record, container: &Container) {
        let rebuild = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.rebuild.as_ref());
        let stated = rebuild.is_some_and(|rebuild| rebuild.stated);
        // Before the statement a rebuild replays what may be older than what is stored.
        let replaying = rebuild.is_some() && !stated;
        if record.removed || container.status == Status::Removed {
            let mode = if replaying { Mode::NotOlder } else { Mode::Always };
            self.ops.push(Op::Remove { id: container.id, as_of: container.freshness(), mode });
            return;
        }
        let mode = match (replaying, record.repeated && !stated) {
            (true, _) => Mode::NotOlder,
            // Not a new look: what is unknown does not become known by it.
            (false, true) => Mode::Newer,
            (false, false) => Mode::Always,
        };
        let shown = match rebuild {
            Some(rebuild) => Shown::Rebuilding(rebuild.since),
            None if is_silent(&record.node_state) => Shown::Silent(time_of(record)),
            None => Shown::Known,
        };
        self.ops.push(Op::Put { container: Box::new(container.clone()), shown, mode });
        if stated {
            self.ops.push(Op::Keep(vec![container.id]));
        }
    }

    fn take_word(&mut self, change: &NodeChange) {
        let Some(rebuild) = self.checkpoint.as_mut().and_then(|checkpoint| checkpoint.rebuild.as_mut()) else {
            return;
        };
        match change {
            NodeChange::Stating(request_ids) => {
                rebuild.stated = request_ids.contains(&rebuild.token);
                if rebuild.stated {
                    self.ops.push(Op::Stating);
                }
            }
            NodeChange::Listed(listed) if rebuild.stated => self.take_listed(listed),
            NodeChange::Listed(_)
            | NodeChange::Hello(_)
            | NodeChange::Blind(_)
            | NodeChange::Lost(_)
            | NodeChange::Back
            | NodeChange::Cursor
            | NodeChange::Forgotten
            | NodeChange::Repeat => {}
        }
    }

    fn take_listed(&mut self, listed: &Listed) {
        let Some(checkpoint) = &mut self.checkpoint else {
            return;
        };
        if listed.complete {
            self.ops.push(Op::Keep(listed.ids.clone()));
        }
        if listed.whole {
            self.ops.push(Op::Finish);
            checkpoint.rebuild = None;
        } else if (!listed.complete || listed.part.saturating_add(1) >= listed.parts)
            && let Some(rebuild) = &mut checkpoint.rebuild
        {
            // It ended, and is not whole: the statement is asked for again.
            rebuild.stated = false;
        }
    }

    /// The arguments of the call: checkpoint expected, checkpoint after, operations.
    pub(crate) fn into_args(self) -> Vec<String> {
        let after = self.checkpoint.as_ref().map_or_else(Stored::default, Stored::from);
        let mut args: Vec<String> = self.expected.0.into_iter().chain(after.0).collect();
        for op in &self.ops {
            op.append_to(&mut args);
        }
        if self.checkpoint.is_some() {
            let mut fields = self.fields;
            fields.insert("name", self.name.to_string());
            fields.insert("partition", self.partition.to_string());
            Op::Node(fields.into_iter().collect()).append_to(&mut args);
        }
        args
    }
}

/// How the node is after the record, with the reason where the record is what says so.
fn status_after(record: &Record) -> (NodeStatus, Option<String>) {
    match &record.subject {
        Subject::Node(NodeChange::Lost(reason)) => return (NodeStatus::Lost, Some(reason.clone())),
        Subject::Node(NodeChange::Blind(reason)) => return (NodeStatus::Blind, Some(reason.clone())),
        Subject::Node(
            NodeChange::Hello(_)
            | NodeChange::Stating(_)
            | NodeChange::Listed(_)
            | NodeChange::Back
            | NodeChange::Cursor
            | NodeChange::Forgotten
            | NodeChange::Repeat,
        )
        | Subject::Container(_)
        | Subject::Event(_)
        | Subject::Gap(_)
        | Subject::Correction(_) => {}
    }
    let NodeState { lost, blind, .. } = record.node_state;
    match (lost, blind) {
        (true, _) => (NodeStatus::Lost, None),
        (false, true) => (NodeStatus::Blind, None),
        (false, false) => (NodeStatus::Alive, None),
    }
}

/// Nobody can look at the node now, and no statement is under way that would show that somebody can.
fn is_silent(state: &NodeState) -> bool {
    state.lost || (state.blind && state.stating_sequence == 0)
}

fn time_of(record: &Record) -> Timestamp {
    record.observed_at.unwrap_or(record.recorded_at)
}

#[cfg(test)]
mod tests;
