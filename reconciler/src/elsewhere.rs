//! Keys in other slots that tell of a node's containers: which nodes an id is on, and totals of services. They are
//! written after the node's own; `untold` says of which that is yet to be done. To the list of nodes the projector sees.

use std::collections::{BTreeMap, BTreeSet};

use domain::node::DriftKind;
use domain::{Container, ContainerId, Health, IndexMember, NodeName, Prefix, Status};
use redis::{Cmd, Value};
use serde::Deserialize;
use service::redis::{Error, Store};

use crate::finding::Finding;
use crate::picture::Picture;

/// Of what other slots tell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    /// That a container is on the node.
    Container(ContainerId),
    /// The node's share of a service's totals.
    Service(String),
}

impl From<Member> for IndexMember {
    fn from(member: Member) -> Self {
        match member {
            Member::Container(id) => Self::Container(id),
            Member::Service(service) => Self::Service(service),
        }
    }
}

/// One node's part of a service's totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Share {
    containers: u64,
    running: u64,
    unhealthy: u64,
    failed: u64,
}

/// What keys in other slots say of a node, or should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The node is in the container's set.
    In(bool),
    /// Its share of a service; whether the totals are the sum of all shares, and the service is listed. Where nobody
    /// has a share: whether there are no totals, and it is listed nowhere.
    Share { share: Option<ShareText>, sums: bool, listed: bool },
    /// Anything: it cannot be told.
    Anything,
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
pub(crate) fn members(picture: &Picture) -> Vec<Member> {
    let ids = picture.containers.iter().copied().map(Member::Container);
    ids.chain(picture.shares.keys().cloned().map(Member::Service)).collect()
}

/// What other slots should say of a member, as the node's keys are.
pub(crate) fn expected(picture: &Picture, member: &Member) -> Told {
    match member {
        Member::Container(id) => {
            Told::In(picture.containers.binary_search(id).is_ok() || picture.unreadable.contains(id))
        }
        Member::Service(service) if picture.unclear.contains(service) => Told::Anything,
        Member::Service(service) => {
            let share = picture.shares.get(service).copied();
            Told::Share { share: share.map(ShareText::from), sums: true, listed: true }
        }
    }
}

/// The node's share of each service that it has containers of.
pub(crate) fn shares(containers: &[Container]) -> BTreeMap<String, Share> {
    let mut shares: BTreeMap<String, Share> = BTreeMap::new();
    for container in containers {
        let Some(service) = container.compose_service() else { continue };
        let share = shares.entry(service).or_default();
        let unhealthy = container.health == Some(Health::Unhealthy) && container.status != Status::Unknown;
        share.containers += 1;
        share.running += u64::from(container.status == Status::Running);
        share.unhealthy += u64::from(unhealthy);
        share.failed += u64::from(container.has_failed());
    }
    shares
}

/// What other slots say of the members, in their order. `None` where it cannot be understood.
pub(crate) async fn read(
    store: &Store,
    prefix: &Prefix,
    node: &NodeName,
    members: &[Member],
) -> Result<Vec<Option<Told>>, Error> {
    let questions: Vec<Cmd> = members.iter().flat_map(|member| questions(prefix, node, member)).collect();
    let mut answers = store.batch(&questions).await?.into_iter();
    let told = members.iter().map(|member| match member {
        Member::Container(_) => read_in(answers.next()?).map(Told::In),
        Member::Service(_) => {
            let (totals, listed) = (answers.next()?, answers.next()?);
            let totals = redis::from_redis_value::<BTreeMap<String, String>>(totals).ok()?;
            read_totals(&totals, read_in(listed)?, node)
        }
    });
    Ok(told.collect())
}

fn questions(prefix: &Prefix, node: &NodeName, member: &Member) -> Vec<Cmd> {
    let is_in = |set: String, member: &str| {
        let mut ask = redis::cmd("SISMEMBER");
        ask.arg(set).arg(member);
        ask
    };
    match member {
        Member::Container(id) => vec![is_in(prefix.id_key(id), node.as_str())],
        Member::Service(service) => {
            let mut totals = redis::cmd("HGETALL");
            totals.arg(prefix.service_key(service));
            vec![totals, is_in(prefix.services_key(), service)]
        }
    }
}

fn read_in(value: Value) -> Option<bool> {
    redis::from_redis_value::<i64>(value).ok().map(|number| number == 1)
}

