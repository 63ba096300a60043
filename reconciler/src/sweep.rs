//! Comes by every key of the store in turn, for those that no look at a node meets: keys of containers that no index
//! names, and members of indexes that no node explains.

use std::collections::{BTreeMap, BTreeSet};

use domain::node::{DriftKind, NodeChange, NodeStatus};
use domain::{ContainerId, NodeName, Prefix, Subject};
use redis::{Cmd, Value};
use service::redis::Scan;
use view::record::{Absence, State};
use view::store::NodeView;

use crate::elsewhere::{self, Member};
use crate::finding::Finding;
use crate::look::{Look, Memory, is_settled};
use crate::picture::Picture;
use crate::worker::Desk;
use view::trouble::Trouble;

/// Keys asked for at once.
const SCAN_COUNT: usize = 500;
/// Most nodes of which drifts are remembered: there may be none by such a name.
const NODES_MAX: usize = 1000;

/// Where it is.
#[derive(Default)]
pub(crate) struct Sweep {
    scan: Scan,
    /// Nodes with drifts that nobody puts right, or of which their producers are yet to be told.
    memories: BTreeMap<NodeName, Memory>,
}

/// A key that may be there without reason.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// A container's fields.
    Container(NodeName, ContainerId),
    /// A node's containers of a service.
    NodeService(NodeName, String),
    /// The nodes a container is on.
    Id(ContainerId),
    /// A service's totals.
    Service(String),
    /// Names of services.
    Services,
}

/// What a node is said to have, and may not have.
type Suspect = (NodeName, Member);

impl Sweep {
    /// Comes by the next keys, and has put right what is wrong with them.
    pub(crate) async fn go_on(&mut self, desk: &Desk) -> Result<(), Trouble> {
        let mut keys = BTreeSet::new();
        loop {
            let part = desk.store.scan(&mut self.scan, &format!("{}:*", desk.prefix), SCAN_COUNT).await?;
            keys.extend(part.into_iter().filter_map(|key| String::from_utf8(key).ok()));
            if self.scan.is_at_begin() || keys.len() >= desk.limits.swept {
                break;
            }
        }
        let keys: Vec<Key> = keys.iter().filter_map(|key| parse(&desk.prefix, key)).collect();
        let mut found: BTreeMap<NodeName, Vec<Finding>> = BTreeMap::new();
        for (node, member) in desk.suspects(&keys).await? {
            if let Some(finding) = desk.judged(&node, member).await? {
                found.entry(node).or_default().push(finding);
            }
        }
        for (node, _) in self.memories.iter().filter(|(_, memory)| !memory.unsaid.is_empty()) {
            found.entry(node.clone()).or_default();
        }
        for (node, findings) in found {
            let keys = desk.examine(&node).await?;
            let any = keys.view.containers.first().map(|container| container.id);
            let look = Look { findings: None, missed: 0, status: NodeStatus::Alive, answers: true, any };
            let mut memory = self.memories.remove(&node).unwrap_or_default();
            let verdict = memory.ledger.add(findings);
            desk.repair(&node, &look, verdict, &mut memory).await;
            if self.memories.len() < NODES_MAX {
                self.memories.insert(node, memory);
            }
        }
        if self.scan.is_at_begin() {
            self.memories.values_mut().for_each(|memory| memory.ledger.end_turn());
        }
        self.memories.retain(|_, memory| !memory.unsaid.is_empty() || !memory.ledger.is_empty());
        Ok(())
    }
}

fn parse(prefix: &Prefix, key: &str) -> Option<Key> {
    let rest = key.strip_prefix(&prefix.to_string())?.strip_prefix(':')?;
    if let Some((node, own)) = rest.strip_prefix('{').and_then(|rest| rest.split_once("}:")) {
        let node = node.parse().ok()?;
        return match own.split_once(':')? {
            ("container", id) => Some(Key::Container(node, id.parse().ok()?)),
            ("service", service) => Some(Key::NodeService(node, service.to_owned())),
            _ => None,
        };
    }
    match rest.split_once(':') {
        Some(("id", id)) => Some(Key::Id(id.parse().ok()?)),
        Some(("service", service)) => Some(Key::Service(service.to_owned())),
        None if rest == "services" => Some(Key::Services),
        Some(_) | None => None,
    }
}

