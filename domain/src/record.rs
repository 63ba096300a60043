//! What subscribers read: one record is one change, in its place in the order.

use crate::names::StateSubject;
use crate::node::{Correction, Engine, Gap, GapRange, NodeChange};
use crate::observation::SpoolPlace;
use crate::{Cause, Container, ContainerId, EngineEvent, Instance, NodeName, Stamp, Status, Timestamp, Writer};

/// Header that names the stamp, or the range of stamps, that a record stands for.
pub const STAMP_HEADER: &str = "Deckwatch-Stamp";

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A container: its state after the change.
    Container(Box<Container>),
    /// An event about a container of which no state is known.
    Event(ContainerId),
    /// The node.
    Node(NodeChange),
    /// A loss.
    Gap(Gap),
    /// A drift.
    Correction(Correction),
}

/// Where a restart of the sequencer goes on if this record is the last one that survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// First sequence of the stream of observations that must be read again.
    pub raw_sequence: u64,
    /// When that stream was made, nanoseconds since 1970; 0 while what it lost is not yet made good.
    pub raw_created: i64,
}

/// What a partition's sequencer knows of a node; in each of its records, so that a restart needs the record alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Current epoch; 0 before the first.
    pub epoch: u64,
    /// Instance that said this epoch's hello; 0 before the first.
    pub instance: u64,
    /// Next sequence number of the epoch.
    pub next_seq: u64,
    /// The epoch is closed by an open gap: nothing more of it counts.
    pub closed: bool,
    /// A statement is needed.
    pub needs_statement: bool,
    /// Stream sequence of the `stating` of the statement that is open without a gap; 0 if none.
    pub stating_sequence: u64,
    /// Stream sequence of the `stating` of the last whole statement; 0 if none.
    pub whole_sequence: u64,
    /// Writer of the record at `whole_sequence`.
    pub whole_writer: u64,
    /// The node is lost.
    pub lost: bool,
    /// The node is blind.
    pub blind: bool,
    /// Epoch to be named as passed when a statement is asked for; 0 if none.
    pub passed_epoch: u64,
    /// Places in the producer's spools up to which content is in the record. At most [`SPOOL_PLACES_MAX`], newest last.
    pub spool_places: Vec<SpoolPlace>,
    /// Below this tick of the epoch no look is under way.
    pub as_of_floor: u64,
    /// The engine, as the last hello named it.
    pub engine: Option<Engine>,
}

/// Most spools of a node that are remembered.
pub const SPOOL_PLACES_MAX: usize = 4;

/// One record of the ordered stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Node.
    pub node: NodeName,
    /// Stamp, where the record is an observation.
    pub stamp: Option<Stamp>,
    /// Writing life of the sequencer.
    pub writer: Writer,
    /// The sequencer's wall clock.
    pub recorded_at: Timestamp,
    /// The producer's wall clock, where the record is an observation.
    pub observed_at: Option<Timestamp>,
    /// What made the producer look, where the record is an observation.
    pub cause: Option<Cause>,
    /// The engine's event, where there was one.
    pub event: Option<EngineEvent>,
    /// What it is about.
    pub subject: Subject,
    /// Its own state was not fresh enough to count, or it had none: the last accepted one stands here.
    pub repeated: bool,
    /// The container is gone, and was before this record.
    pub removed: bool,
    /// Where the node stands after this record.
    pub node_state: NodeState,
    /// Where a restart goes on.
    pub recovery: Recovery,
}

impl Record {
    /// The last part of the subject it stands under.
    pub fn state_subject(&self) -> StateSubject {
        match &self.subject {
            Subject::Container(container) => StateSubject::Container(container.id),
            Subject::Event(id) => StateSubject::Container(*id),
            Subject::Node(_) => StateSubject::Node,
            Subject::Gap(_) | Subject::Correction(_) => StateSubject::Gap,
        }
    }

    /// Value of [`STAMP_HEADER`]: the stamps it stands for; `None` for what bears none.
    pub fn stamp_header(&self) -> Option<String> {
        if let Some(stamp) = self.stamp {
            return Some(stamp.to_string());
        }
        match &self.subject {
            Subject::Gap(Gap { range: GapRange::Stamps { epoch, from, to }, .. }) => {
                let to = to.map_or_else(String::new, |to| to.to_string());
                Some(format!("{epoch}.{from}-{to}"))
            }
            Subject::Gap(_) | Subject::Container(_) | Subject::Event(_) | Subject::Node(_) | Subject::Correction(_) => {
                None
            }
        }
    }

    /// The state of a container that is there after this record.
    pub fn living(&self) -> Option<&Container> {
        match &self.subject {
            Subject::Container(container) if !self.removed && container.status != Status::Removed => Some(container),
            Subject::Container(_) | Subject::Event(_) | Subject::Node(_) | Subject::Gap(_) | Subject::Correction(_) => {
                None
            }
        }
    }

    /// Instance that the node's current epoch belongs to.
    pub fn instance(&self) -> Instance {
        Instance(self.node_state.instance)
    }
}
