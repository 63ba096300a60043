//! Partitions: which stream holds a node's ordered record.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::NodeName;

/// Number of a partition, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Partition {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// Not a number of partitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the number of partitions is 1 to {max}, not `{text}`", max = Partitions::MAX)]
pub struct InvalidPartitions {
    text: String,
}

/// How many partitions there are: 1 to [`Partitions::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions(u32);

impl Partitions {
    /// Most partitions.
    pub const MAX: u32 = 1024;
    /// One partition.
    pub const ONE: Self = Self(1);

    /// The number.
    pub fn count(self) -> u32 {
        self.0
    }

    /// All of them.
    pub fn all(self) -> impl Iterator<Item = Partition> {
        (0..self.0).map(Partition)
    }

    /// The partition of a node: FNV-1a 32 of its name modulo the count, which is what NATS's `partition(P, 1)` computes
    /// (nats-server `server/subject_transform.go`).
    pub fn of(self, node: &NodeName) -> Partition {
        let hash = node
            .as_str()
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Partition(hash % self.0)
    }
}

impl TryFrom<u32> for Partitions {
    type Error = InvalidPartitions;

    fn try_from(count: u32) -> Result<Self, InvalidPartitions> {
        if (1..=Self::MAX).contains(&count) {
            Ok(Self(count))
        } else {
            Err(InvalidPartitions { text: count.to_string() })
        }
    }
}

impl FromStr for Partitions {
    type Err = InvalidPartitions;

    fn from_str(text: &str) -> Result<Self, InvalidPartitions> {
        text.parse::<u32>().map_err(|_| InvalidPartitions { text: text.chars().take(40).collect() })?.try_into()
    }
}

impl fmt::Display for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_1a_of_the_name() {
        // The reference vectors of FNV-1a 32: "a" is 0xe40c292c, "foobar" is 0xbf9cf968.
        let max = Partitions::try_from(Partitions::MAX).unwrap();
        assert_eq!(max.of(&"a".parse().unwrap()), Partition(0xe40c_292c % 1024));
        assert_eq!(max.of(&"foobar".parse().unwrap()), Partition(0xbf9c_f968 % 1024));
        assert_eq!(Partitions::ONE.of(&"foobar".parse().unwrap()), Partition(0));
    }
}
