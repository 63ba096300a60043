//! Single values: numbers, times, texts, enums.

use prost_types::Timestamp as WireTime;
use proto::v1;

use super::Invalid;
use crate::digest::Digest;
use crate::node::{DriftKind, GapReason};
use crate::rpc::ReplayStatus;
use crate::{Cause, ContainerId, Health, NodeName, Status, StopCause, Timestamp};

/// The highest epoch, sequence number, tick or position that is accepted: counting on from it never overflows.
pub const COUNTER_MAX: u64 = u64::MAX / 2;

const NANOS: i64 = 1_000_000_000;

/// A counter.
pub(super) fn counter(field: &'static str, number: u64) -> Result<u64, Invalid> {
    if number <= COUNTER_MAX { Ok(number) } else { Err(Invalid::OutOfBounds(field)) }
}

/// A counter that begins at 1.
pub(super) fn positive(field: &'static str, number: u64) -> Result<u64, Invalid> {
    if number == 0 { Err(Invalid::Missing(field)) } else { counter(field, number) }
}

/// A name of a node.
pub(super) fn node(text: &str) -> Result<NodeName, Invalid> {
    text.parse().map_err(|invalid| Invalid::Name("node", invalid))
}

/// A container id as text.
pub(super) fn id(field: &'static str, text: &str) -> Result<ContainerId, Invalid> {
    text.parse().map_err(|invalid| Invalid::Id(field, invalid))
}

/// A container id as text, absent where it is empty.
pub(super) fn optional_id(field: &'static str, text: &str) -> Result<Option<ContainerId>, Invalid> {
    if text.is_empty() { Ok(None) } else { id(field, text).map(Some) }
}

/// A digest.
pub(super) fn digest(version: u32, bytes: &[u8]) -> Result<Digest, Invalid> {
    let sha256 = bytes.try_into().map_err(|_| Invalid::OutOfBounds("digest"))?;
    Ok(Digest { version, sha256 })
}

/// A text, cut at its bound.
pub(super) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
    }
    text
}

/// A text that is absent where it is empty.
pub(super) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A time; absent where it is none that can be counted in nanoseconds, like the engine's year 1.
pub(super) fn time(time: Option<WireTime>) -> Option<Timestamp> {
    let WireTime { seconds, nanos } = time?;
    let nanos = i64::from(nanos);
    if !(0..NANOS).contains(&nanos) {
        return None;
    }
    // Before 1970 the sum may fit where the product alone does not.
    let sum = i128::from(seconds) * i128::from(NANOS) + i128::from(nanos);
    i64::try_from(sum).ok().map(Timestamp)
}

/// A time that must be there.
pub(super) fn required_time(field: &'static str, wire: Option<WireTime>) -> Result<Timestamp, Invalid> {
    if wire.is_none() {
        return Err(Invalid::Missing(field));
    }
    time(wire).ok_or(Invalid::OutOfBounds(field))
}

/// A time as message.
pub(super) fn wire_time(time: Timestamp) -> WireTime {
    let nanos = time.0.rem_euclid(NANOS);
    WireTime { seconds: time.0.div_euclid(NANOS), nanos: i32::try_from(nanos).expect("a remainder of a billion fits") }
}

/// A word that travels as an enum's number.
pub(super) trait Numbered: Sized {
    /// The word; `None` for UNSPECIFIED and for a number that is not known.
    fn from_number(number: i32) -> Option<Self>;

    /// Its number.
    fn number(self) -> i32;

    /// The word, where there must be one.
    fn required(field: &'static str, number: i32) -> Result<Self, Invalid> {
        match (Self::from_number(number), number) {
            (Some(word), _) => Ok(word),
            (None, 0) => Err(Invalid::Missing(field)),
            (None, number) => Err(Invalid::UnknownNumber { field, number }),
        }
    }
}

macro_rules! numbered {
    ($word:ident, $wire:ident { $($variant:ident),+ $(,)? }) => {
        impl Numbered for $word {
            fn from_number(number: i32) -> Option<Self> {
                match v1::$wire::try_from(number).ok()? {
                    v1::$wire::Unspecified => None,
                    $(v1::$wire::$variant => Some(Self::$variant),)+
                }
            }

            fn number(self) -> i32 {
                let wire = match self { $(Self::$variant => v1::$wire::$variant),+ };
                wire.into()
            }
        }
    };
}

numbered!(
    Status,
    ContainerStatus { Created, StartFailed, Running, Paused, Restarting, Exited, Removing, Dead, Removed, Unknown }
);
numbered!(Health, ContainerHealth { Starting, Healthy, Unhealthy });
numbered!(
    StopCause,
    StopCause { Completed, Crashed, OomKilled, Stopped, Killed, StartFailed, DaemonRestart, Removed, Vanished }
);
numbered!(Cause, Cause { Event, List, Resync, Snapshot, Restate, StandIn });
numbered!(
    GapReason,
    GapReason {
        NotKept,
        NoAnswer,
        Unreadable,
        HeldFull,
        EndUnknown,
        EndKnown,
        NoHello,
        History,
        StreamCut,
        EngineOverflow,
        EngineRestart,
        EngineUnsure,
        QueueFull,
    }
);
numbered!(DriftKind, DriftKind { MissedEvent, LostMessage, EditedStore, Ghost, Absent });
numbered!(ReplayStatus, ReplayStatus { Coming, NotKept, Unknown });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_year_one_is_absent() {
        assert_eq!(time(Some(WireTime { seconds: -62_135_596_800, nanos: 0 })), None);
        assert_eq!(time(Some(WireTime { seconds: 0, nanos: -1 })), None);
    }

    #[test]
    fn every_nanosecond_comes_back() {
        for nanos in [i64::MIN, -1_000_000_001, -1, 0, 1, i64::MAX] {
            assert_eq!(time(Some(wire_time(Timestamp(nanos)))), Some(Timestamp(nanos)));
        }
    }

    #[test]
    fn unknown_is_told_from_missing() {
        assert_eq!(Status::required("status", 0), Err(Invalid::Missing("status")));
        let unknown = Invalid::UnknownNumber { field: "status", number: 99 };
        assert_eq!(Status::required("status", 99), Err(unknown));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aé".to_owned(), 2), "a");
    }
}