impl Desk {
    /// What the keys say of nodes, and the nodes themselves do not.
    async fn suspects(&self, keys: &[Key]) -> Result<Vec<Suspect>, Trouble> {
        let nodes = view::store::nodes(&self.store, &self.prefix).await?;
        let (mut suspects, mut members) = (Vec::new(), Vec::new());
        let mut services: BTreeMap<&NodeName, Vec<&String>> = BTreeMap::new();
        for key in keys {
            match key {
                Key::Container(node, id) => suspects.push((node.clone(), Member::Container(*id))),
                Key::NodeService(node, service) => services.entry(node).or_default().push(service),
                Key::Id(id) => members.push(Member::Container(*id)),
                Key::Service(service) => members.push(Member::Service(service.clone())),
                Key::Services => {
                    for service in self.empty_services(&nodes).await? {
                        suspects.extend(self.of_any(&nodes, Vec::new(), Member::Service(service)).await?);
                    }
                }
            }
        }
        for (member, named) in self.named(members).await? {
            suspects.extend(self.of_any(&nodes, named, member).await?);
        }
        suspects.sort();
        suspects.dedup();
        // Most are as they should be: one question each says so.
        let answers = self.ask(&suspects, |(node, member)| own_key(&self.prefix, node, member)).await?;
        let mut suspects: Vec<_> =
            suspects.into_iter().zip(answers).filter(|(_, has)| !has).map(|(suspect, _)| suspect).collect();
        for (node, services) in services {
            let keys = self.examine(node).await?;
            let unnamed =
                services.into_iter().filter(|service| !keys.members.contains_key(&format!("service:{service}")));
            suspects.extend(unnamed.map(|service| (node.clone(), Member::Service(service.clone()))));
        }
        Ok(suspects)
    }

    /// Questions whose answer is a number that is not 0, or not.
    async fn ask(&self, suspects: &[Suspect], question: impl Fn(&Suspect) -> Cmd) -> Result<Vec<bool>, Trouble> {
        let mut answers = Vec::with_capacity(suspects.len());
        for part in suspects.chunks(SCAN_COUNT) {
            let questions: Vec<Cmd> = part.iter().map(&question).collect();
            let values = self.store.batch(&questions).await?;
            answers.extend(values.into_iter().map(|value| redis::from_redis_value::<i64>(value).is_ok_and(|n| n != 0)));
        }
        Ok(answers)
    }

    /// A member of the nodes that are named; where none is, of any node, unless one has it: the look at that finds it.
    async fn of_any(&self, nodes: &[NodeName], named: Vec<NodeName>, member: Member) -> Result<Vec<Suspect>, Trouble> {
        let of = |nodes: &[NodeName]| nodes.iter().map(|node| (node.clone(), member.clone())).collect::<Vec<_>>();
        if !named.is_empty() {
            return Ok(of(&named));
        }
        let has = self.ask(&of(nodes), |(node, member)| own_key(&self.prefix, node, member)).await?;
        Ok(if has.contains(&true) { Vec::new() } else { of(nodes.get(..1).unwrap_or_default()) })
    }

    /// The nodes that keys in other slots name for members: where a container is, and who has a share of a service.
    async fn named(&self, members: Vec<Member>) -> Result<Vec<(Member, Vec<NodeName>)>, Trouble> {
        let mut answers = Vec::with_capacity(members.len());
        for part in members.chunks(SCAN_COUNT) {
            let questions: Vec<Cmd> = part.iter().map(|member| nodes_of(&self.prefix, member)).collect();
            answers.extend(self.store.batch(&questions).await?);
        }
        let named = members.into_iter().zip(answers).map(|(member, answer)| {
            let nodes = nodes_in(&member, answer);
            (member, nodes)
        });
        Ok(named.collect())
    }

    /// Services that are listed and have no totals. Where the list is none, and no node has a service that would be
    /// missed in it, one without a name.
    async fn empty_services(&self, nodes: &[NodeName]) -> Result<Vec<String>, Trouble> {
        let listed = view::store::services(&self.store, &self.prefix).await?;
        if listed.is_empty() {
            for node in nodes {
                if self.examine(node).await?.members.keys().any(|set| set.starts_with("service:")) {
                    return Ok(Vec::new());
                }
            }
            return Ok(vec![String::new()]);
        }
        Ok(listed.into_iter().filter(|service| service.nodes.is_empty()).map(|service| service.name).collect())
    }

    /// What is wrong with a suspect, if it is wrong also when all is read again.
    async fn judged(&self, node: &NodeName, member: Member) -> Result<Option<Finding>, Trouble> {
        let before = self.examine(node).await?;
        if elsewhere::is_among(&before.untold, &member) || !self.stands(node, &before.view).await? {
            return Ok(None);
        }
        let stray = match &member {
            // Indexes and keys of one node change in one call: what is there without the other is wrong.
            Member::Container(id) => {
                let is_named = before.members.get("containers").is_some_and(|ids| ids.contains(&id.to_string()));
                // One that lives is absent from the index alone: the look at its node finds that.
                !is_named && self.exists(self.prefix.container_key(node, id)).await? && !self.lives(node, id).await?
            }
            Member::Service(service) => {
                let is_named = before.members.contains_key(&format!("service:{service}"));
                !is_named && self.exists(self.prefix.node_service_key(node, service)).await?
            }
        };
        let told = elsewhere::read(&self.store, &self.prefix, node, std::slice::from_ref(&member)).await?;
        let after = self.examine(node).await?;
        let expected = |keys| elsewhere::expected(&Picture::of(keys, NodeStatus::Alive, None), &member);
        let (expected, expected_after) = (expected(&before), expected(&after));
        if elsewhere::is_among(&after.untold, &member) || expected_after != expected {
            return Ok(None);
        }
        let kind = if stray && matches!(member, Member::Container(_)) {
            DriftKind::Ghost
        } else if stray || elsewhere::is_wrong(&expected, told.first().cloned().flatten().as_ref()) {
            DriftKind::EditedStore
        } else {
            return Ok(None);
        };
        Ok(Some(Finding { kind, ..elsewhere::finding(member) }))
    }

