//! Names: of nodes, and of all that deckwatch makes in NATS and in Redis. Built and parsed here alone.

use std::fmt;
use std::str::FromStr;

use crate::{ContainerId, Partition, Status};

/// A text is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Not a node's name.
    #[error("a node's name is 1 to 63 of A-Z a-z 0-9 _ -, not `{0}`")]
    Node(String),
    /// Not a prefix.
    #[error("a prefix is 1 to 32 of a-z 0-9 _ -, not `{0}`")]
    Prefix(String),
}

/// Name of a node: 1 to 63 of `A-Z a-z 0-9 _ -`, so one token of a NATS subject.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

impl NodeName {
    /// The name that an engine's own name gives: every other character replaced by `-`, at most 63.
    /// `None` where the engine has no name.
    pub fn from_engine(name: &str) -> Option<Self> {
        let name: String = name.chars().map(|c| if is_node_char(c) { c } else { '-' }).take(63).collect();
        (!name.is_empty()).then_some(Self(name))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_node_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

impl FromStr for NodeName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if (1..=63).contains(&text.len()) && text.chars().all(is_node_char) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Node(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What stands first in every name in NATS and Redis: 1 to 32 of `a-z 0-9 _ -`. `deckwatch` unless told otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(String);

impl Default for Prefix {
    fn default() -> Self {
        Self("deckwatch".to_owned())
    }
}

impl FromStr for Prefix {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if (1..=32).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName::Prefix(text.chars().take(80).collect()))
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a subject of the ordered record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateSubject {
    /// One container.
    Container(ContainerId),
    /// The node itself.
    Node,
    /// Gaps and corrections.
    Gap,
}

/// Which request a producer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// All states.
    Snapshot,
    /// Look again.
    Resync,
    /// Publish stamps again.
    Replay,
    /// The last lines of output.
    Logs,
}

impl Request {
    /// All requests.
    pub const ALL: [Self; 4] = [Self::Snapshot, Self::Resync, Self::Replay, Self::Logs];

    /// Its token in a subject.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Resync => "resync",
            Self::Replay => "replay",
            Self::Logs => "logs",
        }
    }
}

/// NATS: subjects.
impl Prefix {
    /// Where a node's producer publishes.
    pub fn raw(&self, node: &NodeName) -> String {
        format!("{self}.raw.{node}")
    }

    /// What the stream of observations takes in.
    pub fn raw_all(&self) -> String {
        format!("{self}.raw.*")
    }

    /// What the stream of observations stores for a partition.
    pub fn raw_stored(&self, partition: Partition) -> String {
        format!("{self}.raw.{partition}.*")
    }

    /// What the stream of observations stores for one node.
    pub fn raw_stored_node(&self, partition: Partition, node: &NodeName) -> String {
        format!("{self}.raw.{partition}.{node}")
    }

    /// The node of a stored observation message.
    pub fn parse_raw_stored(&self, subject: &str) -> Option<(Partition, NodeName)> {
        let mut tokens = subject.strip_prefix(self.0.as_str())?.strip_prefix(".raw.")?.split('.');
        let partition = tokens.next()?.parse().ok()?;
        let node = tokens.next()?.parse().ok()?;
        tokens.next().is_none().then_some((partition, node))
    }

    /// All ordered records of a partition.
    pub fn state_all(&self, partition: Partition) -> String {
        format!("{self}.state.{partition}.>")
    }

    /// All ordered records of a node.
    pub fn state_of_node(&self, partition: Partition, node: &NodeName) -> String {
        format!("{self}.state.{partition}.{node}.>")
    }

    /// The ordered records of one container, whatever node it is on.
    pub fn state_of_container(&self, partition: Partition, id: &ContainerId) -> String {
        format!("{self}.state.{partition}.*.{id}")
    }

    /// One subject of the ordered record.
    pub fn state(&self, partition: Partition, node: &NodeName, subject: &StateSubject) -> String {
        match subject {
            StateSubject::Container(id) => format!("{self}.state.{partition}.{node}.{id}"),
            StateSubject::Node => format!("{self}.state.{partition}.{node}.node"),
            StateSubject::Gap => format!("{self}.state.{partition}.{node}.gap"),
        }
    }

    /// The gaps and corrections of all nodes of a partition.
    pub fn state_gaps(&self, partition: Partition) -> String {
        format!("{self}.state.{partition}.*.gap")
    }

    /// Takes a subject of the ordered record apart.
    pub fn parse_state(&self, subject: &str) -> Option<(Partition, NodeName, StateSubject)> {
        let mut tokens = subject.strip_prefix(self.0.as_str())?.strip_prefix(".state.")?.split('.');
        let partition = tokens.next()?.parse().ok()?;
        let node = tokens.next()?.parse().ok()?;
        let about = match tokens.next()? {
            "node" => StateSubject::Node,
            "gap" => StateSubject::Gap,
            id => StateSubject::Container(id.parse().ok()?),
        };
        tokens.next().is_none().then_some((partition, node, about))
    }

    /// A node's signs of life.
    pub fn beat(&self, node: &NodeName) -> String {
        format!("{self}.beat.{node}")
    }

    /// All nodes' signs of life.
    pub fn beat_all(&self) -> String {
        format!("{self}.beat.*")
    }

    /// A request to a node's producer.
    pub fn rpc(&self, node: &NodeName, request: Request) -> String {
        format!("{self}.rpc.{node}.{}", request.as_str())
    }

