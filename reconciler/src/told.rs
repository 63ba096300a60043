//! What the record says of a node and its containers, and the store against it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use domain::node::{DriftKind, NodeStatus};
use domain::revision::Place;
use domain::{Container, ContainerId, NodeName, Partition, Record};
use futures::{StreamExt, TryStreamExt, stream};
use view::checkpoint::Checkpoint;
use view::keys::Head;
use view::record::Absence;
use view::trouble::Trouble;

use crate::engine::Doubt;
use crate::finding::Finding;
use crate::look::{Memory, Seen, Share, fingerprint, found, hashed};
use crate::node::{self, OfEngine, Standing};
use crate::picture::Picture;
use crate::record::{Base, judge};
use crate::worker::Desk;

/// What the record says, as far as a look asks for it.
pub(crate) struct Told {
    /// The fields of the node that each record gives are to be compared too.
    standing: bool,
    /// The node's last record about itself, where what it tells of the engine is to be compared.
    of_node: Option<(u64, Record)>,
    /// Last records of containers.
    containers: Vec<(ContainerId, Option<(u64, Record)>)>,
}

impl Told {
    /// There is nothing to be judged.
    pub(crate) fn is_empty(&self) -> bool {
        !self.standing && self.of_node.is_none() && self.containers.is_empty()
    }
}

/// The record at a node's checkpoint, which was the last to be applied.
#[derive(Debug)]
pub(crate) struct Applied {
    partition: Partition,
    base: Base,
    record: Record,
}

impl Applied {
    /// `None` where the record that stands there is another one: the stream was cut or made anew, and what it says is not
    /// what the keys were written by.
    fn new(name: &NodeName, partition: Partition, place: Place, record: Record) -> Option<Self> {
        let is_it = record.node == *name && record.writer == place.writer;
        let unknown = node::may_be_unknown(&record.node_state);
        is_it.then_some(Self {
            partition,
            base: Base { applied: place.sequence, unknown, absence: Absence::NoProof },
            record,
        })
    }
}

impl Desk {
    /// What the record says of all that is doubted, or was not yet seen to fit.
    pub(crate) async fn told(
        &self,
        node: &NodeName,
        seen: &Seen,
        doubted: &[Doubt],
        memory: &Memory,
        share: Share,
        answers: bool,
    ) -> Result<Told, Trouble> {
        let standing = memory.standing.as_ref() != Some(&Standing::of(&seen.head.node));
        let of_engine = memory.of_engine.as_ref() != Some(&OfEngine::of(&seen.head.node));
        let of_node = if of_engine { self.state.last_of(node).await? } else { None };
        // Where nobody says which containers there are, the record does.
        let recorded = if answers { BTreeSet::new() } else { self.state.containers(node).await? };
        let ids = in_question(seen, doubted, recorded, memory, share.records);
        let questions = ids.into_iter().map(|id| async move {
            let last: Result<_, Trouble> = self.state.last_of_container(node, &id).await.map_err(Trouble::from);
            last.map(|last| (id, last))
        });
        let containers = stream::iter(questions).buffer_unordered(self.limits.questions).try_collect().await?;
        Ok(Told { standing, of_node, containers })
    }

    /// The record up to which the node's keys are true; `None` where that is not what stands at its place.
    pub(crate) async fn applied(&self, node: &NodeName, head: &Head, told: &Told) -> Result<Option<Applied>, Trouble> {
        let Some(Checkpoint { place, partition, .. }) = &head.checkpoint else { return Ok(None) };
        let record = if *place == Place::EMPTY { None } else { self.state.record_at(place.sequence).await? };
        let mut applied = record.and_then(|record| Applied::new(node, *partition, *place, record));
        if let Some(Applied { base, record, .. }) = &mut applied
            && told.containers.iter().any(|(_, last)| last.is_none())
        {
            base.absence = self.state.absence(&record.node_state).await?;
        }
        Ok(applied)
    }
}

/// Containers whose last records are to be read: those in doubt, and some that were not yet seen to fit. What cannot be
/// read is found as such.
fn in_question(
    seen: &Seen,
    doubted: &[Doubt],
    recorded: BTreeSet<ContainerId>,
    memory: &Memory,
    max: usize,
) -> HashSet<ContainerId> {
    let Picture { containers, unreadable, .. } = &memory.picture;
    let absent = recorded.into_iter().filter(|id| containers.binary_search(id).is_err());
    // In no order, so that some that never fit do not keep others from their turn.
    let all: HashSet<_> = seen.containers.iter().map(|container| container.id).chain(absent).collect();
    let doubted = doubted.iter().map(|doubt| doubt.container);
    let mut ids: HashSet<_> = doubted.filter(|id| !unreadable.contains(id)).collect();
    let wanted = |id: &ContainerId| !memory.verified.contains_key(id) && !unreadable.contains(id) && !ids.contains(id);
    let unverified: Vec<_> = all.into_iter().filter(wanted).take(max).collect();
    ids.extend(unverified);
    ids
}

