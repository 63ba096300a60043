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

/// A place in the ordered record of every partition, and of nodes that are further on. Opaque to users.
///
/// As text: `<partition>:<sequence>.<writer>` joined by commas, then `+<node>=<sequence>` for each node that is further on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Place by partition.
    pub partitions: BTreeMap<Partition, Place>,
    /// Nodes whose state is further on than their partition's place, each with its sequence.
    pub further: BTreeMap<NodeName, u64>,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (partition, place)) in self.partitions.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{partition}:{place}")?;
        }
        for (node, sequence) in &self.further {
            write!(f, "+{node}={sequence}")?;
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
        let (node, sequence) = part.split_once('=')?;
        let before = revision.further.insert(node.parse().ok()?, sequence.parse().ok()?);
        before.is_none().then_some(())?;
    }
    Some(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for text in ["0:0.0", "0:12.00000000000000ff", "0:0.0,3:7.0123456789abcdef+n-2=10+n1=9"] {
            assert_eq!(text.parse::<Revision>().unwrap().to_string(), text);
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
        ] {
            assert!(text.parse::<Revision>().is_err(), "{text}");
        }
    }
}
