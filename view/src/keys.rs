//! A node's keys as they are at one moment, indexes and all: for whoever doubts them.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Container, ContainerId, NodeName, Prefix};
use serde::Deserialize;
use service::redis::{Error, Store};

use crate::checkpoint::Checkpoint;
use crate::store::{NodeView, is_not_loaded, parse_node};

/// A node's keys, all of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeKeys {
    /// What they say of node and containers.
    pub view: NodeView,
    /// The node's sets by what stands behind its name: `containers`, `status:<status>` for each status there is, and
    /// `service:<project>/<service>` for each that a container's keys name.
    pub members: BTreeMap<String, BTreeSet<String>>,
    /// What keys in other slots are yet to be told, in the form of [`domain::IndexMember`].
    pub untold: BTreeSet<String>,
}

/// Those of a node's keys that change also while its containers do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Up to which record the node's keys are true; `None` where they are not known to be.
    pub checkpoint: Option<Checkpoint>,
    /// Fields of the node; empty where there is no such node.
    pub node: BTreeMap<String, String>,
    /// What keys in other slots are yet to be told, in the form of [`domain::IndexMember`].
    pub untold: BTreeSet<String>,
}

/// Stands for all that containers' keys and indexes of a node hold, its status and its counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Print(String);

/// What became of keys that were examined before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// They have the same print; with the containers that were asked for.
    Same(Head, Vec<Container>),
    /// They have another one.
    Changed(Print, NodeKeys),
}

impl Since {
    /// Fields of the node; empty where there is no such node.
    pub fn node(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Same(head, _) => &head.node,
            Self::Changed(_, keys) => &keys.view.node,
        }
    }
}

/// What the library's `examine` adds to `read`.
#[derive(Deserialize, Default)]
struct Added {
    /// Absent where the print is the same.
    members: Option<BTreeMap<String, BTreeSet<String>>>,
    untold: BTreeSet<String>,
    print: Print,
}

/// A node's keys. `None` while the projector's library is not there.
///
/// # Errors
/// No answer from Redis.
pub async fn examine(store: &Store, prefix: &Prefix, node: &NodeName) -> Result<Option<NodeKeys>, Error> {
    let answer = call(store, prefix, node, None, &[]).await?;
    Ok(answer.map(|(view, Added { members, untold, .. })| NodeKeys {
        view,
        members: members.unwrap_or_default(),
        untold,
    }))
}

/// The same for one who knows the keys as they were at a print: if they are as they were, only some containers are told.
///
/// # Errors
/// No answer from Redis.
pub async fn examine_since(
    store: &Store,
    prefix: &Prefix,
    node: &NodeName,
    known: Option<&Print>,
    wanted: &[ContainerId],
) -> Result<Option<Since>, Error> {
    let answer = call(store, prefix, node, known, wanted).await?;
    Ok(answer.map(|(view, Added { members, untold, print })| match members {
        Some(members) => Since::Changed(print, NodeKeys { view, members, untold }),
        None => Since::Same(Head { checkpoint: view.checkpoint, node: view.node, untold }, view.containers),
    }))
}

async fn call(
    store: &Store,
    prefix: &Prefix,
    node: &NodeName,
    known: Option<&Print>,
    wanted: &[ContainerId],
) -> Result<Option<(NodeView, Added)>, Error> {
    let mut question = redis::cmd("FCALL_RO");
    question.arg(format!("{}_examine", prefix.library(crate::SCHEMA))).arg(1).arg(prefix.node_key(node));
    if let Some(Print(print)) = known {
        question.arg(print).arg(wanted.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    let json = match store.query::<Vec<u8>>(&question).await {
        Err(error) if is_not_loaded(&error) => return Ok(None),
        answer => answer?,
    };
    let json = String::from_utf8_lossy(&json);
    Ok(Some((parse_node(&json), serde_json::from_str(&json).unwrap_or_default())))
}
