//! Revisions: places in the ordered record.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::{NodeName, Partition, Writer};

/// A text is not a revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a revision: `{0}`; use one that `ps -o json` or `watch -o json` printed")]
pub struct InvalidRevision(String);

/// A place in the ordered record of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Sequence in the partition's stream; 0 where the partition is empty.
    pub sequence: u64,
    /// Writer of the record at that sequence.
    pub writer: Writer,
}

impl Place {
    /// The place before the first record.
    pub const EMPTY: Self = Self { sequence: 0, writer: Writer(0) };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sequence == 0 { f.write_str("0.0") } else { write!(f, "{}.{}", self.sequence, self.writer) }
    }
}

/// Where a node stands that is further on than its partition's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Further {
    /// Sequence of the node's last record, in its partition's stream.
    pub sequence: u64,
    /// Writer of that record; `None` where it is the writer at the partition's place.
    pub writer: Option<Writer>,
}

impl Further {
    /// Where a node stands whose partition is told of by its place.
    pub fn than(partition: Place, node: Place) -> Self {
        let Place { sequence, writer } = node;
        Self { sequence, writer: Some(writer).filter(|writer| *writer != partition.writer) }
    }

    /// The node's place.
    pub fn place(self, partition: Place) -> Place {
        Place { sequence: self.sequence, writer: self.writer.unwrap_or(partition.writer) }
    }
}

impl fmt::Display for Further {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.writer {
            None => self.sequence.fmt(f),
            Some(writer) => write!(f, "{}.{writer}", self.sequence),
        }
    }
}

/// A place in the ordered record of every partition, and of nodes that are further on. Opaque to users.
///
/// As text: `<partition>:<sequence>.<writer>` joined by commas, then for each node that is further on `+<node>=<sequence>`,
/// with `.<writer>` where that is another one than at the partition's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Place by partition.
    pub partitions: BTreeMap<Partition, Place>,
    /// Nodes whose state is further on than their partition's place.
    pub further: BTreeMap<NodeName, Further>,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (partition, place)) in self.partitions.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{place}")?;
        }
        for (node, further) in &self.further {
            write!(f, "+{node}={further}")?;
        }
        Ok(())
    }
}

impl FromStr for Revision {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, InvalidRevision> {
        parse(text).ok_or_else(|| InvalidRevision(text.chars().take(80).collect()))
    }
}

fn parse(text: &str) -> Option<Revision> {
    let mut revision = Revision::default();
    let mut parts = text.split('+');
    for part in parts.next()?.split(',') {
        let (partition, place) = part.split_once(':')?;
        let (sequence, writer) = place.split_once('.')?;
        let place = match (sequence.parse().ok()?, writer) {
            (0, "0") => Place::EMPTY,
            (0, _) => return None,
            (sequence, writer) => Place { sequence, writer: writer.parse().ok()? },
        };
        let before = revision.partitions.insert(partition.parse().ok()?, place);
        before.is_none().then_some(())?;
    }
    for part in parts {
        let (node, place) = part.split_once('=')?;
        let (sequence, writer) = match place.split_once('.') {
            None => (place, None),
            Some((sequence, writer)) => (sequence, Some(writer.parse().ok()?)),
        };
        let further = Further { sequence: sequence.parse().ok()?, writer };
        let before = revision.further.insert(node.parse().ok()?, further);
        before.is_none().then_some(())?;
    }
    Some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in [
            "0:0.0",
            "0:12.00000000000000ff",
            "0:0.0,3:7.0123456789abcdef+n-2=10+n1=9",
            "0:7.0123456789abcdef+n-2=10.00000000000000ff+n1=9",
        ] {
            assert_eq!(text.parse::<Revision>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_writer_is_named_where_it_is_another_one() {
        let place = |sequence, writer| Place { sequence, writer: Writer(writer) };
        for (node, text) in [(place(9, 1), "9"), (place(9, 2), "9.0000000000000002")] {
            let further = Further::than(place(7, 1), node);
            assert_eq!((further.to_string().as_str(), further.place(place(7, 1))), (text, node));
        }
    }

    #[test]
    fn junk_is_refused() {
        for text in [
            "",
            "0",
            "0:",
            "0:1",
            "0:1.0",
            "0:1.zz",
            "0:0.00000000000000ff",
            "0:1.00000000000000FF",
            "x:0.0",
            "0:0.0,0:0.0",
            "0:0.0+n",
            "0:0.0+a.b=1",
            "0:0.0+n=1.",
            "0:0.0+n=1.ff",
            "0:0.0+n=.00000000000000ff",
            "0:0.0+n=1+n=1.00000000000000ff",
        ] {
            assert!(text.parse::<Revision>().is_err(), "{text}");
        }
    }
}