    /// A request to the sequencer of a partition to retire a node.
    pub fn control_forget(&self, partition: Partition) -> String {
        format!("{self}.control.{partition}.forget")
    }

    /// A request to the projector of a partition to build a node's keys anew.
    pub fn control_rebuild(&self, partition: Partition) -> String {
        format!("{self}.control.{partition}.rebuild")
    }

    /// Where what cannot be read goes.
    pub fn dead(&self, node: &NodeName) -> String {
        format!("{self}.dead.{node}")
    }

    /// What the stream of unreadable messages takes in.
    pub fn dead_all(&self) -> String {
        format!("{self}.dead.*")
    }

    /// Name of a node's service in NATS's service API.
    pub fn service(&self, node: &NodeName) -> String {
        format!("{self}-{node}")
    }
}

/// NATS: streams and buckets.
impl Prefix {
    fn upper(&self) -> String {
        self.0.to_ascii_uppercase()
    }

    /// Stream of observations.
    pub fn raw_stream(&self) -> String {
        format!("{}_RAW", self.upper())
    }

    /// Stream of a partition's ordered record.
    pub fn state_stream(&self, partition: Partition) -> String {
        format!("{}_STATE_{partition}", self.upper())
    }

    /// Stream of unreadable messages.
    pub fn dead_stream(&self) -> String {
        format!("{}_DEAD", self.upper())
    }

    /// Bucket of node claims.
    pub fn nodes_bucket(&self) -> String {
        format!("{}_NODES", self.upper())
    }

    /// Bucket of leases.
    pub fn leases_bucket(&self) -> String {
        format!("{}_LEASES", self.upper())
    }

    /// Key of stream metadata that holds the number of partitions.
    pub fn partitions_metadata(&self) -> String {
        format!("{self}.partitions")
    }
}

/// Redis: keys. All keys of one node share the hash tag `{<node>}`, so one slot.
impl Prefix {
    /// HASH `schema partitions`.
    pub fn meta_key(&self) -> String {
        format!("{self}:meta")
    }

    /// SET of node names.
    pub fn nodes_key(&self) -> String {
        format!("{self}:nodes")
    }

    /// What all keys of a node begin with, up to and with the last colon.
    pub fn node_keys(&self, node: &NodeName) -> String {
        format!("{self}:{{{node}}}:")
    }

    /// HASH of the node.
    pub fn node_key(&self, node: &NodeName) -> String {
        format!("{}node", self.node_keys(node))
    }

    /// SET of the node's container ids.
    pub fn containers_key(&self, node: &NodeName) -> String {
        format!("{}containers", self.node_keys(node))
    }

    /// SET of the node's ids with a status.
    pub fn status_key(&self, node: &NodeName, status: Status) -> String {
        format!("{}status:{status}", self.node_keys(node))
    }

    /// SET of the node's ids of a compose service, `<project>/<service>`.
    pub fn node_service_key(&self, node: &NodeName, service: &str) -> String {
        format!("{}service:{service}", self.node_keys(node))
    }

    /// HASH of one container.
    pub fn container_key(&self, node: &NodeName, id: &ContainerId) -> String {
        format!("{}container:{id}", self.node_keys(node))
    }

    /// HASH `partition sequence writer` (and `rebuilding`) up to which the node's keys are true.
    pub fn checkpoint_key(&self, node: &NodeName) -> String {
        format!("{}checkpoint", self.node_keys(node))
    }

    /// SET of services and ids whose keys in other slots are yet to be written.
    pub fn untold_key(&self, node: &NodeName) -> String {
        format!("{}untold", self.node_keys(node))
    }

    /// SET of the nodes a container is on.
    pub fn id_key(&self, id: &ContainerId) -> String {
        format!("{self}:id:{id}")
    }

    /// SET of `<project>/<service>`.
    pub fn services_key(&self) -> String {
        format!("{self}:services")
    }

    /// HASH of a service's totals.
    pub fn service_key(&self, service: &str) -> String {
        format!("{self}:service:{service}")
    }

    /// HASH that is there while the partition's nodes are current in Redis.
    pub fn partition_key(&self, partition: Partition) -> String {
        format!("{self}:partition:{partition}")
    }

    /// Name of the library of functions, for a schema; its functions are `<library>_<function>`.
    pub fn library(&self, schema: u32) -> String {
        format!("{}_v{schema}", self.0.replace('-', "_"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ContainerId {
        "ab".repeat(32).parse().unwrap()
    }

    #[test]
    fn a_state_subject_is_parsed_back() {
        let prefix: Prefix = "deckwatch".parse().unwrap();
        let node: NodeName = "n-1".parse().unwrap();
        for about in [StateSubject::Container(id()), StateSubject::Node, StateSubject::Gap] {
            let subject = prefix.state(Partition(3), &node, &about);
            assert_eq!(prefix.parse_state(&subject), Some((Partition(3), node.clone(), about)));
        }
        assert_eq!(prefix.parse_state("deckwatch.state.0.n.node.more"), None);
        assert_eq!(prefix.parse_state("other.state.0.n.node"), None);
    }

    #[test]
    fn a_nodes_name_is_one_token() {
        for bad in ["", "a.b", "a b", "é", "*", ">", &"x".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
        assert_eq!(NodeName::from_engine("my.host é").unwrap().as_str(), "my-host--");
        assert_eq!(NodeName::from_engine(""), None);
    }

    #[test]
    fn a_prefix_with_a_dash_names_functions_with_an_underscore() {
        assert_eq!("my-deck".parse::<Prefix>().unwrap().library(1), "my_deck_v1");
    }
}
