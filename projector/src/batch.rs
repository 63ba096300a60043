//! From the entries that were read to the calls that are made: pure.

use domain::revision::Place;
use domain::{NodeName, Partition, Record};

use crate::Limits;
use crate::fold::Change;
use view::checkpoint::{Checkpoint, Rebuild, Stored};

/// A node, as the projector remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Its keys stand at a checkpoint.
    At { checkpoint: Checkpoint },
    /// It is retired by the record at that sequence.
    Retired { sequence: u64 },
}

impl Known {
    /// Up to this sequence its records are applied.
    pub(crate) fn applied(&self) -> u64 {
        match self {
            Self::At { checkpoint } => checkpoint.place.sequence,
            Self::Retired { sequence } => *sequence,
        }
    }

    pub(crate) fn rebuild(&self) -> Option<&Rebuild> {
        match self {
            Self::At { checkpoint } => checkpoint.rebuild.as_ref(),
            Self::Retired { .. } => None,
        }
    }
}

/// A record that was read, with its size on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) sequence: u64,
    pub(crate) size: usize,
    pub(crate) record: Record,
}

/// Where a node's next change begins.
#[derive(Clone, Debug)]
pub(crate) enum From {
    /// At the checkpoint it stands at.
    Checkpoint(Checkpoint),
    /// Anew: nothing is known of it, and that is stored. `before`: a place of the record before its first record.
    Anew { expected: Stored, before: Place },
}

/// The changes that a node's records make, in order, each small enough for one call.
pub(crate) fn changes(
    partition: Partition,
    name: &NodeName,
    from: From,
    records: &[Taken],
    limits: &Limits,
    mut rebuild: impl FnMut() -> Rebuild,
) -> Vec<Change> {
    let mut change = match from {
        From::Checkpoint(checkpoint) => Change::after(name.clone(), checkpoint),
        From::Anew { expected, before } => Change::rebuild(partition, name.clone(), expected, before, rebuild()),
    };
    let mut changes = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    for Taken { sequence, size, record } in records {
        let full = count > 0 && (count >= limits.batch_records || bytes + size > limits.batch_bytes);
        let next = match change.checkpoint() {
            None => {
                // It was retired, and is heard of again: a node like any other that is new.
                let before = place_before(records, *sequence);
                Some(Change::rebuild(partition, name.clone(), Stored::default(), before, rebuild()))
            }
            Some(checkpoint) => full.then(|| Change::after(name.clone(), checkpoint.clone())),
        };
        if let Some(next) = next {
            changes.push(std::mem::replace(&mut change, next));
            (count, bytes) = (0, 0);
        }
        change.take(*sequence, record);
        count += 1;
        bytes += size;
    }
    changes.push(change);
    changes
}

/// The place of the node's record before that sequence.
fn place_before(records: &[Taken], sequence: u64) -> Place {
    let before = records.iter().rev().find(|taken| taken.sequence < sequence);
    before.map_or(Place::EMPTY, |taken| Place { sequence: taken.sequence, writer: taken.record.writer })
}
