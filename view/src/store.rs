//! Reading what the projector writes: nodes with their containers, services, and what is current.

use std::collections::BTreeMap;

use domain::fields::{InvalidField, parse_container};
use domain::revision::{Further, Place, Revision};
use domain::{Container, NodeName, Partition, Partitions, Prefix, Timestamp};
use serde::Deserialize;
use service::redis::{Error, Store};

use crate::checkpoint::{CHECKPOINT_FIELDS, Checkpoint, Stored};

/// A node's keys, read in one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Up to which record they are true; `None` where they are not known to be.
    pub checkpoint: Option<Checkpoint>,
    /// Fields of the node; empty where there is no such node.
    pub node: BTreeMap<String, String>,
    /// Its containers, sorted by id.
    pub containers: Vec<Container>,
    /// Containers whose fields hold what they should not, by their `id` field: another hand wrote them.
    pub unreadable: Vec<(String, InvalidField)>,
}

/// A service's totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// `<project>/<service>`.
    pub name: String,
    /// Containers.
    pub containers: u64,
    /// Of them running.
    pub running: u64,
    /// Of them unhealthy.
    pub unhealthy: u64,
    /// Of them failed.
    pub failed: u64,
    /// Nodes that have one.
    pub nodes: Vec<NodeName>,
}

/// Up to where a partition's nodes are current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Place of the last applied record.
    pub place: Place,
    /// When that was written.
    pub applied_at: Option<Timestamp>,
}

/// All nodes, and the revision they are at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// From where a watch misses nothing; `None` while nothing is current.
    pub revision: Option<Revision>,
    /// Partitions of which nothing is current.
    pub stale: Vec<Partition>,
    /// The nodes, sorted by name.
    pub nodes: Vec<(NodeName, NodeView)>,
}

