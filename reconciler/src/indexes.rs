//! A node's own indexes against its containers' keys. All of it changes in one call, so that any misfit is a drift.

use std::collections::{BTreeMap, BTreeSet};

use domain::node::DriftKind;
use domain::{ContainerId, IndexMember, Status};
use view::keys::NodeKeys;

use crate::finding::Finding;

/// What does not fit.
pub fn misfits(keys: &NodeKeys) -> Vec<Finding> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (set, expected) in expected(keys) {
        let held = keys.members.get(&set);
        let empty = BTreeSet::new();
        for id in held.unwrap_or(&empty).symmetric_difference(&expected) {
            found.entry(id.clone()).or_default().insert(set.clone());
        }
    }
    let mut misfits: Vec<Finding> = found.into_iter().map(|(id, sets)| finding(&id, sets)).collect();
    misfits.extend(counts(keys));
    misfits
}

/// Who belongs into which set.
fn expected(keys: &NodeKeys) -> BTreeMap<String, BTreeSet<String>> {
    let mut sets: BTreeMap<String, BTreeSet<String>> =
        keys.members.keys().map(|set| (set.clone(), BTreeSet::new())).collect();
    let mut put = |set: String, id: &str| {
        sets.entry(set).or_default().insert(id.to_owned());
    };
    for container in &keys.view.containers {
        let id = container.id.to_string();
        put("containers".to_owned(), &id);
        put(format!("status:{}", container.status), &id);
        if let Some(service) = container.compose_service() {
            put(format!("service:{service}"), &id);
        }
    }
    // What cannot be read is found as such: it belongs where it is.
    for (id, _) in &keys.view.unreadable {
        for (set, held) in &keys.members {
            if held.contains(id) {
                put(set.clone(), id);
            }
        }
    }
    sets
}

fn finding(id: &str, sets: BTreeSet<String>) -> Finding {
    let services = sets.iter().filter_map(|set| set.strip_prefix("service:"));
    let mut members: Vec<_> = services.map(|service| IndexMember::Service(service.to_owned())).collect();
    if sets.iter().any(|set| !set.starts_with("service:")) {
        members.push(IndexMember::Node);
    }
    let container: Option<ContainerId> = id.parse().ok();
    members.extend(container.map(IndexMember::Container));
    Finding {
        kind: DriftKind::EditedStore,
        container,
        fields: sets.into_iter().collect(),
        members,
        held: 0,
        sure: true,
    }
}

/// The node's own counts.
fn counts(keys: &NodeKeys) -> Option<Finding> {
    // A node that is retired has none.
    keys.view.checkpoint.as_ref()?;
    let size = |set: &str| keys.members.get(set).map_or(0, BTreeSet::len).to_string();
    let told = |field: &str| keys.view.node.get(field).cloned().unwrap_or_default();
    let running = format!("status:{}", Status::Running);
    let wrong = [("containers", "containers"), ("running", running.as_str())]
        .into_iter()
        .filter(|(field, set)| told(field) != size(set))
        .map(|(field, _)| field.to_owned());
    let fields: Vec<_> = wrong.collect();
    (!fields.is_empty()).then_some(Finding {
        kind: DriftKind::EditedStore,
        container: None,
        fields,
        members: vec![IndexMember::Node],
        held: 0,
        sure: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::container::AsOf;
    use domain::revision::Place;
    use domain::{Container, Partition};
    use view::checkpoint::Checkpoint;
    use view::store::NodeView;

    fn keys() -> NodeKeys {
        let node = "n1".parse().expect("a name");
        let container = Container {
            status: Status::Running,
            project: Some("shop".to_owned()),
            service: Some("web".to_owned()),
            ..Container::unheard_of([0xab; 32].into(), node, AsOf::default())
        };
        let ids: BTreeSet<String> = [container.id.to_string()].into();
        let sets = ["containers", "status:running", "service:shop/web"];
        let mut members: BTreeMap<_, _> = sets.map(|set| (set.to_owned(), ids.clone())).into();
        members.insert("status:exited".to_owned(), BTreeSet::new());
        let view = NodeView {
            checkpoint: Some(Checkpoint { partition: Partition(0), place: Place::EMPTY, rebuild: None }),
            node: [("containers", "1"), ("running", "1")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            containers: vec![container],
            unreadable: Vec::new(),
        };
        NodeKeys { view, members, untold: BTreeSet::new() }
    }

    #[test]
    fn what_fits_is_no_finding() {
        assert_eq!(misfits(&keys()), []);
    }

    #[test]
    fn one_missing_and_one_too_many() {
        let id = "ab".repeat(32);
        let mut wrong = keys();
        wrong.members.get_mut("status:running").expect("there").clear();
        wrong.members.get_mut("status:exited").expect("there").insert(id);
        let found = misfits(&wrong);
        assert_eq!(found[0].fields, ["status:exited", "status:running"]);
        assert_eq!(found[0].members[0], IndexMember::Node);
        // The node's count is that of a set which was changed.
        assert_eq!(found[1].fields, ["running"]);
    }

    #[test]
    fn members_that_are_no_containers() {
        let mut wrong = keys();
        wrong.members.get_mut("service:shop/web").expect("there").insert("nonsense".to_owned());
        let found = misfits(&wrong);
        assert_eq!((found.len(), found[0].container), (1, None));
        assert_eq!(found[0].members, [IndexMember::Service("shop/web".to_owned())]);
    }
}
