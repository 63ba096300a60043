//! What a sequencer decides for one partition: a function of what it reads, hears and is told of time. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use domain::node::{Heartbeat, NodeChange};
use domain::rpc::ForgetRequest;
use domain::{Batch, NodeName, NodeState, Record, Subject, Timestamp, Writer};
use ordering::Answer;

use crate::node::{Known, Node};
use crate::tally::Count;

/// A point of the monotonic clock, in milliseconds.
pub type Millis = u64;

/// Bounds and waits.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bounds and waits of the order.
    pub order: ordering::Limits,
    /// How long a producer may be silent.
    pub lost_after: Millis,
    /// How long between two requests for a statement of one node.
    pub ask_every: Millis,
    /// How often a quiet node's record is written anew.
    pub cursor_every: Millis,
}

/// What the partition is told.
#[derive(Debug)]
pub enum Input {
    /// A message of the stream of observations, read in the stream's order.
    Message {
        /// Its sequence.
        raw_sequence: u64,
        /// What it says.
        batch: Batch,
    },
    /// A message that cannot be read, or is of no node of this partition.
    Unreadable {
        /// Its sequence.
        raw_sequence: u64,
    },
    /// A sign of life.
    Beat(Heartbeat),
    /// What a producer answered to [`Effect::Replay`].
    Answered {
        /// Node.
        node: NodeName,
        /// Epoch asked for.
        epoch: u64,
        /// First sequence number asked for.
        from: u64,
        /// The answer.
        answer: Answer,
    },
    /// A producer took note of [`Effect::Statement`].
    Noted(NodeName),
    /// The sequencer itself stood still: what was not heard meanwhile says nothing.
    Paused,
    /// Time passed.
    Wake {
        /// Everything that was stored in the stream of observations before this moment was given as input.
        read_to: Option<Millis>,
    },
}

/// What is to be done besides publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the producer to publish stamps again.
    Replay {
        /// Node.
        node: NodeName,
        /// Epoch.
        epoch: u64,
        /// First sequence number.
        from: u64,
        /// Last sequence number.
        to: u64,
    },
    /// Ask the producer for a statement.
    Statement {
        /// Node.
        node: NodeName,
        /// Epoch that is closed or passed; 0 for none.
        passed_epoch: u64,
    },
}

/// Why a node cannot be retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotForgotten {
    /// There is none of that name.
    Unknown,
    /// It is not lost.
    Alive,
}

/// Where records go, and from where a restart must read: shared by all nodes of a partition.
#[derive(Debug)]
pub(crate) struct Output {
    /// Last sequence of the stream of records before `records`.
    pub(crate) last: u64,
    pub(crate) writer: Writer,
    raw_created: i64,
    /// Nodes of which stored observations may have been lost, and that said nothing since that puts it right.
    pub(crate) cut: BTreeSet<NodeName>,
    pub(crate) recorded_at: Timestamp,
    pub(crate) floor: Floor,
    pub(crate) records: Vec<Record>,
    pub(crate) effects: Vec<Effect>,
}

impl Output {
    /// Sequence that the next record will have.
    pub(crate) fn next_sequence(&self) -> u64 {
        let waiting = u64::try_from(self.records.len()).expect("a length fits");
        self.last + waiting + 1
    }

    /// The age of the stream of observations that a record names. None while a node is cut: a restart is to find the
    /// cut once more.
    pub(crate) fn raw_created(&self) -> i64 {
        if self.cut.is_empty() { self.raw_created } else { 0 }
    }
}

/// The lowest sequence of the stream of observations that a restart must read again.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    /// Sequences of messages with something that is not yet written, and how much.
    open: BTreeMap<u64, usize>,
    /// The message that is being read, or the one after the last that was.
    current: u64,
}

impl Floor {
    pub(crate) fn keep(&mut self, raw_sequence: u64) {
        *self.open.entry(raw_sequence).or_insert(0) += 1;
    }

