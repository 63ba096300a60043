//! Requests to a producer and to the roles that work on a partition, with their replies.

use crate::digest::Digest;
use crate::index::IndexMember;
use crate::node::Correction;
use crate::{Container, ContainerId, Instance, NodeName};

/// Who answers: in every reply of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Responder {
    /// Node.
    pub node: NodeName,
    /// Epoch; 0 before one is claimed.
    pub epoch: u64,
    /// Instance.
    pub instance: Instance,
    /// Engine identity.
    pub engine_id: String,
    /// It stands in for a producer that is gone.
    pub stand_in: bool,
}

/// All states of the node, please.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// Digest of the states as the asker knows them.
    pub digest: Option<Digest>,
    /// Inspect every container.
    pub inspect_all: bool,
    /// At most this many containers in a page; 0 for the producer's own bound.
    pub page_size: u32,
    /// Where the next page begins; empty for the first.
    pub page_token: String,
}

/// All states of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotResponse {
    /// Who answers.
    pub responder: Responder,
    /// Sequence number at which the states are true.
    pub seq: u64,
    /// The asker's digest fits.
    pub same: bool,
    /// Digest of all states.
    pub digest: Digest,
    /// This page, sorted by id.
    pub containers: Vec<Container>,
    /// Where the next page begins; empty where this is the last.
    pub next_page_token: String,
    /// Changes that were found and that no event had told.
    pub missed_events: u32,
}

/// Look again, please, and publish what is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResyncRequest {
    /// Containers; none: a statement of all.
    pub container_ids: Vec<ContainerId>,
    /// An id for the statement asked for. Empty for none; at most 64 bytes.
    pub request_id: String,
    /// An epoch that is closed or passed; 0 for none.
    pub passed_epoch: u64,
    /// Drifts that are the reason.
    pub corrections: Vec<Correction>,
}

/// It is being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResyncResponse {
    /// Who answers.
    pub responder: Responder,
}

/// Publish these stamps again, please.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayRequest {
    /// Their epoch; 0 asks only who is there.
    pub epoch: u64,
    /// First.
    pub from_seq: u64,
    /// Last.
    pub to_seq: u64,
}

/// What becomes of a request to publish again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayStatus {
    /// At least one of them is, or will be, under way.
    Coming,
    /// They are no longer kept.
    NotKept,
    /// Not an epoch of this producer.
    Unknown,
}

/// What becomes of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayResponse {
    /// Who answers.
    pub responder: Responder,
    /// What becomes of it.
    pub status: ReplayStatus,
}

/// The last lines of a container's output, please.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsRequest {
    /// Container.
    pub container_id: ContainerId,
    /// At most this many; 0 for 100. At most [`LOG_LINES_MAX`].
    pub lines: u32,
}

/// Most lines of output in a reply.
pub const LOG_LINES_MAX: u32 = 1000;

/// Which stream a line of output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// The container has a terminal: not known.
    Terminal,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Which stream.
    pub stream: LogStream,
    /// The bytes, without the end of the line.
    pub text: Vec<u8>,
}

/// The last lines of a container's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsResponse {
    /// Who answers.
    pub responder: Responder,
    /// Oldest first.
    pub lines: Vec<LogLine>,
    /// Older lines were left out to keep the reply within its bound.
    pub truncated: bool,
}

/// Retire a node, please.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetRequest {
    /// Node.
    pub node: NodeName,
    /// Also where the record knows nothing of it: what is left of it elsewhere goes.
    pub unknown_too: bool,
}

/// The node is retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgetResponse {
    /// Sequence of the `forgotten` record.
    pub sequence: u64,
}

/// Build a node's keys anew, please.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuildRequest {
    /// Node.
    pub node: NodeName,
    /// Only these of its indexes, from what its containers' keys hold; none: all of its keys, from the record.
    /// At most [`MEMBERS_MAX`].
    pub members: Vec<IndexMember>,
}

/// Most members of one request to build indexes anew.
pub const MEMBERS_MAX: usize = 1000;

/// It is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuildResponse;
