//! A node's keys as they are at one moment, indexes and all: for whoever doubts them.

use std::collections::{BTreeMap, BTreeSet};

use domain::{NodeName, Prefix};
use serde::Deserialize;
use service::redis::{Error, Store};

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

/// What the library's `examine` adds to `read`.
#[derive(Deserialize, Default)]
struct Indexes {
    members: BTreeMap<String, BTreeSet<String>>,
    untold: BTreeSet<String>,
}

/// A node's keys. `None` while the projector's library is not there.
///
/// # Errors
/// No answer from Redis.
pub async fn examine(store: &Store, prefix: &Prefix, node: &NodeName) -> Result<Option<NodeKeys>, Error> {
    let mut call = redis::cmd("FCALL_RO");
    call.arg(format!("{}_examine", prefix.library(crate::SCHEMA))).arg(1).arg(prefix.node_key(node));
    let json = match store.query::<Vec<u8>>(&call).await {
        Err(error) if is_not_loaded(&error) => return Ok(None),
        answer => answer?,
    };
    let json = String::from_utf8_lossy(&json);
    let Indexes { members, untold } = serde_json::from_str(&json).unwrap_or_default();
    Ok(Some(NodeKeys { view: parse_node(&json), members, untold }))
}