    pub(crate) fn release(&mut self, raw_sequence: u64) {
        if let Some(count) = self.open.get_mut(&raw_sequence) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&raw_sequence);
            }
        }
    }

    /// Nothing more of this message is to come.
    pub(crate) fn pass(&mut self, raw_sequence: u64) {
        self.current = raw_sequence + 1;
    }

    pub(crate) fn lowest(&self) -> u64 {
        self.open.keys().next().map_or(self.current, |lowest| self.current.min(*lowest))
    }
}

/// One partition: its nodes, and what is to be written for them.
pub struct Partition {
    rules: Rules,
    nodes: BTreeMap<NodeName, Node>,
    output: Output,
}

/// Where a partition begins its writing life.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// This writing life.
    pub writer: Writer,
    /// Last sequence of the stream of records.
    pub last: u64,
    /// Next sequence of the stream of observations.
    pub raw_next: u64,
    /// When that stream was made.
    pub raw_created: i64,
    /// Messages of that stream may have been lost since the records were written.
    pub raw_cut: bool,
    /// The stream of records lost some of its old ones, which may have been the last of what they told of.
    pub trimmed: bool,
    /// Now.
    pub now: Millis,
}

/// What the records tell of a node.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The state in its last record.
    pub state: NodeState,
    /// Writer of the `stating` of its open statement, if known.
    pub stating_writer: Option<Writer>,
    /// It was retired: where its last life stood is all that is left of it, so that nothing of that life comes back.
    pub retired: bool,
    /// The last record of each of its containers that has a state.
    pub containers: Vec<domain::Container>,
}

impl Recovered {
    pub(crate) fn retired(state: &NodeState) -> Self {
        let NodeState { epoch, instance, next_seq, .. } = *state;
        // One that the record knows nothing of stays unknown: its next hello is preceded by a gap for all before.
        let closed = epoch > 0;
        let state = NodeState { epoch, instance, next_seq, closed, lost: true, ..NodeState::default() };
        Self { state, stating_writer: None, retired: true, containers: Vec::new() }
    }
}

impl Partition {
    /// A partition as its records tell.
    pub fn new(rules: Rules, start: Start, recovered: BTreeMap<NodeName, Recovered>) -> Self {
        let mut cut = BTreeSet::new();
        let nodes = recovered.into_iter().map(|(name, mut told)| {
            if (start.raw_cut || start.trimmed) && !told.retired {
                told.state.needs_statement = true;
                told.state.stating_sequence = 0;
            }
            // Of a node that is lost all was read before.
            if start.raw_cut && !told.state.lost && told.state.epoch > 0 {
                cut.insert(name.clone());
            }
            let node = Node::new(name.clone(), rules, start.now, told);
            (name, node)
        });
        let nodes = nodes.collect();
        let floor = Floor { open: BTreeMap::new(), current: start.raw_next };
        let output = Output {
            last: start.last,
            writer: start.writer,
            raw_created: start.raw_created,
            cut,
            recorded_at: Timestamp(0),
            floor,
            records: Vec::new(),
            effects: Vec::new(),
        };
        Self { rules, nodes, output }
    }

