//! What the records tell of each node, kept up record by record: where a writing life can begin without reading them
//! all. It is what [`fold_recovered`](crate::partition::fold_recovered) makes of the last records, but for tombstones
//! that have had their time.

use std::collections::BTreeMap;

use domain::container::AsOf;
use domain::node::{Engine, NodeChange};
use domain::record::Recovery;
use domain::{Container, ContainerId, NodeName, NodeState, Record, Status, Subject, Writer};

use crate::partition::Recovered;

/// Tombstones of a node that may have had their time and are kept all the same, so that they are looked for seldom.
const TOMBSTONES_MAX: usize = 128;

/// What the records up to one of them tell.
#[derive(Debug, Default)]
pub struct Warm {
    nodes: BTreeMap<NodeName, Along>,
    end: Option<End>,
}

/// The last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its sequence.
    pub sequence: u64,
    /// Its writer.
    pub writer: Writer,
    /// Where a restart goes on.
    pub recovery: Recovery,
}

/// What the records tell of one node.
#[derive(Debug, Default)]
struct Along {
    /// As its last record says, without the engine.
    state: NodeState,
    last: u64,
    /// What its last record about itself says, and where that stands.
    engine: Option<Engine>,
    stating_writer: Option<Writer>,
    forgotten: bool,
    node_at: u64,
    /// The last state of each container, and where it stands.
    containers: BTreeMap<ContainerId, (u64, Box<Container>)>,
    tombstones: usize,
}

impl Warm {
    /// The last record that was taken in.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Takes in a record. They come in the stream's order; of what was written before the first of them the last record
    /// of each subject is enough.
    pub fn fold(&mut self, sequence: u64, record: Record) {
        let Record { node, writer, subject, mut node_state, recovery, .. } = record;
        self.end = Some(End { sequence, writer, recovery });
        let along = self.nodes.entry(node).or_default();
        let engine = node_state.engine.take();
        (along.state, along.last) = (node_state, sequence);
        match subject {
            Subject::Container(container) => {
                along.tombstones += usize::from(container.status == Status::Removed);
                along.containers.insert(container.id, (sequence, container));
                if along.tombstones > TOMBSTONES_MAX {
                    along.drop_tombstones();
                    along.tombstones = 0;
                }
            }
            Subject::Event(id) => drop(along.containers.remove(&id)),
            Subject::Node(change) => {
                along.node_at = sequence;
                along.engine = engine;
                along.stating_writer = matches!(change, NodeChange::Stating(_)).then_some(writer);
                along.forgotten = matches!(change, NodeChange::Forgotten);
                if along.forgotten {
                    along.engine = None;
                }
            }
            Subject::Gap(_) | Subject::Correction(_) => {}
        }
    }

    /// Records below that sequence are kept no more.
    pub fn trim(&mut self, first: u64) {
        self.nodes.retain(|_, along| along.last >= first);
        for along in self.nodes.values_mut() {
            along.containers.retain(|_, (sequence, _)| *sequence >= first);
        }
    }

    /// What a recovery would find in a stream whose first record has that sequence.
    pub fn recovered(mut self, first: u64) -> BTreeMap<NodeName, Recovered> {
        self.trim(first);
        self.nodes.into_iter().map(|(name, along)| (name, along.recovered(first))).collect()
    }
}

impl Along {
    fn drop_tombstones(&mut self) {
        let floor = AsOf { epoch: self.state.epoch, tick: self.state.as_of_floor };
        self.containers
            .retain(|_, (_, container)| container.status != Status::Removed || container.freshness() >= floor);
    }

    fn recovered(self, first: u64) -> Recovered {
        if self.forgotten && self.node_at == self.last {
            return Recovered::retired(&self.state);
        }
        let (engine, stating_writer) =
            if self.node_at >= first { (self.engine, self.stating_writer) } else { (None, None) };
        // While its retirement is its last word, nothing of before it counts.
        let from = if self.forgotten { self.node_at } else { 0 };
        let kept = self.containers.into_values().filter(|(sequence, _)| *sequence >= from);
        Recovered {
            state: NodeState { engine, ..self.state },
            stating_writer,
            retired: false,
            containers: kept.map(|(_, container)| *container).collect(),
        }
    }
}
