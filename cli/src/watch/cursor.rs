//! Where a watch stands, and whether it may go on from there.

use domain::partition::Partitions;
use domain::revision::Place;
use domain::{NodeName, Partition, Revision, Writer};
use service::Failure;

/// First and last sequence that a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edges {
    /// The floor: 0 or 1 where nothing was ever trimmed.
    pub(crate) first: u64,
    /// The end: 0 where nothing was ever written.
    pub(crate) last: u64,
}

/// Why a watch cannot go on from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// What follows it was trimmed.
    TooOld,
    /// The record there is another one, or none.
    Replaced,
}

/// A watch may go on from `place`: nothing after it was trimmed, and the record there is the one that was seen.
/// `found` is the writer of the record at its sequence.
pub(crate) fn check(place: Place, edges: Edges, found: Option<Writer>) -> Result<(), Refused> {
    if place == Place::EMPTY {
        return if edges.first <= 1 { Ok(()) } else { Err(Refused::TooOld) };
    }
    if place.sequence < edges.first {
        return Err(Refused::TooOld);
    }
    if found == Some(place.writer) { Ok(()) } else { Err(Refused::Replaced) }
}

impl Refused {
    /// What to tell the user.
    pub(crate) fn failure(self, partition: Partition, place: Place) -> Failure {
        let why = match self {
            Self::TooOld => "the records after it are no longer kept",
            Self::Replaced => "the record there is another one, so the stream was cut, restored or made anew",
        };
        Failure::unanswered(format!(
            "cannot watch from {partition}:{place}: {why}; list again (`deckwatch ps -o json`) and watch from that revision"
        ))
    }
}

/// Where a watch stands.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    revision: Revision,
    partitions: Partitions,
}

impl Cursor {
    /// A cursor at a revision, which must speak of each partition, and of nothing else.
    pub(crate) fn at(revision: Revision, partitions: Partitions) -> Result<Self, Failure> {
        let named: Vec<Partition> = revision.partitions.keys().copied().collect();
        if named != partitions.all().collect::<Vec<_>>() {
            return Err(Failure::unanswered(format!(
                "the revision {revision} is none of this installation, which has {partitions} partition(s); \
                 list again (`deckwatch ps -o json`) and watch from that revision"
            )));
        }
        Ok(Self { revision, partitions })
    }

    /// The revision.
    pub(crate) fn revision(&self) -> &Revision {
        &self.revision
    }

    /// Goes on by one record. Says whether it is news: the list that the watch began with may have been further on
    /// for its node.
    pub(crate) fn advance(&mut self, partition: Partition, place: Place, node: &NodeName) -> bool {
        let news = self.revision.further.get(node).is_none_or(|further| place.sequence > *further);
        self.revision.partitions.insert(partition, place);
        let partitions = self.partitions;
        self.revision.further.retain(|node, further| partitions.of(node) != partition || *further > place.sequence);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(sequence: u64, writer: u64) -> Place {
        Place { sequence, writer: Writer(writer) }
    }

    #[test]
    fn only_the_same_record_will_do() {
        let kept = Edges { first: 5, last: 9 };
        assert_eq!(check(place(7, 1), kept, Some(Writer(1))), Ok(()));
        assert_eq!(check(place(7, 1), kept, Some(Writer(2))), Err(Refused::Replaced));
        assert_eq!(check(place(10, 1), kept, None), Err(Refused::Replaced));
        assert_eq!(check(place(4, 1), kept, None), Err(Refused::TooOld));
        assert_eq!(check(Place::EMPTY, kept, None), Err(Refused::TooOld));
        assert_eq!(check(Place::EMPTY, Edges { first: 1, last: 9 }, None), Ok(()));
        assert_eq!(check(Place::EMPTY, Edges { first: 0, last: 0 }, None), Ok(()));
    }

    #[test]
    fn what_the_list_had_is_not_repeated() {
        let revision: Revision = "0:3.0000000000000001+n1=5".parse().unwrap();
        let mut cursor = Cursor::at(revision, Partitions::ONE).unwrap();
        let (n1, n2) = ("n1".parse().unwrap(), "n2".parse().unwrap());
        let mut step = |sequence, node: &NodeName| {
            let news = cursor.advance(Partition(0), place(sequence, 1), node);
            (news, cursor.revision().to_string())
        };
        assert_eq!(step(4, &n1), (false, "0:4.0000000000000001+n1=5".to_owned()));
        assert_eq!(step(5, &n1), (false, "0:5.0000000000000001".to_owned()));
        assert_eq!(step(6, &n2), (true, "0:6.0000000000000001".to_owned()));
        assert_eq!(step(7, &n1), (true, "0:7.0000000000000001".to_owned()));
    }

    #[test]
    fn a_revision_speaks_of_every_partition() {
        let two: Partitions = "2".parse().unwrap();
        assert!(Cursor::at("0:0.0".parse().unwrap(), two).is_err());
        assert!(Cursor::at("0:0.0,1:0.0".parse().unwrap(), two).is_ok());
        assert!(Cursor::at("0:0.0,1:0.0".parse().unwrap(), Partitions::ONE).is_err());
    }
}
