//! Where a watch stands, and whether it may go on from there. Asks nothing: whoever watches reads the record.

use std::collections::BTreeMap;

use domain::partition::Partitions;
use domain::revision::{Further, Place};
use domain::{NodeName, Partition, Revision, Writer};

/// First and last sequence that a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edges {
    /// The floor: 0 or 1 where nothing was ever trimmed.
    pub first: u64,
    /// The end: 0 where nothing was ever written.
    pub last: u64,
}

/// Why a watch cannot go on from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// What follows it was trimmed.
    #[error("the records after it are no longer kept")]
    TooOld,
    /// The record there is another one, or none.
    #[error("the record there is another one, so the stream was cut, restored or made anew")]
    Replaced,
}

/// A revision speaks of other partitions than there are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the revision {revision} is none of this installation, which has {partitions} partition(s)")]
pub struct Foreign {
    revision: Revision,
    partitions: Partitions,
}

/// A watch may go on from `place`: nothing after it was trimmed, and the record there is the one that was seen.
/// `found` is the writer of the record at its sequence.
///
/// # Errors
/// Why it may not.
pub fn check(place: Place, edges: Edges, found: Option<Writer>) -> Result<(), Refused> {
    if place == Place::EMPTY {
        return if edges.first <= 1 { Ok(()) } else { Err(Refused::TooOld) };
    }
    if place.sequence < edges.first {
        return Err(Refused::TooOld);
    }
    if found == Some(place.writer) { Ok(()) } else { Err(Refused::Replaced) }
}

/// Where a watch stands.
#[derive(Clone, Debug)]
pub struct Cursor {
    partitions: Partitions,
    places: BTreeMap<Partition, Place>,
    further: BTreeMap<NodeName, Place>,
}

impl Cursor {
    /// A cursor at a revision, which must speak of each partition, and of nothing else.
    ///
    /// # Errors
    /// It does not.
    pub fn at(revision: Revision, partitions: Partitions) -> Result<Self, Foreign> {
        if !revision.partitions.keys().copied().eq(partitions.all()) {
            return Err(Foreign { revision, partitions });
        }
        let Revision { partitions: places, further } = revision;
        let place_of = |node: &NodeName, further: Further| Some(further.place(*places.get(&partitions.of(node))?));
        let further = further.into_iter().filter_map(|(node, further)| {
            let place = place_of(&node, further)?;
            Some((node, place))
        });
        Ok(Self { partitions, further: further.collect(), places })
    }

    /// The revision.
    pub fn revision(&self) -> Revision {
        let further = self.further.iter().filter_map(|(node, place)| {
            let partition = self.places.get(&self.partitions.of(node))?;
            Some((node.clone(), Further::than(*partition, *place)))
        });
        Revision { partitions: self.places.clone(), further: further.collect() }
    }

    /// The place of each partition, with those of its nodes that are further on, in order and each once: before anything
    /// resumes, the records there must be the ones that were seen ([`check`]).
    pub fn places(&self) -> impl Iterator<Item = (Partition, Place, Vec<Place>)> {
        self.places.iter().map(|(partition, place)| {
            let of_nodes = self.further.iter().filter(|(node, _)| self.partitions.of(node) == *partition);
            let mut further: Vec<Place> = of_nodes.map(|(_, place)| *place).collect();
            further.sort_by_key(|place| (place.sequence, place.writer.0));
            further.dedup();
            (*partition, *place, further)
        })
    }

    /// Goes on by one record. Says whether it is news: the list that the watch began with may have been further on
    /// for its node.
    pub fn advance(&mut self, partition: Partition, place: Place, node: &NodeName) -> bool {
        let news = self.further.get(node).is_none_or(|further| place.sequence > further.sequence);
        self.places.insert(partition, place);
        let partitions = self.partitions;
        let is_ahead = |further: &Place| further.sequence > place.sequence;
        self.further.retain(|node, further| partitions.of(node) != partition || is_ahead(further));
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(sequence: u64, writer: u64) -> Place {
        Place { sequence, writer: Writer(writer) }
    }

    fn at(revision: &str, partitions: Partitions) -> Option<Cursor> {
        Cursor::at(revision.parse().unwrap(), partitions).ok()
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
        let mut cursor = at("0:3.0000000000000001+n1=5", Partitions::ONE).unwrap();
        let (n1, n2) = ("n1".parse().unwrap(), "n2".parse().unwrap());
        let mut step = |sequence, writer, node: &NodeName| {
            let news = cursor.advance(Partition(0), place(sequence, writer), node);
            (news, cursor.revision().to_string())
        };
        assert_eq!(step(4, 2, &n1), (false, "0:4.0000000000000002+n1=5.0000000000000001".to_owned()));
        assert_eq!(step(5, 1, &n1), (false, "0:5.0000000000000001".to_owned()));
        assert_eq!(step(6, 1, &n2), (true, "0:6.0000000000000001".to_owned()));
        assert_eq!(step(7, 1, &n1), (true, "0:7.0000000000000001".to_owned()));
    }

    #[test]
    fn every_record_that_was_seen_last_is_to_be_proven() {
        let two: Partitions = "2".parse().unwrap();
        let nodes = ["n1", "n2", "n3", "n4"].map(|name| name.parse::<NodeName>().unwrap());
        let of_one: Vec<_> = nodes.iter().filter(|node| two.of(node) == Partition(1)).collect();
        let [first, second, ..] = of_one.as_slice() else { panic!("both partitions have nodes") };
        let text = format!("0:0.0,1:3.0000000000000001+{first}=9+{second}=7.0000000000000002");
        let mut cursor = at(&text, two).unwrap();
        let places = |cursor: &Cursor| cursor.places().collect::<Vec<_>>();
        let empty = (Partition(0), Place::EMPTY, Vec::new());
        let seen = vec![place(7, 2), place(9, 1)];
        assert_eq!(places(&cursor), [empty.clone(), (Partition(1), place(3, 1), seen)]);
        cursor.advance(Partition(1), place(7, 2), second);
        assert_eq!(places(&cursor), [empty, (Partition(1), place(7, 2), vec![place(9, 1)])]);
    }

    #[test]
    fn a_revision_speaks_of_every_partition() {
        let two: Partitions = "2".parse().unwrap();
        assert!(at("0:0.0", two).is_none());
        assert!(at("0:0.0,1:0.0", two).is_some());
        assert!(at("0:0.0,1:0.0", Partitions::ONE).is_none());
    }
}
