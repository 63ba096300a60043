//! Words about a node.

use crate::container::words;
use crate::{ContainerId, Instance, Timestamp};

pub use crate::container::UnknownWord;

words! {
    /// How a node is.
    NodeStatus {
        /// Its producer speaks and its engine answers.
        Alive = "alive",
        /// Its engine cannot be asked.
        Blind = "blind",
        /// Its producer is silent.
        Lost = "lost",
    }
}

/// The engine behind a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Engine {
    /// Identity.
    pub id: String,
    /// Version, as the engine states it.
    pub version: String,
    /// Operating system, as the engine states it.
    pub os: String,
    /// Architecture, as the engine states it.
    pub arch: String,
}

/// The end of a producer's former life, as far as the next one knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousLife {
    /// Its epoch.
    pub epoch: u64,
    /// Its instance, if known.
    pub instance: Option<Instance>,
    /// Its last sequence number, if known.
    pub last_seq: Option<u64>,
}

/// A new life of a producer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The engine it watches.
    pub engine: Engine,
    /// The life before, if there was one.
    pub previous: Option<PreviousLife>,
    /// It stands in for a producer that is gone.
    pub stand_in: bool,
}

/// One part of the end of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Tick taken before the engine was asked for the list.
    pub as_of: u64,
    /// Ids in this part. At most [`LISTED_IDS_MAX`].
    pub ids: Vec<ContainerId>,
    /// This part, from 0.
    pub part: u32,
    /// How many parts there are, at least 1.
    pub parts: u32,
    /// Every container was listed and looked at.
    pub complete: bool,
    /// The statement stands whole in the ordered record. Set by the sequencer.
    pub whole: bool,
}

/// Most ids in one part of a list: 256 KiB of them, under half of a NATS message.
pub const LISTED_IDS_MAX: usize = 8 * 1024;

/// Most bytes of a reason, or of what was done about a gap, that are kept.
pub const REASON_MAX: usize = 4 * 1024;
/// Most requests that one statement names.
pub const REQUEST_IDS_MAX: usize = 16;
/// Most bytes of a request's id.
pub const REQUEST_ID_MAX: usize = 64;
/// Most fields that a correction names.
pub const CORRECTION_FIELDS_MAX: usize = 64;

/// One word about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// A new life of the producer.
    Hello(Hello),
    /// A statement begins; the ids of the requests it answers.
    Stating(Vec<String>),
    /// A statement ends.
    Listed(Listed),
    /// The engine cannot be asked; why.
    Blind(String),
    /// The producer is silent; why it is thought to be gone.
    Lost(String),
    /// The producer is heard of again.
    Back,
    /// Written anew, so that it outlives trimming.
    Cursor,
    /// Retired by an operator.
    Forgotten,
    /// A stamp whose content the record already holds, or which has none.
    Repeat,
}

impl NodeChange {
    /// The word for it in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Stating(_) => "stating",
            Self::Listed(_) => "listed",
            Self::Blind(_) => "blind",
            Self::Lost(_) => "lost",
            Self::Back => "back",
            Self::Cursor => "cursor",
            Self::Forgotten => "forgotten",
            Self::Repeat => "repeat",
        }
    }
}

words! {
    /// Why stamps or events are known to be lost.
    GapReason {
        /// The producer no longer has what was asked for.
        NotKept = "not_kept",
        /// Nobody answered in time.
        NoAnswer = "no_answer",
        /// It was sent again and again, and never came.
        Unreadable = "unreadable",
        /// Too much came too early.
        HeldFull = "held_full",
        /// A life ended, and nobody knows where.
        EndUnknown = "end_unknown",
        /// A life ended before all of it came.
        EndKnown = "end_known",
        /// An epoch was seen without its hello.
        NoHello = "no_hello",
        /// What came before the record began.
        History = "history",
        /// The stream of observations lost messages.
        StreamCut = "stream_cut",
        /// The engine's memory of past events was too small.
        EngineOverflow = "engine_overflow",
        /// The engine was restarted.
        EngineRestart = "engine_restart",
        /// The engine's events ended, and what was missed is not known.
        EngineUnsure = "engine_unsure",
        /// The producer's queue was full.
        QueueFull = "queue_full",
    }
}

/// What a gap covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapRange {
    /// Stamps of an epoch; without an end it reaches to the next hello, epochs between included.
    Stamps {
        /// Epoch.
        epoch: u64,
        /// First stamp that is lost.
        from: u64,
        /// Last stamp that is lost.
        to: Option<u64>,
    },
    /// Events before they became observations.
    Engine {
        /// How many, where that is known.
        lost: Option<u64>,
        /// Begin of the lost time, where known.
        since: Option<Timestamp>,
        /// End of the lost time, where known.
        until: Option<Timestamp>,
    },
}

/// Stamps, or engine events, known to be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// What.
    pub range: GapRange,
    /// What was done about it.
    pub action: String,
}

words! {
    /// A drift between store and engine.
    DriftKind {
        /// The engine changed, and no event told.
        MissedEvent = "missed_event",
        /// An observation did not reach the store.
        LostMessage = "lost_message",
        /// The store was changed by another hand.
        EditedStore = "edited_store",
        /// The store has what the engine has not.
        Ghost = "ghost",
        /// The engine has what the store has not.
        Absent = "absent",
    }
}

/// A drift that was found, before it is put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// Which kind.
    pub drift: DriftKind,
    /// The container; `None` where the drift was in what the store holds of the node itself.
    pub container_id: Option<ContainerId>,
    /// The fields that differed, or the keys.
    pub fields: Vec<String>,
}

/// Who holds a node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeClaim {
    /// Epoch of the holder.
    pub epoch: u64,
    /// Engine identity.
    pub engine_id: String,
    /// Instance of the holder.
    pub instance: Instance,
    /// The holder stands in for a producer that is gone.
    pub stand_in: bool,
}

/// Who works on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The holder; none when it was given back.
    pub holder: Option<Instance>,
    /// Raised by the holder as long as it works.
    pub counter: u64,
}

/// A sign of life of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Node.
    pub node: crate::NodeName,
    /// Epoch of the producer.
    pub epoch: u64,
    /// Instance of the producer.
    pub instance: Instance,
    /// Last sequence number given.
    pub last_seq: u64,
    /// Last sequence number up to which all is acknowledged.
    pub acknowledged_seq: u64,
    /// Digest of the node's states as the producer knows them.
    pub digest: crate::digest::Digest,
    /// Observations not yet sent.
    pub queued: u64,
    /// Bytes in the spool on disk.
    pub spool_bytes: u64,
    /// It stands in for a producer that is gone.
    pub stand_in: bool,
    /// Engine identity.
    pub engine_id: String,
}