/// How many partitions there are, as the projector wrote it; `None` before it did.
pub async fn partitions(store: &Store, prefix: &Prefix) -> Result<Option<Partitions>, Error> {
    let mut ask = redis::cmd("HGET");
    ask.arg(prefix.meta_key()).arg("partitions");
    let text: Option<String> = store.query(&ask).await?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Up to where a partition is current; `None` where nothing of it is.
pub async fn partition(store: &Store, prefix: &Prefix, partition: Partition) -> Result<Option<PartitionView>, Error> {
    let mut ask = redis::cmd("HMGET");
    ask.arg(prefix.partition_key(partition)).arg(&["sequence", "writer", "applied_at"]);
    let [sequence, writer, applied_at]: [Option<String>; 3] = store.query(&ask).await?;
    let place = match (sequence.and_then(|text| text.parse().ok()), writer) {
        (Some(0), _) => Some(Place::EMPTY),
        (Some(sequence), Some(writer)) => writer.parse().ok().map(|writer| Place { sequence, writer }),
        (Some(_) | None, _) => None,
    };
    let applied_at = applied_at.and_then(|text| text.parse().ok());
    Ok(place.map(|place| PartitionView { place, applied_at }))
}

/// The nodes, sorted by name.
pub async fn nodes(store: &Store, prefix: &Prefix) -> Result<Vec<NodeName>, Error> {
    // What is no name was not written by the projector.
    let names = members(store, prefix.nodes_key()).await?;
    let mut names: Vec<NodeName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    names.sort();
    Ok(names)
}

/// A node with its containers. Empty where the node, or the projector's library, is not there.
pub async fn read_node(store: &Store, prefix: &Prefix, node: &NodeName) -> Result<NodeView, Error> {
    match read_listed(store, prefix, node).await {
        Err(error) if is_not_loaded(&error) => Ok(parse_node("")),
        answer => answer,
    }
}

/// The same of a node that is listed: a server without the library lost it, or is new and was not given it yet, and says
/// nothing of what there is.
async fn read_listed(store: &Store, prefix: &Prefix, node: &NodeName) -> Result<NodeView, Error> {
    let mut call = redis::cmd("FCALL_RO");
    call.arg(format!("{}_read", prefix.library(crate::SCHEMA))).arg(1).arg(prefix.node_key(node));
    let json: Vec<u8> = store.query(&call).await?;
    Ok(parse_node(&String::from_utf8_lossy(&json)))
}

/// Lists everything, in the order that leaves no hole between the list and a watch from its revision:
/// the partitions' places first, then the nodes.
pub async fn list(store: &Store, prefix: &Prefix) -> Result<Listing, Error> {
    let count = partitions(store, prefix).await?;
    let mut places = BTreeMap::new();
    for number in count.into_iter().flat_map(Partitions::all) {
        places.insert(number, partition(store, prefix, number).await?.map(|view| view.place));
    }
    let mut views = Vec::new();
    for name in nodes(store, prefix).await? {
        let view = read_listed(store, prefix, &name).await?;
        // Retired between the two questions.
        if !view.node.is_empty() {
            views.push((name, view));
        }
    }
    let stale: Vec<_> = places.iter().filter(|(_, place)| place.is_none()).map(|(number, _)| *number).collect();
    let current: BTreeMap<_, _> = places.into_iter().filter_map(|(number, place)| Some((number, place?))).collect();
    let revision = if stale.is_empty() && count.is_some() { revision(current, &views) } else { None };
    Ok(Listing { revision, stale, nodes: views })
}

/// The services, sorted by name.
pub async fn services(store: &Store, prefix: &Prefix) -> Result<Vec<ServiceView>, Error> {
    let mut names = members(store, prefix.services_key()).await?;
    names.sort();
    let mut views = Vec::new();
    for name in names {
        let fields: BTreeMap<String, String> =
            of_its_type(store.query(redis::cmd("HGETALL").arg(prefix.service_key(&name))).await)?;
        let number = |field: &str| fields.get(field).and_then(|text| text.parse().ok()).unwrap_or(0);
        let nodes = fields.keys().filter_map(|field| field.strip_prefix("node:")?.parse().ok()).collect();
        views.push(ServiceView {
            containers: number("containers"),
            running: number("running"),
            unhealthy: number("unhealthy"),
            failed: number("failed"),
            nodes,
            name,
        });
    }
    Ok(views)
}

/// A key that another hand gave another type reads as if it were not there.
///
/// # Errors
/// All others.
pub fn of_its_type<T: Default>(answer: Result<T, Error>) -> Result<T, Error> {
    match answer {
        Err(error) if error.code() == Some("WRONGTYPE") => Ok(T::default()),
        answer => answer,
    }
}

/// A set's members, but for what is no text: that was not written by the projector.
async fn members(store: &Store, set: String) -> Result<Vec<String>, Error> {
    let members: Vec<Vec<u8>> = of_its_type(store.query(redis::cmd("SMEMBERS").arg(set)).await)?;
    Ok(members.into_iter().filter_map(|member| String::from_utf8(member).ok()).collect())
}

/// The revision of a list. A node that is being built anew may stand before its partition's place: then the place is
/// the node's, and the others are further on. `None` where a node has no place to resume at.
fn revision(mut places: BTreeMap<Partition, Place>, views: &[(NodeName, NodeView)]) -> Option<Revision> {
    for (_, view) in views {
        let checkpoint = view.checkpoint.as_ref()?;
        let place = places.get_mut(&checkpoint.partition)?;
        if checkpoint.rebuild.is_some() && checkpoint.place.sequence < place.sequence {
            *place = checkpoint.place;
        }
    }
    let further = views.iter().filter_map(|(name, view)| {
        let checkpoint = view.checkpoint.as_ref()?;
        let place = places.get(&checkpoint.partition)?;
        let is_further = checkpoint.place.sequence > place.sequence;
        is_further.then(|| (name.clone(), Further::than(*place, checkpoint.place)))
    });
    let further = further.collect();
    Some(Revision { partitions: places, further })
}

/// The server does not know the function: its library is not loaded.
pub fn is_not_loaded(error: &Error) -> bool {
    match error {
        Error::Call { source, .. } => source.to_string().contains("Function not found"),
        Error::Away { .. } | Error::File { .. } => false,
    }
}

/// What the library's `read` answers.
#[derive(Deserialize, Default)]
struct Answer {
    checkpoint: Option<BTreeMap<String, String>>,
    node: BTreeMap<String, String>,
    /// Absent where `examine` leaves them out.
    #[serde(default)]
    containers: Vec<BTreeMap<String, String>>,
}

pub(crate) fn parse_node(json: &str) -> NodeView {
    let Answer { checkpoint, node, containers } = serde_json::from_str(json).unwrap_or_default();
    let checkpoint = checkpoint.and_then(|mut fields| {
        let mut take = |name: &str| fields.remove(name).unwrap_or_default();
        Stored(CHECKPOINT_FIELDS.map(&mut take)).parse()
    });
    let mut view = NodeView { checkpoint, node, containers: Vec::new(), unreadable: Vec::new() };
    for fields in &containers {
        match parse_container(fields) {
            Ok(container) => view.containers.push(container),
            Err(invalid) => view.unreadable.push((fields.get("id").cloned().unwrap_or_default(), invalid)),
        }
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Rebuild;
    use domain::Writer;

    fn at(name: &str, sequence: u64, rebuilding: bool) -> (NodeName, NodeView) {
        let place = Place { sequence, writer: Writer(sequence) };
        let rebuild = rebuilding.then(|| Rebuild { token: "t".to_owned(), since: Timestamp(0), stated: false });
        let checkpoint = Some(Checkpoint { partition: Partition(0), place, rebuild });
        let node = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        (name.parse().unwrap(), NodeView { checkpoint, node, containers: Vec::new(), unreadable: Vec::new() })
    }

    fn revision_of(views: &[(NodeName, NodeView)]) -> Option<String> {
        let place = Place { sequence: 10, writer: Writer(10) };
        revision(BTreeMap::from([(Partition(0), place)]), views).map(|revision| revision.to_string())
    }

    #[test]
    fn nodes_further_on_are_named() {
        let views = [at("a", 3, false), at("b", 12, false)];
        assert_eq!(revision_of(&views).unwrap(), "0:10.000000000000000a+b=12.000000000000000c");
        let mut same = at("b", 12, false);
        same.1.checkpoint.as_mut().unwrap().place.writer = Writer(10);
        assert_eq!(revision_of(&[same]).unwrap(), "0:10.000000000000000a+b=12");
    }

    #[test]
    fn a_watch_begins_before_what_a_rebuild_has_yet_to_apply() {
        let views = [at("a", 3, true), at("b", 9, false), at("c", 2, false)];
        assert_eq!(revision_of(&views).unwrap(), "0:3.0000000000000003+b=9.0000000000000009");
    }

    #[test]
    fn a_node_without_a_checkpoint_leaves_no_revision() {
        let mut view = at("a", 3, false);
        view.1.checkpoint = None;
        assert_eq!(revision_of(&[view]), None);
    }

    #[test]
    fn what_another_hand_wrote_is_set_apart() {
        let view = parse_node(r#"{"checkpoint":null,"node":{"name":"n"},"containers":[{"id":"x"}]}"#);
        assert_eq!((view.containers.len(), view.unreadable.len()), (0, 1));
        assert_eq!(view.unreadable[0].0, "x");
    }
}
