//! Digest of a node's states.

use sha2::{Digest as _, Sha256};

use crate::{Container, fields};

/// Version of the canonical bytes that [`of`] makes. Raised with any change to them.
pub const VERSION: u32 = 1;

/// SHA-256 over the canonical bytes of a node's states, with the version of those bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Version of the canonical bytes.
    pub version: u32,
    /// The hash.
    pub sha256: [u8; 32],
}

/// The digest of states, in whatever order they come.
///
/// Canonical bytes, version 1: the containers sorted by id; of each, its fields in the contract's order without those
/// of the look, each `<name>=<bytes of the value, decimal>:<value>` and a line feed; then one more line feed.
/// The length stands before the value, so no value can be read as the begin of another field.
pub fn of<'a>(containers: impl IntoIterator<Item = &'a Container>) -> Digest {
    let mut containers: Vec<_> = containers.into_iter().collect();
    containers.sort_by_key(|container| container.id);
    let mut hash = Sha256::new();
    for container in containers {
        for (name, value) in fields::container(container) {
            if !fields::OF_THE_LOOK.contains(&name) {
                hash.update(format!("{name}={}:{value}\n", value.len()));
            }
        }
        hash.update(b"\n");
    }
    Digest { version: VERSION, sha256: hash.finalize().into() }
}