    /// The node's keys are what they are to be, or are to be none: else all of them are about to be built anew.
    async fn stands(&self, node: &NodeName, view: &NodeView) -> Result<bool, Trouble> {
        if view.checkpoint.is_some() || !view.node.is_empty() {
            return Ok(is_settled(view.checkpoint.as_ref(), &view.node));
        }
        let state = State::open(&self.jetstream, &self.prefix, self.partitions.of(node)).await?;
        let last = state.last_of(node).await?;
        Ok(last.is_none_or(|(_, record)| record.subject == Subject::Node(NodeChange::Forgotten)))
    }

    /// The record has it, and not as removed; or may have had it, too long ago to be kept.
    async fn lives(&self, node: &NodeName, id: &ContainerId) -> Result<bool, Trouble> {
        let state = State::open(&self.jetstream, &self.prefix, self.partitions.of(node)).await?;
        let of_node = state.last_of(node).await?;
        match (state.last_of_container(node, id).await?, of_node) {
            (Some((_, record)), _) => Ok(record.living().is_some()),
            (None, Some((_, record))) => Ok(state.absence(&record.node_state).await? == Absence::NoProof),
            (None, None) => Ok(false),
        }
    }

    async fn exists(&self, key: String) -> Result<bool, Trouble> {
        Ok(self.store.query::<i64>(redis::cmd("EXISTS").arg(key)).await? != 0)
    }
}

/// Asks which nodes a key in another slot names.
fn nodes_of(prefix: &Prefix, member: &Member) -> Cmd {
    let (name, key) = match member {
        Member::Container(id) => ("SMEMBERS", prefix.id_key(id)),
        Member::Service(service) => ("HKEYS", prefix.service_key(service)),
    };
    let mut ask = redis::cmd(name);
    ask.arg(key);
    ask
}

/// The nodes in an answer; a key of another type names none.
fn nodes_in(member: &Member, answer: Value) -> Vec<NodeName> {
    let texts = redis::from_redis_value::<Vec<Vec<u8>>>(answer).unwrap_or_default();
    let texts = texts.iter().filter_map(|text| std::str::from_utf8(text).ok());
    let names = texts.filter_map(|text| match member {
        Member::Container(_) => Some(text),
        Member::Service(_) => text.strip_prefix("node:"),
    });
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Whether the node has what other keys say that it has.
fn own_key(prefix: &Prefix, node: &NodeName, member: &Member) -> Cmd {
    match member {
        Member::Container(id) => {
            let mut ask = redis::cmd("SISMEMBER");
            ask.arg(prefix.containers_key(node)).arg(id.to_string());
            ask
        }
        Member::Service(service) => {
            let mut ask = redis::cmd("EXISTS");
            ask.arg(prefix.node_service_key(node, service));
            ask
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_apart() {
        let prefix = Prefix::default();
        let id = "ab".repeat(32);
        let node: NodeName = "n1".parse().expect("a name");
        let container: ContainerId = id.parse().expect("an id");
        for (key, expected) in [
            (format!("deckwatch:{{n1}}:container:{id}"), Some(Key::Container(node.clone(), container))),
            ("deckwatch:{n1}:service:a/b:c".to_owned(), Some(Key::NodeService(node, "a/b:c".to_owned()))),
            (format!("deckwatch:id:{id}"), Some(Key::Id(container))),
            ("deckwatch:service:a/b".to_owned(), Some(Key::Service("a/b".to_owned()))),
            ("deckwatch:services".to_owned(), Some(Key::Services)),
            ("deckwatch:nodes".to_owned(), None),
            ("deckwatch:{n1}:container:x".to_owned(), None),
            ("deckwatch:{n.1}:service:a/b".to_owned(), None),
            ("deckwatch2:nodes".to_owned(), None),
            ("deckwatch:meta".to_owned(), None),
        ] {
            assert_eq!(parse(&prefix, &key), expected, "{key}");
        }
    }
}
