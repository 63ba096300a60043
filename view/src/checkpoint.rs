//! Checkpoints: up to which record a node's keys are true.

use domain::revision::Place;
use domain::{Partition, Timestamp, Writer};

/// How many fields a checkpoint has in Redis.
pub const FIELDS: usize = 6;

/// Those fields, in the order of the function library's arguments.
pub const CHECKPOINT_FIELDS: [&str; FIELDS] =
    ["partition", "sequence", "writer", "rebuilding", "rebuilding_since", "stated"];

/// A node's checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Partition of the node.
    pub partition: Partition,
    /// Place of the last record that was applied; [`Place::EMPTY`] where none was.
    pub place: Place,
    /// The node's keys are being built anew.
    pub rebuild: Option<Rebuild>,
}

/// A rebuild under way: it ends with the statement that names its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuild {
    /// Id of the request for the statement.
    pub token: String,
    /// When it began.
    pub since: Timestamp,
    /// The record is within that statement.
    pub stated: bool,
}

/// A checkpoint as it stands in Redis, readable or not; an absent field is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored(pub [String; FIELDS]);

impl Stored {
    /// There is none.
    pub fn is_absent(&self) -> bool {
        self.0.iter().all(String::is_empty)
    }

    /// The checkpoint, where it can be read.
    pub fn parse(&self) -> Option<Checkpoint> {
        let [partition, sequence, writer, rebuilding, since, stated] = &self.0;
        let place = match (sequence.parse().ok()?, writer.as_str()) {
            (0, "0") => Place::EMPTY,
            (0, _) => return None,
            (sequence, writer) => Place { sequence, writer: writer.parse::<Writer>().ok()? },
        };
        let rebuild = match (rebuilding.as_str(), stated.as_str()) {
            ("", "") => None,
            ("", _) => return None,
            (token, stated) => {
                Some(Rebuild { token: token.to_owned(), since: since.parse().ok()?, stated: stated == "1" })
            }
        };
        Some(Checkpoint { partition: partition.parse().ok()?, place, rebuild })
    }
}

impl From<&Checkpoint> for Stored {
    fn from(checkpoint: &Checkpoint) -> Self {
        let Checkpoint { partition, place, rebuild } = checkpoint;
        let [rebuilding, since, stated] = match rebuild {
            None => [String::new(), String::new(), String::new()],
            Some(Rebuild { token, since, stated }) => {
                [token.clone(), since.to_string(), if *stated { "1".to_owned() } else { String::new() }]
            }
        };
        let (sequence, writer) = place_fields(*place);
        Self([partition.to_string(), sequence, writer, rebuilding, since, stated])
    }
}

/// A place as fields of a hash: `sequence`, `writer`.
pub fn place_fields(place: Place) -> (String, String) {
    let writer = if place.sequence == 0 { "0".to_owned() } else { place.writer.to_string() };
    (place.sequence.to_string(), writer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_and_read_back() {
        for place in [Place::EMPTY, Place { sequence: 7, writer: Writer(255) }] {
            for stated in [None, Some(false), Some(true)] {
                let since = Timestamp(1_700_000_000_000_000_001);
                let rebuild = stated.map(|stated| Rebuild { token: "t".to_owned(), since, stated });
                let checkpoint = Checkpoint { partition: Partition(3), place, rebuild };
                assert_eq!(Stored::from(&checkpoint).parse(), Some(checkpoint));
            }
        }
    }

    #[test]
    fn what_another_hand_wrote_is_no_checkpoint() {
        let stored = |fields: [&str; FIELDS]| Stored(fields.map(str::to_owned));
        assert_eq!(stored(["0", "7", "", "", "", ""]).parse(), None);
        assert_eq!(stored(["0", "x", "00000000000000ff", "", "", ""]).parse(), None);
        assert_eq!(stored(["0", "0", "00000000000000ff", "", "", ""]).parse(), None);
        assert_eq!(stored(["0", "7", "00000000000000ff", "t", "", ""]).parse(), None);
        assert!(Stored::default().is_absent() && Stored::default().parse().is_none());
    }
}