/// The node's own fields, where they were not yet seen to fit, against the records that they were written by: what is
/// wrong, and how the node is if it is not as they say.
pub(crate) fn node_against_record(
    node: &NodeName,
    head: &Head,
    told: &Told,
    applied: &Applied,
    memory: &mut Memory,
) -> Option<(Finding, Option<NodeStatus>)> {
    let (mut fields, mut status) = (Vec::new(), None);
    if told.standing {
        let standing = Standing::of(&head.node);
        fields.extend(standing.misfits(node, applied.partition, &applied.record));
        status = Some(node::status_of(&applied.record.node_state));
        memory.standing = fields.is_empty().then_some(standing);
    }
    if let Some((_, record)) = told.of_node.as_ref().filter(|last| is_applied(Some(last), applied)) {
        let of_engine = OfEngine::of(&head.node);
        let wrong = of_engine.misfits(record);
        memory.of_engine = wrong.is_empty().then_some(of_engine);
        fields.extend(wrong);
    }
    if fields.is_empty() {
        return None;
    }
    let fields = fields.into_iter().map(str::to_owned).collect();
    let kind = DriftKind::EditedStore;
    // It may be the checkpoint that is wrong: the projector puts that right.
    Some((Finding { kind, container: None, fields, members: Vec::new(), held: 0, sure: false }, status))
}

/// What is doubted, and what was not yet seen to fit, against the last records.
pub(crate) fn against_record(
    seen: &Seen,
    doubted: Vec<Doubt>,
    told: Told,
    applied: &Applied,
    memory: &mut Memory,
) -> Vec<Finding> {
    let stored: BTreeMap<ContainerId, &Container> =
        seen.containers.iter().map(|container| (container.id, container)).collect();
    let mut doubted: BTreeMap<ContainerId, Doubt> = doubted.into_iter().map(|doubt| (doubt.container, doubt)).collect();
    let mut findings = Vec::new();
    for (id, last) in told.containers {
        let known = stored.get(&id).copied();
        let print = known.map_or(0, fingerprint);
        let doubt = doubted.remove(&id);
        let held = held(print, last.as_ref());
        if let Some((kind, fields)) = judge(&applied.base, known, last.as_ref()) {
            findings.push(found(id, kind, &fields, held, true));
        } else if let Some(Doubt { kind, fields, .. }) = doubt {
            findings.push(found(id, kind, &fields, held, false));
        } else if is_applied(last.as_ref(), applied) {
            memory.verified.insert(id, print);
        }
    }
    findings
}

/// Nothing of it is still under way to the store.
fn is_applied(last: Option<&(u64, Record)>, applied: &Applied) -> bool {
    last.is_none_or(|(sequence, _)| *sequence <= applied.base.applied)
}

/// Tells a drift that stays from one that was put right and is there again.
fn held(print: u64, last: Option<&(u64, Record)>) -> u64 {
    hashed(&(print, last.map(|(sequence, _)| *sequence)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::node::NodeChange;
    use domain::record::Recovery;
    use domain::{NodeState, Subject, Timestamp, Writer};

    #[test]
    fn what_cannot_be_read_is_not_absent() {
        let ids = [1, 2, 3].map(|number| ContainerId::from([number; 32]));
        let [unreadable, absent, recorded] = ids;
        let doubt = |container| Doubt { container, kind: DriftKind::Absent, fields: Vec::new() };
        let mut memory = Memory::default();
        memory.picture = Picture { unreadable: [unreadable].into(), ..Picture::default() };
        let head = Head { checkpoint: None, node: BTreeMap::new(), untold: BTreeSet::new() };
        let seen = Seen { head, status: NodeStatus::Alive, containers: Vec::new(), findings: Vec::new() };
        let doubted = [doubt(unreadable), doubt(absent)];
        let asked = in_question(&seen, &doubted, [unreadable, recorded].into(), &memory, 9);
        assert_eq!(asked, [absent, recorded].into());
    }

    #[test]
    fn only_the_record_that_was_applied_says_what_the_keys_are_to_hold() {
        let record = |node: &str| Record {
            node: node.parse().expect("a name"),
            stamp: None,
            writer: Writer(1),
            recorded_at: Timestamp(0),
            observed_at: None,
            cause: None,
            event: None,
            subject: Subject::Node(NodeChange::Cursor),
            repeated: false,
            removed: false,
            node_state: NodeState::default(),
            recovery: Recovery::default(),
        };
        let applied = |node, writer| {
            let place = Place { sequence: 5, writer: Writer(writer) };
            Applied::new(&"n1".parse().expect("a name"), Partition(0), place, record(node)).is_some()
        };
        assert!(applied("n1", 1));
        assert!(!applied("n1", 2), "cut and grown again");
        assert!(!applied("n2", 1));
    }
}
