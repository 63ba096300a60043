//! What is remembered of a node's keys, small enough to be kept of every node.

use std::collections::BTreeMap;

use domain::digest::Digest;
use domain::node::NodeStatus;
use domain::{ContainerId, digest};
use view::keys::{NodeKeys, Print};

use crate::compare::as_last_known;
use crate::elsewhere::{Share, shares};

/// A node's keys as far as looks need them while they stay the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    /// Tells whether they are still the same; none where they are to be looked at again anyway.
    pub(crate) print: Option<Print>,
    /// Digest of what is known of the containers, to be compared with the engine's.
    pub(crate) digest: Option<Digest>,
    /// The containers, sorted.
    pub(crate) containers: Vec<ContainerId>,
    /// Its share of each service that it has containers of.
    pub(crate) shares: BTreeMap<String, Share>,
}

impl Picture {
    pub(crate) fn of(keys: &NodeKeys, status: NodeStatus, print: Option<Print>) -> Self {
        let containers = &keys.view.containers;
        let known: Vec<_> = containers.iter().map(|stored| as_last_known(status, stored)).collect();
        Self {
            print,
            digest: Some(digest::of(&known)),
            containers: containers.iter().map(|container| container.id).collect(),
            shares: shares(containers),
        }
    }
}
