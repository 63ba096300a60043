//! Protobuf to values that are valid by type, and back. The only importer of `proto`.
//!
//! 1. What a sequencer decides on is required: missing or unknown, the message is [`Invalid`], whole.
//! 2. What a reader may do without (health, stop cause, cause of a record) is `None` where its number is not known;
//!    a record whose arm is not known is a stamp without content.
//! 3. Free text over its bound is cut, as its producer should have done; identities and lists of ids never are.
//! 4. No counter is above [`COUNTER_MAX`], so one more never overflows.

mod claim;
mod container;
mod control;
mod node;
mod observation;
mod record;
mod rpc;
mod value;

use proto::v1;

use crate::id::InvalidId;
use crate::names::InvalidName;
use crate::node::{Heartbeat, Lease, NodeClaim};
use crate::rpc::{
    ForgetRequest, ForgetResponse, LogsRequest, LogsResponse, RebuildRequest, RebuildResponse, ReplayRequest,
    ReplayResponse, ResyncRequest, ResyncResponse, SnapshotRequest, SnapshotResponse,
};
use crate::{Batch, Record};

pub use value::COUNTER_MAX;

/// A value that travels as one message.
pub trait Wire: Sized {
    /// The message.
    fn encode(&self) -> Vec<u8>;

    /// The value of a message.
    fn decode(bytes: &[u8]) -> Result<Self, Invalid>;
}

/// A message is not what it should be. Sent again it would be no better.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not protobuf, or not of this message.
    #[error("not a protobuf message of this kind")]
    Protobuf(#[source] prost::DecodeError),
    /// A field that is required is absent.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// An enum has a number that is not known.
    #[error("`{field}` has the unknown value {number}")]
    UnknownNumber {
        /// The field.
        field: &'static str,
        /// Its value.
        number: i32,
    },
    /// A text is none of the words it could be.
    #[error("`{0}` is a word that is not known")]
    UnknownWord(&'static str, #[source] crate::container::UnknownWord),
    /// Not a name.
    #[error("`{0}` is not a name")]
    Name(&'static str, #[source] InvalidName),
    /// Not an identity.
    #[error("`{0}` is not an identity")]
    Id(&'static str, #[source] InvalidId),
    /// A number or a length is not within its bounds.
    #[error("`{0}` is out of bounds")]
    OutOfBounds(&'static str),
    /// Two fields contradict each other.
    #[error("`{0}` contradicts `{1}`")]
    Contradiction(&'static str, &'static str),
    /// A hello elsewhere than at sequence number 1, or something else there.
    #[error("a hello stands at sequence number 1 and nowhere else")]
    Hello,
}

impl Invalid {
    /// The word for it in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Protobuf(_) => "protobuf",
            Self::Missing(_) => "missing",
            Self::UnknownNumber { .. } | Self::UnknownWord(..) => "unknown",
            Self::Name(..) | Self::Id(..) => "identity",
            Self::OutOfBounds(_) => "out_of_bounds",
            Self::Contradiction(..) => "contradiction",
            Self::Hello => "hello",
        }
    }
}

macro_rules! wire {
    ($($value:ty => $message:ident),+ $(,)?) => {$(
        impl Wire for $value {
            fn encode(&self) -> Vec<u8> {
                prost::Message::encode_to_vec(&v1::$message::from(self))
            }

            fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
                <v1::$message as prost::Message>::decode(bytes).map_err(Invalid::Protobuf)?.try_into()
            }
        }
    )+};
}

wire! {
    Batch => ObservationBatch,
    Record => Record,
    Heartbeat => Heartbeat,
    NodeClaim => NodeClaim,
    Lease => Lease,
    SnapshotRequest => SnapshotRequest,
    SnapshotResponse => SnapshotResponse,
    ResyncRequest => ResyncRequest,
    ResyncResponse => ResyncResponse,
    ReplayRequest => ReplayRequest,
    ReplayResponse => ReplayResponse,
    LogsRequest => LogsRequest,
    LogsResponse => LogsResponse,
    ForgetRequest => ForgetRequest,
    ForgetResponse => ForgetResponse,
    RebuildRequest => RebuildRequest,
    RebuildResponse => RebuildResponse,
}

#[cfg(test)]
mod tests;