/// What totals, and whether the service is listed, say of a node.
fn read_totals(totals: &BTreeMap<String, String>, listed: bool, node: &NodeName) -> Option<Told> {
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
    let [.., nodes] = sums;
    Some(match (own, nodes) {
        (None, 0) => Told::Share { share: None, sums: totals.is_empty(), listed: !listed },
        // It is listed after its totals are written: those who have a share see to it.
        (None, _) => Told::Share { share: None, sums: told == sums.map(Some), listed: true },
        (share, _) => Told::Share { share, sums: told == sums.map(Some), listed },
    })
}

/// Other slots say something else than they should.
pub(crate) fn is_wrong(expected: &Told, told: Option<&Told>) -> bool {
    *expected != Told::Anything && told != Some(expected)
}

/// The members of which other slots say something else than the node's keys, and that are not yet to be told.
pub(crate) fn misfits(
    picture: &Picture,
    untold: &BTreeSet<String>,
    members: &[Member],
    told: &[Option<Told>],
) -> Vec<Member> {
    let differs = |(member, told): &(&Member, &Option<Told>)| {
        is_wrong(&expected(picture, member), told.as_ref()) && !is_among(untold, member)
    };
    members.iter().zip(told).filter(differs).map(|(member, _)| member.clone()).collect()
}

/// Other slots are yet to be told of it.
pub(crate) fn is_among(untold: &BTreeSet<String>, member: &Member) -> bool {
    untold.contains(&IndexMember::from(member.clone()).to_string())
}

/// What is wrong with a member.
pub(crate) fn finding(member: Member) -> Finding {
    let (container, field) = match &member {
        Member::Container(id) => (Some(*id), "id".to_owned()),
        Member::Service(service) => (None, IndexMember::Service(service.clone()).to_string()),
    };
    let (fields, members) = (vec![field], vec![member.into()]);
    Finding { kind: DriftKind::EditedStore, container, fields, members, held: 0, sure: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::node::NodeStatus;
    use view::keys::NodeKeys;
    use view::store::NodeView;

    #[test]
    fn what_cannot_be_read_is_there_and_its_share_is_not_judged() {
        let invalid = domain::fields::parse_container(&BTreeMap::new()).expect_err("no fields are no container");
        let id = ContainerId::from([0xab; 32]);
        let ids: BTreeSet<String> = [id.to_string()].into();
        let sets = [("containers", ids.clone()), ("service:shop/web", ids), ("service:shop/db", BTreeSet::new())];
        let keys = NodeKeys {
            view: NodeView {
                checkpoint: None,
                node: BTreeMap::new(),
                containers: Vec::new(),
                unreadable: vec![(id.to_string(), invalid)],
            },
            members: sets.map(|(set, held)| (set.to_owned(), held)).into(),
            untold: BTreeSet::new(),
        };
        let picture = Picture::of(&keys, NodeStatus::Alive, None);
        let service = |name: &str| expected(&picture, &Member::Service(name.to_owned()));
        let told = Told::Share { share: Some([1, 1, 0, 0]), sums: true, listed: true };
        assert_eq!(expected(&picture, &Member::Container(id)), Told::In(true));
        assert!(!is_wrong(&service("shop/web"), Some(&told)));
        assert!(is_wrong(&service("shop/db"), Some(&told)));
    }

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
        let [node, other] = ["n1", "n3"].map(|name| name.parse::<NodeName>().expect("a name"));
        let told = |share, sums, listed| Some(Told::Share { share, sums, listed });
        assert_eq!(read_totals(&totals(&fits), true, &node), told(Some([2, 1, 0, 1]), true, true));
        assert_eq!(read_totals(&totals(&fits), false, &node), told(Some([2, 1, 0, 1]), true, false));
        assert_eq!(read_totals(&totals(&fits), false, &other), told(None, true, true));
        let wrong = fits.map(|(name, value)| (name, if name == "failed" { "3" } else { value }));
        assert_eq!(read_totals(&totals(&wrong), true, &node), told(Some([2, 1, 0, 1]), false, true));
        assert_eq!(read_totals(&totals(&[("node:n1", "nonsense")]), true, &node), None);
    }

    #[test]
    fn without_shares_there_are_no_totals() {
        let node = "n1".parse().expect("a name");
        let right = Told::Share { share: None, sums: true, listed: true };
        for (fields, listed, wrong) in [
            (&[][..], false, false),
            (&[][..], true, true),
            (&[("containers", "5")][..], false, true),
            (&[("containers", "0"), ("nodes", "0")][..], true, true),
        ] {
            let told = read_totals(&totals(fields), listed, &node);
            assert_eq!(is_wrong(&right, told.as_ref()), wrong, "{fields:?}, listed: {listed}");
        }
    }
}
