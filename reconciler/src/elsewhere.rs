//! Keys in other slots that tell of a node's containers: which nodes an id is on, totals of services, names of nodes.
//! They are written after the node's own; `untold` says of which that is yet to be done.

use std::collections::BTreeMap;

use domain::node::DriftKind;
use domain::{Container, IndexMember, NodeName, Prefix, Status};
use redis::{Cmd, Value};
use serde::Deserialize;
use service::redis::{Error, Store};
use view::keys::NodeKeys;

use crate::finding::Finding;

/// One node's part of a service's totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
struct Share {
    containers: u64,
    running: u64,
    unhealthy: u64,
    failed: u64,
}

/// What keys in other slots say of a node, or should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The node is in the set.
    In(bool),
    /// Its share of a service; whether the totals are the sum of all shares, and the service is listed.
    Share { share: Option<ShareText>, sums: bool, listed: bool },
}

/// A share as it is compared.
type ShareText = [u64; 4];

impl From<Share> for ShareText {
    fn from(share: Share) -> Self {
        let Share { containers, running, unhealthy, failed } = share;
        [containers, running, unhealthy, failed]
    }
}

/// Every member that other slots are to know of the node.
pub(crate) fn members(keys: &NodeKeys) -> Vec<IndexMember> {
    let ids = keys.view.containers.iter().map(|container| IndexMember::Container(container.id));
    let mut services: Vec<_> = keys.view.containers.iter().filter_map(Container::compose_service).collect();
    services.sort();
    services.dedup();
    ids.chain(services.into_iter().map(IndexMember::Service)).chain([IndexMember::Node]).collect()
}

/// What other slots should say of a member, as the node's keys are.
pub(crate) fn expected(keys: &NodeKeys, member: &IndexMember) -> Told {
    match member {
        IndexMember::Node => Told::In(!keys.view.node.is_empty()),
        IndexMember::Container(id) => Told::In(keys.view.containers.iter().any(|container| container.id == *id)),
        IndexMember::Service(service) => {
            let mut share = Share::default();
            let of = |container: &&Container| container.compose_service().as_ref() == Some(service);
            for container in keys.view.containers.iter().filter(of) {
                let unhealthy = container.health == Some(domain::Health::Unhealthy);
                share.containers += 1;
                share.running += u64::from(container.status == Status::Running);
                share.unhealthy += u64::from(unhealthy && container.status != Status::Unknown);
                share.failed += u64::from(container.has_failed());
            }
            Told::Share { share: (share.containers > 0).then(|| share.into()), sums: true, listed: true }
        }
    }
}

/// What other slots say of the members, in their order. `None` where it cannot be understood.
pub(crate) async fn read(
    store: &Store,
    prefix: &Prefix,
    node: &NodeName,
    members: &[IndexMember],
) -> Result<Vec<Option<Told>>, Error> {
    let mut pipeline = redis::pipe();
    for member in members {
        for question in questions(prefix, node, member) {
            pipeline.add_command(question);
        }
    }
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let answers: Vec<Value> = store.pipeline(pipeline.ignore_errors()).await?;
    let mut answers = answers.into_iter();
    let told = members.iter().map(|member| match member {
        IndexMember::Node | IndexMember::Container(_) => read_in(answers.next()?).map(Told::In),
        IndexMember::Service(_) => {
            let (totals, listed) = (answers.next()?, answers.next()?);
            let totals = redis::from_redis_value::<BTreeMap<String, String>>(totals).ok()?;
            let (share, sums) = read_totals(&totals, node)?;
            Some(Told::Share { share, sums, listed: read_in(listed)? })
        }
    });
    Ok(told.collect())
}

fn questions(prefix: &Prefix, node: &NodeName, member: &IndexMember) -> Vec<Cmd> {
    let is_in = |set: String, member: &str| {
        let mut ask = redis::cmd("SISMEMBER");
        ask.arg(set).arg(member);
        ask
    };
    match member {
        IndexMember::Node => vec![is_in(prefix.nodes_key(), node.as_str())],
        IndexMember::Container(id) => vec![is_in(prefix.id_key(id), node.as_str())],
        IndexMember::Service(service) => {
            let mut totals = redis::cmd("HGETALL");
            totals.arg(prefix.service_key(service));
            vec![totals, is_in(prefix.services_key(), service)]
        }
    }
}

fn read_in(value: Value) -> Option<bool> {
    redis::from_redis_value::<i64>(value).ok().map(|number| number == 1)
}

/// A node's share, and whether the totals are the sum of all shares.
fn read_totals(totals: &BTreeMap<String, String>, node: &NodeName) -> Option<(Option<ShareText>, bool)> {
    let mut own = None;
    let mut sums = [0; 5];
    for (field, text) in totals.iter().filter_map(|(field, text)| Some((field.strip_prefix("node:")?, text))) {
        let share: ShareText = serde_json::from_str::<Share>(text).ok()?.into();
        if field == node.as_str() {
            own = Some(share);
        }
        for (sum, part) in sums.iter_mut().zip(share.into_iter().chain([1])) {
            *sum += part;
        }
    }
    let told = ["containers", "running", "unhealthy", "failed", "nodes"].map(|name| totals.get(name)?.parse().ok());
    Some((own, told == sums.map(Some)))
}

/// Other slots say something else than they should. That a service without containers is listed nowhere is right.
pub(crate) fn is_wrong(expected: &Told, told: Option<&Told>) -> bool {
    match (expected, told) {
        (Told::Share { share: None, .. }, Some(Told::Share { share: None, sums, listed })) => *listed && !sums,
        (expected, told) => told != Some(expected),
    }
}

/// The members of which other slots say something else than the node's keys, and that are not yet to be told.
pub(crate) fn misfits(keys: &NodeKeys, members: &[IndexMember], told: &[Option<Told>]) -> Vec<IndexMember> {
    let differs = |(member, told): &(&IndexMember, &Option<Told>)| {
        is_wrong(&expected(keys, member), told.as_ref()) && !keys.untold.contains(&member.to_string())
    };
    members.iter().zip(told).filter(differs).map(|(member, _)| member.clone()).collect()
}

/// What is wrong with a member.
pub(crate) fn finding(member: IndexMember) -> Finding {
    let container = match &member {
        IndexMember::Container(id) => Some(*id),
        IndexMember::Service(_) | IndexMember::Node => None,
    };
    let field = match &member {
        IndexMember::Container(_) => "id".to_owned(),
        IndexMember::Service(_) => member.to_string(),
        IndexMember::Node => "nodes".to_owned(),
    };
    Finding { kind: DriftKind::EditedStore, container, fields: vec![field], members: vec![member], held: 0, sure: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(fields: &[(&str, &str)]) -> BTreeMap<String, String> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn totals_are_the_sum_of_shares() {
        let share = r#"{"containers":2,"running":1,"unhealthy":0,"failed":1,"revision":"0:1.0"}"#;
        let fits = [
            ("containers", "4"),
            ("running", "2"),
            ("unhealthy", "0"),
            ("failed", "2"),
            ("nodes", "2"),
            ("node:n1", share),
            ("node:n2", share),
        ];
        let node = "n1".parse().expect("a name");
        assert_eq!(read_totals(&totals(&fits), &node), Some((Some([2, 1, 0, 1]), true)));
        let wrong = fits.map(|(name, value)| (name, if name == "failed" { "3" } else { value }));
        assert_eq!(read_totals(&totals(&wrong), &node), Some((Some([2, 1, 0, 1]), false)));
        assert_eq!(read_totals(&totals(&[("node:n1", "nonsense")]), &node), None);
    }
}
