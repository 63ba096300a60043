//! Digest of a node's states.

/// SHA-256 over the canonical bytes of a node's states, with the version of those bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Version of the canonical bytes.
    pub version: u32,
    /// The hash.
    pub sha256: [u8; 32],
}
