//! What is remembered of a node's keys, small enough to be kept of every node.

use std::collections::{BTreeMap, BTreeSet};

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
    /// Those that are there, and whose fields cannot be read.
    pub(crate) unreadable: BTreeSet<ContainerId>,
    /// Services with one of those: what the node's share of them is cannot be told.
    pub(crate) unclear: BTreeSet<String>,
    /// Its share of each service that it has containers of.
    pub(crate) shares: BTreeMap<String, Share>,
}

impl Picture {
    pub(crate) fn of(keys: &NodeKeys, status: NodeStatus, print: Option<Print>) -> Self {
        let containers = &keys.view.containers;
        let unreadable: BTreeSet<_> = keys.view.unreadable.iter().filter_map(|(id, _)| id.parse().ok()).collect();
        let known: Vec<_> = containers.iter().map(|stored| as_last_known(status, stored)).collect();
        Self {
            print,
            digest: Some(digest::of(&known)),
            containers: containers.iter().map(|container| container.id).collect(),
            unclear: services_with(keys, &unreadable),
            unreadable,
            shares: shares(containers),
        }
    }
}

fn services_with(keys: &NodeKeys, ids: &BTreeSet<ContainerId>) -> BTreeSet<String> {
    let ids: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    let sets = keys.members.iter().filter_map(|(set, held)| Some((set.strip_prefix("service:")?, held)));
    sets.filter(|(_, held)| !ids.is_disjoint(held)).map(|(service, _)| service.to_owned()).collect()
}
