use core::fmt;

/// Place of an observation in the life of its node: ordered by epoch, then by sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// One life of the node's producer, from 1.
    pub epoch: u64,
    /// Position within that life: 1, 2, 3… without a hole.
    pub seq: u64,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.seq)
    }
}
