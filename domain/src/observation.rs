//! What a producer says.

use crate::container::words;
use crate::node::{Correction, Gap, Hello, Listed};
use crate::{Container, ContainerId, Instance, NodeName, Stamp, Timestamp};

words! {
    /// What made the producer look.
    Cause {
        /// An event of the engine.
        Event = "event",
        /// A list at start or after a reconnect.
        List = "list",
        /// A request to look again.
        Resync = "resync",
        /// A snapshot found what no event had told.
        Snapshot = "snapshot",
        /// The regular statement.
        Restate = "restate",
        /// A stand-in looked.
        StandIn = "stand_in",
    }
}

/// Most bytes of an event's action that are kept.
pub const ACTION_MAX: usize = 64;

/// An event of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEvent {
    /// The engine's word: `start`, `die`, `health_status`… At most [`ACTION_MAX`] bytes.
    pub action: String,
    /// The engine's clock.
    pub time: Option<Timestamp>,
    /// Signal number of a `kill`.
    pub signal: Option<u32>,
    /// Exit code of a `die`.
    pub exit_code: Option<i32>,
    /// How long the ended process had run, of a `die`.
    pub exec_duration_seconds: Option<u64>,
    /// Read from the engine's memory of past events: no part in counts.
    pub replayed: bool,
}

/// A place in a producer's spool, or in its queue in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolPlace {
    /// The spool: a random number, made with it.
    pub spool_id: u64,
    /// Position in it, from 1.
    pub position: u64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A container's state.
    Container(Box<Container>),
    /// A container is gone; its last known state, with status `removed`.
    Removed(Box<Container>),
    /// An event about a container, without a state.
    Event(ContainerId),
    /// A new life begins. Always the first stamp of an epoch.
    Hello(Hello),
    /// A statement begins; the ids of the requests it answers.
    Stating(Vec<String>),
    /// A statement ends.
    Listed(Listed),
    /// The engine cannot be asked; why.
    Blind(String),
    /// The engine, or the producer's own bounds, lost events.
    Gap(Gap),
    /// A drift is about to be put right.
    Correction(Correction),
    /// Nothing that still counts: a stamp for what belongs to a former life and is no history.
    Nothing,
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The producer's wall clock.
    pub observed_at: Timestamp,
    /// What made the producer look.
    pub cause: Cause,
    /// The engine's event, where there was one.
    pub event: Option<EngineEvent>,
    /// Where it stood in the producer's spool or queue.
    pub spool_place: Option<SpoolPlace>,
    /// What was found.
    pub observed: Observed,
}

impl Observation {
    /// What is left of it in a later life of the producer: history, never state.
    pub fn into_history(mut self) -> Self {
        self.observed = match self.observed {
            Observed::Container(container) | Observed::Removed(container) if self.event.is_some() => {
                Observed::Event(container.id)
            }
            Observed::Event(id) => Observed::Event(id),
            Observed::Gap(gap) => Observed::Gap(gap),
            Observed::Correction(correction) => Observed::Correction(correction),
            Observed::Container(_)
            | Observed::Removed(_)
            | Observed::Hello(_)
            | Observed::Stating(_)
            | Observed::Listed(_)
            | Observed::Blind(_)
            | Observed::Nothing => Observed::Nothing,
        };
        self
    }
}

/// One message of a producer: observations with consecutive stamps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Node.
    pub node: NodeName,
    /// Life of the producer, from 1.
    pub epoch: u64,
    /// Start of the producer.
    pub instance: Instance,
    /// Sequence number of the first observation, from 1.
    pub first_seq: u64,
    /// No look with a lower tick is under way in this epoch.
    pub as_of_floor: u64,
    /// At least one.
    pub observations: Vec<Observation>,
}

impl Batch {
    /// The observations with their stamps.
    pub fn stamped(self) -> impl Iterator<Item = (Stamp, Observation)> {
        let epoch = self.epoch;
        (self.first_seq..).zip(self.observations).map(move |(seq, observation)| (Stamp { epoch, seq }, observation))
    }
}