    /// Takes an input. What follows is to be had from [`Partition::take_records`] and [`Partition::take_effects`].
    pub fn step(&mut self, now: Millis, wall: Timestamp, input: Input) {
        self.output.recorded_at = wall;
        match input {
            Input::Message { raw_sequence, batch } => self.message(now, raw_sequence, batch),
            Input::Unreadable { raw_sequence } => self.output.floor.pass(raw_sequence),
            Input::Beat(beat) => {
                // A node whose records are gone is heard of by its beats alone: it is asked for a new life.
                let rules = self.rules;
                let node = self.nodes.entry(beat.node.clone());
                let node = node.or_insert_with_key(|name| Node::new(name.clone(), rules, now, Recovered::default()));
                node.beat(now, &beat, &mut self.output);
            }
            Input::Answered { node, epoch, from, answer } => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.answered(now, epoch, from, answer, &mut self.output);
                }
            }
            Input::Noted(node) => {
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.noted();
                }
            }
            Input::Paused => self.nodes.values_mut().for_each(|node| node.count_anew(now)),
            Input::Wake { read_to } => {
                for node in self.nodes.values_mut() {
                    node.wake(now, read_to, &mut self.output);
                }
                // A name that only beats have named, and no more.
                self.nodes.retain(|_, node| !node.is_rumour(now));
            }
        }
    }

    fn message(&mut self, now: Millis, raw_sequence: u64, batch: Batch) {
        self.output.floor.current = raw_sequence;
        let rules = self.rules;
        let node = self
            .nodes
            .entry(batch.node.clone())
            .or_insert_with_key(|name| Node::new(name.clone(), rules, now, Recovered::default()));
        node.message(now, raw_sequence, batch, &mut self.output);
    }

    /// Retires a node that is lost, or if that is asked for one that is not known. Returns the sequence that its record
    /// will have; 0 where it was retired before.
    ///
    /// # Errors
    /// It is not there, or not lost.
    pub fn forget(&mut self, now: Millis, request: &ForgetRequest, wall: Timestamp) -> Result<u64, NotForgotten> {
        let ForgetRequest { node: name, unknown_too } = request;
        let rules = self.rules;
        let is_known = self.nodes.contains_key(name);
        if !is_known && !unknown_too {
            return Err(NotForgotten::Unknown);
        }
        let node = self
            .nodes
            .entry(name.clone())
            .or_insert_with_key(|name| Node::new(name.clone(), rules, now, Recovered::default()));
        if node.is_retired() {
            return Ok(0);
        }
        if is_known && !node.is_lost() {
            return Err(NotForgotten::Alive);
        }
        self.output.recorded_at = wall;
        let sequence = self.output.next_sequence();
        node.forget(now, &mut self.output);
        Ok(sequence)
    }

    /// Records to publish, in order, after the sequence that they expect.
    pub fn take_records(&mut self) -> (u64, Vec<Record>) {
        let expected = self.output.last;
        let records = std::mem::take(&mut self.output.records);
        self.output.last += u64::try_from(records.len()).expect("a length fits");
        (expected, records)
    }

    /// The sequence of the last record that was taken to be published.
    pub fn taken(&self) -> u64 {
        self.output.last
    }

    /// How many records wait to be published.
    pub fn waiting(&self) -> usize {
        self.output.records.len()
    }

    /// What is to be done besides.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.output.effects)
    }

    /// Something waits until all is read that was stored before this moment.
    pub fn wants_read_to(&self, now: Millis) -> Option<Millis> {
        self.nodes.values().filter_map(|node| node.wants_read_to(now)).max()
    }

    /// Nodes by status. Retired ones do not count.
    pub fn count_nodes(&self) -> Count {
        let mut count = Count::default();
        for node in self.nodes.values().filter(|node| !node.is_retired()) {
            if node.is_lost() {
                count.lost += 1;
            } else if node.is_blind() {
                count.blind += 1;
            } else {
                count.alive += 1;
            }
        }
        count
    }
}

/// Folds the last record of each subject, in the stream's order, into what is recovered. A node that was retired keeps
/// its place in the order, and nothing else.
pub fn fold_recovered(recovered: &mut BTreeMap<NodeName, Recovered>, record: Record) {
    let node = recovered.entry(record.node).or_default();
    if matches!(record.subject, Subject::Node(NodeChange::Forgotten)) {
        *node = Recovered::retired(&record.node_state);
        return;
    }
    let engine = record.node_state.engine.clone().or_else(|| node.state.engine.take());
    node.state = NodeState { engine, ..record.node_state };
    node.retired = false;
    match record.subject {
        Subject::Container(container) => node.containers.push(*container),
        // The last word about the node: while it is this one, no later statement began.
        Subject::Node(NodeChange::Stating(_)) => node.stating_writer = Some(record.writer),
        Subject::Node(_) | Subject::Event(_) | Subject::Gap(_) | Subject::Correction(_) => {}
    }
}

impl From<domain::Container> for Known {
    fn from(container: domain::Container) -> Self {
        if container.status == domain::Status::Removed {
            Self::Gone(Box::new(container))
        } else {
            Self::Live(Box::new(container))
        }
    }
}

#[cfg(test)]
mod tests;
